"""A plug-in is one file: adding one edits nothing else, and reruns nothing that does not use it.

That the pipeline runs with an added file of each kind is in test_network_runs.py.
"""

import shutil
from pathlib import Path

import pytest
from added_files import FILTER
from dvc.repo import Repo
from small_runs import dvc

from benchmarks.workspaces import set_params
from flows.dvc_api.graph import plan, stage_graph
from flows.dvc_api.repository import stage_name
from tasks import plugins

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
