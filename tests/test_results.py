"""What a run found, as markdown: without truth and issues too, and names stay names."""

import json
from pathlib import Path

import numpy as np
from hand_made import write_run

from flows.results import describe_results
from tasks.report import report


def test_without_truth_test_split_and_issues_the_page_says_what_it_can(tmp_path: Path) -> None:
    texts = ["a text"] * 60
    report(write_run(tmp_path, texts, noise=0, known=False, test_split=False, embedded=False), tmp_path)
    found = describe_results(tmp_path)
    assert "No label issues were found." in found
    assert "| wrong labels | about" in found
    assert "precision" not in found
    assert "test accuracy" not in found


def test_names_of_classes_are_no_markdown(tmp_path: Path) -> None:
    report(write_run(tmp_path, ["a text"] * 60, ("a|b", "<i>*x*</i>", "# c")), tmp_path)
    found = describe_results(tmp_path)
    for name in (r"a\|b", r"\<i\>\*x\*\</i\>", r"\# c"):
        assert f"| {name} |" in found
    metrics = json.loads((tmp_path / "metrics" / "retrain_cleaned.json").read_text())
    assert f"| test accuracy, trained on cleaned labels | {metrics['test']['accuracy']:.2%} |" in found
    assert str(tmp_path / "report" / "index.html") in found


def test_labels_none_of_which_is_known_to_be_wrong_are_no_truth(tmp_path: Path) -> None:
    features = np.random.default_rng(0).normal(size=(90, 2))
    report(write_run(tmp_path, features, noise=0, sureness=2), tmp_path)
    found = json.loads((tmp_path / "metrics" / "label_issues.json").read_text())
    assert found["n_issues"] > found["n_errors"] == 0
    page = describe_results(tmp_path)
    assert f"| wrong labels | about {found['n_errors_low']} to {found['n_errors_high']} |" in page
    assert "precision" not in page
