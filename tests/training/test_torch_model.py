"""Real, tiny trainings: what is learned, what is repeatable, what is refused."""

import csv
import importlib.util
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EMAWeightAveraging
from small_trainings import accuracy, bar_rows, bars, build, facts_of, fitted, rows_of, run_of

from tasks import DatasetError, ParamsError, TrainingError, plugins
from tasks.contents import Features, Images, Texts
from tasks.models import convnet
from tasks.training import statistics, torch_model
from tasks.training.checkpoints import load_model
from tasks.training.devices import choose_precision
from tasks.training.loop import Training
from tasks.training.protocol import Rows, build_model
from tasks.training.torch_model import TorchModel


def weights(model: Any) -> bytes:
    return b"".join(value.numpy().tobytes() for value in model._classifier.state_dict().values())


@pytest.fixture(scope="module")
def log_of_plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which `plain` writes its log."""
    return tmp_path_factory.mktemp("plain")


@pytest.fixture(scope="module")
def plain(log_of_plain: Path) -> Any:
    """A network that learned from 160 bars, for what needs no training of its own. It is not fitted again."""
    return fitted(log_of_plain)


def test_it_learns_and_predicts_probabilities_in_the_rows_order(plain: Any) -> None:
    model, rows = plain, bar_rows(1500, seed=2)
    found = model.predict(rows.content)
    assert found.pred_probs.shape == (1500, 2)
    assert found.pred_probs.dtype == found.embedding.dtype == np.float32
    assert found.embedding.shape == (1500, 64)
    np.testing.assert_allclose(found.pred_probs.sum(axis=1), 1, atol=1e-5)
    assert accuracy(model, rows) > 0.95
    backwards = model.predict(rows.content.take(np.arange(1500)[::-1])).pred_probs[::-1]
    np.testing.assert_allclose(found.pred_probs, backwards, atol=1e-6)


def test_equal_seeds_give_bitwise_equal_weights_and_another_seed_others(tmp_path: Path, plain: Any) -> None:
    again, other = (weights(fitted(tmp_path, seed=seed)) for seed in (1, 2))
    assert weights(plain) == again
    assert again != other


def test_a_model_can_be_fitted_again_with_the_same_bits(tmp_path: Path) -> None:
    model, rows = build(tmp_path, bar_rows(1).content), bar_rows(160)
    model.fit(rows, None)
    first = weights(model)
    model.fit(rows, None)
    assert weights(model) == first


def test_training_leaves_the_global_generator_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    model = fitted(tmp_path)
    model.save(tmp_path / "a.ckpt")
    load_model(tmp_path / "a.ckpt")
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)


def test_training_and_predicting_leave_the_arithmetic_of_the_process_alone(tmp_path: Path) -> None:
    fitted(tmp_path).predict(bar_rows(20).content)
    assert np.finfo(np.float64).smallest_subnormal / 1.0 > 0
    assert torch.tensor(5e-324, dtype=torch.float64) * 1.0 > 0


def test_rows_of_weight_zero_teach_nothing(tmp_path: Path) -> None:
    clean, _ = bar_rows(160), None
    places = np.tile(np.arange(160), 2)
    mixed = Rows(
        clean.content.take(places),
        np.concatenate([clean.label, 1 - clean.label]),
        np.repeat(np.array([1, 0], dtype=np.float32), 160),
    )
    assert accuracy(fitted(tmp_path, mixed), bar_rows(300, seed=3)) > 0.95


def test_soft_labels_teach_their_shares(tmp_path: Path) -> None:
    hard = bar_rows(320)
    soft = np.where(hard.label[:, None] == np.arange(2), 0.75, 0.25).astype(np.float32)
    model = fitted(tmp_path, replace(hard, soft_label=soft), loss=run_of(tmp_path).loss.__class__(0.0, 0.0))
    probs = model.predict(bar_rows(200, seed=4).content).pred_probs.max(axis=1)
    assert 0.68 < np.median(probs) < 0.82


@pytest.mark.parametrize("content", ["features", "colour", "flat pictures"])
def test_features_and_colour_images_are_learned_too(tmp_path: Path, content: str) -> None:
    images, labels = bars(200, channels=3 if content == "colour" else 0)
    if content == "features":
        rows = rows_of(Features(images.reshape(200, 64).astype(np.float32)), labels)
    else:
        rows = rows_of(Images(images), labels)
    name = "convnet" if content == "colour" else "mlp"
    assert accuracy(fitted(tmp_path, rows, name=name, epochs=6), rows) > 0.9


def test_each_channel_has_its_own_statistics(tmp_path: Path) -> None:
    images, labels = bars(64, channels=3)
    images[..., 1] //= 4
    images[..., 2] = 9
    model: Any = fitted(tmp_path, rows_of(Images(images), labels), epochs=1)
    expected = images.reshape(-1, 3).mean(axis=0)
    np.testing.assert_allclose(model._classifier.mean.flatten(), expected, rtol=1e-6)
    np.testing.assert_allclose(
        model._classifier.deviation.flatten()[:2], images.reshape(-1, 3).std(axis=0)[:2], rtol=1e-6
    )
    assert np.isfinite(model.predict(Images(images)).pred_probs).all()


def test_a_loss_that_is_not_finite_stops_with_a_remedy(tmp_path: Path) -> None:
    rows = bar_rows(160)
    rows.weight[0] = np.nan
    with pytest.raises(
        TrainingError, match=r"loss became nan in epoch 1 of 3.*models\.convnet\.max_lr \(0\.2\)"
    ):
        fitted(tmp_path, rows)


class Stopped(pl.Callback):
    """Someone stops the process in the second batch."""

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 1:
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_training_that_is_stopped_does_not_end_as_if_it_were_done(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        with_recipe(tmp_path, bar_rows(160), callbacks=lambda: [Stopped()])
    assert ended.value.code == 128 + signal.SIGTERM


def test_too_few_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="at least 2 rows, found 1"):
        fitted(tmp_path, bar_rows(1))


def test_content_of_another_shape_or_kind_is_refused(plain: Any) -> None:
    for other in (
        Images(bars(3, channels=3)[0]),
        Features(np.zeros((3, 64), dtype=np.float32)),
        Texts(["a"]),
    ):
        with pytest.raises(DatasetError, match=r"image of shape \(8, 8\), found"):
            plain.predict(other)


def test_a_model_that_does_not_take_the_content_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"convnet takes image, .* has features\. Choose one of .*mlp"):
        build(tmp_path, Features(np.zeros((3, 4), dtype=np.float32)))


def test_a_device_that_is_not_there_is_named(tmp_path: Path) -> None:
    if torch.backends.mps.is_available():
        pytest.skip("this machine has the device")
    with pytest.raises(TrainingError, match=r"accelerator mps.*Set both to auto"):
        fitted(tmp_path, accelerator="mps")


def test_averaged_views_differ_from_one_and_are_probabilities(tmp_path: Path, plain: Any) -> None:
    content = bar_rows(20, seed=4).content
    several = plain.predict(content).pred_probs
    single = fitted(tmp_path, options={"eval_shift": 0}).predict(content).pred_probs
    assert not np.array_equal(several, single)
    np.testing.assert_allclose(several.sum(axis=1), 1, atol=1e-5)


def test_no_batch_holds_more_than_it_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither training nor prediction copies all rows at once."""
    monkeypatch.setattr(statistics, "portions", partial(statistics.portions, most_bytes=20 * 64))
    monkeypatch.setattr(torch_model, "_PREDICT_BYTES", 24 * 64)
    gathered = []

    class Watched(np.ndarray):
        def __getitem__(self, key: Any) -> Any:
            found = super().__getitem__(key)
            gathered.append(found.nbytes // 64)
            return found

    images, labels = bars(160)
    content = Images(images.view(Watched))
    model = fitted(tmp_path, rows_of(content, labels), epochs=1)
    assert max(gathered) == 20
    gathered.clear()
    model.predict(content)
    assert max(gathered) == 24
    assert sum(gathered) == 160


def test_any_number_of_steps_trains(tmp_path: Path) -> None:
    rows = bar_rows(32)
    untrained = fitted(tmp_path, rows, batch_size=32, epochs=1, options={"max_lr": 1e-9, "muon_lr": 1e-9})
    for n_steps in range(1, 6):
        model = fitted(tmp_path, rows, batch_size=32, epochs=n_steps)
        assert weights(model) != weights(untrained), n_steps
        assert np.isfinite(model.predict(rows.content).pred_probs).all(), n_steps


def test_one_epoch_of_four_batches_trains(tmp_path: Path) -> None:
    assert np.isfinite(fitted(tmp_path, bar_rows(70), epochs=1).predict(bar_rows(9).content).pred_probs).all()


@pytest.mark.parametrize("shape", [(8, 1), (28, 1), (1, 28), (3, 200), (2, 2), (1, 1)])
def test_narrow_pictures_give_equal_and_finite_digits(tmp_path: Path, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    rows = rows_of(Images(rng.integers(0, 256, (64, *shape), dtype=np.uint8)), rng.integers(0, 2, 64))
    found = []
    for n in (1, 2):
        # Memory that was used before is not 0: what reads it unwritten gives other digits.
        used = [torch.full((size,), float(n)) for size in (2**8, 2**12, 2**16, 2**20) for _ in range(4)]
        del used
        found.append(fitted(tmp_path, rows, precision="auto").predict(rows.content).pred_probs)
    assert np.isfinite(found[0]).all()
    assert np.array_equal(*found)


def test_bfloat16_of_narrow_pictures_on_a_cpu_is_refused(tmp_path: Path) -> None:
    rows = rows_of(Images(np.zeros((16, 8, 1), dtype=np.uint8)), np.arange(16) % 2)
    with pytest.raises(TrainingError, match=r"8 x 1.*auto or 32-true"):
        fitted(tmp_path, rows, precision="bf16-mixed")


def test_precision_auto_is_one_that_the_device_has() -> None:
    assert choose_precision("auto", "cpu") in ("bf16-mixed", "32-true")
    assert choose_precision("64-true", "cpu") == "64-true"


def test_margins_are_the_mean_over_epochs_and_cost_no_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against a slow recording of the logits of every step."""
    seen: list[tuple[Any, Any]] = []
    observe = torch_model.Training.observe

    def record(self: Any, batch: Any, logits: Any) -> None:
        seen.append((batch.rows.tolist(), logits.detach().numpy().copy()))
        observe(self, batch, logits)

    rows = bar_rows(40)
    with monkeypatch.context() as patch:
        patch.setattr(torch_model.Training, "observe", record)
        model = build(tmp_path, rows.content)
        signals = model.fit(rows, None)
    margins: dict[int, list[float]] = {}
    for places, logits in seen:
        for place, row in zip(places, logits, strict=True):
            label = rows.label[place]
            margins.setdefault(place, []).append(row[label] - row[1 - label])
    assert signals is not None
    assert signals.mean_margin.dtype == np.float32
    for place in range(40):
        expected = np.mean(margins[place]) if place in margins else np.nan
        np.testing.assert_allclose(signals.mean_margin[place], expected, rtol=1e-5, atol=1e-5)
    with monkeypatch.context() as patch:
        patch.setattr(torch_model.Training, "observe", lambda *_: None)
        silent = build(tmp_path, rows.content)
        assert silent.fit(rows, None) is None
    assert weights(silent) == weights(model)


def test_wrong_labels_have_lower_margins(tmp_path: Path) -> None:
    rows = bar_rows(400)
    wrong = np.arange(400) % 20 == 0
    label = np.where(wrong, 1 - rows.label, rows.label)
    signals = build(tmp_path, rows.content, epochs=6).fit(replace(rows, label=label), None)
    assert signals is not None
    assert signals.mean_margin[wrong].mean() < 0 < signals.mean_margin[~wrong].mean()


@pytest.mark.usefixtures("plain")
def test_the_learning_curve_has_a_row_an_epoch(log_of_plain: Path) -> None:
    for name in ("train/loss", "train/accuracy", "validation/loss", "validation/accuracy"):
        with (log_of_plain / "log" / "plots" / "metrics" / f"{name}.tsv").open() as file:
            curve = list(csv.DictReader(file, delimiter="\t"))
        assert [int(row["step"]) for row in curve] == [1, 2, 3]


RESNET = """
from tasks.sections import Section

TAKES = ("image",)
USES_TORCH = True


class Options(Section):
    max_lr: float = 0.05


def build(facts, options, run):
    from tasks.training.torch_model import TorchModel

    return TorchModel("resnet18", facts, options, _recipe(options), run)


def restore(facts, options, arrays):
    from tasks.training.torch_model import restore_model

    return restore_model("resnet18", facts, options, _recipe(options), arrays)


def _recipe(options):
    import torch
    import torchvision

    from tasks.training.loop import Recipe
    from tasks.training.networks import one_cycle

    def network(shape):
        layers = torchvision.models.resnet18(weights=None)
        layers.fc = torch.nn.Identity()
        return layers

    def optimizers(network, head, n_steps):
        weights = [*network.parameters(), *head.parameters()]
        sgd = torch.optim.SGD(weights, lr=options.max_lr, momentum=0.9)
        return [(sgd, one_cycle(sgd, options.max_lr, n_steps))]

    return Recipe(network, optimizers)
"""


@pytest.fixture
def resnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A plain ResNet with SGD alone, as a file that someone adds."""
    path = tmp_path / "resnet18.py"
    path.write_text(RESNET)
    spec = importlib.util.spec_from_file_location("tasks.models.resnet18", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(sys.modules, "tasks.models.resnet18", module)
    names = plugins.names
    monkeypatch.setattr(plugins, "names", lambda kind: (*names(kind), *(["resnet18"] * (kind == "models"))))
    return module


@pytest.mark.parametrize("precision", ["32-true", "auto"])
def test_a_residual_network_with_one_optimiser_is_a_file(
    tmp_path: Path, resnet: ModuleType, precision: str
) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (32, 32, 32, 3), dtype=np.uint8)
    rows = rows_of(Images(images), rng.integers(0, 2, 32))
    model: Any = build(tmp_path, rows.content, name="resnet18", epochs=1, precision=precision)
    signals = model.fit(rows, rows.take(slice(0, 4)))
    assert signals is not None
    assert not np.isnan(signals.mean_margin).any()
    found = model.predict(rows.content)
    assert found.embedding.shape == (32, 512)
    np.testing.assert_allclose(found.pred_probs.sum(axis=1), 1, atol=1e-5)
    model.save(tmp_path / "a.ckpt")
    loaded, _ = load_model(tmp_path / "a.ckpt")
    np.testing.assert_array_equal(loaded.predict(rows.content).pred_probs, found.pred_probs)


def with_recipe(tmp_path: Path, rows: Rows, **changes: Any) -> TorchModel:
    """The convnet with some parts of its recipe changed, fitted."""
    options = convnet.Options()
    recipe = replace(convnet._recipe(options), **changes)
    model = TorchModel("convnet", facts_of(rows.content), options, recipe, run_of(tmp_path))
    model.fit(rows, rows.take(slice(0, 16)))
    return model


def test_statistics_of_a_pretrained_network_take_the_place_of_the_rows(tmp_path: Path) -> None:
    fixed = np.array([7], dtype=np.float32), np.array([5], dtype=np.float32)
    model: Any = with_recipe(tmp_path, bar_rows(64), statistics=fixed)
    assert model._classifier.mean.item() == 7
    assert model._classifier.deviation.item() == 5


class UnfreezeLater(pl.Callback):
    """The layers before the head learn from the second epoch on."""

    def __init__(self) -> None:
        self.changed: list[bool] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        pl_module.classifier.network.requires_grad_(trainer.current_epoch > 0)
        self.before = pl_module.classifier.network[0].weight.detach().clone()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.changed.append(not torch.equal(self.before, pl_module.classifier.network[0].weight))


def test_layers_are_unfrozen_by_a_callback(tmp_path: Path) -> None:
    callback = UnfreezeLater()
    rows = bar_rows(160)
    assert accuracy(with_recipe(tmp_path, rows, callbacks=lambda: [callback]), rows) > 0.9
    assert callback.changed == [False, True, True]


def test_weights_are_averaged_by_a_callback(tmp_path: Path, plain: Any) -> None:
    rows = bar_rows(160)
    averaged = with_recipe(tmp_path, rows, callbacks=lambda: [EMAWeightAveraging(decay=0.8)])
    assert accuracy(averaged, rows) > 0.9
    assert weights(averaged) != weights(plain)


@pytest.fixture
def objective(monkeypatch: pytest.MonkeyPatch) -> Callable[[ModuleType], None]:
    """Adds an objective of the name `trial`."""

    def add(module: ModuleType) -> None:
        monkeypatch.setitem(sys.modules, "tasks.objectives.trial", module)
        names = plugins.names
        monkeypatch.setattr(
            plugins, "names", lambda kind: (*names(kind), *(["trial"] * (kind == "objectives")))
        )

    return add


def test_an_objective_gets_unlabelled_content(
    tmp_path: Path, objective: Callable[[ModuleType], None]
) -> None:
    module, given = ModuleType("trial"), []

    def batches(n_labeled: int, n_unlabeled: int, batch_size: int, options: Any, generator: Any) -> Any:
        from tasks.training.batches import Places, shuffled

        for rows in shuffled(n_labeled, batch_size, generator):
            yield Places(rows, torch.randint(n_unlabeled, (2 * batch_size,), generator=generator).tolist())

    def loss(network: Any, batch: Any, options: Any, generator: Any) -> Any:
        given.append((batch.unlabeled.shape, batch.unlabeled_rows.tolist(), batch.unlabeled.numpy().copy()))
        logits = network(torch.cat([batch.content, batch.unlabeled]))
        unsure = logits[len(batch.content) :].softmax(dim=1)
        return (
            network.row_losses(logits[: len(batch.content)], batch.soft_label).mean() - unsure.square().mean()
        )

    module.batches, module.loss = batches, loss  # type: ignore[attr-defined]
    objective(module)
    rows, others = bar_rows(64), bar_rows(300, seed=9).content
    model = build(tmp_path, rows.content, objective="trial")
    assert model.fit(rows, None, others) is None, "what is not observed gives no signals"
    assert {shape for shape, _, _ in given} == {(32, 1, 8, 8)}
    assert len(given) == 3 * 4
    for _, places, content in given:
        np.testing.assert_array_equal(content[:, 0], others.held[places])


def test_an_objective_needs_a_model_that_trains_in_batches(tmp_path: Path) -> None:
    rows = bar_rows(4)
    with pytest.raises(ParamsError, match=r"nearest_mean.*mixup"):
        build(tmp_path, rows.content, name="nearest_mean", objective="mixup")
    options = plugins.read_options("models", "convnet", None)
    build_model("convnet", facts_of(rows.content), options, run_of(tmp_path, objective="mixup"))


@pytest.mark.parametrize(
    ("n_rows", "min_steps", "n_steps"), [(32, 0, 6), (32, 30, 30), (32, 31, 36), (8, 30, 30)]
)
def test_few_rows_are_passed_over_until_there_are_steps_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_rows: int, min_steps: int, n_steps: int
) -> None:
    steps = []
    step = Training.training_step
    monkeypatch.setattr(
        Training, "training_step", lambda self, *batch: (steps.append(1), step(self, *batch))[1]
    )
    model = build(tmp_path, bar_rows(n_rows).content, epochs=3, min_steps=min_steps)
    signals = model.fit(bar_rows(n_rows), None)
    assert len(steps) == n_steps
    assert signals is not None
    assert np.isfinite(signals.mean_margin).all()
    curve = tmp_path / "log" / "plots" / "metrics" / "train" / "loss.tsv"
    assert len(curve.read_text().splitlines()) == 1 + 3, "an epoch is still one point of the curve"
