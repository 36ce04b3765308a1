import hashlib
import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hand_made import write_run
from pydantic import ValidationError

import tasks.label_quality.gate
import tasks.pseudo_label
import tasks.repair
from tasks import ArtifactError, RepairError, plugins
from tasks.decisions.log import PATH, Decision, append_decisions
from tasks.label_quality.audit import draw_order
from tasks.label_quality.paired import Difference
from tasks.label_quality.self_tests.intervals import Share
from tasks.params import Audit, Params, load_params
from tasks.pseudo_label import pseudo_label
from tasks.tables.catalog import (
    EXAMPLES,
    FILTER_COLUMNS,
    GIVEN_LABELS,
    LABEL_ISSUES,
    PRED_PROBS,
    TRAINING_SET,
    UNLABELED_PROBS,
)
from tasks.tables.facts import DatasetFacts, read_facts
from tasks.tables.io import make_table, read_table, write_table
from tasks.tables.schemas import column_array, tensor_rows

FACTS = DatasetFacts("toy", ("ant", "bee"), "features", (2,))
IDS = np.array([3, 5, 8, 13, 21, 34, 55, 89, 144, 233])
TRUE = np.array([0, 1, 1, 0, 1, 0, 0, 1, 0, 1])
GIVEN = np.array([0, 1, 0, 1, 1, 0, 0, 1, 0, 1])
IS_ISSUE = np.arange(10) // 2 == 1
IS_ISSUE[4] = True
# Of the issues the first is repaired, the second is too doubtful, the third is made wrong.
PRED_PROBS_ROWS = np.array(
    [[0.9, 0.1], [0.2, 0.8], [0.1, 0.9], [0.625, 0.375], [0.95, 0.05], *([[0.7, 0.3]] * 5)], dtype=np.float32
)
PRED_PROBS_ROWS[[7, 9]] = [0.3, 0.7]
# Nearly all rows as bees, as a network says that learned nothing.
CHANCE = np.tile(np.array([0.25, 0.75], dtype=np.float32), (10, 1))


@pytest.fixture
def params(pytestconfig):
    return load_params(pytestconfig.rootpath / "params.yaml")


def choose(params, **values):
    """`params` with other values in the section `pseudo_label`."""
    return params.model_copy(update={"pseudo_label": params.pseudo_label.model_copy(update=values)})


def write_inputs(workspace, *, known=True, is_issue=IS_ISSUE, pred_probs=PRED_PROBS_ROWS, error_prob=None):
    """The ten rows above and one test row."""
    scores = pred_probs[np.arange(10), GIVEN].astype(np.float64)
    ids = np.append(IDS, 377)
    unknown = np.full(11, not known)
    tables = (
        (
            GIVEN_LABELS,
            {
                "example_id": ids,
                "key": ids.astype(str),
                "split": np.repeat(["train", "test"], [10, 1]),
                "given_label": np.append(GIVEN, 1),
                "true_label": pa.array(np.append(TRUE, 1), pa.int16(), mask=unknown),
                "is_noisy": pa.array(np.append(GIVEN != TRUE, False), pa.bool_(), mask=unknown),
            },
        ),
        (
            PRED_PROBS,
            {"example_id": IDS, "fold": np.arange(10) % 2, "pred_probs": pred_probs},
        ),
        (
            LABEL_ISSUES,
            {
                "example_id": IDS,
                "key": IDS.astype(str),
                "given_label": GIVEN,
                "suggested_label": pred_probs.argmax(axis=1),
                "suggested_prob": pred_probs.max(axis=1),
                "second_label": pred_probs.argmin(axis=1),
                "second_prob": pred_probs.min(axis=1),
                "error_prob": pa.array([error_prob] * 10, pa.float32()),
                "self_confidence": scores,
                "normalized_margin": scores,
                "confidence_weighted_entropy": scores,
                "importance": pa.nulls(10, pa.float64()),
                "importance_percentile": pa.nulls(10, pa.float64()),
                "contrast": pa.nulls(10, pa.float64()),
                "contradicts": np.zeros(10, dtype=bool),
                "is_issue": is_issue,
                "rank": pa.nulls(10, pa.int64()),
                **dict.fromkeys(FILTER_COLUMNS, is_issue),
            },
        ),
    )
    for artifact, columns in tables:
        write_table(artifact.at(workspace), make_table(artifact, FACTS, columns), artifact)


def run(params, workspace):
    """The training set and the metrics."""
    pseudo_label(params, workspace)
    table = read_table(workspace / "data" / "training_set.parquet", TRAINING_SET)
    return table, json.loads((workspace / "metrics" / "training_set.json").read_text())


@pytest.mark.parametrize(
    ("otherwise", "action", "label", "source", "accuracy"),
    [
        ("drop", "dropped", None, "given", [8 / 9, 1 / 2]),
        ("keep", "kept", 1, "given", [8 / 10, 1 / 2]),
        ("soft", "softened", 0, "pseudo", [9 / 10, 2 / 3]),
    ],
)
def test_every_row_is_there_with_what_became_of_it(
    params, tmp_path, capsys, otherwise, action, label, source, accuracy
):
    write_inputs(tmp_path)
    table, metrics = run(choose(params, min_confidence=0.7, otherwise=otherwise), tmp_path)
    assert table.column_names == [column.name for column in TRAINING_SET.columns]
    assert read_facts(table) == FACTS
    assert column_array(table, "example_id").tolist() == IDS.tolist()
    actions = ["trusted", "trusted", "relabelled", action, "relabelled", *["trusted"] * 5]
    assert column_array(table, "action").tolist() == actions
    sources = ["given", "given", "pseudo", source, "pseudo", *["given"] * 5]
    assert column_array(table, "source").tolist() == sources
    assert column_array(table, "given_label").tolist() == GIVEN.tolist()
    labels = column_array(table, "label")
    assert np.delete(labels, 3).tolist() == [0, 1, 1, 0, 0, 0, 1, 0, 1]
    assert label is None or labels[3] == label
    kept = action != "dropped"
    assert column_array(table, "weight").tolist() == [1, 1, 1, float(kept), *[1] * 6]
    soft = [None] * 10
    if action == "softened":
        soft[3] = [0.625, 0.375]
    assert table.column("soft_label").combine_chunks().storage.to_pylist() == soft
    assert (metrics["n_rows_before"], metrics["n_rows_after"]) == (10, 9 + kept)
    none = dict.fromkeys(("trusted", "relabelled", "softened", "kept", "dropped", "reviewed"), 0)
    assert metrics["actions"] == {**none, "trusted": 7, "relabelled": 2, action: 1}
    assert metrics["label_accuracy"] == pytest.approx(
        {"before": 8 / 10, "after": accuracy[0], "of_pseudo_labels": accuracy[1]}
    )
    assert metrics["gate"]["sentence"] is None
    said = f"{9 + kept} of 10 rows to train on (7 trusted, 2 relabelled, 1 {action}), {TRAINING_SET.path}"
    assert capsys.readouterr().out == f"pseudo_label: {said}\n"


def test_a_row_is_relabelled_at_the_threshold_itself(params, tmp_path):
    write_inputs(tmp_path)
    _, metrics = run(choose(params, min_confidence=0.625, otherwise="drop"), tmp_path)
    assert metrics["actions"]["relabelled"] == 3


def test_a_cut_of_one_relabels_nothing_though_a_model_says_exactly_one(params, tmp_path):
    sure = PRED_PROBS_ROWS.round()
    assert (sure.max(axis=1) == 1).all()
    write_inputs(tmp_path, pred_probs=sure)
    for cut, n_relabelled in ((0.9999, 3), (1.0, 0)):
        section = choose(params, min_confidence=cut, otherwise="keep", on_weak_model="go_on")
        assert run(section, tmp_path)[1]["actions"]["relabelled"] == n_relabelled


def test_soft_labels_come_portion_by_portion_as_they_would_at_once(params, tmp_path, monkeypatch):
    write_inputs(tmp_path)
    section = choose(params, min_confidence=1.0, otherwise="soft")
    whole, _ = run(section, tmp_path)
    monkeypatch.setattr(tasks.pseudo_label, "_PORTION_ENTRIES", 6)
    monkeypatch.setattr(tasks.repair, "_PORTION_ENTRIES", 4)
    assert run(section, tmp_path)[0].equals(whole)
    rows, soft = tensor_rows(whole, "soft_label")
    assert rows.tolist() == [2, 3, 4]
    np.testing.assert_array_equal(soft, PRED_PROBS_ROWS[2:5])


def test_without_issues_the_training_set_is_what_was_given(params, tmp_path):
    write_inputs(tmp_path, is_issue=np.zeros(10, dtype=bool))
    table, metrics = run(params, tmp_path)
    assert column_array(table, "label").tolist() == GIVEN.tolist()
    assert set(column_array(table, "source")) == {"given"}
    assert metrics["label_accuracy"]["of_pseudo_labels"] is None
    assert metrics["label_accuracy"]["after"] == metrics["label_accuracy"]["before"]


def test_without_the_truth_there_is_no_accuracy(params, tmp_path):
    write_inputs(tmp_path, known=False)
    assert "label_accuracy" not in run(params, tmp_path)[1]


@pytest.mark.parametrize(
    ("error_prob", "otherwise", "action"),
    [
        (0.7, "drop", "kept"),
        (0.81, "drop", "dropped"),
        (None, "drop", "dropped"),  # nobody said how probably
        (0.7, "unlabeled", "unlabeled"),  # its content is used
        (0.7, "soft", "softened"),
        (0.1, "keep", "kept"),
    ],
)
def test_a_row_is_dropped_only_if_its_label_is_likely_wrong(
    params, tmp_path, monkeypatch, error_prob, otherwise, action
):
    # Of ten rows one is more than may be expected to be wrong.
    monkeypatch.setattr(tasks.repair, "MOST_WRONG", 0.1)
    write_inputs(tmp_path, error_prob=error_prob)
    table, metrics = run(choose(params, min_confidence=0.7, otherwise=otherwise), tmp_path)
    assert column_array(table, "action")[IS_ISSUE].tolist() == ["relabelled", action, "relabelled"]
    is_left_out = action in ("dropped", "unlabeled")
    assert column_array(table, "weight")[3] == float(not is_left_out)
    assert metrics["gate"]["drop"]["n_rows"] == is_left_out


def test_where_every_row_is_dropped_the_accuracy_after_is_unknown(params, tmp_path):
    write_inputs(tmp_path, is_issue=np.ones(10, dtype=bool))
    section = choose(params, min_confidence=1.0, otherwise="drop", on_weak_model="go_on")
    table, metrics = run(section, tmp_path)
    assert (table.num_rows, metrics["n_rows_after"]) == (10, 0)
    assert metrics["label_accuracy"]["after"] is None


def test_a_method_is_a_file_with_options_and_random_draws_of_its_own(params, tmp_path, add_plugin):
    add_plugin("pseudo_labels", "flips", FLIPS)
    write_inputs(tmp_path)
    chosen = choose(params, method="flips", seed=0).model_copy(
        update={"pseudo_labels": {"flips": plugins.read_options("pseudo_labels", "flips", {"share": 0.4})}}
    )
    table, metrics = run(chosen, tmp_path)
    is_flipped = np.random.default_rng(0).random(10) < 0.4
    assert metrics["actions"]["flipped"] == is_flipped.sum() > 0
    assert column_array(table, "label").tolist() == np.where(is_flipped, 1 - GIVEN, GIVEN).tolist()
    assert run(chosen, tmp_path)[0].equals(table)


FLIPS = """
from dataclasses import replace
import numpy as np
from tasks.repair import leave_as_given
from tasks.sections import Fraction, Section

class Options(Section):
    share: Fraction = 0.0

def repair(evidence, options, train, rng):
    given = leave_as_given(evidence.labels, evidence.is_issue, evidence.n_classes)
    chosen = rng.random(len(evidence.labels)) < options.share
    return replace(
        given,
        label=np.where(chosen, 1 - evidence.labels, evidence.labels),
        action=np.where(chosen, "flipped", given.action),
        source=np.where(chosen, "pseudo", "given"),
    )
"""


# --- rows without a label ---------------------------------------------------------------------------------

UNLABELED_IDS = np.array([20, 4, 99])
UNLABELED_ROWS = np.array([[1.0, 0.0], [0.375, 0.625], [0.0, 1.0]], dtype=np.float32)


def write_unlabeled(workspace, *, true=(0, 1, 0)):
    """Three rows without a label between, before and after the others; `true` may be None."""
    columns = {"example_id": UNLABELED_IDS, "pred_probs": UNLABELED_ROWS}
    write_table(UNLABELED_PROBS.at(workspace), make_table(UNLABELED_PROBS, FACTS, columns), UNLABELED_PROBS)
    ids = np.append(IDS, UNLABELED_IDS)
    examples = {
        "example_id": ids,
        "key": ids.astype(str),
        "split": np.repeat(["train", "unlabeled"], [10, 3]),
        "given_label": [None] * 13,
        "true_label": pa.array([*TRUE, *(true or [None] * 3)], pa.int16()),
        FACTS.content: np.zeros((13, *FACTS.shape)),
    }
    write_table(EXAMPLES.at(workspace), make_table(EXAMPLES, FACTS, examples), EXAMPLES)


def test_sure_rows_without_a_label_join_and_say_where_their_label_is_from(params, tmp_path, capsys):
    write_inputs(tmp_path)
    write_unlabeled(tmp_path)
    table, metrics = run(choose(params, rounds=0, min_confidence=0.7, otherwise="soft"), tmp_path)
    ids = column_array(table, "example_id").tolist()
    assert ids == sorted([*IDS, *UNLABELED_IDS])
    of = {row["example_id"]: row for row in table.to_pylist()}
    assert [of[id]["action"] for id in (20, 4, 99)] == ["pseudo_labelled", "unlabeled", "pseudo_labelled"]
    assert [of[id]["label"] for id in (20, 99)] == [0, 1]
    assert [of[id]["weight"] for id in (20, 4, 99)] == [1, 0, 1]
    assert {of[id]["source"] for id in (20, 4, 99)} == {"unlabeled"}
    assert {of[id]["given_label"] for id in (20, 4, 99)} == {None}
    # The labelled rows are as they would be without them, soft labels in their places.
    alone, before = tmp_path / "alone", metrics
    write_inputs(alone)
    plain, metrics = run(choose(params, rounds=0, min_confidence=0.7, otherwise="soft"), alone)
    assert [row for row in table.to_pylist() if row["example_id"] in set(IDS)] == plain.to_pylist()
    assert before["actions"] == metrics["actions"]
    assert (before["n_rows_before"], before["n_rows_after"]) == (10, metrics["n_rows_after"] + 2)
    names = FACTS.class_names
    assert before["unlabeled"] == {
        "n_rows": 3,
        "n_joined": 2,
        "joined_by_class": {names[0]: 1, names[1]: 1},
        "is_of_use": None,
        "rounds": [],
        "label_accuracy": {"of_all": pytest.approx(2 / 3), "of_joined": 0.5},
    }
    assert ", and 2 of 3 without a label, " in capsys.readouterr().out


def test_without_their_truth_the_rows_that_joined_are_not_measured(params, tmp_path):
    write_inputs(tmp_path)
    write_unlabeled(tmp_path, true=None)
    assert "label_accuracy" not in run(choose(params, rounds=0), tmp_path)[1]["unlabeled"]


def test_a_weak_model_labels_no_row_and_says_so(params, tmp_path):
    write_inputs(tmp_path, pred_probs=CHANCE, is_issue=np.zeros(10, dtype=bool))
    write_unlabeled(tmp_path)
    table, metrics = run(choose(params, rounds=0), tmp_path)
    assert metrics["unlabeled"]["n_joined"] == 0
    assert "its 2 labels of rows without one" in metrics["gate"]["sentence"]
    assert set(column_array(table, "action")) == {"trusted", "unlabeled"}
    assert run(choose(params, rounds=0, on_weak_model="go_on"), tmp_path)[1]["unlabeled"]["n_joined"] == 2


def test_a_weak_model_takes_no_label_out_for_its_content_either(params, tmp_path):
    write_inputs(tmp_path, pred_probs=CHANCE)
    found, _ = run(choose(params, min_confidence=1.0, otherwise="unlabeled"), tmp_path)
    assert "unlabeled" not in set(column_array(found, "action"))
    found, _ = run(choose(params, min_confidence=1.0, otherwise="unlabeled", on_weak_model="go_on"), tmp_path)
    assert (column_array(found, "action") == "unlabeled").sum() == IS_ISSUE.sum()


def test_a_method_that_says_nothing_of_rows_without_a_label_leaves_them(params, tmp_path, add_plugin):
    add_plugin("pseudo_labels", "flips", FLIPS)
    write_inputs(tmp_path)
    write_unlabeled(tmp_path)
    table, metrics = run(choose(params, rounds=0, method="flips"), tmp_path)
    assert metrics["unlabeled"]["n_joined"] == 0
    assert table.num_rows == 13


def test_a_class_without_a_label_is_refused_where_rows_may_be_of_it(params, tmp_path):
    write_inputs(tmp_path)
    write_unlabeled(tmp_path)
    path = LABEL_ISSUES.at(tmp_path)
    table = read_table(path, LABEL_ISSUES)
    place = table.column_names.index("given_label")
    only = pa.array(np.zeros(10, dtype=np.int16))
    write_table(path, table.set_column(place, table.schema.field("given_label"), only), LABEL_ISSUES)
    with pytest.raises(
        RepairError, match=f"Class `{FACTS.class_names[1]}` was expected to have at least one"
    ):
        run(choose(params, rounds=0), tmp_path)


# --- the gate -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pred_probs", "limit", "reason", "says"),
    [
        (CHANCE, 0.6, "near_chance", "agreement 0.00"),
        (PRED_PROBS_ROWS, 0.25, "too_many_changes", "3 of 10 rows (30%)"),
    ],
)
def test_a_weak_model_changes_no_label_and_the_stage_says_why_and_what_helps(
    params, tmp_path, capsys, pred_probs, limit, reason, says
):
    write_inputs(tmp_path, pred_probs=pred_probs)
    section = choose(params, min_confidence=0.7, max_changed_share=limit)
    table, metrics = run(section, tmp_path)
    assert column_array(table, "label").tolist() == GIVEN.tolist()
    assert column_array(table, "weight").tolist() == [1] * 10
    assert set(column_array(table, "source")) == {"given"}
    assert column_array(table, "action").tolist() == np.where(IS_ISSUE, "kept", "trusted").tolist()
    assert table.column("soft_label").null_count == 10
    gate = metrics["gate"]
    assert gate["is_closed"]
    assert gate["relabel"]["reason"] == gate["drop"]["reason"] == reason
    assert gate["sentence"].startswith("No label is changed: ")
    for part in (says, "train_fold.model", "pseudo_label.on_weak_model to go_on"):
        assert part in gate["sentence"]
    assert gate["sentence"] in capsys.readouterr().out

    # What people decided holds all the same.
    decide(tmp_path, (8, "choose", "bee", "ant"), (13, "drop", "", "bee"))
    table, metrics = run(section, tmp_path)
    assert column_array(table, "label")[2] == 1
    assert column_array(table, "weight")[3] == 0
    assert metrics["n_rows_after"] == 9
    assert metrics["gate"] == gate

    # Overruled, it is as if there were no gate.
    _, metrics = run(choose(section, on_weak_model="go_on"), tmp_path)
    assert metrics["actions"]["relabelled"] > 0
    assert metrics["gate"] == {**gate, "is_closed": False, "sentence": None}

    # Or the run is to fail then, and leaves nothing.
    TRAINING_SET.at(tmp_path).unlink()
    with pytest.raises(RepairError) as caught:
        run(choose(section, on_weak_model="stop"), tmp_path)
    assert str(caught.value) == gate["sentence"]
    assert not TRAINING_SET.at(tmp_path).exists()


def test_as_many_changes_as_are_allowed_are_made(params, tmp_path):
    write_inputs(tmp_path)
    _, metrics = run(choose(params, min_confidence=0.7, max_changed_share=0.3), tmp_path)
    assert metrics["gate"]["changed_share"] == pytest.approx(0.3)
    assert metrics["gate"]["relabel"]["reason"] is None
    assert metrics["actions"]["relabelled"] == 2


@pytest.mark.parametrize(
    ("side", "actions"),
    [
        ("given", {"relabelled": 0, "dropped": 0, "kept": 3}),
        ("suggested", {"relabelled": 2, "dropped": 1, "kept": 0}),
        ("of the dropped alone", {"relabelled": 0, "dropped": 1, "kept": 2}),
        ("of one that is relabelled", {"relabelled": 1, "dropped": 1, "kept": 1}),
    ],
)
def test_a_second_opinion_opens_and_closes_each_action(params, tmp_path, monkeypatch, side, actions):
    # So few rows prove nothing; the figures of the rule are tested on their own.
    for name in ("LEAST_SIDE", "LEAST_NOISE", "NO_NOISE"):
        monkeypatch.setattr(tasks.label_quality.gate, name, 0.4 * name.endswith("SIDE"))
    monkeypatch.setattr(Share, "low", property(lambda share: min(2 * share.value, 1)))
    write_inputs(tmp_path)
    path = LABEL_ISSUES.at(tmp_path)
    table = read_table(path, LABEL_ISSUES)
    columns = {name: table.column(name).combine_chunks() for name in table.column_names}
    suggested = PRED_PROBS_ROWS.argmax(axis=1)
    second = suggested if side == "suggested" else np.where(np.arange(10) == 3, suggested, GIVEN)
    if side == "of one that is relabelled":
        second = np.where(np.arange(10) == 4, GIVEN, suggested)
    columns["second_opinion"] = pa.array(GIVEN if side == "given" else second, pa.int16())
    found = {
        "planted": {"uniform": {"auroc": 0.9}},
        "class_shares": {"is_shifted": False},
        "second_opinion": {"is_known": True, "second_skill": 1.0},
    }
    facts = DatasetFacts("toy", ("ant", "bee"), "features", (2,))
    written = make_table(LABEL_ISSUES, facts, columns)
    write_table(path, written, LABEL_ISSUES, {"self_tests": json.dumps(found)})
    table, metrics = run(choose(params, min_confidence=0.7), tmp_path)
    assert {name: metrics["actions"][name] for name in actions} == actions
    labels = column_array(table, "label")
    assert labels[2] == (suggested if actions["relabelled"] else GIVEN)[2]
    assert labels[4] == (suggested if side == "suggested" else GIVEN)[4]
    assert metrics["gate"]["n_contested"] == (side == "of one that is relabelled")
    assert metrics["gate"]["n_doubtful"] == 0
    assert metrics["gate"]["class_losses"] == []
    assert metrics["gate"]["is_closed"] == (side == "given")
    assert (metrics["gate"]["sentence"] is None) == (side in ("suggested", "of one that is relabelled"))
    assert metrics["gate"]["drop"]["with_model"] == (side != "given")


def test_a_repair_that_is_worse_on_held_out_rows_changes_nothing(params, tmp_path, monkeypatch):
    write_inputs(tmp_path)
    section = choose(params, min_confidence=0.7)
    for found, is_closed in ((Difference(-0.1, -0.2, 0.01), False), (Difference(-0.1, -0.2, -0.01), True)):
        monkeypatch.setattr(tasks.pseudo_label, "compare_on_held_out", lambda *_, found=found: found)
        table, metrics = run(section, tmp_path)
        assert metrics["gate"]["is_closed"] == is_closed
        assert metrics["gate"]["on_held_out"] == vars(found)
        assert (column_array(table, "label").tolist() == GIVEN.tolist()) == is_closed
    with pytest.raises(RepairError, match="fewer of the held-out rows"):
        run(choose(section, on_weak_model="stop"), tmp_path)
    _, metrics = run(choose(section, on_weak_model="go_on"), tmp_path)
    assert metrics["actions"]["relabelled"] == 2
    assert metrics["gate"]["on_held_out"] is None  # nobody asked


def test_rows_dropped_instead_are_relabelled_where_the_gate_is_overruled(params, tmp_path, monkeypatch):
    def judge(*evidence):
        return replace(real_judge(*evidence), relabel="second_opinion", drop=None, drops_instead=True)

    real_judge = tasks.pseudo_label.judge
    monkeypatch.setattr(tasks.pseudo_label, "judge", judge)
    write_inputs(tmp_path)
    for on_weak_model, relabelled, dropped in (("rank_only", 0, 3), ("go_on", 2, 1)):
        section = choose(params, min_confidence=0.7, on_weak_model=on_weak_model)
        _, metrics = run(section, tmp_path)
        found = metrics["actions"]
        assert (found["relabelled"], found["dropped"]) == (relabelled, dropped)
        assert metrics["gate"]["drops_instead"] == (on_weak_model == "rank_only")


# --- inputs ---------------------------------------------------------------------------------------------


def test_a_row_without_probabilities_is_an_error_that_names_it(params, tmp_path):
    write_inputs(tmp_path)
    path = PRED_PROBS.at(tmp_path)
    write_table(path, read_table(path, PRED_PROBS).slice(3), PRED_PROBS)
    with pytest.raises(ArtifactError, match="1 missing, the first 8"):
        pseudo_label(choose(params, min_confidence=1.0, otherwise="soft"), tmp_path)
    assert not (tmp_path / "data" / "training_set.parquet").exists()


def test_a_missing_input_is_an_error_that_names_the_command(params, tmp_path):
    write_inputs(tmp_path)
    (tmp_path / "data" / "label_issues.parquet").unlink()
    with pytest.raises(ArtifactError, match="dvc repro prune"):
        pseudo_label(params, tmp_path)


# --- what people decided --------------------------------------------------------------------------------


def decide(workspace, *decisions):
    """Append decisions: (example_id, decision, label, given_label)."""
    lines = [
        Decision(str(key), *values, "anna", "2026-01-31T12:00:00Z", "none") for key, *values in decisions
    ]
    append_decisions(workspace / PATH, lines)


def test_what_a_person_decided_outranks_the_model(params, tmp_path):
    write_inputs(tmp_path)
    decide(tmp_path, (8, "keep", "", "ant"), (13, "accept", "ant", "bee"), (3, "drop", "", "ant"))
    decide(tmp_path, (21, "choose", "bee", "bee"), (34, "unsure", "", "ant"))
    table, metrics = run(choose(params, min_confidence=0.7, otherwise="drop"), tmp_path)
    assert column_array(table, "label").tolist() == [0, 1, 0, 0, 1, *GIVEN[5:]]
    assert column_array(table, "source")[:6].tolist() == ["given", "given", *["reviewed"] * 3, "given"]
    assert column_array(table, "action")[:6].tolist() == ["dropped", "trusted", *["reviewed"] * 3, "trusted"]
    assert column_array(table, "weight").tolist() == [0, *[1] * 9]
    assert metrics["actions"] == {
        "trusted": 6, "relabelled": 0, "softened": 0, "kept": 0, "dropped": 1, "reviewed": 3
    }  # fmt: skip
    assert metrics["decisions"] == {
        "md5": hashlib.md5((tmp_path / PATH).read_bytes()).hexdigest(),
        "keep": 1, "accept": 1, "choose": 1, "drop": 1, "unsure": 1, "not_applied": 0,
        "not_applied_first": [],
    }  # fmt: skip
    assert metrics["label_accuracy"]["of_pseudo_labels"] is None


def test_decisions_about_rows_that_measure_the_repair_change_no_training_label(params, tmp_path, capsys):
    write_inputs(tmp_path)
    run(params, tmp_path)
    path = tmp_path / "data" / "training_set.parquet"
    before = path.read_bytes()
    decide(tmp_path, (377, "choose", "ant", "bee"))
    capsys.readouterr()
    _, metrics = run(params, tmp_path)
    assert path.read_bytes() == before
    assert (metrics["decisions"]["choose"], metrics["decisions"]["not_applied"]) == (0, 0)
    assert "377" not in capsys.readouterr().out


def test_an_undone_decision_leaves_the_same_bytes_as_none(params, tmp_path):
    write_inputs(tmp_path)
    run(params, tmp_path)
    path = tmp_path / "data" / "training_set.parquet"
    before = path.read_bytes()
    decide(tmp_path, (8, "keep", "", "ant"))
    run(params, tmp_path)
    assert path.read_bytes() != before
    decide(tmp_path, (8, "undo", "2026-01-31T12:00:00Z anna: keep", "ant"))
    run(params, tmp_path)
    assert path.read_bytes() == before


def test_a_decision_about_another_given_label_is_reported_not_applied(params, tmp_path, capsys):
    write_inputs(tmp_path)
    expected, _ = run(params, tmp_path)
    decide(tmp_path, (8, "keep", "", "bee"), (99, "drop", "", "ant"), (3, "choose", "cat", "ant"))
    capsys.readouterr()
    table, metrics = run(params, tmp_path)
    assert table.equals(expected)
    assert metrics["decisions"]["not_applied"] == 3
    assert metrics["decisions"]["not_applied_first"][0] == {
        "key": "8",
        "example_id": 8,
        "reason": "its given label was bee then and is ant now",
    }
    said = capsys.readouterr().out
    assert "3 decision(s) not applied" in said
    assert "example 99 (drop, anna): no training row has this id" in said


def test_a_broken_line_of_a_decision_stops_the_stage_and_changes_nothing(params, tmp_path):
    write_inputs(tmp_path)
    decide(tmp_path, (8, "keep", "", "ant"))
    with (tmp_path / PATH).open("a") as file:
        file.write("8,kep,,ant,anna,2026-01-31T12:00:00Z,none\n")
    with pytest.raises(ArtifactError, match=r"decisions\.csv, line 3: expected a decision .*found 'kep'"):
        pseudo_label(params, tmp_path)
    assert not (tmp_path / "data" / "training_set.parquet").exists()


def decide_meanwhile(monkeypatch, workspace, times):
    """Somebody drops a row, given as ant, each time that the stage has written its table."""
    rows = iter([3, 8, 34] * times)
    write = tasks.pseudo_label.write_training_set
    left = [times]

    def write_and_decide(*arguments):
        write(*arguments)
        if left[0]:
            left[0] -= 1
            decide(workspace, (next(rows), "drop", "", "ant"))

    monkeypatch.setattr(tasks.pseudo_label, "write_training_set", write_and_decide)


def test_a_decision_that_comes_while_the_stage_runs_is_applied(params, tmp_path, monkeypatch):
    write_inputs(tmp_path)
    decide(tmp_path, (5, "drop", "", "bee"))
    decide_meanwhile(monkeypatch, tmp_path, 2)
    table, metrics = run(params, tmp_path)
    assert column_array(table, "action")[:3].tolist() == ["dropped"] * 3
    assert metrics["decisions"]["drop"] == 3
    assert metrics["decisions"]["md5"] == hashlib.md5((tmp_path / PATH).read_bytes()).hexdigest()


def test_a_stage_that_never_sees_the_last_decision_fails(params, tmp_path, monkeypatch):
    write_inputs(tmp_path)
    decide_meanwhile(monkeypatch, tmp_path, 1_000)
    with pytest.raises(ArtifactError, match="changed 10 times in a row"):
        run(params, tmp_path)


def test_people_s_verdicts_choose_which_suggestions_are_taken(params, tmp_path, capsys):
    write_run(tmp_path, [f"text {row}" for row in range(400)], noise=0.5)
    audit = Audit(precision=0.9)
    section = choose(params, min_confidence="audited", audit=audit, on_weak_model="go_on")
    table, metrics = run(section, tmp_path)
    assert metrics["audited"]["min_confidence"] is None
    assert metrics["actions"]["relabelled"] == 0
    assert "of 0 drawn at random and decided" in capsys.readouterr().out
    columns = ["key", "given_label", "suggested_label", "suggested_prob", "is_issue"]
    issues = read_table(LABEL_ISSUES.at(tmp_path), LABEL_ISSUES, columns=columns)
    names = read_facts(issues, "").class_names
    drawn = issues.take(draw_order(column_array(issues, "example_id"), audit.seed)).to_pylist()
    flagged = [row for row in drawn if row["is_issue"]]

    def accept(rows):
        lines = [
            Decision(
                row["key"], "accept", names[row["suggested_label"]], names[row["given_label"]],
                "anna", "2026-01-31T12:00:00Z", "none", "suspect",
            )
            for row in rows
        ]  # fmt: skip
        (tmp_path / PATH).unlink(missing_ok=True)
        append_decisions(tmp_path / PATH, lines)

    # The surest ones say nothing of the others.
    accept(sorted(flagged, key=lambda row: -row["suggested_prob"])[:80])
    assert run(section, tmp_path)[1]["actions"]["relabelled"] == 0
    accept(flagged[:80])
    table, metrics = run(section, tmp_path)
    assert metrics["audited"]["n_verdicts"] == 80
    assert (metrics["audited"]["min_confidence"], metrics["actions"]["relabelled"]) == (0, len(flagged) - 80)
    assert metrics["audited"]["precision_low"] >= 0.9
    assert metrics["actions"]["reviewed"] == 80
    assert table.num_rows == 400


def test_a_cut_by_verdicts_goes_with_the_method_that_has_one(params):
    content = params.model_dump(mode="json")
    content["pseudo_label"] |= {"min_confidence": "audited", "method": "propagation"}
    with pytest.raises(ValidationError, match="does not go"):
        Params.model_validate(content)
