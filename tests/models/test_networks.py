"""The pieces of the networks, each against a slow or standard counterpart."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tasks.models.networks import NETWORKS, MatrixConv2d, generalized_cross_entropy, shift_images
from torch import nn


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
    ("name", "shape"), [("convnet", (1, 28, 28)), ("convnet", (3, 9, 13)), ("mlp", (17,))]
)
def test_network_gives_the_features_that_it_announces(name: str, shape: tuple[int, ...]) -> None:
    network = NETWORKS[name](shape)
    features = network(torch.randn(5, *shape))
    assert features.shape[1] == network.embedding_dim
    assert features.flatten(1).shape == (5, network.n_features)


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
