"""Each form of data, in a small real file, through `init` and the pipeline to the report."""

import json
from collections.abc import Callable
from pathlib import Path

import own_forms
import pytest
from small_runs import ROOT, run_pipeline

from tasks.intake.command import init
from tasks.params_file import set_params
from tasks.tables.catalog import EXAMPLES, LABEL_ISSUES
from tasks.tables.facts import read_facts
from tasks.tables.io import read_table

# What `init` chooses where the model of its choice would take long.
FORMS: list[tuple[Callable[[Path], Path], str, str, str, bool]] = [
    (own_forms.class_folders, "convnet", "nearest_mean", "one/0001.png", True),
    (own_forms.pictures_and_table, "convnet", "nearest_mean", "images/0001.png", True),
    (own_forms.cvat, "convnet", "nearest_mean", "images/0001.png", True),
    (own_forms.hugging_face, "convnet", "nearest_mean", "train-00000-of-00001.parquet/1", False),
    (own_forms.json_lines, "text", "text", "t-1", True),
    (own_forms.label_studio, "text", "text", "1001", True),
    (own_forms.numbers_and_categories, "boosting", "logistic", "P001", True),
    (own_forms.arrays, "boosting", "nearest_mean", "1", True),
]


@pytest.mark.parametrize(
    ("make", "chosen", "model", "key", "holds_out"), FORMS, ids=lambda each: getattr(each, "__name__", "")
)
def test_a_form_goes_through_init_and_the_pipeline(
    tmp_path: Path,
    make: Callable[[Path], Path],
    chosen: str,
    model: str,
    key: str,
    holds_out: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "workspace"
    folder.mkdir()
    (folder / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    path = make(tmp_path)
    init(folder, [str(path)])
    said = capsys.readouterr().out
    assert f"Model: {chosen}" in said
    set_params(
        folder / "params.yaml",
        {"train_fold.model": model, "train_fold.folds": [0, 1], "prune.importance": "none"},
    )
    run_pipeline(folder)
    examples = read_table(EXAMPLES.at(folder), EXAMPLES)
    keys = examples.column("key").to_pylist()
    assert key in keys
    facts = read_facts(examples)
    assert facts.dataset == path.name.split(".")[0]
    assert f"{len(keys):,} " in said
    assert all(name in said for name in facts.class_names)
    issues = read_table(LABEL_ISSUES.at(folder), LABEL_ISSUES)
    flagged = issues.filter(issues.column("is_issue"))
    assert 5 <= flagged.num_rows <= 60
    assert set(flagged.column("key").to_pylist()) <= set(keys)
    assert ("held out" in said) == holds_out
    metrics = json.loads((folder / "metrics" / "retrain_cleaned.json").read_text())
    assert metrics
    page = (folder / "report" / "index.html").read_text()
    assert facts.class_names[0] in page
