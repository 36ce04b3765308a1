"""Gradual unfreezing: which layers move in which epoch, and how fast. With random weights, on small maps."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import softmax
from small_trainings import bar_rows, build, facts_of, fitted, lite_weights, one_pass

from tasks import DatasetError, plugins
from tasks.contents import Images
from tasks.models import efficientnet_lite0_tuned as tuned
from tasks.training.checkpoints import load_model

NAME = "efficientnet_lite0_tuned"


@pytest.fixture(autouse=True)
def small(monkeypatch) -> None:
    monkeypatch.setattr(tuned, "read_weights", lite_weights)
    monkeypatch.setattr(tuned, "_SIDE", 32)


def moved_after(folder: Path, epochs: int, **options: Any) -> list[bool]:
    """Of each group, whether a weight or a statistic moved."""
    model: Any = fitted(folder, bar_rows(8), name=NAME, epochs=epochs, batch_size=8, options=options)
    torch.manual_seed(0)
    start = tuned._network((1, 8, 8), pretrained=True)
    groups = zip(tuned._groups(start), tuned._groups(model._classifier.network), strict=True)
    return [
        any(
            not torch.equal(before, after)
            for old, new in zip(*pair, strict=True)
            for before, after in zip(old.state_dict().values(), new.state_dict().values(), strict=True)
        )
        for pair in groups
    ]


def test_one_group_more_moves_each_epoch_from_the_last_layers_on(tmp_path: Path) -> None:
    assert moved_after(tmp_path, 1) == [False] * 4
    assert moved_after(tmp_path, 3) == [True, True, False, False]
    assert moved_after(tmp_path, 3, epochs_per_group=2) == [True, False, False, False]


def test_every_weight_is_in_one_group_and_learns_more_slowly_the_deeper_it_is(tmp_path: Path) -> None:
    model: Any = build(tmp_path, bar_rows(4).content, name=NAME, options={"max_lr": 0.01, "lr_decay": 2})
    network = model._recipe.network((1, 8, 8))
    grouped = [weight for group in tuned._groups(network) for layer in group for weight in layer.parameters()]
    assert len(grouped) == len({id(weight) for weight in grouped}) == len(list(network.parameters()))
    head = torch.nn.Linear(1280, 2)
    ((optimizer, _),) = model._recipe.optimizers(network, head, n_steps=10)
    rate = {id(weight): each["max_lr"] for each in optimizer.param_groups for weight in each["params"]}
    layers = network.network.network[0]
    found = [rate[id(layer.weight)] for layer in (head, layers.conv_head, layers.conv_stem)]
    assert found == pytest.approx([0.01, 0.005, 0.01 / 2**4])
    assert len(rate) == len(grouped) + 2


def test_a_checkpoint_needs_no_published_weights(tmp_path: Path, monkeypatch) -> None:
    rows = bar_rows(8, channels=3)
    model = fitted(tmp_path, rows, name=NAME, epochs=2, batch_size=8)
    model.save(tmp_path / "a.ckpt")

    def asked(*_: Any) -> bytes:
        raise AssertionError("the weights were asked for")

    monkeypatch.setattr(tuned, "read_weights", asked)
    found, again = model.predict(rows.content), load_model(tmp_path / "a.ckpt")[0].predict(rows.content)
    np.testing.assert_array_equal(again.pred_probs, found.pred_probs)
    assert found.embedding.shape == (8, 1280)
    # It is of the pictures; the probabilities are of them and of their mirror images.
    mirrored = Images(np.ascontiguousarray(rows.content.held[:, :, ::-1]))
    (here, embedding), (there, _) = (one_pass(model, each) for each in (rows.content, mirrored))
    both = (softmax(here, axis=1) + softmax(there, axis=1)) / 2
    np.testing.assert_allclose(found.pred_probs, both, atol=1e-5)
    np.testing.assert_allclose(found.embedding, embedding, atol=1e-4)


def test_pictures_that_it_cannot_take_are_refused(tmp_path: Path) -> None:
    facts = facts_of(Images(np.zeros((2, 7, 9), dtype=np.uint8)))
    with pytest.raises(DatasetError, match=r"efficientnet_lite0_tuned.*found rows of shape \(7, 9\)"):
        tuned.build(facts, plugins.read_options("models", NAME, None), None)  # type: ignore[arg-type]
