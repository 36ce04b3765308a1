"""The runs with truth by which filters and self-tests are measured."""

import numpy as np
import pytest

from benchmarks import runs
from benchmarks.filters import group_of, measure
from tasks.label_quality.filter_files import filter_names


@pytest.fixture
def kept(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "KEPT", tmp_path)
    return tmp_path


def test_a_run_that_was_kept_is_the_run_that_was_made(kept, monkeypatch):
    recipe = runs.Recipe("wine", "uniform", 0.1, "naive Bayes")
    made = recipe.run()
    assert [path.name for path in kept.iterdir()] == ["wine-naive_Bayes-uniform_10.npz"]
    monkeypatch.setattr(runs, "predict", None)
    read = recipe.run()
    for name in ("given", "true", "pred_probs", "second"):
        assert np.array_equal(getattr(read, name), getattr(made, name)), name
    assert made.is_wrong.mean() == pytest.approx(0.1, abs=0.005)
    assert np.abs(made.pred_probs.sum(axis=1) - 1).max() < 1e-3
    # Neighbours of scaled measurements know the three wines.
    assert (made.second == made.true).mean() > 0.85
    assert group_of(made) == "uniform, 10 to 40 %"


@pytest.mark.parametrize("kind", runs.KINDS)
def test_so_many_labels_are_made_wrong_and_always_the_same(kind):
    content, true = runs.contents()["wine"]()
    given = runs.make_noise(kind, content, true, 0.2)
    assert 0.1 < (given != true).mean() < 0.3
    assert np.array_equal(given, runs.make_noise(kind, content, true, 0.2))
    assert not np.array_equal(given, runs.make_noise(kind, content, true, 0.1))


def test_two_classes_have_no_pair_noise():
    made = list(runs.recipes(["cancer", "wine"], [("pair", 0.1), ("uniform", 0.4)], ["tree"]))
    assert {recipe.data for recipe in made} == {"wine"}
    assert len(made) == 2


@pytest.mark.usefixtures("kept")
def test_a_run_is_measured_by_each_filter_and_beside_cleanlab():
    run = runs.Recipe("cancer", "uniform", 0.1, "naive Bayes").run()
    figures, bins = measure(run)
    assert set(filter_names()) < set(figures)
    assert all(0 <= figures[name] <= 1 for name in filter_names())
    assert figures["other rows than cleanlab"] == 0
    assert bins.sum(axis=1).tolist() == [len(run.given), run.is_wrong.sum()]
