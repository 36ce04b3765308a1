"""Frozen features of a pretrained network: with random weights, so that no test needs the network's file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from small_trainings import cluster_rows, fitted, lite_weights

from tasks import DatasetError, TrainingError
from tasks.contents import Content, Features, Images, Texts
from tasks.models import efficientnet_lite0 as lite
from tasks.models import efficientnet_lite0_tuned as tuned
from tasks.models.efficientnet_lite0 import extract
from tasks.training.networks import timm_layers


@pytest.fixture
def with_weights(monkeypatch) -> Iterator[None]:
    monkeypatch.setattr(lite, "read_weights", lite_weights)
    lite._frozen_network.cache_clear()
    yield
    lite._frozen_network.cache_clear()


def pictures(*shape: int) -> Images:
    return Images(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))


@pytest.mark.usefixtures("with_weights")
@pytest.mark.parametrize("shape", [(70, 8, 8), (3, 160, 160, 3), (2, 30, 20, 1), (2, 24, 300, 3)])
def test_each_picture_has_features_that_are_its_own_and_come_again_to_the_bit(shape: tuple[int, ...]) -> None:
    content = pictures(*shape)
    found = extract(content, "cpu")
    assert found.shape == (shape[0], 1280)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    assert np.array_equal(found, extract(content, "cpu"))
    alone = extract(content.take(np.array([1])), "cpu")[0]
    scale = np.abs(found).max()
    np.testing.assert_allclose(alone, found[1], atol=0.02 * scale)
    assert np.abs(found[0] - found[1]).max() > 0.02 * scale


@pytest.mark.usefixtures("with_weights")
def test_the_picture_is_normalised_as_the_weights_expect_and_pooled(monkeypatch) -> None:
    content = pictures(2, 160, 160, 3)
    network, _, kind = lite._frozen_network("cpu")
    images = torch.from_numpy(content.values()).permute(0, 3, 1, 2).float()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=kind == torch.bfloat16):
        expected = network((images - 127) / 128).float().mean(dim=(2, 3))
    found = extract(content, "cpu")
    np.testing.assert_allclose(found, expected.numpy(), atol=0.02 * float(expected.abs().max()))


def test_batch_norms_are_in_the_weights_and_change_no_feature() -> None:
    network: Any = timm_layers("tf_efficientnet_lite0", None).eval().requires_grad_(requires_grad=False)
    draw = torch.Generator().manual_seed(0)
    norms = [layer for layer in network.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.running_mean.normal_(0, 0.1, generator=draw)
        norm.running_var.uniform_(0.5, 2, generator=draw)
    images = torch.randn(2, 3, 64, 64, generator=draw)
    before = network(images)
    lite._fold_norms(network)
    assert len(norms) == 49
    assert not any(isinstance(layer, torch.nn.BatchNorm2d) for layer in network.modules())
    torch.testing.assert_close(network(images), before, rtol=1e-3, atol=1e-4 * float(before.abs().max()))


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (Texts(["a"]), "found text"),
        (Features(np.zeros((1, 3), dtype=np.float32)), "found features"),
        (pictures(2, 7, 30), r"at least 8 x 8 pixels.*found rows of shape \(7, 30\)"),
        (pictures(2, 30, 30, 4), r"3 channels, found rows of shape \(30, 30, 4\)"),
        (pictures(2, 3, 30, 30), r"found rows of shape \(3, 30, 30\)"),
    ],
)
def test_what_is_no_picture_for_it_is_refused_before_anything_is_fetched(
    content: Content, found: str
) -> None:
    with pytest.raises(DatasetError, match=found):
        extract(content, "cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_an_accelerator_that_is_not_there_is_refused() -> None:
    with pytest.raises(TrainingError, match="accelerator gpu, found none"):
        extract(pictures(1, 8, 8), "gpu")


def test_the_head_is_logistic_regression_on_the_features_as_they_are(tmp_path: Path) -> None:
    rows = cluster_rows(90)
    rows.content.held[:] /= 100
    model = fitted(tmp_path, rows, name="efficientnet_lite0", n_classes=3, options={"C": 45})
    found = model.predict(rows.content)
    theirs = LogisticRegression(C=0.5, max_iter=1000, tol=1e-8).fit(rows.content.held, rows.label)
    np.testing.assert_allclose(found.pred_probs, theirs.predict_proba(rows.content.held), atol=2e-3)
    np.testing.assert_array_equal(found.embedding, rows.content.held)


def test_the_network_that_is_trained_on_starts_at_the_same_weights() -> None:
    for name in ("_WEIGHTS", "_ARCHITECTURE", "_MEAN", "_DEVIATION", "_SIDE", "_LEAST_SIDE"):
        assert getattr(lite, name) == getattr(tuned, name)
