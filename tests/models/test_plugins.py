"""What holds for every file of `tasks/models` and `tasks/objectives`, those that come later included."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_trainings import SMALL_MODELS, accuracy, build, fitted, rows_for, run_of

from tasks import ParamsError, TrainingError, plugins
from tasks.contents import OF_KIND
from tasks.sections import Section
from tasks.tables.facts import DatasetFacts
from tasks.training.protocol import build_model

ROOT = Path(__file__).parents[2]
MODELS = plugins.names("models")


def test_the_models_and_objectives_are_those_of_the_folders() -> None:
    assert {"convnet", "efficientnet_lite0", "text", "boosting", "logistic", "nearest_mean"} <= set(MODELS)
    assert {"supervised", "mixup"} <= set(plugins.names("objectives"))


@pytest.mark.parametrize("name", MODELS)
def test_a_model_says_what_it_takes_and_has_options_with_defaults(name: str) -> None:
    module = plugins.load("models", name)
    assert set(module.TAKES) <= set(OF_KIND)
    assert isinstance(module.USES_TORCH, bool)
    assert isinstance(plugins.read_options("models", name, None), Section)
    with pytest.raises(ValueError, match="nonsense"):
        plugins.read_options("models", name, {"nonsense": 1})


def test_models_without_torch_train_and_predict_without_it() -> None:
    names = [name for name in MODELS if not plugins.load("models", name).USES_TORCH]
    assert {"boosting", "logistic", "nearest_mean"} <= set(names)
    # One process for all, as each would import the same; the first that imports torch is the one to name.
    code = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "from pathlib import Path; from small_trainings import fitted, rows_for\n"
        f"for name in {names!r}:\n"
        "    fitted(Path(), rows_for(name, 40), name=name).predict(rows_for(name, 5).content)\n"
        "    print(name, [each for each in ('torch', 'pytorch_lightning') if each in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.splitlines() == [f"{name} []" for name in names]


@pytest.mark.parametrize("name", SMALL_MODELS)
def test_a_model_learns_and_gives_probabilities_in_the_rows_order(tmp_path: Path, name: str) -> None:
    model, rows = fitted(tmp_path, rows_for(name, 320), name=name), rows_for(name, 200, seed=1)
    found = model.predict(rows.content)
    assert found.pred_probs.shape == (200, 2)
    assert found.embedding.ndim == 2
    assert len(found.embedding) == 200
    assert found.pred_probs.dtype == found.embedding.dtype == np.float32
    assert found.pred_probs.min() >= 0
    # Networks learn their embeddings; the others embed rows by what they are.
    assert found.is_learned == plugins.load("models", name).USES_TORCH
    np.testing.assert_allclose(found.pred_probs.sum(axis=1), 1, atol=1e-5)
    assert accuracy(model, rows) > 0.7
    none = model.predict(rows.content.take(slice(0, 0)))
    assert none.pred_probs.shape == (0, 2)
    assert none.embedding.shape == (0, found.embedding.shape[1])
    some = model.predict(rows.content.take(np.array([7, 3, 7])))
    np.testing.assert_allclose(some.pred_probs, found.pred_probs[[7, 3, 7]], atol=1e-5)
    np.testing.assert_allclose(some.embedding, found.embedding[[7, 3, 7]], atol=1e-4)


@pytest.mark.parametrize("name", SMALL_MODELS)
def test_equal_seeds_give_equal_bits(tmp_path: Path, name: str) -> None:
    rows = rows_for(name, 100)
    first, again = (fitted(tmp_path, rows, name=name).predict(rows.content) for _ in range(2))
    assert np.array_equal(first.pred_probs, again.pred_probs)
    assert np.array_equal(first.embedding, again.embedding)


@pytest.mark.parametrize("name", SMALL_MODELS)
def test_signals_come_from_models_that_train_in_epochs(tmp_path: Path, name: str) -> None:
    rows = rows_for(name, 64)
    signals = build(tmp_path, rows.content, name=name).fit(rows, None)
    if not plugins.load("models", name).USES_TORCH:
        assert signals is None
    else:
        assert signals is not None
        assert signals.mean_margin.shape == (64,)


@pytest.mark.parametrize("name", MODELS)
def test_one_row_is_too_few(tmp_path: Path, name: str) -> None:
    with pytest.raises(TrainingError, match="needs"):
        fitted(tmp_path, rows_for(name, 1), name=name)


@pytest.mark.parametrize("name", MODELS)
def test_content_that_a_model_does_not_take_is_refused_by_name(tmp_path: Path, name: str) -> None:
    module = plugins.load("models", name)
    takes = module.TAKES
    for kind in set(OF_KIND) - set(takes) - ({"features"} if hasattr(module, "extract") else set()):
        facts = DatasetFacts("mine", ("a", "b"), kind, ())
        with pytest.raises(ParamsError, match=f"{name} takes {' or '.join(takes)}, .* mine has {kind}"):
            build_model(name, facts, plugins.read_options("models", name, None), run_of(tmp_path))
