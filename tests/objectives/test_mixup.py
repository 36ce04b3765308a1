"""Mixup, against its equation, and in training."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_trainings import accuracy, bar_rows, fitted

from tasks import plugins
from tasks.objectives import mixup
from tasks.training.batches import Batch
from tasks.training.networks import generalized_cross_entropy


class Linear:
    """A network as objectives see it, which keeps what it was asked."""

    def __init__(self, weights: torch.Tensor) -> None:
        self.weights, self.seen, self.observed = weights, [], []

    def __call__(self, content: torch.Tensor) -> torch.Tensor:
        self.seen.append(content)
        return content.flatten(1).to(self.weights.dtype) @ self.weights

    def change(self, content: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return content + 1

    def row_losses(self, logits: torch.Tensor, soft_label: torch.Tensor) -> torch.Tensor:
        return generalized_cross_entropy(logits, soft_label, 0.5)

    def observe(self, batch: Batch, logits: torch.Tensor) -> None:
        self.observed.append(logits)


def batch_of(n: int, seed: int) -> Batch:
    rng = np.random.default_rng(seed)
    return Batch(
        content=torch.from_numpy(rng.integers(0, 255, (n, 1, 2, 3), dtype=np.uint8)),
        label=torch.arange(n) % 3,
        soft_label=torch.from_numpy(rng.dirichlet(np.ones(3), n)),
        weight=torch.from_numpy(rng.uniform(0.1, 2, n)),
        rows=torch.arange(n),
        unlabeled=None,
        unlabeled_rows=torch.arange(0),
    )


@given(st.integers(2, 9), st.floats(0.05, 5), st.integers(0, 2**31))
def test_the_loss_is_that_of_mixed_rows_with_mixed_labels(n: int, alpha: float, seed: int) -> None:
    batch, weights = batch_of(n, seed), torch.randn(6, 3, generator=torch.Generator().manual_seed(seed)) / 100
    network = Linear(weights)
    found: Any = mixup.loss(network, batch, mixup.Options(alpha=alpha), torch.Generator().manual_seed(seed))
    (mixed,) = network.seen
    content = batch.content.float() + 1
    # What was drawn is read off the mixed content: each row's partner and the one share.
    draw = torch.Generator().manual_seed(seed)
    share = np.random.default_rng(int(torch.randint(2**63 - 1, (), generator=draw))).beta(alpha, alpha)
    share = max(share, 1 - share)
    partner = torch.randperm(n, generator=draw)
    torch.testing.assert_close(mixed, share * content + (1 - share) * content[partner])
    logits, total = mixed.flatten(1) @ weights, 0.0
    for i in range(n):
        j = int(partner[i])
        for row, part in ((i, share), (j, 1 - share)):
            own = generalized_cross_entropy(logits[i : i + 1], batch.soft_label[row : row + 1], 0.5)
            total += float(part * batch.weight[row] * own)
    assert float(found) == pytest.approx(total / float(batch.weight.sum()), rel=1e-4)
    assert torch.equal(network.observed[0], logits)
    assert 0.5 <= share <= 1


def test_shares_are_drawn_from_the_beta_distribution() -> None:
    generator, shares = torch.Generator().manual_seed(0), []
    batch = batch_of(2, 0)._replace(content=torch.tensor([[0.0], [1.0]]))
    for _ in range(2000):
        network = Linear(torch.zeros(1, 3))
        mixup.loss(network, batch, mixup.Options(alpha=0.4), generator)  # type: ignore[arg-type]
        mixed = float((network.seen[0] - 1)[0])
        if mixed > 0:  # else the row was its own partner
            shares.append(1 - mixed)
    draws = np.random.default_rng(1).beta(0.4, 0.4, 100_000)
    draws = np.maximum(draws, 1 - draws)
    assert len(shares) > 800
    for quantile in (0.1, 0.5, 0.9):
        assert np.quantile(shares, quantile) == pytest.approx(np.quantile(draws, quantile), abs=0.04)


def test_it_trains_repeatably_and_otherwise_than_supervised_training(tmp_path: Path) -> None:
    rows, others = bar_rows(320), bar_rows(200, seed=5)
    settings: dict[str, Any] = {"objective": "mixup", "objective_options": {"alpha": 1.0}, "epochs": 5}
    model, again = fitted(tmp_path, rows, **settings), fitted(tmp_path, rows, **settings)
    assert accuracy(model, others) > 0.9
    probs = model.predict(others.content).pred_probs
    assert np.array_equal(probs, again.predict(others.content).pred_probs)
    supervised = fitted(tmp_path, rows, epochs=5)
    surest = supervised.predict(others.content).pred_probs.max(axis=1).mean()
    assert probs.max(axis=1).mean() < surest, "a network that saw mixed labels is less sure"


@pytest.mark.parametrize("alpha", [0, -1, "much"])
def test_an_alpha_that_is_none_is_refused(alpha: Any) -> None:
    with pytest.raises(ValueError, match="alpha"):
        plugins.read_options("objectives", "mixup", {"alpha": alpha})
