"""Real, tiny trainings: what is learned, what is repeatable, what is refused."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tasks.models.classifier import TrainingRows

from tasks import ArtifactError, TrainingError
from tasks.models import classifier
from tasks.params import TrainFold, load_params
from tasks.tables.facts import DatasetFacts

RECIPE = load_params(Path(__file__).parents[2] / "params.yaml").train_fold.model_copy(
    update={"epochs": 3, "batch_size": 16, "precision": "32-true", "accelerator": "cpu", "threads": 1}
)
FACTS = DatasetFacts("bars", ("row", "column"), "image", (8, 8))


def bars(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images of one bright row (class 0) or one bright column (class 1): learned in a few steps."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    images = rng.integers(0, 40, (n, 8, 8), dtype=np.uint8)
    for image, label, place in zip(images, labels, rng.integers(2, 6, n), strict=True):
        (image if label == 0 else image.T)[place] = 255
    return images, labels


def rows(n: int, seed: int = 0) -> TrainingRows:
    images, labels = bars(n, seed)
    return TrainingRows(images, classifier.one_hot(labels, 2), np.ones(n, dtype=np.float32))


def fit(tmp_path: Path, recipe: TrainFold = RECIPE, train: TrainingRows | None = None, seed: int = 1) -> Any:
    train = train or rows(160)
    return classifier.fit(train, train.head(16), recipe, seed, tmp_path / "log", "test")


def weights(model: torch.nn.Module) -> bytes:
    return b"".join(value.numpy().tobytes() for value in model.state_dict().values())


def test_it_learns_and_predicts_probabilities_in_the_rows_order(tmp_path: Path) -> None:
    model = fit(tmp_path)
    images, labels = bars(1500, seed=2)
    found = classifier.predict(model, images)
    assert found.pred_probs.shape == (1500, 2)
    assert found.pred_probs.dtype == np.float32
    assert found.embedding.shape == (1500, 64)
    np.testing.assert_allclose(found.pred_probs.sum(axis=1), 1, atol=1e-5)
    assert np.mean(found.pred_probs.argmax(axis=1) == labels) > 0.95
    backwards = classifier.predict(model, images[::-1]).pred_probs[::-1]
    np.testing.assert_allclose(found.pred_probs, backwards, atol=1e-6)


def test_equal_seeds_give_bitwise_equal_weights_and_another_seed_others(tmp_path: Path) -> None:
    first, again, other = (weights(fit(tmp_path, seed=seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_training_leaves_the_global_generator_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fit(tmp_path)
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)


def test_training_and_predicting_leave_the_arithmetic_of_the_process_alone(tmp_path: Path) -> None:
    classifier.predict(fit(tmp_path), bars(20)[0])
    assert np.finfo(np.float64).smallest_subnormal / 1.0 > 0
    assert torch.tensor(5e-324, dtype=torch.float64) * 1.0 > 0


def test_rows_of_weight_zero_teach_nothing(tmp_path: Path) -> None:
    clean = rows(160)
    flipped = clean.soft_label[:, ::-1].copy()
    mixed = TrainingRows(
        np.concatenate([clean.content, clean.content]),
        np.concatenate([clean.soft_label, flipped]),
        np.repeat(np.array([1, 0], dtype=np.float32), 160),
    )
    images, labels = bars(300, seed=3)
    found = classifier.predict(fit(tmp_path, train=mixed), images).pred_probs
    assert np.mean(found.argmax(axis=1) == labels) > 0.95


def test_features_and_colour_images_are_learned_too(tmp_path: Path) -> None:
    images, labels = bars(200)
    features = images.reshape(200, 64).astype(np.float32)
    colour = np.stack([images, images, images], axis=-1)
    for content, network in ((features, "mlp"), (colour, "convnet")):
        recipe = RECIPE.model_copy(update={"network": network, "epochs": 6})
        train = TrainingRows(content, classifier.one_hot(labels, 2), np.ones(200, dtype=np.float32))
        found = classifier.predict(fit(tmp_path, recipe, train), content).pred_probs
        assert np.mean(found.argmax(axis=1) == labels) > 0.9


def test_a_loss_that_is_not_finite_stops_with_a_remedy(tmp_path: Path) -> None:
    train = rows(160)
    train.soft_label[0, 0] = np.nan
    with pytest.raises(TrainingError, match=r"loss became nan in epoch 1 of 3.*max_lr"):
        fit(tmp_path, train=train)


def test_too_few_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="at least 2 rows, found 1"):
        fit(tmp_path, train=rows(1))


def test_averaged_views_differ_from_one_and_are_probabilities(tmp_path: Path) -> None:
    model = fit(tmp_path)
    images, _ = bars(20, seed=4)
    several = classifier.predict(model, images).pred_probs
    model.recipe = model.recipe.model_copy(update={"eval_shift": 0})
    single = classifier.predict(model, images).pred_probs
    assert not np.array_equal(several, single)
    np.testing.assert_allclose(several.sum(axis=1), 1, atol=1e-5)


def test_a_checkpoint_round_trips_and_its_bytes_do_not_depend_on_its_name(tmp_path: Path) -> None:
    model = fit(tmp_path)
    classifier.save(tmp_path / "a.ckpt", model, FACTS)
    classifier.save(tmp_path / "other.ckpt", model, FACTS)
    assert (tmp_path / "a.ckpt").read_bytes() == (tmp_path / "other.ckpt").read_bytes()
    loaded, class_names = classifier.load(tmp_path / "a.ckpt")
    assert class_names == FACTS.class_names
    images, _ = bars(20, seed=5)
    np.testing.assert_array_equal(
        classifier.predict(loaded, images).pred_probs, classifier.predict(model, images).pred_probs
    )


class Attack:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("kind", ["torch", "pickle"])
def test_a_checkpoint_that_carries_code_is_refused_and_not_run(tmp_path: Path, kind: str) -> None:
    path, touched = tmp_path / "evil.ckpt", tmp_path / "touched"
    if kind == "torch":
        torch.save({"state_dict": Attack(touched)}, path)
    else:
        path.write_bytes(pickle.dumps(Attack(touched)))
    with pytest.raises(ArtifactError, match="expected a checkpoint of this project"):
        classifier.load(path)
    assert not touched.exists()


def test_a_missing_or_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"none\.ckpt: expected a checkpoint, found no file"):
        classifier.load(tmp_path / "none.ckpt")
    classifier.save(tmp_path / "cut.ckpt", fit(tmp_path), FACTS)
    (tmp_path / "cut.ckpt").write_bytes((tmp_path / "cut.ckpt").read_bytes()[:1000])
    with pytest.raises(ArtifactError, match=r"cut\.ckpt.*damaged"):
        classifier.load(tmp_path / "cut.ckpt")


def test_precision_auto_is_one_that_the_device_has() -> None:
    assert classifier._precision(RECIPE.model_copy(update={"precision": "auto"})) in ("bf16-mixed", "32-true")
    assert classifier._precision(RECIPE) == "32-true"
