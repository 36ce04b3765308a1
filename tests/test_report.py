"""Stage report: the page is whole and self-contained, and its figures are those of the run."""

import csv
import json
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hand_made import write_run
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML
from small_runs import ROOT

from tasks import ArtifactError
from tasks.decisions.log import PATH, Decision, append_decisions
from tasks.label_quality.audit import bound_wrong, draw_order
from tasks.label_quality.confusions import count_confusions, worst_confused
from tasks.params import load_params
from tasks.prune import prune
from tasks.pseudo_label import pseudo_label
from tasks.report import report
from tasks.reporting.figures import score_histogram
from tasks.reporting.matrices import heat_maps, read_entries, worst_classes
from tasks.reporting.provenance import parameters
from tasks.reporting.suspects import of_each_pair
from tasks.tables.catalog import EXAMPLES, GIVEN_LABELS, LABEL_ISSUES, SPLIT_ROWS, TRAINING_SET
from tasks.tables.facts import read_facts
from tasks.tables.io import read_table, write_table

VOID = ("meta", "img", "br", "line", "link")


def check_whole(page: str) -> None:
    """Every tag is closed, and nothing is fetched from elsewhere."""
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", page)
    assert "default-src 'none'" in page
    assert "@import" not in page
    assert "Undefined" not in page

    class Balance(HTMLParser):
        open_tags: list[str] = []  # noqa: RUF012

        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag not in VOID:
                self.open_tags.append(tag)

        def handle_startendtag(self, tag: str, attrs: object) -> None:
            pass  # closes itself

        def handle_endtag(self, tag: str) -> None:
            assert self.open_tags.pop() == tag

    parser = Balance()
    parser.feed(page)
    assert parser.open_tags == []


def read_page(workspace: Path) -> str:
    return (workspace / "report" / "index.html").read_text().replace("\N{NO-BREAK SPACE}", " ")


def section(page: str, start: str, end: str) -> str:
    return page[page.index(start) : page.index(end)]


def test_the_page_is_self_contained_and_well_formed(finished_run: Path) -> None:
    check_whole(read_page(finished_run))


def test_the_page_shows_the_figures_of_the_metrics(finished_run: Path) -> None:
    page = read_page(finished_run)
    found = json.loads((finished_run / "metrics" / "label_issues.json").read_text())
    assert f"{found['n_issues']:,}" in page
    assert f"F1 {found['f1']:.4f}" in page
    gain = json.loads((finished_run / "metrics" / "report.json").read_text())
    assert f"{gain['gain'] * 100:+.2f} points" in page
    for name in ("given", "cleaned", "true"):
        run = json.loads((finished_run / "metrics" / f"retrain_{name}.json").read_text())
        for figure in (f"{run['test']['accuracy'] * 100:.2f} %", f"{run['test']['log_loss']:.4f}"):
            assert figure in section(page, 'id="worth"', "Reliability on the test rows")


def test_the_column_of_the_true_labels_is_there_where_a_model_learned_from_them(
    finished_run: Path, tmp_path: Path
) -> None:
    assert "true labels (bound)</th>" in section(read_page(finished_run), 'id="worth"', "Reliability on")
    report(write_run(tmp_path, KINDS["features"], ("a", "b", "c"), known=False), tmp_path)
    part = section(read_page(tmp_path), 'id="worth"', "Reliability of")
    assert "given labels (before)</th>" in part
    assert "true labels (bound)" not in part
    head, line = part.split("</thead>")[0], part.split("<tbody>")[1].split("</tr>")[0]
    assert head.count("<th>") == line.count("<td>") == 4


def test_one_gallery_has_each_suspect_once_and_says_which_suggestions_are_sure(finished_run: Path) -> None:
    page = read_page(finished_run)
    issues = read_table(finished_run / "data" / "label_issues.parquet", LABEL_ISSUES).to_pandas()
    issues = issues[issues.is_issue].sort_values("rank")
    gallery = section(page, 'id="gallery"', 'id="picked"')
    assert [int(found) for found in re.findall(r"<figcaption>(\d+)", gallery)] == issues.example_id.tolist()
    found = re.findall(r'data-confident="(\d+)".*?<figcaption>(\d+)', gallery.replace("\n", ""))
    confident = [int(row) for _, row in sorted(found, key=lambda one: int(one[0]))]
    differing = issues[issues.given_label != issues.suggested_label].set_index("example_id")
    assert len(set(confident)) == min(25, len(differing))
    probabilities = differing.suggested_prob[confident].tolist()
    assert probabilities == sorted(probabilities, reverse=True)
    assert probabilities[0] == differing.suggested_prob.max()
    assert probabilities[-1] == differing.suggested_prob.min()


def test_no_picture_is_on_the_page_twice(finished_run: Path) -> None:
    shown = re.findall(r"<figcaption>(\d+)", read_page(finished_run))
    assert len(shown) > 100
    assert len(set(shown)) == len(shown)


def test_right_labels_that_became_wrong_are_marked(workspace_copy: Path) -> None:
    data = workspace_copy / "data"
    issues = read_table(data / "label_issues.parquet", LABEL_ISSUES).to_pandas().sort_values("rank")
    given = read_table(data / "given_labels.parquet", GIVEN_LABELS).to_pandas().set_index("example_id")
    table = read_table(data / "training_set.parquet", TRAINING_SET)
    now = table.to_pandas().set_index("example_id")
    flagged = issues.example_id[issues.is_issue]
    right = [row for row in flagged if not given.is_noisy[row]]
    wrong = [row for row in flagged if given.is_noisy[row]]
    assert right
    # Another class than the true one for labels that were right, and for one that was wrong before, too.
    for row in (*right, wrong[0]):
        now.loc[row, ["label", "action"]] = [(given.true_label[row] + 1) % 10, "relabelled"]
    for name in ("label", "action"):
        place = table.column_names.index(name)
        values = pa.array(now[name], table.schema.field(name).type)
        table = table.set_column(place, table.schema.field(place), values)
    write_table(data / "training_set.parquet", table, TRAINING_SET)
    report(load_params(workspace_copy / "params.yaml"), workspace_copy)
    page = read_page(workspace_copy).replace("\n", "")
    marked = re.findall(r'<figure[^>]*data-harmed="(\d+)".*?<figcaption>(\d+)', page)
    assert [int(row) for _, row in marked] == right[:25]
    assert [int(place) for place, _ in marked] == list(range(len(marked)))
    assert "right labels that became wrong" in page


def test_the_page_says_what_became_of_each_issue(finished_run: Path) -> None:
    with (finished_run / "report" / "top_issues.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    issues = read_table(finished_run / "data" / "label_issues.parquet", LABEL_ISSUES).to_pandas()
    labels = read_table(finished_run / "data" / "training_set.parquet", TRAINING_SET).to_pandas()
    now = labels.set_index("example_id")
    expected = issues[issues.is_issue].sort_values("rank")[:15].set_index("example_id")
    assert [int(row["example_id"]) for row in rows] == expected.index.tolist()
    for row in rows:
        issue = expected.loc[int(row["example_id"])]
        assert (row["given"], row["suggested"]) == (str(issue.given_label), str(issue.suggested_label))
        assert float(row["suggested_prob"]) == pytest.approx(issue.suggested_prob)
        became = now.loc[int(row["example_id"])]
        assert row["now"] == ("dropped" if became.action == "dropped" else str(became.label))


@pytest.mark.parametrize(
    ("action", "now"), [("reviewed", r"(cat|dog|horse) \(reviewed\)"), ("unlabeled", "unlabeled")]
)
def test_what_became_of_a_row_is_told(tmp_path: Path, action: str, now: str) -> None:
    params = write_run(tmp_path, ["a text"] * 60)
    path = tmp_path / "data" / "training_set.parquet"
    table = read_table(path, TRAINING_SET)
    place = table.column_names.index("action")
    actions = pa.array([action] * table.num_rows)
    write_table(path, table.set_column(place, table.schema.field("action"), actions), TRAINING_SET)
    report(params, tmp_path)
    assert re.search(f"now <b>{now}</b>", read_page(tmp_path))
    with (tmp_path / "report" / "top_issues.csv").open(newline="") as file:
        assert all(re.fullmatch(now, row["now"]) for row in csv.DictReader(file))


def test_the_review_budget_is_counted_from_the_truth(finished_run: Path) -> None:
    page = read_page(finished_run)
    found = json.loads((finished_run / "metrics" / "label_issues.json").read_text())
    part = section(page, 'id="budget"', 'id="scores"')
    n = min(50, found["n_issues"])
    line = re.search(rf"<tr><td>{n}</td><td>(\d+)</td>", part)
    issues = read_table(finished_run / "data" / "label_issues.parquet", LABEL_ISSUES).to_pandas()
    given = read_table(finished_run / "data" / "given_labels.parquet", GIVEN_LABELS).to_pandas()
    first = issues[issues.is_issue].sort_values("rank")[:n]
    assert line
    assert int(line[1]) == given.set_index("example_id").is_noisy[first.example_id].sum()
    last = re.findall(r"<tr><td>[\d,]+</td><td>[\d,]+</td><td>(.*?) %</td><td>(.*?) %</td>", part)[-1]
    assert last == (f"{found['precision'] * 100:.2f}", f"{found['recall'] * 100:.2f}")


def test_the_page_shows_health_and_noise_as_measured(finished_run: Path) -> None:
    page = read_page(finished_run)
    health = json.loads((finished_run / "metrics" / "health.json").read_text())
    assert f"{health['label_health'] * 100:.2f} % of the labels look right" in page
    worst = min(health["classes"], key=lambda entry: entry["label_quality"])
    part = section(page, "Health of the labels", "Worst-confused classes")
    cells = re.findall(r"<td>(.*?)</td>", part)
    assert cells[0] == worst["name"]
    assert cells[4:6] == [f"{worst[name] * 100:.2f} %" for name in ("given_share", "true_share")]
    for name, error in health["noise_matrix_l1_error"].items():
        assert f"{name} {error:.4f}" in page
    assert section(page, 'id="noise"', "Noise: P(given").count('<table class="heat">') == 2
    assert section(page, "Noise: P(given", "Given against suggested").count('<table class="heat">') == 4


def test_the_worst_confused_classes_show_the_most_and_the_least_important_rows(finished_run: Path) -> None:
    part = section(read_page(finished_run), "Worst-confused classes", 'id="noise"')
    issues = read_table(finished_run / "data" / "label_issues.parquet", LABEL_ISSUES).to_pandas()
    facts = read_facts(read_table(finished_run / "data" / "label_issues.parquet", LABEL_ISSUES))
    counts = count_confusions(issues.given_label.to_numpy(), issues.suggested_label.to_numpy(), 10)
    pairs = worst_confused(counts, 3)
    expected = []
    seen = set()
    others = issues[~issues.is_issue]  # the gallery has the others
    for pair in pairs:
        names = facts.class_names[pair.label], facts.class_names[pair.predicted]
        assert "<b>{}</b> predicted as <b>{}</b>".format(*names) in part
        if pair.predicted not in seen:
            members = others[others.given_label == pair.predicted].sort_values("importance")
            expected += [*members.example_id[::-1][:6], *members.example_id[:6]]
        seen.add(pair.predicted)
    assert [int(found) for found in re.findall(r"<figcaption>(\d+)", part)] == expected
    assert part.count("data:image/png;base64,") == len(expected)
    for predicted in seen:
        assert f">importance of the rows given {facts.class_names[predicted]}</text>" in part


def test_importance_that_rounding_alone_tells_apart_has_no_chart(workspace_copy: Path) -> None:
    path = workspace_copy / "data" / "label_issues.parquet"
    issues = read_table(path, LABEL_ISSUES)
    close = pa.array(1792 - 1e-4 * np.random.default_rng(0).random(len(issues)))
    column = issues.schema.get_field_index("importance")
    write_table(path, issues.set_column(column, issues.schema.field(column), close), LABEL_ISSUES)
    report(load_params(workspace_copy / "params.yaml"), workspace_copy)
    part = section(read_page(workspace_copy), "Worst-confused classes", 'id="noise"')
    assert "data:image" in part
    assert "<svg" not in part


def test_without_importance_the_confused_classes_are_named_all_the_same(workspace_copy: Path) -> None:
    params = load_params(workspace_copy / "params.yaml")
    without = params.model_copy(update={"prune": params.prune.model_copy(update={"importance": "none"})})
    prune(without, workspace_copy)
    report(without, workspace_copy)
    part = section(read_page(workspace_copy), "Worst-confused classes", 'id="noise"')
    assert "predicted as" in part
    assert "data:image" not in part


def test_a_filter_with_one_cut_has_it_drawn_and_others_say_that_they_have_none(workspace_copy: Path) -> None:
    params = load_params(workspace_copy / "params.yaml")
    assert "No single cut: auto" in read_page(workspace_copy)
    chosen = params.model_copy(
        update={"prune": params.prune.model_copy(update={"filter_by": "low_self_confidence"})}
    )
    prune(chosen, workspace_copy)
    report(chosen, workspace_copy)
    issues = read_table(workspace_copy / "data" / "label_issues.parquet", LABEL_ISSUES).to_pandas()
    cut = issues.self_confidence[issues.is_issue].max()
    part = section(read_page(workspace_copy), 'id="scores"', 'id="health"')
    assert f"The cut at {cut:.4g} parts" in part
    assert f">cut {cut:.4g}</text>" in part


IMAGES = np.random.default_rng(1).integers(0, 256, (90, 12, 9, 3), dtype=np.uint8)
KINDS = {
    "colour": IMAGES,
    "large": np.repeat(np.repeat(IMAGES, 20, axis=1), 30, axis=2),
    "features": np.random.default_rng(2).normal(size=(90, 30)),
    "text": [f"tweet {place} <b>&amp; more" for place in range(90)],
}


@pytest.mark.parametrize("kind", KINDS)
def test_any_content_makes_a_sound_page(kind: str, tmp_path: Path) -> None:
    report(write_run(tmp_path, KINDS[kind], ("<cat>", 'the "dog"', "horse & co")), tmp_path)
    page = read_page(tmp_path)
    check_whole(page)
    assert "<cat>" not in page
    issues = read_table(tmp_path / "data" / "label_issues.parquet", LABEL_ISSUES).to_pandas()
    first = section(page, 'id="issues"', 'id="picked"')
    n_shown = int(issues.is_issue.sum())
    assert n_shown > 5
    if kind in ("colour", "large"):
        assert first.count("data:image/" + ("jpeg" if kind == "large" else "png")) == n_shown
    else:
        shown = re.findall(r'<span class="text">(.*?)</span>', first)
        assert len(shown) == n_shown
        assert all(
            ("… (30 numbers)" if kind == "features" else "&lt;b&gt;&amp;amp; more") in one for one in shown
        )


@pytest.mark.parametrize("n_classes", [2, 21, pytest.param(300, marks=pytest.mark.endurance)])
def test_any_number_of_classes_makes_a_sound_page(n_classes: int, tmp_path: Path) -> None:
    names = tuple(f"class {k}" for k in range(n_classes))
    report(write_run(tmp_path, ["a text"] * max(3 * n_classes, 60), names), tmp_path)
    page = read_page(tmp_path)
    check_whole(page)
    shown = min(n_classes, 20)
    assert section(page, "Given against suggested", 'id="filters"').count("<td") == shown**2
    assert section(page, 'id="health"', "Worst-confused").count("<tr><td>") == shown
    assert (f"The 20 of {n_classes:,} classes" in page) == (n_classes > 20)
    assert len(page) < 700_000


def test_a_page_of_mnists_shape_stays_under_3_mb_whatever_the_pictures(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(256, size=(5_000, 28, 28), dtype=np.uint8)  # no PNG is larger
    report(write_run(tmp_path, noise, tuple("0123456789")), tmp_path)
    assert 100_000 < (tmp_path / "report" / "index.html").stat().st_size < 3_000_000


def test_without_truth_and_test_split_the_page_estimates_and_says_so(tmp_path: Path) -> None:
    params = write_run(tmp_path, IMAGES, known=False, test_split=False)
    report(params, tmp_path)
    page = read_page(tmp_path)
    check_whole(page)
    assert "There is no test split" in page
    found = json.loads((tmp_path / "metrics" / "label_issues.json").read_text())
    interval = f"{found['n_errors_low']:,} to {found['n_errors_high']:,}"
    assert f"<b>{interval}</b>" in page
    assert f"an estimate: about {found['n_errors_estimated']:,}" in page
    assert found["rule"] in unescape(page)
    assert f"It flags {found['n_issues']:,} of {found['n_rows']:,} rows" in found["rule"]
    assert "<br>true" not in page
    part = section(page, 'id="budget"', 'id="scores"')
    assert "This is an estimate" in part
    assert "recall" not in part
    issues = read_table(tmp_path / "data" / "label_issues.parquet", LABEL_ISSUES).to_pandas()
    found = issues[issues.is_issue].sort_values("rank")
    expected = (1 - found.self_confidence[:10]).sum()
    assert f"<tr><td>10</td><td>≈ {expected:.0f}</td>" in part
    assert json.loads((tmp_path / "metrics" / "report.json").read_text()) == {}


def test_pooled_rows_are_counted_by_the_split_that_they_came_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report(write_run(tmp_path, IMAGES, test_split=False, pooled=True), tmp_path)
    page = read_page(tmp_path)
    check_whole(page)
    assert "The test rows became training rows, so the worth" in page
    issues = read_table(tmp_path / "data" / "label_issues.parquet", LABEL_ISSUES).to_pandas()
    given = read_table(GIVEN_LABELS.at(tmp_path), GIVEN_LABELS, columns=["is_noisy"]).to_pandas()
    splits = read_table(SPLIT_ROWS.at(tmp_path), SPLIT_ROWS, columns=["original_split"]).to_pandas()
    rows = issues.merge(given, on="example_id").merge(splits, on="example_id")
    said = " ".join(capsys.readouterr().out.split())
    for name, split in rows.groupby("original_split"):
        n, wrong = int(split.is_issue.sum()), split.is_noisy[split.is_issue].mean()
        assert n
        cells = name, len(split), n, f"{100 * n / len(split):.2f} %", f"{100 * wrong:.1f} %"
        line = "".join(f"<td>{cell}</td>" for cell in cells)
        assert f"<tr>{line}</tr>" in section(page, 'id="splits"', 'id="worth"')
        assert f"of the {name} split │ {n} of {len(split)} ({n / len(split):.1%})" in said


def test_without_pooled_rows_there_is_no_table_by_split(finished_run: Path) -> None:
    assert 'id="splits"' not in read_page(finished_run)


def test_where_no_label_is_wrong_ratios_without_a_base_are_dashes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    params = write_run(tmp_path, IMAGES, noise=0, sureness=2, pooled=True)
    found = json.loads((tmp_path / "metrics" / "label_issues.json").read_text())
    assert (found["n_errors"], found["recall"]) == (0, None)
    assert found["n_issues"] > 0
    capsys.readouterr()
    report(params, tmp_path)
    check_whole(read_page(tmp_path))
    said = " ".join(capsys.readouterr().out.split())
    assert "0 (0.0%), known" in said
    assert "recall -" in said


def test_without_issues_the_page_says_so(tmp_path: Path) -> None:
    report(write_run(tmp_path, IMAGES, noise=0, embedded=False), tmp_path)
    page = read_page(tmp_path)
    check_whole(page)
    assert "found no label issues" in page
    assert "No row is flagged" in page
    assert 'id="budget"' not in page
    with (tmp_path / "report" / "top_issues.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == []


def test_the_gallery_takes_the_most_suspect_of_each_pair_in_turn(tmp_path: Path) -> None:
    pairs = [(0, 1), (0, 1), (1, 0), (0, 1), (2, 0), (1, 0)]
    columns = {"given_label": [given for given, _ in pairs], "suggested_label": [other for _, other in pairs]}
    issues = pa.table({name: pa.array(values, pa.int16()) for name, values in columns.items()})
    order = np.array([3, 1, 0, 2, 5, 4])
    assert of_each_pair(issues, order, 3).tolist() == [3, 2, 4]
    assert of_each_pair(issues, order, 5).tolist() == [3, 1, 2, 5, 4]
    assert of_each_pair(issues, order, 99).tolist() == order.tolist()
    assert of_each_pair(issues, order[:0], 99).tolist() == []


SCORES = st.lists(st.floats(0, 1) | st.floats(0, 1e6) | st.just(0.5), min_size=1, max_size=30)


@given(SCORES, st.data())
def test_a_histogram_takes_any_scores_and_its_cut_parts_them(
    values: list[float], data: st.DataObject
) -> None:
    scores = np.array(values)
    is_issue = np.array(data.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values))))
    found = score_histogram("score", scores, is_issue)
    assert len(found.chart.shapes) == 2
    assert "nan" not in found.chart.shapes[0].path
    if found.cut is not None:
        below, above = scores <= found.cut, scores >= found.cut
        assert (np.all(below[is_issue]) and np.all(above[~is_issue])) or (
            np.all(above[is_issue]) and np.all(below[~is_issue])
        )
    elif is_issue.any() and not is_issue.all():
        assert scores[is_issue].max() > scores[~is_issue].min()
        assert scores[is_issue].min() < scores[~is_issue].max()


def test_a_matrix_without_a_file_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"joints\.csv.*dvc repro"):
        read_entries(tmp_path / "joints.csv", ("a", "b"))


def test_the_worst_classes_are_those_with_most_rows_off_the_diagonal() -> None:
    counts = np.diag(np.full(30, 99))
    assert worst_classes(counts).tolist() == list(range(20))
    counts[25, 28] = 3
    assert worst_classes(counts).tolist() == [*range(18), 25, 28]
    (shown,) = heat_maps({"some_name": counts}, np.array([25, 28]))
    assert (shown.title, shown.rows, shown.most) == ("some name", [[99, 3], [0, 99]], 3)


def test_parameters_are_shown_as_params_yaml_writes_them() -> None:
    shipped = load_params(ROOT / "params.yaml")
    names = ("yes", "a: b", "two\nlines", "7", " ")
    named = shipped.options("datasets", "parquet").model_copy(update={"class_names": names})
    download = shipped.download.model_copy(update={"dataset": "parquet"})
    datasets = {**shipped.datasets, "parquet": named}
    params = shipped.model_copy(update={"download": download, "datasets": datasets})
    shown = parameters(params)
    assert (shown["inject_noise.path"], shown["split_rows.near_duplicates"]) == ("null", "true")
    assert (shown["download.dataset"], shown["train_fold.folds"]) == ("parquet", "[0, 1, 2, 3, 4]")
    read = {name: YAML(typ="safe").load(text) for name, text in shown.items()}
    expected = params.chosen()
    assert "models.mlp.max_lr" not in read
    assert read == {f"{one}.{two}": value for one, part in expected.items() for two, value in part.items()}


def test_the_same_inputs_give_the_same_page(workspace_copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (workspace_copy / "report" / "index.html").read_bytes()
    report(load_params(workspace_copy / "params.yaml"), workspace_copy)
    assert (workspace_copy / "report" / "index.html").read_bytes() == before
    printed = capsys.readouterr().out
    for line in ("wrong labels", "label issues found", "what was done", "worth of the repair"):
        assert line in printed
    assert (workspace_copy / "report" / "summary.txt").read_text() == printed


def test_missing_metrics_are_named(workspace_copy: Path) -> None:
    (workspace_copy / "metrics" / "label_issues.json").unlink()
    with pytest.raises(ArtifactError, match=r"label_issues\.json.*dvc repro"):
        report(load_params(workspace_copy / "params.yaml"), workspace_copy)


def test_what_people_decided_tells_what_is_left_where_nobody_looked(tmp_path: Path) -> None:
    params = write_run(tmp_path, [f"text {row}" for row in range(200)])
    report(params, tmp_path)
    assert 'id="stop"' not in read_page(tmp_path)
    assert "audit" not in json.loads((tmp_path / "metrics" / "report.json").read_text())
    issues = read_table(LABEL_ISSUES.at(tmp_path), LABEL_ISSUES, columns=["key", "given_label", "is_issue"])
    names = read_facts(issues, "").class_names
    rows = issues.take(draw_order(issues.column("example_id").to_numpy(), params.pseudo_label.audit.seed))
    others = [row for row in rows.to_pylist() if not row["is_issue"]]
    seen = [*others[:60], *(row for row in rows.to_pylist() if row["is_issue"])][:65]
    lines = [
        Decision(
            row["key"], "drop" if row["is_issue"] else "keep", "", names[row["given_label"]],
            "anna", "2026-01-31T12:00:00Z", "none", "audit",
        )
        for row in seen
    ]  # fmt: skip
    append_decisions(tmp_path / PATH, lines)
    report(params, tmp_path)
    page = section(read_page(tmp_path), 'id="stop"', 'id="scores"')
    bound = bound_wrong(len(others), 60, 0).high / (len(others) - 60)
    assert "Of 5 flagged labels that people decided on, 5 are wrong" in page
    assert "Of 60 rows drawn at random among those not flagged, 0 have a wrong label." in page
    assert f"at most {np.ceil(1000 * bound) / 10:g} % of the {len(others) - 60} labels" in page
    found = json.loads((tmp_path / "metrics" / "report.json").read_text())["audit"]
    assert (found["n_drawn"], found["flags_precision"]) == (60, 1)
    assert found["wrong_left_high"] == pytest.approx(bound)


@pytest.mark.parametrize("known", [True, False])
def test_a_classifier_too_weak_to_estimate_anything_has_a_report(tmp_path: Path, known: bool) -> None:
    params = write_run(tmp_path, ["a text"] * 90, sureness=0, known=known)
    found = json.loads((tmp_path / "metrics" / "label_issues.json").read_text())
    assert found["n_errors_estimated"] is None
    report(params, tmp_path)
    page = (tmp_path / "report" / "index.html").read_text()
    assert "cannot be estimated" in page


def test_where_the_gate_is_closed_what_people_decided_is_told_apart(tmp_path: Path) -> None:
    params = write_run(tmp_path, ["a text"] * 90, sureness=0, known=False)
    page = tmp_path / "report" / "index.html"
    report(params, tmp_path)
    assert "Nothing was cleaned." in page.read_text()
    assert "the cleaned labels are the given ones." in page.read_text()
    issues = read_table(LABEL_ISSUES.at(tmp_path), LABEL_ISSUES)
    given = read_facts(issues).class_names[issues.column("given_label")[0].as_py()]
    key = issues.column("key")[0].as_py()
    append_decisions(
        tmp_path / PATH, [Decision(key, "drop", "", given, "anna", "2026-11-27T12:00:00Z", "none")]
    )
    pseudo_label(params, tmp_path)
    report(params, tmp_path)
    assert "Nothing else was cleaned." in page.read_text()
    assert "the cleaned labels are the given ones, except where people decided." in page.read_text()


def test_rows_that_were_left_out_are_told(tmp_path: Path) -> None:
    params = write_run(tmp_path, [f"text {row} <b>" for row in range(60)])
    table = read_table(EXAMPLES.at(tmp_path), EXAMPLES)
    write_table(
        EXAMPLES.at(tmp_path), table, EXAMPLES, {"left_out": "1 of 61 rows is left out: <b> (no text)."}
    )
    report(params, tmp_path)
    assert (
        "1 of 61 rows is left out: &lt;b&gt; (no text)." in (tmp_path / "report" / "index.html").read_text()
    )
