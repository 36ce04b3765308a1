"""Sweeps: which points and stages a grid means, the table, and real sweeps: shared, resumed, failed."""

import csv
import json
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import hypothesis.strategies as st
import pytest
from doors import Door, outcomes, wait_for
from dulwich.refs import Ref, check_ref_format
from hypothesis import given
from ruamel.yaml import YAML
from small_runs import ROOT, SETTINGS, write_params
from warm import run_warm

from benchmarks.workspaces import make_workspace
from flows import FlowError
from flows.dvc_api.overrides import grid_values
from flows.dvc_api.record import experiments, read_committed
from flows.one_at_a_time import only_flow
from flows.sweep import explain, main
from flows.sweeping.copies import copy_workspace, snapshot
from flows.sweeping.finished import COLUMNS, Column, Run, choose_columns, read_metrics, summarise
from flows.sweeping.points import owners, plan_points, task_graph
from flows.sweeping.sweep_plot import save_plot
from flows.sweeping.tables_of_rows import markdown_table, short_names, slug, table_csv

SWEEP = [sys.executable, "-m", "flows.sweep"]
F1 = next(column for column in COLUMNS if column.title == "F1")


@pytest.fixture
def pipeline_folder(tmp_path: Path) -> Path:
    """A DVC repository with the pipeline's graph and parameters, and no code or data."""
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("[core]\n    no_scm = true\n")
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    write_params(tmp_path)
    return tmp_path


# --- grids and points ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grid", "values"),
    [
        ("prune.filter_by=both", ["both"]),
        ("inject_noise.rate=0.05,0.1", ["0.05", "0.1"]),
        ("train_fold.folds=[0,1],[0,1,2]", ["[0,1]", "[0,1,2]"]),
        ("inject_noise.path='a,b.csv',c.csv", ["'a,b.csv'", "c.csv"]),
        ("train_fold.epochs=range(1,4)", ["1", "2", "3"]),
        ("train_fold.epochs=choice(2,4)", ["2", "4"]),
    ],
)
def test_a_grid_has_the_syntax_of_dvc(grid: str, values: list[str]) -> None:
    name, overrides = grid_values(grid)
    assert name == grid.split("=")[0]
    assert [override.split("=", 1)[1] for override in overrides] == values


@given(st.lists(st.floats(0, 1) | st.integers(0, 10**6), min_size=1, max_size=6))
def test_numbers_pass_through_a_grid_in_order(values: list[float]) -> None:
    _, overrides = grid_values(f"a.b={','.join(map(repr, values))}")
    assert [float(override.removeprefix("a.b=")) for override in overrides] == [float(v) for v in values]


@pytest.mark.parametrize(
    "grid", ["", "a", "a=", "a=1,", "=1", "a.b=[1", "+a.b=1", "~a.b", " a.b=1", "a.b=glob(*)"]
)
def test_a_grid_that_does_not_parse_is_one_sentence(grid: str) -> None:
    with pytest.raises(FlowError, match=r"--grid: expected SECTION.NAME=VALUE,VALUE,\.\.\., found") as found:
        grid_values(grid)
    assert "\n" not in str(found.value)


def test_points_are_all_combinations_with_every_seed_set(pipeline_folder: Path) -> None:
    before = (pipeline_folder / "params.yaml").read_bytes()
    grids = ["inject_noise.rate=0.1,0.2", "prune.filter_by=both,confident_learning"]
    points = plan_points(pipeline_folder, grids, ["train_fold.epochs=3"], seeds=2)
    assert [(*point.values.values(), point.seed) for point in points] == [
        (rate, filter_by, seed)
        for rate in (0.1, 0.2)
        for filter_by in ("both", "confident_learning")
        for seed in (0, 1)
    ]
    assert points[1].name == "rate=0.1-filter_by=both-seed=1"
    assert set(points[1].overrides) == {
        "train_fold.epochs=3",
        "inject_noise.rate=0.1",
        "prune.filter_by=both",
        *(
            f"{name}.seed=1"
            for name in ("inject_noise", "assign_folds", "train_fold", "pseudo_label", "retrain")
        ),
    }
    assert (pipeline_folder / "params.yaml").read_bytes() == before
    # A second plan has the same names for the same points, which is how a sweep is resumed.
    one_grid = ["inject_noise.rate=0.1", "prune.filter_by=both"]
    again = plan_points(pipeline_folder, one_grid, ["train_fold.epochs=3"], seeds=2)
    assert [point.experiment for point in again] == [point.experiment for point in points[:2]]


def test_points_that_differ_late_share_all_that_is_upstream(pipeline_folder: Path) -> None:
    points = plan_points(pipeline_folder, ["prune.filter_by=both,noise_posterior"])
    first, second = (point.stages for point in points)
    differ = {name for name in first if first[name].signature != second[name].signature}
    assert differ == {"prune", "pseudo_label", "retrain@cleaned", "report"}
    assert len(owners(points)) == len(first) + len(differ)
    graph = task_graph(points)
    assert "filter_by=noise_posterior/train_fold@0" not in graph
    assert graph["filter_by=noise_posterior/prune"] == graph["filter_by=both/prune"]
    assert set(graph["filter_by=noise_posterior/save"]) >= {
        "filter_by=both/retrain@given",
        "filter_by=noise_posterior/report",
    }
    # All tasks have theirs upstream before them.
    for place, (name, upstream) in enumerate(graph.items()):
        assert set(upstream) <= set(list(graph)[:place]), name


def test_a_signature_follows_the_code_and_what_is_upstream(pipeline_folder: Path) -> None:
    code = pipeline_folder / "tasks" / "prune" / "__init__.py"
    code.parent.mkdir(parents=True)
    plans = []
    for text in ("one", "two"):
        code.write_text(text)
        (point,) = plan_points(pipeline_folder, ["report.top_issues=9"])
        plans.append(point)
    first, second = plans
    changed = {name for name in first.stages if first.stages[name] != second.stages[name]}
    assert changed == {"prune", "pseudo_label", "retrain@cleaned", "report"}
    assert first.experiment != second.experiment


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "Give --grid or --seeds"),
        ({"seeds": 0}, "--seeds: expected at least 1, found 0"),
        ({"grids": ["inject_noise.rat=1"]}, "Could not override 'inject_noise.rat'"),
        (
            {"grids": ["inject_noise.rate=0.1,2"]},
            "inject_noise.rate=2: params.yaml refuses inject_noise.rate: ",
        ),
        ({"grids": ["prune.filter_by=both", "prune.filter_by=both"]}, "prune.filter_by is given twice"),
        ({"grids": ["retrain.seed=1,2"], "seeds": 2}, "--seeds sets retrain.seed too"),
        (
            {"grids": ["inject_noise.rate=0.1,0.10"]},
            "inject_noise.rate=0.1 and inject_noise.rate=0.1 are one point",
        ),
        ({"grids": ["report.top_issues=1,2"], "until": "prune"}, "are one point: they differ in nothing"),
        (
            {"seeds": 2, "overrides": ["train_fold.epochs=x"]},
            "--set: train_fold.epochs=x: params.yaml refuses",
        ),
        ({"seeds": 2, "until": "polish"}, "Stage 'polish': expected one of"),
    ],
)
def test_a_refused_sweep_is_one_sentence_and_changes_nothing(pipeline_folder: Path, options, said) -> None:
    before = (pipeline_folder / "params.yaml").read_bytes()
    with pytest.raises(FlowError) as found:
        plan_points(pipeline_folder, **options)
    assert said in str(found.value)
    assert "\n" not in str(found.value)
    assert (pipeline_folder / "params.yaml").read_bytes() == before


def test_what_failed_names_every_point_that_waits_for_it(pipeline_folder: Path) -> None:
    points = plan_points(pipeline_folder, ["prune.filter_by=both,noise_posterior"])
    (line,) = explain(points, {"filter_by=both/train_fold@1": "It broke."})
    assert line == (
        "filter_by=both/train_fold@1 failed (2 points wait for it: filter_by=both, "
        "filter_by=noise_posterior): It broke."
    )
    (line,) = explain(points, {"filter_by=noise_posterior/save": "No space."})
    assert line == "filter_by=noise_posterior/save failed: No space."


@given(st.text(max_size=40))
def test_a_slug_is_a_name_that_git_takes(text: str) -> None:
    # What DVC asks too.
    assert check_ref_format(Ref(f"refs/exps/{slug(text)}-0123abcd".encode()))


def test_short_names_stay_told_apart() -> None:
    names = ["inject_noise.rate", "train_fold.gce_q", "retrain.gce_q"]
    assert list(short_names(names).values()) == ["rate", "train_fold.gce_q", "retrain.gce_q"]


# --- the table ----------------------------------------------------------------------------------------------


def run(rate: float, seed: int, f1: float | None) -> Run:
    return Run(f"e{rate}{seed}", {"inject_noise.rate": rate}, seed, {} if f1 is None else {F1.metric: f1})


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=8))
def test_a_cell_is_the_mean_and_the_sample_standard_deviation(values: list[float]) -> None:
    (row,) = summarise([run(0.1, seed, value) for seed, value in enumerate(values)], [F1])
    cell = row.cells[F1.metric]
    assert cell.n == row.n_runs == len(values)
    assert cell.mean == pytest.approx(statistics.fmean(values), rel=1e-9, abs=1e-6)
    if len(values) == 1:
        assert cell.spread is None
    else:
        assert cell.spread == pytest.approx(statistics.stdev(values), rel=1e-6, abs=1e-6)


def test_one_run_has_no_spread_and_what_is_missing_stays_empty() -> None:
    rows = summarise([run(0.1, 0, 0.5), run(0.2, 0, 0.25), run(0.2, 1, 0.75), run(0.4, 0, None)], [F1])
    lines = markdown_table(rows, [F1]).splitlines()
    assert lines[:5] == [
        "| rate | n | F1 |",
        "| --- | ---: | ---: |",
        "| 0.1 | 1 | 50.00 |",
        "| 0.2 | 2 | 50.00 ± 35.36 |",
        "| 0.4 | 1 |  |",
    ]
    table = list(csv.DictReader(table_csv(rows, [F1]).splitlines()))
    assert [line[f"{F1.metric} sd"] for line in table] == ["", str(statistics.stdev([0.25, 0.75])), ""]
    assert [line[f"{F1.metric} n"] for line in table] == ["1", "2", "0"]


def test_metrics_are_found_by_key_and_only_numbers_count() -> None:
    texts = {"m.json": '{"a": {"b": 0.5}, "n": NaN, "s": "x", "i": 3}'}
    columns = [Column(key, "m.json", key) for key in ("a.b", "a", "n", "s", "i", "a.b.c", "z")]
    columns.append(Column("other", "other.json", "a"))
    assert read_metrics(columns, texts) == {"m.json:a.b": 0.5, "m.json:i": 3.0}


def test_columns_are_the_usual_ones_or_those_asked_for() -> None:
    files = ["metrics/label_issues.json", "metrics/cross_validation.json"]
    assert {column.file for column in choose_columns([], files)} == set(files)
    wanted = ["label_issues:f1", "metrics/cross_validation.json:given.log_loss"]
    first, second = choose_columns(wanted, files)
    assert first == F1
    assert second.metric == "metrics/cross_validation.json:given.log_loss"
    for name in ("f1", "label_issues:", "retrain_true:test.accuracy"):
        with pytest.raises(FlowError, match="--metric: expected FILE:KEY"):
            choose_columns([name], files)
    with pytest.raises(FlowError, match="nothing to compare"):
        choose_columns([], [])


def test_the_plot_has_a_panel_per_metric_and_a_line_per_other_value(tmp_path: Path) -> None:
    runs = [
        Run("e", {"r.rate": rate, "p.by": by}, seed, {column.metric: rate + seed / 10 for column in COLUMNS})
        for by in ("both", "neither")
        for rate in (0.4, 0.1)
        for seed in (0, 1)
    ]
    rows = summarise(runs, COLUMNS)
    for name in ("a.html", "b.html"):
        save_plot(tmp_path / "new" / name, rows, COLUMNS)
    drawn = (tmp_path / "new" / "a.html").read_text()
    assert (tmp_path / "new" / "b.html").read_text() == drawn
    panels = re.findall(r'aria-label="([^"]+) by r\.rate"(.*?)</svg>', drawn, re.DOTALL)
    assert [name for name, _ in panels] == [column.title for column in COLUMNS if column.group]
    for _, shapes in panels:
        # Two lines of two points, and for each point its dash and its bar.
        lines = re.findall(r'points="([^"]+)"><title>(both|neither)</title>', shapes)
        assert len(lines) == 2 * (1 + 2 * 2)
    assert "A line for each value of p.by" in drawn
    (tmp_path / "file").touch()
    with pytest.raises(FlowError, match="--plot: expected a file that can be written"):
        save_plot(tmp_path / "file" / "plot.html", rows, [F1])


def test_values_that_are_no_numbers_stand_side_by_side(tmp_path: Path) -> None:
    runs = [Run("e", {"p.by": by}, None, {F1.metric: f1}) for by, f1 in (("both", 0.5), ("<auto>", 0.75))]
    save_plot(tmp_path / "plot.html", summarise(runs, [F1]), [F1])
    drawn = (tmp_path / "plot.html").read_text()
    assert re.findall(r'text-anchor="middle">([^<]+)</text>', drawn)[:2] == ["both", "&lt;auto&gt;"]
    # A mean is a dash, of one height; one run has no spread.
    dashes = re.findall(r'<polyline[^>]* points="[\d.]+,([\d.]+) [\d.]+,([\d.]+)"', drawn)
    assert len(dashes) == 2
    assert all(left == right for left, right in dashes)
    assert dashes[0] != dashes[1]


# --- real sweeps --------------------------------------------------------------------------------------------


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def workspaces(folder: Path) -> list[Path]:
    return list((folder / ".dvc" / "tmp" / "relabel" / "sweep").iterdir())


@pytest.mark.slow
def test_a_point_is_the_workspace_as_it_is_without_its_results(done: Door, tmp_path: Path) -> None:
    (done.folder / "tasks" / "prune" / "__init__.py").write_text("changed")
    (done.folder / "tasks" / "report.py").unlink()
    (done.folder / "inputs" / "labels" / "labels.csv").write_text("example_id,given_label\n")
    (done.folder / "notes.txt").write_text("mine")
    git(done.folder, "add", "--force", "metrics", "dvc.lock")
    before = git(done.folder, "status", "--porcelain")
    (tmp_path / "sweep").mkdir()
    snapshot(done.folder, tmp_path / "sweep" / "base")
    copy_workspace(tmp_path / "sweep" / "base", tmp_path / "sweep" / "point")
    point = tmp_path / "sweep" / "point"
    assert (point / "tasks" / "prune" / "__init__.py").read_text() == "changed"
    assert not (point / "tasks" / "report.py").exists()
    assert (point / "inputs" / "labels" / "labels.csv").is_symlink()
    assert (point / "inputs" / "labels" / "labels.csv").read_text() == "example_id,given_label\n"
    for name in ("notes.txt", "data", "dvc.lock", "metrics/label_issues.json", ".dvc/tmp"):
        assert not (point / name).exists(), name
    assert git(point, "rev-parse", "HEAD") == git(done.folder, "rev-parse", "HEAD")
    assert str(done.folder / ".dvc" / "cache") in (point / ".dvc" / "config.local").read_text()
    assert git(done.folder, "status", "--porcelain") == before


# A pipeline of stages that take no time, as the real one in short: a seed changes all but the first stage,
# `otherwise` the third, and the last is beyond `--until`. Each writes a file, or metrics.
IN_SHORT = """import json, os, sys
from pathlib import Path

name, *given = sys.argv[1:]
with Path(os.environ.get("RELABEL_STAGE_RECORD", os.devnull)).open("a") as record:
    print('{"failure": null}', file=record)
Path("metrics").mkdir(exist_ok=True)
if name == "download":
    Path("rows").write_text(given[0])
if name == "train_fold":
    Path("probs").write_text(Path("rows").read_text() + given[0])
if name == "pseudo_label":
    accuracy = 0.9 + int(given[0]) / 50 + (given[1] == "keep") / 70
    Path("labels").write_text(Path("probs").read_text() + given[1])
    Path("metrics/training_set.json").write_text(json.dumps({"label_accuracy": {"after": accuracy}}))
    Path("metrics/label_issues.json").write_text(json.dumps({"f1": accuracy / 3}))
if name == "report":
    Path("metrics/report.json").write_text(json.dumps({"gain": len(Path("labels").read_text())}))
"""


def make_short(folder: Path) -> None:
    """A workspace with that pipeline, all of it in git."""
    make_workspace(folder, SETTINGS, source=ROOT)
    (folder / "in_short.py").write_text(IN_SHORT)

    def metrics(*names: str) -> list[dict[str, dict[str, bool]]]:
        return [{f"metrics/{name}.json": {"cache": False}} for name in names]

    stages: dict[str, dict[str, object]] = {
        "download": {"cmd": "${download.dataset}", "outs": ["rows"]},
        "train_fold": {"cmd": "${train_fold.seed}", "deps": ["rows"], "outs": ["probs"]},
        "pseudo_label": {
            "cmd": "${pseudo_label.seed} ${pseudo_label.otherwise}",
            "deps": ["probs"],
            "outs": ["labels"],
            "metrics": metrics("training_set", "label_issues"),
        },
        "report": {"cmd": "", "deps": ["labels"], "metrics": metrics("report")},
    }
    for name, stage in stages.items():
        stage["params"] = re.findall(r"[a-z_]+\.[a-z_]+", str(stage["cmd"]))
        stage["cmd"] = f"python in_short.py {name} {stage['cmd']}".rstrip()
    with (folder / "dvc.yaml").open("w") as file:
        YAML().dump({"stages": stages}, file)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--no-gpg-sign", "-m", "In short")


Swept = tuple[Door, str, str, dict[str, bytes]]


def as_it_is(folder: Path) -> dict[str, bytes]:
    """What a sweep is to leave alone."""
    kept = {name: (folder / name).read_bytes() for name in ("dvc.lock", "params.yaml")}
    return kept | {"git": git(folder, "status", "--porcelain").encode()}


@pytest.fixture(scope="module")
def swept(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Swept:
    """A workspace in which `dvc repro` ran with seed 0, and then a sweep of 2 x 2 points; its two outputs."""
    folder = tmp_path_factory.mktemp("sweep") / "workspace"
    make_short(folder)
    door = Door(folder, environment)
    door.dvc("repro")
    before = as_it_is(folder)
    status, table, log = run_warm(["flows.sweep", *GRID], folder, environment, apart=True)
    assert status == 0, log
    return door, table, log, before


GRID = ["--grid", "pseudo_label.otherwise=drop,keep", "--seeds", "2", "--until", "pseudo_label"]


@pytest.mark.slow
def test_equal_stages_run_once_and_what_dvc_repro_made_is_restored(swept: Swept) -> None:
    log = swept[2]
    first, second = "otherwise=drop-seed=0", "otherwise=drop-seed=1"
    assert outcomes(log, "Restored") == {
        f"{first}/{name}" for name in ("download", "train_fold", "pseudo_label")
    }
    assert outcomes(log, "Completed") == {
        *(f"{second}/{name}" for name in ("train_fold", "pseudo_label")),
        "otherwise=keep-seed=0/pseudo_label",
        "otherwise=keep-seed=1/pseudo_label",
    }
    assert len(re.findall(r"/save +Saved$", log, flags=re.MULTILINE)) == 4
    assert "7 distinct stages for 4 points (12 without sharing)" in log


@pytest.mark.slow
def test_every_point_is_an_experiment_and_the_workspace_is_untouched(swept: Swept) -> None:
    door, _, _, before = swept
    assert as_it_is(door.folder) == before
    assert not workspaces(door.folder)
    shown = list(csv.DictReader(door.dvc("exp", "show", "--csv").splitlines()))
    lines = {line["Experiment"]: line for line in shown if line["Experiment"]}
    kept = experiments(door.folder)
    assert set(lines) == set(kept)
    assert len(kept) == 4
    for name, commit in kept.items():
        otherwise, seed = re.fullmatch(r"sweep-otherwise=(\w+)-seed=(\d)-[0-9a-f]{8}", name).groups()  # type: ignore[union-attr]
        assert lines[name]["pseudo_label.otherwise"] == otherwise
        assert lines[name]["train_fold.seed"] == lines[name]["inject_noise.seed"] == seed
        texts = read_committed(
            door.folder, commit, ["metrics/label_issues.json", "dvc.lock", "metrics/report.json"]
        )
        assert set(texts) == {"metrics/label_issues.json", "dvc.lock"}
        assert float(lines[name]["f1"]) == pytest.approx(
            json.loads(texts["metrics/label_issues.json"])["f1"], 1e-4
        )
        if (otherwise, seed) == ("drop", "0"):
            # The parameters of the workspace itself: the same entries, in the order of `dvc repro`.
            stages, whole = (
                YAML(typ="safe").load(text)["stages"]
                for text in (texts["dvc.lock"], (door.folder / "dvc.lock").read_text())
            )
            assert len(whole) == 4
            assert list(stages.items()) == list(whole.items())[:3]


@pytest.mark.slow
def test_the_table_holds_what_the_metrics_files_hold(swept: Swept) -> None:
    door, table, _, _ = swept
    (folder,) = (door.folder / "sweeps").iterdir()
    assert {path.name for path in folder.iterdir()} == {"plot.html", "runs.csv", "table.csv", "table.md"}
    lines = list(csv.DictReader((folder / "table.csv").read_text().splitlines()))
    assert [line["pseudo_label.otherwise"] for line in lines] == ["drop", "keep"]
    after = []
    for line in lines:
        found = [
            json.loads(git(door.folder, "show", f"{commit}:metrics/training_set.json"))["label_accuracy"][
                "after"
            ]
            for name, commit in experiments(door.folder).items()
            if line["pseudo_label.otherwise"] in name
        ]
        metric = "metrics/training_set.json:label_accuracy.after"
        assert float(line[f"{metric} mean"]) == pytest.approx(statistics.fmean(found), rel=1e-12)
        assert float(line[f"{metric} sd"]) == pytest.approx(statistics.stdev(found), rel=1e-9)
        assert line[f"{metric} n"] == line["runs"] == "2"
        after.append(f"{100 * statistics.fmean(found):.2f}")
    assert all(value in table for value in after)
    # Nothing made by a stage that did not run is in it.
    assert "report" not in (folder / "table.csv").read_text()


@pytest.mark.slow
def test_a_second_run_does_nothing_and_prints_the_same_table(
    swept: Swept, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    door, table, _, _ = swept
    monkeypatch.chdir(door.folder)
    monkeypatch.setattr("flows.sweep.run_points", None)
    assert main([*GRID, "--csv", "mine.csv", "--plot", "mine.html"]) == 0
    printed = capsys.readouterr()
    assert printed.out == table
    assert "4 points, 4 of them kept already. To run: 0 distinct stages" in printed.err
    for name in ("mine.csv", "mine.html"):
        (door.folder / name).unlink()
    assert main([*GRID, "--dry-run"]) == 0
    assert capsys.readouterr().out.count("kept") == 4
    with only_flow(door.folder):
        assert main([*GRID, "--dry-run"]) == 0
    with only_flow(door.folder, what="sweep"):
        assert main(GRID) == 1
    assert f"sweep: A sweep is already running in {door.folder} (process" in capsys.readouterr().err


@pytest.mark.endurance
@pytest.mark.slow
def test_a_sweep_that_is_interrupted_or_killed_goes_on_and_leaves_nothing(done: Door) -> None:
    sweep = ["--seeds", "2", "--until", "aggregate", "--set", "train_fold.epochs=2"]
    first = done.start(*sweep, command=SWEEP)
    wait_for(first, "seed=0/train_fold@. +Completed")
    first.send_signal(signal.SIGINT)
    log, _ = first.communicate(timeout=60)
    assert first.returncode == 130, log
    assert "the same command goes on from here" in log
    assert not workspaces(done.folder)
    done.assert_no_orphans()
    second = done.start(*sweep, command=SWEEP)
    wait_for(second, "seed=1/train_fold@. +Completed")
    second.kill()
    second.communicate(timeout=60)
    assert workspaces(done.folder)
    done.assert_no_orphans()
    third = done.start(*sweep, command=SWEEP)
    log, _ = third.communicate(timeout=900)
    assert third.returncode == 0, log
    # What either run had finished is not trained again.
    trained = {name for name in outcomes(log, "Restored") if "train_fold" in name}
    kept = {"seed=0"} if "2 points, 1 of them kept already" in log else set()
    assert {name.split("/")[0] for name in trained} | kept == {"seed=0", "seed=1"}
    assert "2 of 2 points" in log
    assert not workspaces(done.folder)
    done.assert_no_orphans()


# A stage that does nothing: with 2 it waits for a file, with 3 it fails.
STAGE = """import json, sys, time
from pathlib import Path
from tasks.stage_server import end_with_parent

end_with_parent()
go, value = Path(sys.argv[1]), int(sys.argv[2])
while value == 2 and not go.exists():
    go.with_name("waits").touch()
    time.sleep(0.1)
if value == 3:
    sys.exit("report: 3 is too many.")
Path("metrics").mkdir(exist_ok=True)
Path("metrics/label_issues.json").write_text(json.dumps({"f1": value / 10}))
"""


@pytest.fixture
def one_stage(environment: dict[str, str], tmp_path: Path) -> Door:
    """A workspace with that stage alone, which depends on `report.top_issues`."""
    folder = tmp_path / "workspace"
    make_workspace(folder, SETTINGS, source=ROOT)
    (folder / "stage.py").write_text(STAGE)
    stage = {
        "cmd": f"python stage.py {tmp_path / 'go'} ${{report.top_issues}}",
        "params": ["report.top_issues"],
        "metrics": [{"metrics/label_issues.json": {"cache": False}}],
    }
    with (folder / "dvc.yaml").open("w") as file:
        YAML().dump({"stages": {"report": stage}}, file)
    git(folder, "add", "stage.py")
    return Door(folder, environment)


# The cheap twin of the test of endurance.
@pytest.mark.slow
def test_a_sweep_that_was_killed_goes_on_keeps_what_was_done_and_names_the_point_that_fails(
    one_stage: Door, tmp_path: Path
) -> None:
    sweep = ["--grid", "report.top_issues=1,3,2", "--workers", "1"]
    killed = one_stage.start(*sweep, command=SWEEP)
    while not (tmp_path / "waits").exists():
        assert killed.poll() is None
        time.sleep(0.1)
    killed.kill()
    killed.communicate(timeout=60)
    assert workspaces(one_stage.folder)
    one_stage.assert_no_orphans()
    (tmp_path / "go").touch()
    log = one_stage.run("flows.sweep", *sweep, status=1)
    assert "3 points, 1 of them kept already" in log, log
    assert re.search(r"^sweep: top_issues=3/report failed: .*: 3 is too many\.$", log, re.MULTILINE), log
    assert "2 of 3 points" in log
    kept = [name.rsplit("-", 1)[0] for name in experiments(one_stage.folder)]
    assert sorted(kept) == ["sweep-top_issues=1", "sweep-top_issues=2"]
    assert not workspaces(one_stage.folder)
    one_stage.assert_no_orphans()


@pytest.mark.parametrize(
    ("commands", "said"),
    [([], "needs a git repository with at least one commit"), ([["init"]], "`git rev-parse` said")],
)
def test_a_folder_without_git_or_a_commit_is_one_sentence(
    pipeline_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, commands, said
) -> None:
    for command in commands:
        git(pipeline_folder, *command)
    monkeypatch.chdir(pipeline_folder)
    assert main(["--seeds", "2"]) == 1
    found = capsys.readouterr().err
    assert said in found
    assert len(found.splitlines()) == 1
