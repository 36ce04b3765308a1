"""The supervised objective: its batches and its loss."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from tasks.objectives import mixup, supervised
from tasks.training.batches import Batch, draw_batches
from tasks.training.networks import generalized_cross_entropy


@given(st.integers(2, 200), st.integers(2, 60), st.integers(0, 2**31))
def test_an_epoch_shows_each_row_once_in_batches_of_one_size(n: int, batch_size: int, seed: int) -> None:
    def draw() -> list[list[int]]:
        generator = torch.Generator().manual_seed(seed)
        drawn = draw_batches(supervised, n, 9, batch_size, None, generator)
        return [list(places.labeled) for places in drawn]

    found, size = draw(), min(batch_size, n)
    assert found == draw()
    assert [len(batch) for batch in found] == [size] * (n // size)
    rows = [row for batch in found for row in batch]
    assert len(set(rows)) == len(rows)
    assert set(rows) <= set(range(n))
    generator = torch.Generator().manual_seed(seed)
    mixed = draw_batches(mixup, n, 9, batch_size, mixup.Options(), generator)
    assert [list(places.labeled) for places in mixed] == found


class Fixed:
    """A network that gives the logits it was made with."""

    def __init__(self, logits: torch.Tensor) -> None:
        self.logits = logits
        self.changed = self.observed = False

    def __call__(self, content: torch.Tensor) -> torch.Tensor:
        assert torch.equal(content, torch.ones(4, 1))
        return self.logits

    def change(self, content: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return content + 1

    def row_losses(self, logits: torch.Tensor, soft_label: torch.Tensor) -> torch.Tensor:
        return generalized_cross_entropy(logits, soft_label, 0.0)

    def observe(self, batch: Batch, logits: torch.Tensor) -> None:
        self.observed = logits is self.logits


def test_the_loss_is_the_weighted_mean_over_changed_rows() -> None:
    """With class weights as row weights it is that of `torch.nn.CrossEntropyLoss(weight=...)`."""
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(size=(4, 3)).astype(np.float32))
    label, class_weights = torch.tensor([0, 2, 1, 2]), torch.tensor([0.5, 1.0, 3.0])
    batch = Batch(
        content=torch.zeros(4, 1),
        label=label,
        soft_label=torch.eye(3)[label],
        weight=class_weights[label],
        rows=torch.arange(4),
        unlabeled=None,
        unlabeled_rows=torch.arange(0),
    )
    network = Fixed(logits)
    found = supervised.loss(network, batch, supervised.Options(), torch.Generator())
    expected = torch.nn.CrossEntropyLoss(weight=class_weights)(logits, label)
    torch.testing.assert_close(found, expected)
    assert network.observed
