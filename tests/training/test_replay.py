"""What a GPU does with a training, held on a CPU: many steps at once, rows as tensors, one recorded step.

A CPU has no graphs. Instead of the recording, each step is run on tensors that stay in their places, and all
operations are noted: what a GPU records once must be the same in each step, and must not wait for a number.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_trainings import accuracy, bar_rows, build, cluster_rows, facts_of, fitted
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tasks.objectives import supervised
from tasks.training import networks, tensors, torch_model
from tasks.training.muon import BatchedMuon, orthogonalize
from tasks.training.protocol import Model, Rows
from tasks.training.tensors import Positions

# With deterministic algorithms, CUDA asks for the largest position before it writes by positions.
WAITING = ("_local_scalar_dense", "nonzero", "index_add", "index_put", "scatter", "bincount")


class Noted(TorchDispatchMode):
    """Notes the operations that run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


Steps = list[list[str]]


@pytest.fixture
def as_on_gpu(monkeypatch: pytest.MonkeyPatch) -> Steps:
    """Trainings take the way of a GPU; the operations of each replayed step."""
    steps: Steps = []

    def replay(step: Callable[..., Tensor], generator: torch.Generator) -> Callable[..., Tensor]:
        places: list[Tensor] = []
        n_calls = 0

        def call(*inputs: Tensor) -> Tensor:
            nonlocal n_calls
            n_calls += 1
            if n_calls <= 3:
                return step(*inputs)
            if not places:
                places.extend(each.clone() for each in inputs)
            for place, value in zip(places, inputs, strict=True):
                place.copy_(value)
            with Noted() as noted:
                result = step(*places)
            steps.append(noted.names)
            return result.clone()

        return call

    monkeypatch.setattr(networks, "is_on_gpu", lambda layer: True)
    monkeypatch.setattr(tensors, "has_room", lambda content, device: True)
    monkeypatch.setattr(torch_model, "_steps_at_once", lambda recipe, device: 7 if recipe.replayable else 1)
    monkeypatch.setattr(torch_model, "replay_on_cuda", replay)
    monkeypatch.setattr(
        torch_model.TorchModel,
        "_can_be_replayed",
        lambda self, objective, device: self._recipe.replayable and getattr(objective, "REPLAYABLE", False),
    )
    return steps


def weights(model: Any) -> dict[str, Any]:
    return {name: value.numpy() for name, value in model._classifier.state_dict().items()}


def trained(folder: Path, rows: Rows, **settings: Any) -> tuple[Model, Any]:
    model = build(folder, rows.content, **settings)
    signals = model.fit(rows, rows.take(slice(0, 16)))
    return model, signals


@pytest.mark.parametrize(("name", "precision"), [("convnet", "bf16-mixed"), ("mlp", "32-true")])
def test_every_replayed_step_does_the_same_work_and_waits_for_nothing(
    tmp_path: Path, as_on_gpu: Steps, name: str, precision: str
) -> None:
    rows = bar_rows(160) if name == "convnet" else cluster_rows(160, n_classes=2)
    fitted(tmp_path, rows, name=name, precision=precision)
    assert len(as_on_gpu) == 3 * 10 - 3
    assert all(step == as_on_gpu[0] for step in as_on_gpu)
    assert not [name for name in as_on_gpu[0] if any(waiting in name for waiting in WAITING)]


def test_averaged_weights_and_running_means_are_replayed_too(tmp_path: Path, as_on_gpu: Steps) -> None:
    rows, options = bar_rows(16), {"ratio": 2, "decay": 0.9, "elastic": 1.0}
    model = build(tmp_path, rows.content, objective="fixmatch", objective_options=options)
    model.fit(rows, None, bar_rows(160, seed=5).content)
    assert len(as_on_gpu) == 3 * 10 - 3
    assert all(step == as_on_gpu[0] for step in as_on_gpu)
    assert not [name for name in as_on_gpu[0] if any(waiting in name for waiting in WAITING)]


def test_the_way_of_a_gpu_learns_the_same_to_rounding(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    rows = bar_rows(320)
    settings: dict[str, Any] = {"batch_size": 320, "epochs": 6}
    usual, usual_signals = trained(tmp_path, rows, **settings)
    steps = request.getfixturevalue("as_on_gpu")
    (model, signals), (again, _) = (trained(tmp_path, rows, **settings) for _ in range(2))
    assert len(steps) == 2 * 3, "the steps were replayed"
    np.testing.assert_allclose(signals.mean_margin, usual_signals.mean_margin, atol=0.05)
    for name, value in weights(model).items():
        np.testing.assert_array_equal(value, weights(again)[name])
        np.testing.assert_allclose(value, weights(usual)[name], atol=0.05, err_msg=name)
    assert accuracy(fitted(tmp_path, rows), bar_rows(300, seed=3)) > 0.95


@pytest.mark.parametrize(
    ("objective", "precision"),
    [("supervised", "32-true"), ("mixup", "bf16-mixed"), ("fixmatch", "bf16-mixed")],
)
def test_how_many_steps_are_taken_at_once_changes_no_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, objective: str, precision: str
) -> None:
    """Under autocast too, which keeps the weights that it has converted."""
    rows, others = bar_rows(160), bar_rows(160, seed=5).content
    found = []
    for n_steps, with_room in ((1, False), (4, True)):
        monkeypatch.setattr(torch_model, "_steps_at_once", lambda *_, n=n_steps: n)
        monkeypatch.setattr(tensors, "has_room", lambda *_, has=with_room: has)
        model = build(tmp_path, rows.content, objective=objective, precision=precision)
        signals = model.fit(rows, rows.take(slice(0, 16)), others)
        curve = (tmp_path / "log" / "plots" / "metrics" / "train" / "loss.tsv").read_text()
        losses = [line.split("\t")[-1] for line in curve.splitlines()]
        assert signals is not None
        found.append((weights(model), signals.mean_margin, losses))
    for state, margins, losses in found[1:]:
        assert all(np.array_equal(value, found[0][0][name]) for name, value in state.items())
        np.testing.assert_array_equal(margins, found[0][1])
        assert losses == found[0][2]


def test_batched_muon_is_muon_to_rounding() -> None:
    torch.manual_seed(0)
    shapes = [(16, 25), (32, 144), (5, 5), (40, 7)]
    ours, theirs = ([torch.nn.Parameter(torch.ones(shape) / 9) for shape in shapes] for _ in range(2))
    first = BatchedMuon(ours, lr=torch.tensor(0.1), momentum=0.9, weight_decay=0.0)  # type: ignore[arg-type]
    second = torch.optim.Muon(theirs, lr=0.1, momentum=0.9, weight_decay=0.0)
    for _ in range(5):
        for own, other in zip(ours, theirs, strict=True):
            own.grad = torch.randn(own.shape)
            other.grad = own.grad.clone()
        first.step()
        second.step()
    for own, other in zip(ours, theirs, strict=True):
        moved = (other - 1 / 9).norm()
        assert (own - other).norm() < 0.02 * moved


def test_orthogonalized_matrices_have_singular_values_near_one() -> None:
    matrices = [torch.randn(12, 30), torch.randn(50, 8)]
    for found in orthogonalize(matrices, (3.4445, -4.7750, 2.0315), 5, 1e-7):
        values = torch.linalg.svdvals(found)
        assert float(values.min()) > 0.6
        assert float(values.max()) < 1.3


def test_rows_on_a_device_are_the_rows_that_a_cpu_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = bar_rows(50, channels=3)
    soft = np.random.default_rng(0).dirichlet(np.ones(2), 50).astype(np.float32)
    positions = Positions(torch.tensor([3, 3, 49, 0]), torch.tensor([7, 1]))
    for chosen in (rows, replace(rows, soft_label=soft)):
        read = []
        for with_room in (False, True):
            monkeypatch.setattr(tensors, "has_room", lambda *_, has=with_room: has)
            reader = tensors.read_batches(chosen, rows.content, facts_of(rows.content), torch.device("cpu"))
            read.append(reader(positions))
        for usual, held in zip(*read, strict=True):
            assert torch.equal(usual, held)
        assert read[0].content.shape == (4, 3, 8, 8)
        expected = (
            np.eye(2)[chosen.label[[3, 3, 49, 0]]] if chosen.soft_label is None else soft[[3, 3, 49, 0]]
        )
        np.testing.assert_array_equal(read[0].soft_label, expected.astype(np.float32))


def test_the_default_objective_may_be_replayed() -> None:
    assert supervised.REPLAYABLE


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_on_a_gpu_equal_seeds_give_equal_bits(tmp_path: Path) -> None:
    rows = bar_rows(640)
    first, _ = trained(tmp_path, rows, accelerator="gpu", precision="auto")
    again, _ = trained(tmp_path, rows, accelerator="gpu", precision="auto")
    assert all(np.array_equal(value, weights(again)[name]) for name, value in weights(first).items())
    assert accuracy(first, bar_rows(600, seed=3)) > 0.95


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_on_a_gpu_a_residual_network_is_replayed_too(tmp_path: Path) -> None:
    rows = bar_rows(320, channels=3)
    settings: dict[str, Any] = {"name": "resnet18", "accelerator": "gpu", "epochs": 8, "precision": "auto"}
    (first, _), (again, _) = (trained(tmp_path, rows, **settings) for _ in range(2))
    assert all(np.array_equal(value, weights(again)[name]) for name, value in weights(first).items())
    assert accuracy(first, bar_rows(300, seed=3, channels=3)) > 0.9


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_on_a_gpu_a_teacher_of_averaged_weights_is_replayed_too(tmp_path: Path) -> None:
    rows, others = bar_rows(40), bar_rows(1280, seed=5).content
    settings: dict[str, Any] = {"objective": "fixmatch", "accelerator": "gpu", "precision": "auto"}
    settings |= {"epochs": 4, "batch_size": 64, "objective_options": {"ratio": 4, "decay": 0.9}}
    models = [build(tmp_path, rows.content, **settings) for _ in range(2)]
    for model in models:
        model.fit(rows, None, others)
    first, again = map(weights, models)
    assert all(np.array_equal(value, again[name]) for name, value in first.items())
    assert accuracy(models[0], bar_rows(600, seed=3)) > 0.95
