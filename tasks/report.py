"""Stage `report`: the proof of the repair, as one self-contained page, as plots, and on the terminal."""

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from rich.console import Console

from tasks.decisions.apply import match_decisions
from tasks.decisions.log import PATH, Decision, parse_decisions, standing, with_whole
from tasks.label_quality.audit import draw_order
from tasks.label_quality.confusions import count_confusions
from tasks.label_quality.self_tests.words import describe
from tasks.label_quality.stopping import Outlook, describe_outlook, look_out
from tasks.page import describe_rows, environment
from tasks.params import Params, uses_unlabeled
from tasks.reporting.budgets import review_budget
from tasks.reporting.confused_pairs import confused_pairs
from tasks.reporting.figures import histograms
from tasks.reporting.matrices import MOST_CLASSES, heat_maps, issue_pairs, read_entries, worst_classes
from tasks.reporting.measured import (
    CrossValidation,
    Detection,
    Health,
    Repair,
    SelfTests,
    read_metrics,
    read_plot,
)
from tasks.reporting.plots import learning_curves, reliability_charts, write_plots
from tasks.reporting.provenance import describe_altered, fingerprints, package_versions, parameters
from tasks.reporting.repeats import find_repeats
from tasks.reporting.summary import print_summary
from tasks.reporting.suspects import (
    changed_right_labels,
    confident_suspects,
    issues_by_split,
    known_wrong,
    labels_now,
    of_each_pair,
    suspects,
    write_top_issues,
)
from tasks.reporting.test_maps import COLOURS, read_maps, write_maps
from tasks.reporting.worth import (
    before_and_after,
    choose_yardstick,
    describe_worth,
    measure,
    summarise_gain,
    write_runs,
    wrong_share,
)
from tasks.tables.catalog import EXAMPLES, GIVEN_LABELS, LABEL_ISSUES, SPLIT_ROWS, TRAINING_SET
from tasks.tables.facts import DatasetFacts, read_facts
from tasks.tables.files import write_json, write_text
from tasks.tables.io import read_table
from tasks.tables.portions import TableReader
from tasks.tables.proofs import MARK
from tasks.tables.schemas import column_array

# Rows of top_issues.csv.
_MOST_SUSPECT = 15
# Issues of the gallery that are there to be filtered by class pair: with MNIST's pictures half a megabyte.
_BY_PAIR = 400
# The sections of params.yaml that count where probabilities come from elsewhere.
_OF_BROUGHT = ("prune", "pseudo_label", "pseudo_labels", "report")
_INPUTS = (
    "data/given_labels.parquet",
    "data/label_issues.parquet",
    "metrics/cross_validation.json",
    "metrics/training_set.json",
)


def report(params: Params, workspace: Path) -> None:
    """Write report/index.html and top_issues.csv, metrics/report.json and the plots; print the summary.

    The summary is in report/summary.txt, too.

    Raises:
        ArtifactError: an input is missing or not what it should be, or people decide faster than this runs.
    """
    with_whole(workspace / PATH, lambda decided: _write_report(params, workspace, decided))()


def _write_report(params: Params, workspace: Path, decided: bytes) -> Callable[[], None]:
    """Write all files; `decided` is what reviews/decisions.csv holds. Returns what prints the summary."""
    plots = workspace / "plots"
    path = LABEL_ISSUES.at(workspace)
    issues = read_table(
        path,
        LABEL_ISSUES,
        columns=[
            *("key", "given_label", "suggested_label", "suggested_prob", "self_confidence", "error_prob"),
            *("importance", "contradicts", "is_issue", "rank"),
        ],
    )
    facts = read_facts(issues, str(path))
    training_set = read_table(TRAINING_SET.at(workspace), TRAINING_SET, columns=["label", "action"])
    given = read_table(
        GIVEN_LABELS.at(workspace), GIVEN_LABELS, columns=["split", "given_label", "true_label", "is_noisy"]
    )
    split_rows = read_table(SPLIT_ROWS.at(workspace), SPLIT_ROWS)
    metrics = workspace / "metrics"
    cross_validation = read_metrics(metrics / "cross_validation.json", CrossValidation)
    detection = read_metrics(metrics / "label_issues.json", Detection)
    health = read_metrics(metrics / "health.json", Health)
    repair = read_metrics(metrics / "training_set.json", Repair)
    self_tests = list(describe(read_metrics(metrics / "self_tests.json", SelfTests)))
    filters = read_plot(plots / "filters.csv", ["filter"], ["n_issues"])
    decisions = standing(parse_decisions(decided, workspace / PATH))
    yardstick = choose_yardstick(given, split_rows, decisions, facts.class_names)
    # Beside probabilities from elsewhere nothing is trained; what lies there is of another data set.
    is_brought = MARK.encode() in given.schema.metadata
    folds = () if is_brought else params.train_fold.folds
    label_sets = () if is_brought else tuple(map(str, params.retrain.label_sets))
    measured = {name: measure(workspace, name, yardstick) for name in label_sets}
    runs = {name: found.metrics for name, found in measured.items()}
    write_runs(workspace, measured)
    maps = read_maps(workspace, label_sets, yardstick)
    write_maps(
        plots / "test_maps.svg", maps, {each.labels: runs[each.labels]["test"]["accuracy"] for each in maps}
    )

    gain = summarise_gain(measured)
    wrong_labels = wrong_share(detection, repair["gate"]["is_too_weak"])
    outlook = _look_out(issues, decisions, facts, params.pseudo_label.audit.seed)
    # Before somebody decides there is nothing to say.
    audit = {"audit": outlook.entries()} if outlook.others.n_seen or outlook.n_flags else {}
    write_json(metrics / "report.json", {**gain, **audit})
    write_plots(plots, facts.class_names, issues, repair, folds)

    found = suspects(issues)
    confusion = count_confusions(
        column_array(issues, "given_label"), column_array(issues, "suggested_label"), facts.n_classes
    )
    worst, by_pair = found[:_MOST_SUSPECT], of_each_pair(issues, found, _BY_PAIR)
    confident = confident_suspects(issues, found, params.report.top_issues)
    harmed = changed_right_labels(issues, given, training_set, found)[: params.report.top_issues]
    gallery = found[np.isin(found, np.concatenate([worst, by_pair, confident, harmed]))]
    kinds = {
        name: {row: place for place, row in enumerate(rows.tolist())}
        for name, rows in (("confident", confident), ("harmed", harmed))
    }
    confused = confused_pairs(issues, confusion, gallery)
    # One pass over the examples for all that the page shows.
    rows = np.unique(np.concatenate([gallery, *(pair.rows for pair in confused)]))
    described = describe_rows(issues, given, EXAMPLES.at(workspace), rows)
    cards = dict(zip(rows.tolist(), described, strict=True))
    now = dict(zip(rows.tolist(), labels_now(issues, training_set, facts, rows), strict=True))
    write_top_issues(
        workspace / "report" / "top_issues.csv",
        [(cards[row], now[row]) for row in worst.tolist()],
    )

    wrong = known_wrong(issues, given, found) if "n_errors" in detection else None
    splits = issues_by_split(issues, split_rows, found, wrong)
    examples = TableReader(EXAMPLES.at(workspace), EXAMPLES, ["key"])
    repeats = find_repeats(split_rows, given, examples, facts.class_names)
    joints = read_entries(plots / "joints.csv", facts.class_names)
    matrices = read_entries(plots / "noise_matrices.csv", facts.class_names)
    inputs = fingerprints(workspace, _INPUTS)
    altered = describe_altered(workspace, inputs)
    classes = worst_classes(joints["confident_joint"])
    confused_classes = worst_classes(confusion)
    page = (
        environment(Path(__file__).parent / "templates")
        .get_template("report.html")
        .render(
            facts=facts,
            params=params,
            cross_validation=cross_validation,
            detection=detection,
            repair=repair,
            health=health,
            runs=runs,
            maps=maps,
            colours_of_classes=COLOURS,
            content_is_used=uses_unlabeled(params.retrain.objective),
            gain=gain,
            worth=before_and_after(repair, runs),
            filters=filters,
            cards=cards,
            now=now,
            gallery=gallery,
            kinds=kinds,
            places={
                row: {name: places[row] for name, places in kinds.items() if row in places}
                for row in gallery.tolist()
            },
            shown_given={cards[row].given for row in gallery.tolist()},
            shown_suggested={cards[row].suggested for row in gallery.tolist()},
            splits=splits,
            repeats=repeats,
            gate=repair["gate"],
            self_tests=self_tests,
            yardstick=yardstick,
            wrong_share=wrong_labels,
            pairs=issue_pairs(
                column_array(issues, "given_label")[found],
                column_array(issues, "suggested_label")[found],
                wrong,
                facts.class_names,
                MOST_CLASSES,
            ),
            histograms=histograms(issues),
            budget=review_budget(issues, found, wrong, detection),
            outlook=list(describe_outlook(outlook)) if audit else [],
            worst_classes=sorted(health["classes"], key=lambda entry: entry["label_quality"])[:MOST_CLASSES],
            confused=confused,
            classes=[facts.class_names[k] for k in classes],
            joints=heat_maps(joints, classes),
            matrices=heat_maps(matrices, classes),
            confused_classes=[facts.class_names[k] for k in confused_classes],
            confusion=heat_maps({"given against suggested": confusion}, confused_classes)[0],
            reliability=reliability_charts(plots / "reliability"),
            curves=learning_curves(plots, folds, label_sets),
            versions=package_versions(),
            parameters=parameters(params, _OF_BROUGHT if is_brought else None),
            is_brought=is_brought,
            fingerprints=inputs,
            altered=altered,
            left_out=examples.metadata("left_out"),
        )
    )
    write_text(workspace / "report" / "index.html", page)
    summarise = partial(
        print_summary,
        dataset=facts.dataset,
        params=params,
        cross_validation=cross_validation,
        detection=detection,
        splits=splits,
        repair=repair,
        runs=runs,
        worth=describe_worth(gain, yardstick, wrong_labels),
        self_tests=self_tests,
        altered=altered,
    )
    table = io.StringIO()
    # As wide as Rich takes a terminal to be of which it knows nothing.
    summarise(Console(file=table, width=80))
    write_text(workspace / "report" / "summary.txt", table.getvalue())
    return lambda: summarise(Console())


def _look_out(issues: pa.Table, decisions: list[Decision], facts: DatasetFacts, seed: int) -> Outlook:
    """What people's decisions say of all rows of data/label_issues.parquet."""
    ids, given = column_array(issues, "example_id"), column_array(issues, "given_label")
    verdicts = match_decisions(decisions, ids, given, facts.class_names)
    return look_out(
        verdicts.known(given),
        column_array(issues, "is_issue"),
        draw_order(ids, seed),
        suspects(issues),
        issues.column("error_prob").fill_null(np.nan).to_numpy().astype(np.float64),
    )
