"""What a reviewer sees: the order of the rows, and their contents from memory or from the file."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.review import write_suspects
from review.suspect_rows import Contents, read_suspects
from tasks import ArtifactError
from tasks.tables.catalog import EXAMPLES, SPLIT_ROWS
from tasks.tables.io import read_table
from tasks.tables.schemas import column_array


@pytest.mark.parametrize("content", ["image", "text", "features"])
def test_contents_from_memory_and_from_the_file_are_the_same(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.tables.io.GROUP_ROWS", 16)
    write_suspects(tmp_path, 100, content=content)
    facts, path = read_suspects(tmp_path / "data").facts, tmp_path / "data" / "examples.parquet"
    ids = np.array([990, 0, 170, 0])
    from_memory = Contents(path, facts).show(ids)
    monkeypatch.setattr("review.suspect_rows._IN_MEMORY_BYTES", 0)
    contents = Contents(path, facts)
    assert contents.show(ids) == from_memory
    assert from_memory[1] == from_memory[3] != from_memory[0]
    with pytest.raises(ArtifactError, match="1 missing, the first 5"):
        contents.show(np.array([0, 5]))


def test_a_large_picture_comes_in_its_own_size(tmp_path: Path) -> None:
    write_suspects(tmp_path, 30, n_classes=3, side=200)
    path = tmp_path / "data" / "examples.parquet"
    contents = Contents(path, read_suspects(tmp_path / "data").facts)
    found = contents.picture(70)
    assert found is not None
    expected = column_array(read_table(path, EXAMPLES, ["image"]), "image")[7]
    np.testing.assert_array_equal(255 - np.asarray(Image.open(io.BytesIO(found))), expected)
    assert contents.picture(71) is None


def test_the_split_is_the_owners_and_without_a_table_of_splits_that_of_the_labels(tmp_path: Path) -> None:
    write_suspects(tmp_path, 200, content="features", test_share=0.3)
    data = tmp_path / "data"
    suspects = read_suspects(data)
    splits = read_table(data / "splits.parquet", SPLIT_ROWS)
    known = dict(zip(splits["example_id"].to_pylist(), splits["original_split"].to_pylist(), strict=True))
    assert suspects.split.tolist() == [known[example_id] for example_id in suspects.example_id.tolist()]
    assert suspects.splits == ("test", "train")
    (data / "splits.parquet").unlink()
    assert read_suspects(data).splits == ("train",)
