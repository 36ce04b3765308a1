"""The content of a data set in memory: as it was written, once."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks import ArtifactError
from tasks.contents import OF_KIND
from tasks.reading import read_content
from tasks.tables.catalog import EXAMPLES
from tasks.tables.facts import DatasetFacts
from tasks.tables.io import make_table, write_table


def write_examples(path: Path, kind: str, values: Any) -> DatasetFacts:
    n_rows = len(values)
    facts = DatasetFacts("mine", ("a", "b"), kind, () if kind == "text" else values.shape[1:])
    columns = {
        "example_id": np.arange(n_rows),
        "key": [f"row {row}" for row in range(n_rows)],
        "split": ["train"] * n_rows,
        "given_label": [None] * n_rows,
        "true_label": [0] * n_rows,
        kind: values,
    }
    write_table(path, make_table(EXAMPLES, facts, columns), EXAMPLES)
    return facts


def values_of(kind: str, n_rows: int) -> Any:
    rng = np.random.default_rng(0)
    if kind == "text":
        return [f"text {row}" * (row % 5) for row in range(n_rows)]
    if kind == "features":
        return rng.random((n_rows, 3), dtype=np.float32)
    return rng.integers(256, size=(n_rows, 4, 5, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", OF_KIND)
def test_all_rows_come_in_order_whatever_the_row_groups(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.tables.io.GROUP_ROWS", 7)
    values = values_of(kind, 100)
    path = tmp_path / "examples.parquet"
    content = read_content(path, write_examples(path, kind, values))
    assert isinstance(content, OF_KIND[kind])
    assert len(content) == 100
    np.testing.assert_array_equal(content.values(), values)
    # Training shuffles and batches what is here: it has to be one array of its own.
    assert kind == "text" or (content.held.flags.writeable and content.held.flags.c_contiguous)


def test_content_of_another_kind_than_the_file_has_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "examples.parquet"
    write_examples(path, "text", ["a", "b"])
    with pytest.raises(ArtifactError, match=r"`image`.*was expected, found only .*text"):
        read_content(path, DatasetFacts("mine", ("a", "b"), "image", (2, 2)))


MEASURE = """
import sys
from pathlib import Path

from tasks.reading import read_content
from tasks.tables.catalog import EXAMPLES
from tasks.tables.portions import TableReader

def memory(name):
    return int(Path("/proc/self/status").read_text().split(name + ":")[1].split()[0]) / 1024

path = Path(sys.argv[1])
facts = TableReader(path, EXAMPLES, []).facts
before = memory("VmRSS")
content = read_content(path, facts)
print((memory("VmHWM") - before) / (content.held.nbytes / 2**20))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_pictures_take_their_bytes_in_memory_once(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    path = tmp_path / "examples.parquet"
    pictures = np.random.default_rng(0).integers(256, size=(2_000, 128, 128, 3), dtype=np.uint8)
    write_examples(path, "image", pictures)
    environment = os.environ | {"PYTHONPATH": str(pytestconfig.rootpath)}
    program = [sys.executable, "-c", MEASURE, str(path)]
    taken = subprocess.run(program, env=environment, check=True, capture_output=True, text=True).stdout
    assert float(taken) < 1.3
