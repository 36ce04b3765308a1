"""Contents of examples: pictures that a browser shows, and only the rows that are asked for."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tasks import ArtifactError
from tasks.page import picture_uri, read_contents
from tasks.page.profiles import Profile
from tasks.tables.catalog import EXAMPLES
from tasks.tables.facts import DatasetFacts
from tasks.tables.io import make_table, write_table


def open_uri(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1])))


def write_examples(path: Path, content: str, values: Any, shape: tuple[int, ...]) -> None:
    n_rows = len(values)
    columns = {
        "example_id": np.arange(n_rows) * 10,
        "key": [f"row {row}" for row in range(n_rows)],
        "split": ["train"] * n_rows,
        "given_label": [None] * n_rows,
        "true_label": [None] * n_rows,
        content: values,
    }
    write_table(
        path, make_table(EXAMPLES, DatasetFacts("mine", ("a", "b"), content, shape), columns), EXAMPLES
    )


def test_a_grey_picture_is_ink_on_paper() -> None:
    uri = picture_uri(np.array([[0, 255]], dtype=np.uint8))
    assert uri.startswith("data:image/png;base64,")
    np.testing.assert_array_equal(np.asarray(open_uri(uri)), [[255, 0]])
    assert picture_uri(np.array([[[0], [255]]], dtype=np.uint8)) == uri


def test_a_coloured_picture_keeps_its_colours() -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(open_uri(picture_uri(image))), image)


def test_a_large_picture_is_shrunk_and_keeps_its_proportions() -> None:
    image = np.full((300, 600, 3), 200, dtype=np.uint8)
    uri = picture_uri(image)
    assert uri.startswith("data:image/jpeg;base64,")
    assert open_uri(uri).size == (128, 64)
    assert abs(np.asarray(open_uri(uri)).astype(int) - 200).max() <= 2


def test_contents_come_by_id_whatever_the_row_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.tables.io.GROUP_ROWS", 16)
    monkeypatch.setattr("tasks.page.contents._BATCH_BYTES", 12)
    images = np.arange(100, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 3), dtype=np.uint8)
    write_examples(tmp_path / "examples.parquet", "image", images, (2, 3))
    found = read_contents(tmp_path / "examples.parquet", np.array([990, 0, 170, 0]))
    assert sorted(found) == [0, 170, 990]
    for example_id, content in found.items():
        assert np.asarray(open_uri(content.picture))[0, 0] == 255 - example_id // 10
    assert read_contents(tmp_path / "examples.parquet", np.array([], dtype=np.int64)) == {}


def test_texts_and_features_are_shortened_to_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "examples.parquet"
    write_examples(path, "text", ["short <b>", "x" * 2000], ())
    found = read_contents(path, np.array([0, 10]))
    assert found[0].text == "short <b>"
    assert len(found[10].text) == 600
    assert found[10].text.endswith("…")
    write_examples(path, "features", np.arange(40).reshape(2, 20) / 7, (20,))
    assert read_contents(path, np.array([0]))[0].text == (
        "0, 0.1429, 0.2857, 0.4286, 0.5714, 0.7143, 0.8571, 1, … (20 numbers)"
    )


def test_an_example_that_is_not_there_is_named(tmp_path: Path) -> None:
    write_examples(tmp_path / "examples.parquet", "text", ["a"], ())
    with pytest.raises(ArtifactError, match=r"1 missing, the first 5\."):
        read_contents(tmp_path / "examples.parquet", np.array([0, 5]))
    with pytest.raises(ArtifactError, match=r"is missing.*dvc repro download"):
        read_contents(tmp_path / "none.parquet", np.array([0]))


def test_named_numbers_stand_a_line_each_beside_the_mean_of_the_class_that_the_first_line_names() -> None:
    profile = Profile(
        ("age", "weight", "height"), ("cat", "dog"), np.array([[3, 4, 20.0], [5, 30, 60]]), np.ones(3)
    )
    lines = profile.describe(np.array([4, 4.5, 58], dtype=np.float32), 1).splitlines()
    assert lines == ["weight: 4.5 (mean of dog: 30)", "height: 58 (60)", "age: 4 (5)"]
    assert profile.describe(np.array([4, 4.5, 58], dtype=np.float32), None).splitlines()[0] == "age: 4"
