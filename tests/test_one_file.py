"""A plug-in is one file: adding one edits nothing else, and reruns nothing that does not use it."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dvc.repo import Repo
from small_runs import ENVIRONMENT, ROOT, SETTINGS, dvc

from benchmarks.workspaces import make_workspace, set_params
from flows.dvc_api.graph import plan, stage_graph
from flows.dvc_api.repository import stage_name
from tasks import plugins
from tasks.tables.catalog import EXAMPLES, TRAINING_SET
from tasks.tables.facts import read_facts
from tasks.tables.io import read_table

pytestmark = pytest.mark.slow

TRAININGS = {"train_fold@0", "train_fold@1", "retrain@given", "retrain@cleaned", "retrain@true"}


@pytest.fixture(scope="module")
def finished(reproduced: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which `dvc repro` ran, to be changed and changed back."""
    folder = tmp_path_factory.mktemp("one_file") / "workspace"
    return Path(shutil.copytree(reproduced, folder, symlinks=True))


def changed(folder: Path) -> set[str]:
    """The stages that DVC finds changed themselves, whatever is upstream of them."""
    with Repo(str(folder)) as repo, repo.lock:
        return {stage_name(stage) for stage in repo.index.stages if stage.changed()}


def test_a_new_file_that_nobody_uses_and_a_comment_in_one_rerun_nothing(finished: Path) -> None:
    new = [finished / "tasks" / kind / "unused.py" for kind in plugins.KINDS if kind != "filters"]
    edited = [
        finished / "tasks" / place
        for place in (
            *("datasets/mnist.py", "objectives/mixup.py", "models/convnet.py", "models/logistic.py"),
            *("models/resnet18.py", "models/efficientnet_lite0.py", "models/efficientnet_lite0_tuned.py"),
        )
    ]
    before = [path.read_bytes() for path in edited]
    for path in new:
        path.write_text('"""Nobody uses it."""\n')
    for path in edited:
        path.write_text(f"{path.read_text()}# A comment.\n")
    set_params(finished / "params.yaml", {"models.convnet.max_lr": 0.05, "models.logistic": {"C": 0.5}})
    try:
        assert changed(finished) == set()
        assert "up to date" in dvc(finished, "status")
    finally:
        for path in new:
            path.unlink()
        for path, content in zip(edited, before, strict=True):
            path.write_bytes(content)


@pytest.mark.parametrize(
    ("place", "stages"),
    [
        ("models/nearest_mean.py", TRAININGS | {"features", "pseudo_label"}),
        ("objectives/supervised.py", TRAININGS | {"pseudo_label"}),
        ("datasets/digits.py", {"download"}),
        ("pseudo_labels/threshold.py", {"pseudo_label"}),
        ("label_quality/filters/both.py", {"prune"}),
    ],
)
def test_an_edit_of_a_file_that_is_used_reruns_the_stages_that_use_it(
    finished: Path, place: str, stages: set[str]
) -> None:
    path = finished / "tasks" / place
    before = path.read_bytes()
    path.write_text(f"{path.read_text()}# A comment.\n")
    try:
        assert changed(finished) == stages
    finally:
        path.write_bytes(before)


def test_a_new_filter_reruns_prune_and_what_follows_and_no_training_of_folds(finished: Path) -> None:
    path = finished / "tasks" / "label_quality" / "filters" / "mine.py"
    path.write_text(FILTER)
    try:
        _, fresh = plan(finished)
        stale = set(stage_graph(finished)) - fresh
        assert stale == {"prune", "pseudo_label", "retrain@cleaned", "report"}
    finally:
        path.unlink()


def test_a_label_set_that_is_taken_out_reruns_no_other(finished: Path) -> None:
    path = finished / "params.yaml"
    before = path.read_bytes()
    sets = {
        "given": {"table": "given_labels", "checkpoint": "classifier_given"},
        "cleaned": {"table": "training_set", "checkpoint": "classifier"},
    }
    set_params(path, {"retrain.label_sets": sets})
    try:
        assert changed(finished) == {"report"}
    finally:
        path.write_bytes(before)


DATASET = '''"""Two clouds of points."""

import numpy as np

from tasks.contents import Examples, Features
from tasks.tables.facts import DatasetFacts

GIVES = ("features",)


def read(inputs, options, fetch):
    rng = np.random.default_rng(0)
    labels = np.arange(240) % 2
    points = rng.normal(size=(240, 3)) + 3 * labels[:, None]
    return Examples(
        facts=DatasetFacts("clouds", ("low", "high"), "features", (3,)),
        key=[f"point {row}" for row in range(240)],
        split=np.where(np.arange(240) < 200, "train", "test"),
        given_label=None,
        true_label=labels.astype(np.int16),
        content=Features(points.astype(np.float32)),
    )
'''
MODEL = (ROOT / "tasks" / "models" / "mlp.py").read_text().replace('"mlp"', '"mine"').replace("256", "16")
OBJECTIVE = (ROOT / "tasks" / "objectives" / "supervised.py").read_text()
METHOD = '''"""Issues are dropped, whatever is suggested."""

import numpy as np

from tasks.repair import leave_as_given


def repair(evidence, options, train, rng):
    repair = leave_as_given(evidence.labels, evidence.is_issue, evidence.n_classes)
    return repair.with_hard(
        evidence.is_issue,
        weight=np.where(evidence.is_issue, 0, 1).astype(np.float32),
        action=np.where(evidence.is_issue, "dropped", "trusted"),
    )
'''
FILTER = '''"""Rows whose given class is not the more probable of the two."""

from tasks.label_quality.selection import ByRow


def select(statistics):
    return ByRow(lambda rows: rows.own < 0.5)
'''


def test_a_file_of_each_kind_is_found_by_its_name_and_the_pipeline_runs(tmp_path: Path) -> None:
    folder = tmp_path / "workspace"
    # As few trainings as tell.
    sets = {"cleaned": {"table": "training_set", "checkpoint": "classifier"}}
    make_workspace(folder, {**SETTINGS, "retrain.label_sets": sets}, source=ROOT)
    files = {
        "datasets": DATASET,
        "models": MODEL,
        "objectives": OBJECTIVE,
        "pseudo_labels": METHOD,
        "label_quality/filters": FILTER,
    }
    for kind, text in files.items():
        (folder / "tasks" / kind / "mine.py").write_text(text)
    names = ["download.dataset=mine", "train_fold.model=mine", "train_fold.objective=mine"]
    names += ["retrain.objective=mine", "pseudo_label.method=mine", "prune.filter_by=mine"]
    set_names = (
        "from flows.dvc_api.overrides import override_params; from pathlib import Path; "
        f"override_params(Path(), {names})"
    )
    subprocess.run([sys.executable, "-c", set_names], cwd=folder, env=ENVIRONMENT, check=True)
    said = dvc(folder, "repro", with_torch=True)
    assert read_facts(read_table(EXAMPLES.at(folder), EXAMPLES)).dataset == "clouds"
    found = json.loads((folder / "metrics" / "label_issues.json").read_text())
    assert found["n_issues"] > 0
    assert f"{found['n_issues']:,} by mine" in said
    actions = read_table(TRAINING_SET.at(folder), TRAINING_SET).column("action").to_pylist()
    gate = json.loads((folder / "metrics" / "training_set.json").read_text())["gate"]
    assert actions.count("dropped") == found["n_issues"] - gate["n_contested"] - gate["n_doubtful"] > 0
    assert re.search(r"<td>mine.*\(decides\)", (folder / "report" / "index.html").read_text())
