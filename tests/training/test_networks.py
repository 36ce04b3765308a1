"""The pieces of the networks, each against a slow or standard counterpart."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tasks.training.networks import (
    MatrixConv2d,
    describe_features,
    generalized_cross_entropy,
    muon_and_sgd,
    one_cycle,
    shift_at_random,
    shift_images,
    shifted_views,
)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 3), st.integers(1, 6), st.integers(1, 3), st.integers(0, 2**31))
def test_shift_images_equals_a_loop_over_images(reach: int, n: int, channels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    images = rng.integers(1, 256, (n, channels, 5, 7), dtype=np.uint8)
    down, right = rng.integers(-reach, reach + 1, (2, n))
    moved = shift_images(torch.from_numpy(images), torch.from_numpy(down), torch.from_numpy(right), reach)
    for i in range(n):
        expected = np.zeros_like(images[i])
        for row in range(5):
            for column in range(7):
                if 0 <= row - down[i] < 5 and 0 <= column - right[i] < 7:
                    expected[:, row, column] = images[i][:, row - down[i], column - right[i]]
        np.testing.assert_array_equal(moved[i].numpy(), expected)


def test_matrix_convolution_equals_the_standard_one() -> None:
    torch.manual_seed(0)
    ours = MatrixConv2d(3, 8, size=5, stride=2)
    standard = nn.Conv2d(3, 8, 5, stride=2, padding=2, bias=False)
    standard.weight.data = ours.weight.data.view(8, 3, 5, 5)
    images = torch.randn(4, 3, 9, 9)
    torch.testing.assert_close(ours(images), standard(images))


@pytest.mark.parametrize(
    ("layer", "shape", "narrow"),
    [
        (MatrixConv2d(16, 8, size=3, stride=2), (16, 8, 1), True),
        (MatrixConv2d(16, 8, size=3, stride=2), (16, 2, 2), False),
        (nn.Conv2d(4, 8, 5, padding=2), (4, 1, 20), True),
        (nn.Conv2d(4, 8, 3, stride=3, padding=1), (4, 20, 2), True),
        (nn.Conv2d(4, 8, 3, padding=1), (4, 3, 3), False),
    ],
)
def test_features_are_counted_and_narrow_maps_noticed(
    layer: nn.Module, shape: tuple[int, ...], narrow: bool
) -> None:
    network = nn.Sequential(layer, nn.BatchNorm2d(8))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert describe_features(network, shape) == (layer(torch.zeros(1, *shape)).numel(), narrow)
    assert network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


@pytest.mark.parametrize("n_steps", [1, 2, 3, 4, 5, 8, 100])
def test_one_cycle_rises_to_its_peak_and_falls(n_steps: int) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule, rates = one_cycle(optimizer, 0.5, n_steps), []
    for _ in range(n_steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    peak = int(np.argmax(rates))
    assert all(0 < rate <= 0.5 for rate in rates)
    assert rates == sorted(rates[:peak]) + sorted(rates[peak:], reverse=True)
    if n_steps >= 8:
        assert peak <= n_steps // 4 + 1
        assert rates[peak] > 0.9 * 0.5
        assert rates[-1] < 0.001 * 0.5


def test_muon_takes_hidden_matrices_and_sgd_the_rest() -> None:
    network, head = nn.Sequential(MatrixConv2d(1, 2, 3, 1), nn.BatchNorm2d(2)), nn.Linear(2, 3)
    (muon, _), (sgd, _) = muon_and_sgd(network, head, 0.1, 0.2, 0.0, 10)
    assert [weight.shape for weight in muon.param_groups[0]["params"]] == [(2, 9)]
    assert len(sgd.param_groups[0]["params"]) == 4


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 3), st.integers(0, 2**31))
def test_views_and_random_shifts_are_shifts(reach: int, seed: int) -> None:
    images = torch.from_numpy(np.random.default_rng(seed).integers(1, 256, (9, 2, 6, 5), dtype=np.uint8))
    views = list(shifted_views(images, reach))
    assert len(views) == 8
    assert torch.equal(views[0][:, :, :-reach, :-reach], images[:, :, reach:, reach:])
    assert torch.equal(views[-1][:, :, reach:, reach:], images[:, :, :-reach, :-reach])
    generator = torch.Generator().manual_seed(seed)
    moved = shift_at_random(images, generator, reach)
    moves = torch.randint(-reach, reach + 1, (2, 9), generator=torch.Generator().manual_seed(seed))
    assert torch.equal(moved, shift_images(images, moves[0], moves[1], reach))


def test_generalized_cross_entropy_at_zero_is_cross_entropy() -> None:
    logits, soft = torch.randn(6, 4), torch.softmax(torch.randn(6, 4), dim=1)
    torch.testing.assert_close(
        generalized_cross_entropy(logits, soft, 0.0),
        nn.functional.cross_entropy(logits, soft, reduction="none"),
    )


@pytest.mark.parametrize("q", [0.3, 0.5, 1.0])
def test_generalized_cross_entropy_follows_its_equation(q: float) -> None:
    logits = torch.randn(6, 4)
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    own = logits.softmax(dim=1)[torch.arange(6), labels]
    loss = generalized_cross_entropy(logits, torch.eye(4)[labels], q)
    torch.testing.assert_close(loss, (1 - own**q) / q)


def test_generalized_cross_entropy_nears_cross_entropy_as_q_falls() -> None:
    logits, soft = torch.randn(6, 4), torch.eye(4)[torch.tensor([0, 1, 2, 3, 0, 1])]
    near = generalized_cross_entropy(logits.double(), soft.double(), 1e-4)
    torch.testing.assert_close(
        near, generalized_cross_entropy(logits, soft, 0.0).double(), rtol=1e-3, atol=1e-3
    )


def test_generalized_cross_entropy_has_finite_gradients_at_probability_zero() -> None:
    logits = torch.tensor([[200.0, -200.0]], requires_grad=True)
    generalized_cross_entropy(logits, torch.tensor([[0.0, 1.0]]), 0.5).sum().backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 2**31))
def test_generalized_cross_entropy_is_linear_in_the_label(q: float, share: float, seed: int) -> None:
    """Mixup stands on it."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(6, 4, generator=generator).double()
    first, second = torch.rand(2, 6, 4, generator=generator).double()
    mixed = generalized_cross_entropy(logits, share * first + (1 - share) * second, q)
    parts = [generalized_cross_entropy(logits, label, q) for label in (first, second)]
    torch.testing.assert_close(mixed, share * parts[0] + (1 - share) * parts[1], rtol=1e-4, atol=1e-5)
