"""Rows without a label, through the pipeline: hidden, predicted, taken where sure, learned from, measured."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_runs import run_pipeline, write_params

from benchmarks.unlabeled import error_on_test_rows
from benchmarks.why_unlabeled import tsne_panels
from tasks import DatasetError
from tasks.params import load_params
from tasks.pseudo_label import pseudo_label
from tasks.report import report
from tasks.retrain import read_training_set, retrain
from tasks.tables.catalog import EXAMPLES, TEST_PROBS, TRAINING_SET, UNLABELED_PROBS
from tasks.tables.io import read_table, write_table
from tasks.tables.joins import locate
from tasks.tables.schemas import column_array
from tasks.train_fold import train_fold


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which every stage ran on digits with ten labels a class, by logistic regression."""
    folder = tmp_path_factory.mktemp("unlabeled")
    write_params(
        folder,
        download__labels_per_class=10,
        inject_noise__rate=0.0,
        train_fold__model="logistic",
        pseudo_label__rounds=0,
        pseudo_labels__threshold__min_confidence=0.5,
    )
    run_pipeline(folder)
    return folder


def test_the_five_steps_learn_from_rows_without_a_label(run: Path) -> None:
    table = read_table(TRAINING_SET.at(run), TRAINING_SET)
    source, action = column_array(table, "source"), column_array(table, "action")
    joined = (source == "unlabeled") & (action == "pseudo_labelled")
    metrics = json.loads((run / "metrics" / "training_set.json").read_text())["unlabeled"]
    assert joined.sum() == metrics["n_joined"] > 80
    assert (source == "unlabeled").sum() == metrics["n_rows"] == 1438 - 100
    assert metrics["label_accuracy"]["of_joined"] > metrics["label_accuracy"]["of_all"] > 0.8
    given, cleaned = (
        json.loads((run / "metrics" / f"retrain_{name}.json").read_text()) for name in ("given", "cleaned")
    )
    assert given["n_rows"] == 100
    assert cleaned["n_rows"] == 100 + metrics["n_joined"] - metrics_dropped(run)


def metrics_dropped(run: Path) -> int:
    return json.loads((run / "metrics" / "training_set.json").read_text())["actions"]["dropped"]


def test_the_labels_that_joined_are_those_of_models_that_saw_labelled_rows_alone(run: Path) -> None:
    table = read_table(TRAINING_SET.at(run), TRAINING_SET).to_pandas().set_index("example_id")
    probs = read_table(UNLABELED_PROBS.at(run), UNLABELED_PROBS)
    values, ids = column_array(probs, "pred_probs"), column_array(probs, "example_id")
    joined = (table.action[ids] == "pseudo_labelled").to_numpy()
    assert values.max(axis=1)[joined].min() >= 0.5
    np.testing.assert_array_equal(table.label[ids][joined], values.argmax(axis=1)[joined])
    assert table.given_label[ids].isna().all()


def test_the_retrained_model_predicts_the_rows_without_a_label(run: Path) -> None:
    examples = read_table(EXAMPLES.at(run), EXAMPLES, columns=["split"])
    split = column_array(examples, "split")
    found = read_table(TEST_PROBS.at(run, labels="cleaned"), TEST_PROBS)
    is_predicted = np.isin(column_array(examples, "example_id"), column_array(found, "example_id"))
    assert set(split[is_predicted]) == {"test", "unlabeled"}
    assert (is_predicted == (split != "train")).all()


def test_the_error_of_a_benchmarks_cell_is_that_of_the_report(run: Path) -> None:
    for name in ("given", "cleaned"):
        metrics = json.loads((run / "metrics" / f"retrain_{name}.json").read_text())
        assert error_on_test_rows(run, name) == pytest.approx(100 * (1 - metrics["test"]["accuracy"]))


def test_a_map_of_embeddings_is_the_same_each_time_and_rings_what_is_wrong(run: Path) -> None:
    (panel,), again = (tsne_panels([("with", run, "classifier")], n_rows=120) for _ in range(2))
    assert [panel] == again
    metrics = json.loads((run / "metrics" / "retrain_cleaned.json").read_text())["test"]
    assert f"with: {metrics['accuracy']:.2%} of 359 test rows right" in panel
    truth = column_array(read_table(EXAMPLES.at(run), EXAMPLES), "true_label")
    found = read_table(TEST_PROBS.at(run, labels="cleaned"), TEST_PROBS)
    is_test = column_array(found, "split") == "test"
    ids = column_array(found, "example_id")[is_test][:120]
    said = column_array(found, "pred_probs")[is_test][:120].argmax(axis=1)
    rows = locate(column_array(read_table(EXAMPLES.at(run), EXAMPLES), "example_id"), ids)
    assert panel.count('stroke="#000"') == (said != truth[rows]).sum() > 0


def test_the_report_shows_where_each_classifier_places_the_measured_rows(run: Path) -> None:
    page, picture = ((run / path).read_text() for path in ("report/index.html", "plots/test_maps.svg"))
    section = page[page.index('id="maps"') : page.index('id="pairs"')]
    truth = read_table(EXAMPLES.at(run), EXAMPLES, columns=["true_label"])
    for name in ("given", "cleaned"):
        accuracy = json.loads((run / "metrics" / f"retrain_{name}.json").read_text())["test"]["accuracy"]
        assert f"{name} labels: accuracy {accuracy:.2%}" in picture
        found = read_table(TEST_PROBS.at(run, labels=name), TEST_PROBS)
        placed = found.filter(found.column("tsne_x").is_valid())
        assert set(column_array(placed, "split")) == {"test"}
        ids = column_array(placed, "example_id")
        label = column_array(truth, "true_label")[locate(column_array(truth, "example_id"), ids)]
        is_wrong = column_array(placed, "pred_probs").argmax(axis=1) != label
        assert 0 < is_wrong.sum() == pytest.approx(len(placed) * (1 - accuracy))
        assert f"{is_wrong.sum()} of these {len(placed)} wrong" in section
        # A dot for each row, and under it a ring where it is wrong.
        (svg,) = re.findall(rf'<svg [^>]*aria-label="rows as {name} .*?</svg>', section)
        assert svg.count("h0") == len(placed) + is_wrong.sum()
        assert svg in picture
        # Rows of one class lie together: most have their nearest neighbour in their class.
        places = np.column_stack([column_array(placed, axis) for axis in ("tsne_x", "tsne_y")])
        distance = np.square(places[:, None] - places[None]).sum(axis=2)
        np.fill_diagonal(distance, np.inf)
        assert (label[distance.argmin(axis=1)] == label).mean() > 0.85
    joined = json.loads((run / "metrics" / "training_set.json").read_text())["unlabeled"]["n_joined"]
    assert f"also from {joined} rows without a label" in section


def test_the_report_says_which_objective_used_the_content_of_rows_without_a_label(
    run: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(run, tmp_path / "copy")
    write_params(folder, train_fold__model="convnet", retrain__objective="fixmatch")
    report(load_params(folder / "params.yaml"), folder)
    page = (folder / "report" / "index.html").read_text()
    section = page[page.index('id="maps"') : page.index('id="pairs"')]
    assert "by the objective fixmatch" in section
    assert "learned from labelled rows alone" not in section


def test_retraining_again_places_rows_at_the_same_points(run: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(run, tmp_path / "copy")
    retrain(load_params(folder / "params.yaml"), folder, "given")
    path = TEST_PROBS.at(folder, labels="given")
    assert path.read_bytes() == TEST_PROBS.at(run, labels="given").read_bytes()


def test_propagation_trains_a_student_and_labels_more_rows_than_the_model_is_sure_of(
    run: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(run, tmp_path / "copy")
    before = json.loads((folder / "metrics" / "training_set.json").read_text())["unlabeled"]
    settings = {"pseudo_label__method": "propagation", "pseudo_label__rounds": 1}
    write_params(folder, train_fold__model="logistic", **settings)
    pseudo_label(load_params(folder / "params.yaml"), folder)
    found = json.loads((folder / "metrics" / "training_set.json").read_text())["unlabeled"]
    first, second = found["rounds"]
    report(load_params(folder / "params.yaml"), folder)
    page = (folder / "report" / "index.html").read_text()
    assert "Learning from such rows proved its worth out of fold." in page
    assert re.search(f"<td>1</td><td>{100 * second['out_of_fold_accuracy']:.2f}.%</td>", page)
    assert first["label_accuracy"] == before["label_accuracy"]["of_all"]
    assert second["out_of_fold_accuracy"] > first["out_of_fold_accuracy"]
    assert found["n_joined"] > before["n_joined"]
    assert found["label_accuracy"]["of_joined"] > found["label_accuracy"]["of_all"]


def test_the_report_counts_the_rows_that_joined(run: Path) -> None:
    joined = json.loads((run / "metrics" / "training_set.json").read_text())["unlabeled"]["n_joined"]
    assert f"rows without a label that joined,{joined}" in (run / "plots" / "funnel.csv").read_text().replace(
        '"', ""
    )
    assert f"{joined:,} of 1,338 rows without a label joined" in (run / "report" / "index.html").read_text()


def write_clouds(folder: Path, seed: int) -> None:
    """Three classes that overlap and are equally frequent, of which 20, 5 and 5 rows have a label."""
    rng = np.random.default_rng(seed)
    classes, place = rng.integers(3, size=900), np.arange(900)
    points = rng.normal(size=(900, 8)) + 2.5 * np.eye(8)[classes]
    split = np.where(place >= 600, "test", "unlabeled").astype(object)
    for k, n_labels in enumerate((20, 5, 5)):
        split[rng.choice(np.flatnonzero((classes == k) & (place < 600)), n_labels, replace=False)] = "train"
    table = pa.table(
        {
            "example_id": [f"row {row}" for row in place],
            "features": points.astype(np.float32).tolist(),
            "split": split.tolist(),
            "true_label": [NAMES[k] for k in classes],
        }
    )
    path = folder / "inputs" / "examples" / "examples.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(table, path)


NAMES = ["ant", "bee", "cat"]


def worth(folder: Path, seed: int, **changes: object) -> float:
    """Test accuracy with rows without a label less that without them."""
    write_clouds(folder, seed)
    own = {"download__dataset": "parquet", "datasets__parquet__class_names": NAMES}
    # The labels are right, and no filter is to say otherwise: what differs are the rows without one.
    same = {"inject_noise__rate": 0.0, "pseudo_label__otherwise": "keep", "pseudo_label__min_confidence": 1.0}
    write_params(folder, train_fold__model="logistic", **own, **same, **changes)
    run_pipeline(folder)
    given, cleaned = (
        json.loads((folder / "metrics" / f"retrain_{name}.json").read_text())["test"]["accuracy"]
        for name in ("given", "cleaned")
    )
    return float(cleaned - given)


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.endurance)])
def test_plain_pseudo_labels_harm_where_labels_are_few_and_uneven_and_ours_do_not(
    tmp_path: Path, seed: int
) -> None:
    plain = worth(
        tmp_path / "plain",
        seed,
        pseudo_label__rounds=0,
        pseudo_label__on_weak_model="go_on",
        pseudo_labels__threshold__min_confidence=0.0,
        pseudo_labels__threshold__class_balance=False,
    )
    assert plain < -0.05
    assert worth(tmp_path / "ours", seed) >= 0


def test_an_objective_for_rows_without_a_label_says_when_there_are_none(finished_run: Path) -> None:
    """Only what reads tables runs: the sentence comes before any training."""
    params = load_params(finished_run / "params.yaml")
    section = params.train_fold.model_copy(update={"objective": "fixmatch"})
    with pytest.raises(DatasetError, match=r"fixmatch learns from rows without a label, found none\. Call"):
        train_fold(params.model_copy(update={"train_fold": section}), finished_run, fold=0)


def test_flagged_rows_lend_their_content_to_the_objective_of_retrain(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(run, tmp_path / "copy")
    path = TRAINING_SET.at(folder)
    table = read_table(path, TRAINING_SET)
    source, action = column_array(table, "source").copy(), column_array(table, "action").copy()
    flagged = np.flatnonzero(source == "given")[:20]
    action[flagged] = "unlabeled"
    weight = np.where(action == "unlabeled", 0, 1).astype(np.float32)
    for name, values in (("action", pa.array(action)), ("weight", pa.array(weight))):
        place = table.column_names.index(name)
        table = table.set_column(place, table.schema.field(name), values)
    write_table(path, table, TRAINING_SET)
    learned, _, unlabeled = read_training_set(folder)
    ids = column_array(table, "example_id")
    assert set(ids[flagged]) <= set(unlabeled)
    assert set(unlabeled) == set(ids[weight == 0])
    assert set(learned) == set(ids[weight > 0])
    assert "nothing was cleaned" not in capsys.readouterr().out
