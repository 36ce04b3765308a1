"""Atomic writes: a file is whole under its final name, or absent, whatever happens to the writer."""

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.tables.files import atomic_path, write_json, write_text

ROOT = Path(__file__).parent.parent.parent

WRITER = """
import sys, time
from pathlib import Path
from tasks.tables.files import atomic_path
with atomic_path(Path(sys.argv[1])) as temporary:
    with temporary.open("wb") as file:
        file.write(b"half")
        file.flush()
        print("writing", flush=True)
        time.sleep(60)
"""


def test_what_is_written_appears_under_the_final_name_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.txt"
    with atomic_path(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists()
        assert temporary.parent == path.parent
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def write_half(path: Path, error: type[BaseException]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text("half")
        raise error


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failing_writer_leaves_the_old_file_and_nothing_else(tmp_path: Path, error) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(error):
        write_half(path, error)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failing_first_writer_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        write_half(tmp_path / "a.txt", ValueError)
    assert list(tmp_path.iterdir()) == []


def killed_writer(path: Path) -> None:
    """Start a writer of `path` and kill it when it has written half."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        process.send_signal(signal.SIGKILL)
        assert process.wait(timeout=30) == -signal.SIGKILL


@pytest.mark.parametrize("old", [None, "old"])
def test_a_killed_writer_leaves_the_final_name_untouched_and_the_next_cleans_up(
    tmp_path: Path, old: str | None
) -> None:
    path = tmp_path / "a.parquet"
    if old is not None:
        write_text(path, old)
    killed_writer(path)
    assert (path.read_text() if path.exists() else None) == old
    leftovers = [found for found in tmp_path.iterdir() if found != path]
    assert [found.read_bytes() for found in leftovers] == [b"half"]
    assert all(found.name.startswith(".a.parquet.") and found.suffix == ".tmp" for found in leftovers)
    write_text(path, "new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_leftover_of_another_file_is_left_alone(tmp_path: Path) -> None:
    other = tmp_path / ".b.txt.abc.tmp"
    other.write_text("someone is writing this")
    write_text(tmp_path / "a.txt", "whole")
    assert other.exists()


def test_the_newest_of_two_writers_wins_and_the_older_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"

    def overtaken() -> None:
        with atomic_path(path) as older:
            older.write_text("older")
            write_text(path, "newer")

    with pytest.raises(FileNotFoundError):
        overtaken()
    assert path.read_text() == "newer"


def test_a_written_file_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a.txt", "whole")
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o640


def test_text_is_utf8(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "dög, 猫")
    assert (tmp_path / "a.txt").read_bytes() == "dög, 猫".encode()


def strict(text: str) -> object:
    """JSON as every reader takes it: without Python's NaN and Infinity."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_nan_and_infinity_become_null_at_any_depth(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    nan, inf = float("nan"), float("inf")
    write_json(path, {"a": nan, "b": [1.5, -inf, {"c": inf}], "d": (nan, 2)})
    assert strict(path.read_text()) == {"a": None, "b": [1.5, None, {"c": None}], "d": [None, 2]}


finite = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
finite = finite | st.text()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.dictionaries(
        st.text(), st.recursive(finite, lambda x: st.lists(x) | st.dictionaries(st.text(), x), max_leaves=5)
    )
)
def test_json_comes_back_as_given(tmp_path: Path, content: dict[str, object]) -> None:
    write_json(tmp_path / "a.json", content)
    assert strict((tmp_path / "a.json").read_text(encoding="utf-8")) == content
