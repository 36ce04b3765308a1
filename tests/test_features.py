"""Stage features: computed once for all rows where the model asks for them, else ids alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks import ArtifactError
from tasks.features import features
from tasks.params import Params, load_params
from tasks.tables import io
from tasks.tables.catalog import EXAMPLES, FEATURES
from tasks.tables.facts import DatasetFacts, read_facts
from tasks.tables.io import make_table, read_table, write_table
from tasks.tables.schemas import column_array

SHIPPED = load_params(Path(__file__).parents[1] / "params.yaml")
# Says beside the features how many rows came at a time.
EXTRACTS = """
import numpy as np
TAKES = ("image", "text")
USES_TORCH = False
build = restore = None

def extract(content, accelerator):
    assert accelerator == "cpu"
    firsts = [np.ravel(row)[0] if content.kind == "image" else len(row) for row in content.values()]
    return np.column_stack([firsts, np.full(len(content), len(content))]).astype(np.float32)
"""
IDS = np.arange(20) * 3
IMAGES = np.arange(20, dtype=np.uint8).repeat(4).reshape(20, 2, 2)
TEXTS = ["x" * k for k in range(20)]


def run(workspace: Path, kind: str, content: Any, model: str) -> Any:
    facts = DatasetFacts("mine", ("a", "b"), kind, np.shape(content)[1:])
    columns = {
        "example_id": IDS,
        "key": IDS.astype(str),
        "split": ["train"] * 10 + ["test"] * 10,
        "given_label": [None] * 20,
        "true_label": [None] * 20,
        kind: content,
    }
    write_table(EXAMPLES.at(workspace), make_table(EXAMPLES, facts, columns), EXAMPLES)
    features(with_model(model), workspace)
    table = read_table(FEATURES.at(workspace), FEATURES)
    assert read_facts(table) == facts
    assert column_array(table, "example_id").tolist() == IDS.tolist()
    return table


def with_model(model: str) -> Params:
    update = {
        "train_fold": SHIPPED.train_fold.model_copy(update={"model": model}),
        "features": SHIPPED.features.model_copy(update={"accelerator": "cpu"}),
    }
    return SHIPPED.model_copy(update=update)


@pytest.mark.parametrize(("kind", "content"), [("image", IMAGES), ("text", TEXTS)])
def test_a_model_that_asks_for_features_gets_them_of_every_row_a_portion_at_a_time(
    tmp_path: Path, add_plugin, monkeypatch, capsys, kind: str, content: Any
) -> None:
    add_plugin("models", "extracts", EXTRACTS)
    monkeypatch.setattr(io, "GROUP_ROWS", 8)
    found = column_array(run(tmp_path, kind, content, "extracts"), "features")
    assert found.dtype == np.float32
    assert found.tolist() == [[k, 8 if k < 16 else 4] for k in range(20)]
    assert capsys.readouterr().out == "features: 2 numbers a row, data/features.parquet\n"
    before = FEATURES.at(tmp_path).read_bytes()
    run(tmp_path, kind, content, "extracts")
    assert FEATURES.at(tmp_path).read_bytes() == before


def test_a_model_that_learns_from_the_rows_themselves_gets_ids_alone(tmp_path: Path, capsys) -> None:
    assert run(tmp_path, "image", IMAGES, "convnet").column_names == ["example_id"]
    assert "none, data/features.parquet" in capsys.readouterr().out


def test_missing_examples_name_the_stage_that_makes_them(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="`dvc repro download`"):
        features(SHIPPED, tmp_path)
    assert not FEATURES.at(tmp_path).exists()
