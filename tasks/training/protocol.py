"""How stages call a model: NumPy in, NumPy out. Nothing here imports torch.

A file in `tasks/models` is a model. It defines
    TAKES       the kinds of content that it can learn from: `image`, `text`, `features`
    USES_TORCH  whether `fit` or `predict` import torch, as `extract` may in any case; the flow then
                starts a process that has torch loaded
    Options     its own section of params.yaml (`models.NAME`)
    build(facts, options, run) -> Model
    restore(facts, options, arrays) -> Model    what `save` wrote, ready to predict
    OBJECTIVES  the objectives that can train it, where these are not all
and may define `extract(content, accelerator) -> (N, D) float32`: frozen features that the stage `features`
computes once for all rows. TAKES is then what `extract` takes, and the model learns from vectors of numbers.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tasks import DatasetError, ParamsError, TrainingError, plugins
from tasks.contents import Content, Features, Images
from tasks.sections import Section
from tasks.tables.facts import DatasetFacts

Arrays = dict[str, npt.NDArray[Any]]
"""What a model has learned, by name."""


@dataclass(frozen=True)
class Rows:
    """N rows to learn from.

    Attributes:
        content: the rows themselves.
        label: (N,) int64 class indices.
        weight: (N,) float32 weight of each row in the loss, above 0; class weights are such weights.
        soft_label: (N, K) float32 target probabilities; None where all labels are hard.
    """

    content: Content
    label: npt.NDArray[np.int64]
    weight: npt.NDArray[np.float32]
    soft_label: npt.NDArray[np.float32] | None = None

    def take(self, rows: npt.NDArray[np.intp] | slice) -> "Rows":
        """The rows at these positions."""
        return Rows(
            self.content.take(rows),
            self.label[rows],
            self.weight[rows],
            None if self.soft_label is None else self.soft_label[rows],
        )

    def targets(self, n_classes: int) -> npt.NDArray[np.float32]:
        """(N, K) float32 target probabilities, one-hot where labels are hard."""
        if self.soft_label is not None:
            return self.soft_label
        return np.asarray(np.eye(n_classes, dtype=np.float32)[self.label])


@dataclass(frozen=True)
class Predictions:
    """What a model says of N rows: `pred_probs` (N, K) and `embedding` (N, D), both float32.

    `is_learned`: the model found the embedding by learning from labels. Else it is the content itself, or
    frozen features of it.
    """

    pred_probs: npt.NDArray[np.float32]
    embedding: npt.NDArray[np.float32]
    is_learned: bool = False


@dataclass(frozen=True)
class Signals:
    """What training showed of each of the N rows that a model learned from.

    `mean_margin` (N,) float32 is the mean over epochs of the logit of the row's label less the largest
    other logit (the area under the margin; Pleiss et al., "Identifying Mislabeled Data using the Area Under
    the Margin Ranking", NeurIPS 2020, equation 1).
    """

    mean_margin: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Loss:
    """The loss of one labelled row, whatever the objective: generalised cross-entropy with label smoothing.

    `gce_q` in [0, 1] is its q (0: cross-entropy, 1: absolute error); `label_smoothing` in [0, 1).
    """

    gce_q: float
    label_smoothing: float


@dataclass(frozen=True)
class Run:
    """How one training runs.

    Attributes:
        seed: of the initial weights, the order of the rows, and changes of them. Equal seeds, rows, options
            and
            `threads` give bitwise equal models on one machine's CPU.
        threads: CPU threads.
        accelerator: `auto`, `cpu`, `gpu` or `mps`.
        precision: as Lightning names it, or `auto`.
        epochs: passes over the rows.
        batch_size: rows of an optimiser step.
        loss: of a labelled row.
        objective: the name of the plug-in in `tasks/objectives` that makes batches and losses.
        objective_options: its options.
        log_dir: where learning curves go (`tasks.training.curves`), for models that have epochs.
        title: of the progress bar.
        min_steps: optimiser steps at least; an epoch is as many passes over the rows as that takes.
    """

    seed: int
    threads: int
    accelerator: str
    precision: str
    epochs: int
    batch_size: int
    loss: Loss
    objective: str
    objective_options: Section
    log_dir: Path
    title: str
    min_steps: int = 0


class Model(Protocol):
    """A classifier."""

    def fit(self, rows: Rows, held_out: Rows | None, unlabeled: Content | None = None) -> Signals | None:
        """Learn from `rows`; `held_out` rows draw a learning curve and choose nothing.

        Raises:
            TrainingError: the rows do not suffice, or the loss is not finite.
        """

    def predict(self, content: Content) -> Predictions:
        """Probabilities and embeddings of the rows, in their order."""

    def save(self, path: Path) -> None:
        """Write a checkpoint that `checkpoints.load_model` reads."""


def build_model(name: str, facts: DatasetFacts, options: Section, run: Run) -> Model:
    """The model of the file `tasks/models/NAME.py`, ready to be fitted.

    Raises:
        ParamsError: it does not take the content of the data set, or cannot be trained by the objective.
    """
    module = plugins.load("models", name)
    takes = ("features",) if hasattr(module, "extract") else module.TAKES
    if facts.content not in takes:
        fitting = [other for other in plugins.names("models") if facts.content in _takes(other)]
        raise ParamsError(
            f"train_fold.model: {name} takes {' or '.join(module.TAKES)}, and the data set {facts.dataset} "
            f"has {facts.content}. Choose one of {', '.join(fitting) or '(none)'}."
        )
    trained_by = getattr(module, "OBJECTIVES", None)
    if trained_by is not None and run.objective not in trained_by:
        raise ParamsError(
            f"train_fold.objective: expected {' or '.join(trained_by)}, by which the model {name} can be "
            f"trained, found {run.objective}. Choose that, or another model."
        )
    model: Model = module.build(facts, options, run)
    return model


def _takes(name: str) -> tuple[str, ...]:
    return tuple(plugins.load("models", name).TAKES)


def check_content(content: Content, facts: DatasetFacts) -> Images | Features:
    """`content`, if its rows are numbers of the shape that a model was built for.

    Raises:
        DatasetError: they are not.
    """
    if isinstance(content, Images | Features) and content.kind == facts.content:
        shape = content.held.shape[1:]
        if shape == facts.shape:
            return content
        found = f"{content.kind} of shape {shape}"
    else:
        found = content.kind
    raise DatasetError(
        f"The model was built for {facts.content} of shape {facts.shape}, found {found}. Give it content "
        "prepared as that of its training."
    )


def check_taught(rows: Rows, facts: DatasetFacts) -> Images | Features:
    """The content of rows to learn from, if a model that was built for `facts` can.

    Raises:
        TrainingError: there are fewer than two.
        DatasetError: see `check_content`.
    """
    if len(rows.content) < 2:
        raise TrainingError(f"Training needs at least 2 rows, found {len(rows.content)}.")
    return check_content(rows.content, facts)


def check_pictures(shape: tuple[int, ...], model: str, least_side: int) -> None:
    """Refuse rows that are no pictures, grey or in colour, or too small ones.

    Raises:
        DatasetError: their shape is not (H, W), (H, W, 1) or (H, W, 3) of at least `least_side`.
    """
    height, width, *channels = shape
    if min(height, width) < least_side or channels not in ([], [1], [3]):
        raise DatasetError(
            f"The model `{model}` takes pictures of at least {least_side} x {least_side} pixels, grey or "
            f"of 3 channels, found rows of shape {shape}. Convert them, or choose another model."
        )
