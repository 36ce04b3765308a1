"""ResNets: stems for each size of picture, weights from a file, and one short training."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import softmax
from small_trainings import accuracy, bar_rows, build, fitted, one_pass

from tasks import DatasetError, plugins
from tasks.contents import Images
from tasks.training.checkpoints import load_model
from tasks.training.networks import adamw, shift_and_flip


def network(name: str, *shape: int) -> Any:
    return plugins.load("models", name)._network(shape, is_pretrained=False, state=None)


@pytest.mark.parametrize(
    ("shape", "side"),
    [((1, 28, 28), 4), ((3, 32, 32), 4), ((3, 64, 48), 4), ((3, 96, 96), 3), ((5, 9, 9), 2)],
)
def test_last_maps_are_a_few_pixels_wide_whatever_the_picture(shape: tuple[int, ...], side: int) -> None:
    model, seen = network("resnet18", *shape), []
    model.network.layer4.register_forward_hook(lambda _, __, maps: seen.append(maps.shape))
    with torch.no_grad():
        assert model.eval()(torch.zeros(2, *shape)).shape == (2, 512)
    assert seen[0][2] == side


def test_each_depth_is_that_of_its_name() -> None:
    counts = [
        sum(weight.numel() for weight in network(name, 3, 96, 96).parameters())
        for name in ("resnet18", "resnet34")
    ]
    assert counts == [11_176_512, 21_284_672]


def test_it_learns_and_its_checkpoint_predicts_the_same(tmp_path: Path) -> None:
    rows = bar_rows(64, channels=3)
    model = fitted(tmp_path, rows, name="resnet18", epochs=3, batch_size=16, options={"max_lr": 0.002})
    found = model.predict(rows.content)
    assert accuracy(model, rows) > 0.8
    assert found.embedding.shape == (64, 512)
    model.save(tmp_path / "a.ckpt")
    again = load_model(tmp_path / "a.ckpt")[0].predict(rows.content)
    np.testing.assert_array_equal(again.pred_probs, found.pred_probs)


def test_it_predicts_the_mean_of_the_probabilities_of_a_picture_and_its_mirror_image(tmp_path: Path) -> None:
    rows = bar_rows(24, channels=3)
    model = fitted(tmp_path, rows, name="resnet18", epochs=2, batch_size=8)
    mirrored = Images(np.ascontiguousarray(rows.content.held[:, :, ::-1]))
    (here, embedding), (there, of_mirrored) = (one_pass(model, each) for each in (rows.content, mirrored))
    both = (softmax(here, axis=1) + softmax(there, axis=1)) / 2
    # A mean of logits would give something else.
    assert np.abs(both - softmax((here + there) / 2, axis=1)).max() > 1e-3
    model.save(tmp_path / "a.ckpt")
    for each in (model, load_model(tmp_path / "a.ckpt")[0]):
        found = each.predict(rows.content)
        np.testing.assert_allclose(found.pred_probs, both, atol=1e-5)
        np.testing.assert_allclose(found.embedding, embedding, atol=1e-4)
        np.testing.assert_allclose(each.predict(mirrored).pred_probs, found.pred_probs, atol=1e-5)
    assert np.abs(embedding - of_mirrored).max() > 1e-2


def test_it_predicts_the_picture_alone_where_training_mirrors_none(tmp_path: Path) -> None:
    rows = bar_rows(8)
    model = fitted(tmp_path, rows, name="resnet18", epochs=1, batch_size=8, options={"flip": False})
    logits, _ = one_pass(model, rows.content)
    np.testing.assert_allclose(model.predict(rows.content).pred_probs, softmax(logits, axis=1), atol=1e-5)
    mirrored = Images(np.ascontiguousarray(rows.content.held[:, :, ::-1]))
    assert not np.array_equal(model.predict(mirrored).pred_probs, model.predict(rows.content).pred_probs)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of torchvision's weights."""
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.manual_seed(0)
    import torchvision

    torch.save(torchvision.models.resnet18().state_dict(), path)
    return path


@pytest.mark.parametrize("channels", [0, 3])
def test_training_starts_at_weights_of_a_file_and_their_checkpoint_needs_no_file(
    tmp_path: Path, weights: Path, channels: int
) -> None:
    copy = tmp_path / "copy.pth"
    copy.write_bytes(weights.read_bytes())
    rows = bar_rows(4, channels=channels)
    options = {"weights": str(copy), "max_lr": 1e-9, "weight_decay": 0.0}
    model: Any = fitted(tmp_path, rows, name="resnet18", epochs=1, batch_size=4, options=options)
    theirs = torch.load(weights, weights_only=True)
    ours = model._classifier.network.network.state_dict()
    torch.testing.assert_close(
        ours["layer4.1.conv2.weight"], theirs["layer4.1.conv2.weight"], atol=1e-6, rtol=0
    )
    assert model._classifier.mean.flatten().tolist() == pytest.approx(
        [123.675, 116.28, 103.53][: channels or 1]
    )
    model.save(tmp_path / "a.ckpt")
    copy.unlink()
    again = load_model(tmp_path / "a.ckpt")[0].predict(rows.content)
    np.testing.assert_array_equal(again.pred_probs, model.predict(rows.content).pred_probs)


def test_weights_that_cannot_be_had_are_told_with_what_to_do(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "text.pth").write_text("no weights")
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "other.pth")

    def no_network(*_: Any, **__: Any) -> Any:
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for given in ("imagenet", *(str(tmp_path / name) for name in ("text.pth", "other.pth", "none.pth"))):
        with pytest.raises(DatasetError, match=r"resnet18\.weights: expected .*Fetch https://.* by hand"):
            build(tmp_path, bar_rows(4).content, name="resnet18", options={"weights": given})


def test_a_file_of_weights_never_runs_code(tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "touched",)

    torch.save({"conv1.weight": Attack()}, tmp_path / "a.pth")
    with pytest.raises(DatasetError, match="expected weights"):
        build(tmp_path, bar_rows(4).content, name="resnet18", options={"weights": str(tmp_path / "a.pth")})
    assert not (tmp_path / "touched").exists()


def test_pretrained_weights_take_one_or_three_channels(tmp_path: Path, weights: Path) -> None:
    content = Images(np.zeros((4, 8, 8, 2), dtype=np.uint8))
    with pytest.raises(DatasetError, match="found 2 channels"):
        build(tmp_path, content, name="resnet18", options={"weights": str(weights)})


def test_mirroring_draws_half_of_the_pictures_and_moves_no_value() -> None:
    images = torch.arange(4000, dtype=torch.uint8).reshape(1000, 1, 2, 2)
    found = shift_and_flip(images, torch.Generator().manual_seed(0), 0, flip=True)
    mirrored = (found == images.flip(3)).flatten(1).all(dim=1)
    assert ((found == images).flatten(1).all(dim=1) | mirrored).all()
    assert 0.4 < mirrored.float().mean() < 0.6
    assert torch.equal(shift_and_flip(images, torch.Generator(), 0, flip=False), images)


def test_norms_and_biases_are_not_decayed() -> None:
    layers = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    ((optimizer, _),) = adamw(layers, torch.nn.Linear(4, 2), max_lr=0.1, weight_decay=0.3, n_steps=10)
    decays = {
        weight.shape: group["weight_decay"] for group in optimizer.param_groups for weight in group["params"]
    }
    assert decays == {(4, 3): 0.3, (2, 4): 0.3, (4,): 0.0, (2,): 0.0}
