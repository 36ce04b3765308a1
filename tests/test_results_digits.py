"""The tables of digits in docs/results.md: places, pictures, and labels that go into a second run."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv as pacsv
import pytest
from hand_made import write_run
from PIL import Image
from small_runs import write_params

from benchmarks import accept
from benchmarks.results import article, doubt, mnist, page, pictures
from tasks.params import load_params
from tasks.tables.catalog import GIVEN_LABELS, LABEL_ISSUES, TRAINING_SET
from tasks.tables.io import read_table
from tasks.tables.joins import join
from tasks.tables.schemas import column_array


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on 300 pictures, a fifth of the labels wrong, some predictions too."""
    folder = tmp_path_factory.mktemp("digits")
    content = np.random.default_rng(0).integers(0, 256, size=(300, 8, 8), dtype=np.uint8)
    write_run(folder, content, ("a", "b", "c"), sureness=4)
    return folder


def test_places_count_from_the_most_suspect_row(digits: Path) -> None:
    issues = read_table(LABEL_ISSUES.at(digits), LABEL_ISSUES)
    worst = mnist.worst_keys(issues, 15)
    assert len(set(worst)) == 15
    assert mnist.worst_keys(issues, 10**6)[:15] == worst
    places = mnist.places_of(issues, tuple(int(key) for key in worst))
    # Issues rank by `error_prob`, and here no other row is more suspect.
    assert [place["error_prob"] for place in places] == sorted(place["error_prob"] for place in places)
    assert places[0]["error_prob"] == 1
    assert all(place["is_issue"] for place in places)
    confidence = column_array(issues, "self_confidence")
    lowest = int(issues.column("key")[int(confidence.argmin())].as_py())
    assert mnist.places_of(issues, (lowest,))[0]["self_confidence"] == 1


def test_a_grid_of_digits_is_a_small_picture(digits: Path, tmp_path: Path) -> None:
    issues = read_table(LABEL_ISSUES.at(digits), LABEL_ISSUES)
    for name in ("once", "again"):
        pictures.draw_digits(tmp_path / f"{name}.png", digits, mnist.worst_keys(issues, 15), (3, 5))
    with Image.open(tmp_path / "once.png") as picture:
        assert picture.width > picture.height > 100
        # Every third of the width shows something.
        grey = np.asarray(picture.convert("L"))
        assert all((part < 128).mean() > 0.05 for part in np.array_split(grey, 3, axis=1))
    assert (tmp_path / "once.png").stat().st_size < 200_000
    assert (tmp_path / "once.png").read_bytes() == (tmp_path / "again.png").read_bytes()


def test_new_labels_are_those_of_the_training_set_under_the_keys_of_the_rows(
    digits: Path, tmp_path: Path
) -> None:
    article.write_new_labels(digits, tmp_path / article.LABELS)
    found = pacsv.read_csv(tmp_path / article.LABELS)
    repaired = read_table(TRAINING_SET.at(digits), TRAINING_SET, columns=["label"])
    given = read_table(GIVEN_LABELS.at(digits), GIVEN_LABELS, columns=["key"])
    keys = join(given, column_array(repaired, "example_id")).column("key").to_pylist()
    assert [str(key) for key in found.column("key").to_pylist()] == keys
    labels = [("a", "b", "c").index(name) for name in found.column("given_label").to_pylist()]
    np.testing.assert_array_equal(labels, column_array(repaired, "label"))


def test_the_surest_rows_are_predicted_as_another_class(digits: Path) -> None:
    keys, is_right = article.find_surest(digits)
    issues = read_table(LABEL_ISSUES.at(digits), LABEL_ISSUES)
    rows = [issues.column("key").to_pylist().index(key) for key in keys]
    given, suggested, prob = (
        column_array(issues, name)[rows] for name in ("given_label", "suggested_label", "suggested_prob")
    )
    assert (given != suggested).all()
    assert (np.diff(prob) <= 0).all()
    assert 0.5 < is_right.mean() < 1


@pytest.mark.parametrize(
    "settings",
    [
        *(mnist.settings(smoothing) for smoothing in mnist.RECIPES.values()),
        *(article.settings(n_folds) for n_folds in article.FOLDS),
        *(accept.settings(0, rate, "doubt") for rate in accept.DOUBT_RATES),
    ],
)
def test_the_settings_of_each_run_fit_params_yaml(tmp_path: Path, settings: dict[str, Any]) -> None:
    names = {name.replace(".", "__"): value for name, value in settings.items()}
    write_params(tmp_path, download__dataset="mnist", **({"train_fold__model": "convnet"} | names))
    params = load_params(tmp_path / "params.yaml")
    assert params.inject_noise.kind == settings["inject_noise.kind"]


def test_tables_of_digits_have_a_line_for_each_run() -> None:
    place = {"id": 59915, "error_prob": 3, "self_confidence": 1, "is_issue": True}
    recipe = {"n_rows": 70_000, "accuracy": 0.99, "issues": dict.fromkeys(mnist.FILTERS, 149)}
    recipes = {name: {**recipe, "worst": [], "places": [place]} for name in mnist.RECIPES}
    origin = {"n": 1, **page.origin("mnist")}
    lines = mnist.describe(json.loads(json.dumps({**origin, "recipes": recipes})))
    assert "| 59915 | 3 | 1 | yes |" in lines
    assert sum("99.00%" in line for line in lines) == len(mnist.RECIPES)
    run = {
        "n_rows": 70_000,
        "n_changed": 6_400,
        "is_closed": False,
        "labels": {"before": 0.91, "after": 0.99},
        "surest_right": 0.999,
        "n_surest": 5_000,
        "grid_right": 25,
        "accuracy": {"before": 0.98, "after": 0.985},
    }
    lines = article.describe({**origin, "runs": {"2": run}})
    assert any(line.startswith("| 2 | 6,400 of 70,000 | 91.00% | 99.00% |") for line in lines)
    issues = {
        "n_errors": 6_000,
        "n_rows": 60_000,
        "n_issues": 5_900,
        "precision": 0.9,
        "recall": 0.8,
        "f1": 0.85,
    }
    rate = {"issues": issues, "accuracy": {"true": {"accuracy": 0.97}}}
    lines = doubt.describe({**origin, "rates": {"10%": rate}})
    assert any("| 6,000 of 60,000 | 5,900 | 0.900 | 0.800 | 0.850 | 97.00% |" in line for line in lines)
