"""Stage report: the page is whole and self-contained, and its figures are those of the run."""

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tasks import ArtifactError
from tasks.artifacts import LABEL_ISSUES, read_facts, read_table
from tasks.label_quality.confusions import count_confusions, worst_confused
from tasks.params import load_params
from tasks.prune import prune
from tasks.report import noise_matrices, report, summarise_gain


def test_the_page_is_self_contained_and_well_formed(finished_run: Path) -> None:
    page = (finished_run / "report" / "index.html").read_text()
    assert not re.search(r"""(src|href)=["'](?!data:)""", page)
    assert "Content-Security-Policy" in page
    assert "@import" not in page

    class Balance(HTMLParser):
        open_tags: list[str] = []  # noqa: RUF012

        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag not in ("meta", "img", "br", "line", "link"):
                self.open_tags.append(tag)

        def handle_startendtag(self, tag: str, attrs: object) -> None:
            pass  # closes itself

        def handle_endtag(self, tag: str) -> None:
            assert self.open_tags.pop() == tag

    parser = Balance()
    parser.feed(page)
    assert parser.open_tags == []


def test_the_page_shows_the_figures_of_the_metrics(finished_run: Path) -> None:
    page = (finished_run / "report" / "index.html").read_text()
    found = json.loads((finished_run / "metrics" / "label_issues.json").read_text())
    assert f"{found['n_issues']:,}" in page
    assert f"F1 {found['f1']:.4f}" in page
    top = page[page.index("most suspect labels") : page.index("Health of the labels")]
    assert top.count("data:image/png;base64,") == min(25, found["n_issues"])
    gain = json.loads((finished_run / "metrics" / "report.json").read_text())
    assert f"{gain['gain'] * 100:+.2f} points" in page


def test_the_page_shows_health_and_noise_as_measured(finished_run: Path) -> None:
    page = (finished_run / "report" / "index.html").read_text()
    health = json.loads((finished_run / "metrics" / "health.json").read_text())
    assert f"{health['label_health'] * 100:.2f} % of the labels look right" in page
    worst = min(health["classes"], key=lambda name: health["classes"][name]["label_quality"])
    section = page[page.index("Health of the labels") : page.index("Worst-confused classes")]
    assert re.search(r"<tr><td>(.*?)</td>", section)[1] == worst
    for name, error in health["noise_matrix_l1_error"].items():
        assert f"{name} {error:.4f}" in page
    noise = page[page.index("estimated beside injected") : page.index("Given against suggested")]
    assert noise.count('<table class="heat">') == 3


def test_the_worst_confused_classes_show_the_most_and_the_least_important_rows(finished_run: Path) -> None:
    page = (finished_run / "report" / "index.html").read_text()
    section = page[page.index("Worst-confused classes") : page.index("Noise: P(given")]
    issues = read_table(finished_run / "data" / "label_issues.parquet", LABEL_ISSUES).to_pandas()
    facts = read_facts(read_table(finished_run / "data" / "label_issues.parquet", LABEL_ISSUES))
    counts = count_confusions(issues.given_label.to_numpy(), issues.suggested_label.to_numpy(), 10)
    pairs = worst_confused(counts, 3)
    expected = []
    seen = set()
    for pair in pairs:
        names = facts.class_names[pair.label], facts.class_names[pair.predicted]
        assert "<b>{}</b> predicted as <b>{}</b>".format(*names) in section
        if pair.predicted not in seen:
            members = issues[issues.given_label == pair.predicted].sort_values("importance")
            expected += [*members.example_id[::-1][:6], *members.example_id[:6]]
        seen.add(pair.predicted)
    assert [int(found) for found in re.findall(r"<figcaption>#(\d+)", section)] == expected
    assert section.count("data:image/png;base64,") == len(expected)


def test_without_importance_the_confused_classes_are_named_all_the_same(workspace_copy: Path) -> None:
    params = load_params(workspace_copy / "params.yaml")
    without = params.model_copy(update={"prune": params.prune.model_copy(update={"importance": "none"})})
    prune(without, workspace_copy)
    report(without, workspace_copy)
    page = (workspace_copy / "report" / "index.html").read_text()
    section = page[page.index("Worst-confused classes") : page.index("Noise: P(given")]
    assert "predicted as" in section
    assert "data:image" not in section


def test_matrices_too_large_for_the_page_are_left_to_their_file(tmp_path: Path) -> None:
    names = tuple(f"class {k}" for k in range(21))
    assert noise_matrices(tmp_path / "noise_matrices.csv", names) == {}
    (tmp_path / "noise_matrices.csv").write_text('"given","true","estimated"\n"class 2","class 0",0.25\n')
    assert noise_matrices(tmp_path / "noise_matrices.csv", names[:3]) == {
        "estimated": [[0, 0, 0], [0, 0, 0], [0.25, 0, 0]]
    }


def test_the_same_inputs_give_the_same_page(workspace_copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (workspace_copy / "report" / "index.html").read_bytes()
    report(load_params(workspace_copy / "params.yaml"), workspace_copy)
    assert (workspace_copy / "report" / "index.html").read_bytes() == before
    printed = capsys.readouterr().out
    for line in ("wrong labels", "label issues found", "what was done", "worth of the repair"):
        assert line in printed


def test_without_test_figures_and_truth_the_page_says_what_it_can(workspace_copy: Path) -> None:
    metrics = workspace_copy / "metrics"
    for name in ("given", "cleaned", "true"):
        (metrics / f"retrain_{name}.json").write_text('{"n_rows": 1438, "n_test_rows": 0}')
    found = json.loads((metrics / "label_issues.json").read_text())
    unknown = {name: found[name] for name in ("n_rows", "n_issues", "n_errors_estimated")}
    (metrics / "label_issues.json").write_text(json.dumps(unknown))
    repair = json.loads((metrics / "training_set.json").read_text())
    del repair["label_accuracy"]
    (metrics / "training_set.json").write_text(json.dumps(repair))
    report(load_params(workspace_copy / "params.yaml"), workspace_copy)
    page = (workspace_copy / "report" / "index.html").read_text()
    assert "no test split" in page
    assert "estimated" in page
    assert json.loads((metrics / "report.json").read_text()) == {}


def test_missing_metrics_are_named(workspace_copy: Path) -> None:
    (workspace_copy / "metrics" / "label_issues.json").unlink()
    with pytest.raises(ArtifactError, match=r"label_issues\.json.*dvc repro"):
        report(load_params(workspace_copy / "params.yaml"), workspace_copy)


def test_the_share_of_the_gap_is_gain_over_gap() -> None:
    found = summarise_gain({"given": 0.90, "cleaned": 0.94, "true": 0.95})
    assert found == pytest.approx({"gain": 0.04, "gap": 0.05, "gap_recovered": 0.8})
    assert math.isnan(summarise_gain({"given": 0.9, "cleaned": 0.9, "true": 0.9})["gap_recovered"])
    assert summarise_gain({"given": 0.9}) == {}
