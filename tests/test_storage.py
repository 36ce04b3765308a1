"""A disk that takes no more: one sentence that says what and where, and the old file stays."""

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from tasks import RelabelError, StorageError
from tasks.storage import refusal, sentence_of
from tasks.tables.files import write_csv, write_text

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO])
def test_what_the_disk_refuses_is_a_sentence_with_the_file(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "table.csv"
    write_text(path, "before")

    def refuse(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageError) as found:
        write_csv(path, pa.table({"a": [1]}))
    assert str(found.value).startswith(f"{path}: expected to write here, found ")
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_pyarrow_keeps_the_number_in_its_words() -> None:
    said = refusal(OSError("Error writing bytes to file. Detail: [errno 28] No space left on device"), "file")
    assert said is not None
    assert "no space" in str(said)
    assert refusal(OSError("a damaged file")) is None


def test_what_nobody_foresaw_keeps_its_traceback() -> None:
    with pytest.raises(OSError, match="strange"):
        sentence_of(OSError("strange"))
    assert isinstance(sentence_of(MemoryError()), RelabelError)


def test_a_stage_on_a_full_disk_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    """A limit on the size of files is refused as a full disk is."""
    path = tmp_path / "probs.csv"
    rows = "".join(f"{k / 20_000},{1 - k / 20_000}\n" for k in range(20_000))
    path.write_text(f"a,b\n{rows}")
    (tmp_path / "labels.csv").write_text("given_label\n" + "a\n" * 20_000)
    arguments = ["import-probs", "--pred-probs", "probs.csv", "--labels", "labels.csv"]
    limit = (2_000, resource.RLIM_INFINITY)
    done = subprocess.run(
        [sys.executable, "-m", "tasks", *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("import-probs: ")
    assert [path for path in (tmp_path / "data").rglob("*") if path.is_file()] == []
