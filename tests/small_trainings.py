"""Trainings of a second, shared by the tests of models, objectives and the training loop."""

import io
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks import plugins
from tasks.contents import Content, Features, Images, Texts
from tasks.tables.facts import DatasetFacts
from tasks.training.protocol import Loss, Model, Rows, Run, build_model

# Of a second in the tests of all models; those with millions of weights have tests of their own.
_LARGE = ("resnet18", "resnet34", "efficientnet_lite0_tuned")
SMALL_MODELS = [name for name in plugins.names("models") if name not in _LARGE]


def bars(n: int, seed: int = 0, channels: int = 0) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Images of one bright row (class 0) or one bright column (class 1): learned in a few steps."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    images = rng.integers(0, 40, (n, 8, 8), dtype=np.uint8)
    for image, label, place in zip(images, labels, rng.integers(2, 6, n), strict=True):
        (image if label == 0 else image.T)[place] = 255
    return (np.stack([images] * channels, axis=-1) if channels else images), labels


def clusters(
    n: int, n_classes: int = 3, n_features: int = 5, seed: int = 0
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Vectors around a centre of each class, which overlap a little; features of unlike size."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, n_classes, n)
    centres = np.random.default_rng(7).normal(size=(n_classes, n_features)) * 3
    values = (centres[labels] + rng.normal(size=(n, n_features))) * np.logspace(-2, 2, n_features)
    return values.astype(np.float32), labels


def rows_of(content: Content, labels: npt.NDArray[np.int64]) -> Rows:
    """Rows with hard labels and equal weights."""
    return Rows(content, labels, np.ones(len(labels), dtype=np.float32))


def bar_rows(n: int, seed: int = 0, channels: int = 0) -> Rows:
    images, labels = bars(n, seed, channels)
    return rows_of(Images(images), labels)


def cluster_rows(n: int, n_classes: int = 3, seed: int = 0) -> Rows:
    values, labels = clusters(n, n_classes, seed=seed)
    return rows_of(Features(values), labels)


def word_rows(n: int, seed: int = 0) -> Rows:
    """Texts of which some words tell the class, and most do not."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    telling = np.array([["sun", "beach", "swim"], ["snow", "ski", "frost"]])[labels]
    others = rng.choice(["we", "went", "there", "today", "again", "Zürich", "2 days"], (n, 4))
    words = np.column_stack([others[:, :2], telling[np.arange(n), rng.integers(0, 3, n)], others[:, 2:]])
    return rows_of(Texts([" ".join(row) for row in words]), labels)


def rows_for(model: str, n: int, seed: int = 0) -> Rows:
    """Rows of two classes that a model of this name takes."""
    module = plugins.load("models", model)
    takes = ("features",) if hasattr(module, "extract") else module.TAKES
    if "image" in takes:
        return bar_rows(n, seed)
    return word_rows(n, seed) if "text" in takes else cluster_rows(n, n_classes=2, seed=seed)


@cache
def lite_weights(*_: Any) -> bytes:
    """A file of weights like that of EfficientNet-Lite0: random arrays in the network's order."""
    import torch

    from tasks.training.networks import timm_layers

    torch.manual_seed(0)
    arrays = timm_layers("tf_efficientnet_lite0", None).state_dict()
    arrays |= {"_fc.weight": torch.zeros(1000, 1280), "_fc.bias": torch.zeros(1000)}
    file = io.BytesIO()
    torch.save({f"_{number}": value for number, value in enumerate(arrays.values())}, file)
    return file.getvalue()


def facts_of(content: Content, n_classes: int = 2) -> DatasetFacts:
    names = tuple(f"class {k}" for k in range(n_classes))
    return DatasetFacts("small", names, content.kind, np.shape(content.held)[1:])


def run_of(folder: Path, objective_options: dict[str, Any] | None = None, **changes: Any) -> Run:
    settings: dict[str, Any] = {
        "seed": 1,
        "threads": 1,
        "accelerator": "cpu",
        "precision": "32-true",
        "epochs": 3,
        "batch_size": 16,
        "loss": Loss(gce_q=0.5, label_smoothing=0.0),
        "objective": "supervised",
        "log_dir": folder / "log",
        "title": "test",
    } | changes
    options = plugins.read_options("objectives", settings["objective"], objective_options)
    return Run(**settings, objective_options=options)


def build(
    folder: Path,
    content: Content,
    name: str = "convnet",
    n_classes: int = 2,
    options: dict[str, Any] | None = None,
    objective_options: dict[str, Any] | None = None,
    **changes: Any,
) -> Model:
    """A model for rows like `content`; `changes` are values of `Run`."""
    chosen = plugins.read_options("models", name, options)
    return build_model(
        name, facts_of(content, n_classes), chosen, run_of(folder, objective_options, **changes)
    )


def fitted(folder: Path, rows: Rows | None = None, **settings: Any) -> Model:
    """A model that learned from `rows`, or from 160 bars; `settings` as `build` takes them."""
    rows = bar_rows(160) if rows is None else rows
    model = build(folder, rows.content, **settings)
    model.fit(rows, rows.take(slice(0, 16)))
    return model


def one_pass(model: Any, content: Images) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """(N, K) logits and (N, D) embeddings of the pictures as they are, by the classifier of a torch model."""
    import torch

    from tasks.training.tensors import to_tensor

    with torch.no_grad():
        features = model._classifier.eval().features(to_tensor(content))
        logits = model._classifier.head(features.flatten(1))
    return logits.numpy(), (features.flatten(2).mean(dim=2) if features.ndim > 2 else features).numpy()


def accuracy(model: Model, rows: Rows) -> float:
    return float(np.mean(model.predict(rows.content).pred_probs.argmax(axis=1) == rows.label))
