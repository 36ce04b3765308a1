"""The training of a torch model by Lightning: one classifier, its training steps, its prediction.

Importing this module imports torch and Lightning (about 5 seconds).
"""

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from tasks import TrainingError
from tasks.sections import Section
from tasks.training.batches import Batch, Objective
from tasks.training.lightning import pl
from tasks.training.networks import describe_features, generalized_cross_entropy
from tasks.training.protocol import Run
from tasks.training.replay import Replay, Step
from tasks.training.tensors import BatchReader, Positions

# How much of a batch norm's statistics a batch that is taught leaves.
_NORM_DECAY = 0.9


@dataclass(frozen=True)
class Recipe:
    """What the file of a torch model gives: all that is its own.

    Attributes:
        network: makes the layers before the linear head, for rows of a shape ((C, H, W) or (d,)). They map a
            normalised batch to feature maps (N, D, ...) or vectors (N, D).
        optimizers: of the network and of its head, for a number of steps; each optimiser with its schedule,
            which steps once an optimiser step. Together they have every parameter that is to be trained.
        change: changes raw training content at random; None leaves it.
        views: other views of raw content over which predictions are averaged; None predicts one view.
        statistics: mean and deviation, (C,) or (d,), that the network was made for; None takes those of the
            training rows. Pixels are 0 to 255.
        callbacks: makes Lightning callbacks, e.g. for gradual unfreezing or averaged weights.
        replayable: every step does the same work, and on a GPU the optimisers read their learning rates from
            tensors there. Then a GPU replays the step, and Lightning sees many optimiser steps as one.
    """

    network: Callable[[tuple[int, ...]], nn.Module]
    optimizers: Callable[..., Sequence[tuple[Optimizer, LRScheduler]]]
    change: Callable[[Tensor, torch.Generator], Tensor] | None = None
    views: Callable[[Tensor], Iterable[Tensor]] | None = None
    statistics: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]] | None = None
    callbacks: Callable[[], Sequence[pl.Callback]] = tuple
    replayable: bool = False


@dataclass(frozen=True)
class Course:
    """The rows that a training goes through.

    Attributes:
        n_rows: labelled rows.
        n_unlabeled: rows without a label.
        n_steps: optimiser steps.
        read: gives the batch of some positions.
        read_held_out: likewise of held-out rows; None where no curve is drawn.
        generator: of changes of rows; of the GPU, if that trains, else of the CPU.
        replay: makes a step that a GPU replays; None: each step is run as it is.
    """

    n_rows: int
    n_unlabeled: int
    n_steps: int
    read: BatchReader
    read_held_out: BatchReader | None
    generator: torch.Generator
    replay: Replay | None


class Classifier(nn.Module):
    """A network with a linear head; it takes raw content and normalises it on the device."""

    def __init__(self, recipe: Recipe, shape: tuple[int, ...], n_classes: int) -> None:
        super().__init__()
        self.network = recipe.network(shape)
        n_features, self.has_narrow_maps = describe_features(self.network, shape)
        self.head = nn.Linear(n_features, n_classes)
        self.mean: Tensor
        self.deviation: Tensor
        of_each = (shape[0], *(1 for _ in shape[1:]))
        self.register_buffer("mean", torch.zeros(of_each))
        self.register_buffer("deviation", torch.ones(of_each))

    def features(self, content: Tensor) -> Tensor:
        """(N, D, ...) feature maps of raw content."""
        # In place, for large pictures: neither the copy nor the difference is of use again.
        normalised = content.to(self.mean.dtype, copy=True).sub_(self.mean).div_(self.deviation)
        features: Tensor = self.network(normalised)
        return features

    def forward(self, content: Tensor) -> Tensor:
        """(N, K) logits of raw content."""
        logits: Tensor = self.head(self.features(content).flatten(1))
        return logits


class Training(pl.LightningModule):
    """Trains a classifier by an objective; it is the objective's `Network`."""

    def __init__(
        self,
        classifier: Classifier,
        recipe: Recipe,
        objective: Objective,
        run: Run,
        course: Course,
        learning_rates: str,
    ) -> None:
        super().__init__()
        # There may be several optimisers: Lightning steps only one by itself.
        self.automatic_optimization = False
        self.classifier = classifier
        self.recipe, self.run = recipe, run
        # The function, not the module: callbacks that average weights copy all that is here.
        self._loss = objective.loss
        decay = getattr(objective, "average_decay", lambda _: 0.0)(run.objective_options)
        self.averaged = Average(classifier, decay) if decay else None
        self.n_unlabeled = course.n_unlabeled
        smoothing = run.loss.label_smoothing
        self.label_prob = 1 - smoothing + smoothing / classifier.head.out_features
        self.memory: dict[str, Tensor] = {}
        self._read, self._read_held_out = course.read, course.read_held_out
        self._n_steps, self._n_done = course.n_steps, 0
        self._learning_rates = learning_rates
        self._changes, self._replay = course.generator, course.replay
        self._step: Step | None = None
        self._margin: Tensor | None = None
        # No buffers: callbacks that average weights average buffers too.
        self._margins = torch.zeros(course.n_rows)
        self._times_seen = torch.zeros(course.n_rows)
        # Of an epoch: the loss, over all labelled rows, and how many; right ones, and how many were observed.
        self._sums = torch.zeros(4)

    def forward(self, content: Tensor) -> Tensor:
        """(N, K) logits of raw content."""
        logits: Tensor = self.classifier(content)
        return logits

    @property
    def progress(self) -> float:
        """See `tasks.training.batches.Network`."""
        return self._n_done / self._n_steps

    @property
    def predictor(self) -> Classifier:
        """The classifier that predicts: the averaged one, if any."""
        return self.classifier if self.averaged is None else self.averaged.classifier

    @torch.no_grad()
    def teach(self, content: Tensor) -> Tensor:
        """See `tasks.training.batches.Network`."""
        if self.averaged is not None:
            return self.averaged.teach(content, self.classifier)
        # One by one: layers that are frozen stay as they are.
        in_training = [layer for layer in self.classifier.modules() if layer.training]
        self.classifier.eval()
        logits: Tensor = self.classifier(content)
        for layer in in_training:
            layer.training = True
        return logits

    def change(self, content: Tensor, generator: torch.Generator) -> Tensor:
        """See `tasks.training.batches.Network`."""
        return content if self.recipe.change is None else self.recipe.change(content, generator)

    def row_losses(self, logits: Tensor, soft_label: Tensor) -> Tensor:
        """See `tasks.training.batches.Network`."""
        smoothing = self.run.loss.label_smoothing
        target = soft_label * (1 - smoothing) + smoothing / soft_label.shape[1]
        return generalized_cross_entropy(logits, target, self.run.loss.gce_q)

    def observe(self, batch: Batch, logits: Tensor) -> None:
        """See `tasks.training.batches.Network`."""
        logits = logits.detach().float()
        own = logits.gather(1, batch.label[:, None])[:, 0]
        is_own = torch.arange(logits.shape[1], device=logits.device) == batch.label[:, None]
        self._margin = own - logits.masked_fill(is_own, -torch.inf).amax(dim=1)
        self._sums[2] += (logits.argmax(dim=1) == batch.label).float().sum()
        self._sums[3] += len(logits)

    def mean_margins(self) -> npt.NDArray[np.float32] | None:
        """(N,) the mean margin of each row, NaN for one in no batch; None if nothing was observed."""
        if not self._times_seen.any():
            return None
        return (self._margins / self._times_seen).cpu().numpy()

    def on_fit_start(self) -> None:
        self._margins = self._margins.to(self.device)
        self._times_seen = self._times_seen.to(self.device)
        self._sums = self._sums.to(self.device)

    def training_step(self, steps: list[Positions], batch_idx: int) -> None:
        if self._step is None:
            self._step = self._learn if self._replay is None else self._replay(self._learn, self._changes)
        schedules, margins = _as_list(self.lr_schedulers()), []
        for positions in steps:
            # Autocast keeps the weights that it has converted, and the step before has changed them.
            torch.clear_autocast_cache()
            margins.append(self._step(*positions))
            for schedule in schedules:
                schedule.step()
            self._n_done += 1
        torch.clear_autocast_cache()
        if self._margin is not None:
            rows, margin = torch.cat([positions.labeled for positions in steps]), torch.cat(margins)
            self._margins.index_add_(0, rows, margin)
            self._times_seen.index_add_(0, rows, torch.ones_like(margin))
        # Logged once an epoch: Lightning's `log` at every batch takes a twentieth of the training time.
        if self.trainer.is_last_batch:
            loss, n_shown, n_right, n_observed = self._sums.clone()
            self._log("train/loss", loss / n_shown)
            if n_observed:
                self._log("train/accuracy", n_right / n_observed)
            self._log("step", float(self.current_epoch + 1))
            self._sums.zero_()

    def _learn(self, labeled: Tensor, unlabeled: Tensor) -> Tensor:
        """One optimiser step on the rows of these positions; (B,) the margins of the labelled rows."""
        batch = self._read(Positions(labeled, unlabeled))
        loss = self._loss(self, batch, self.run.objective_options, self._changes)
        # A replay can have nothing between the step and the optimisers.
        optimizers = _as_list(self.optimizers(use_pl_optimizer=self._replay is None))
        for optimizer in optimizers:
            optimizer.zero_grad()
        self.manual_backward(loss)
        for optimizer in optimizers:
            optimizer.step()
        if self.averaged is not None:
            self.averaged.update(self.classifier)
        self._sums[0] += loss.detach() * len(labeled)
        self._sums[1] += len(labeled)
        return loss.new_zeros(0) if self._margin is None else self._margin

    def validation_step(self, positions: Positions, batch_idx: int) -> None:
        assert self._read_held_out is not None  # noqa: S101
        batch = self._read_held_out(positions)
        logits = self.predictor(batch.content)
        losses = generalized_cross_entropy(logits, batch.soft_label, self.run.loss.gce_q)
        correct = logits.argmax(dim=1) == batch.label
        self._log("validation/loss", losses.mean(), len(logits))
        self._log("validation/accuracy", correct.float().mean(), len(logits))
        self._log("step", float(self.current_epoch + 1))

    def on_train_epoch_end(self) -> None:
        loss = self.trainer.callback_metrics["train/loss"]
        if not torch.isfinite(loss):
            raise TrainingError(
                f"The training loss became {loss.item()} in epoch {self.current_epoch + 1} of "
                f"{self.run.epochs}. Lower {self._learning_rates}, or raise train_fold.precision "
                f"({self.run.precision})."
            )

    def configure_optimizers(self) -> tuple[list[Optimizer], list[LRScheduler]]:
        pairs = self.recipe.optimizers(self.classifier.network, self.classifier.head, n_steps=self._n_steps)
        return [optimizer for optimizer, _ in pairs], [schedule for _, schedule in pairs]

    def _log(self, name: str, value: Tensor | float, n_rows: int = 1) -> None:
        # Lightning takes a logged `step` as the x of every logged value: epochs, not batches.
        self.log(name, value, on_step=False, on_epoch=True, batch_size=n_rows)


class Prediction(pl.LightningModule):
    """Probabilities and embeddings of raw content."""

    def __init__(self, classifier: Classifier, recipe: Recipe) -> None:
        super().__init__()
        self.classifier, self.recipe = classifier, recipe

    def predict_step(self, content: Tensor, batch_idx: int) -> tuple[Tensor, Tensor]:
        features = self.classifier.features(content)
        # The mean over places keeps the embedding small: one value a channel.
        embedding = features.flatten(2).mean(dim=2) if features.ndim > 2 else features
        probs = self.classifier.head(features.flatten(1)).float().softmax(dim=1)
        if self.recipe.views is not None:
            n_views = 1
            for view in self.recipe.views(content):
                probs = probs + self.classifier(view).float().softmax(dim=1)
                n_views += 1
            probs = probs / n_views
        return probs, embedding.float()


class Average(nn.Module):
    """The running mean of the weights and of the batch norms' statistics of a classifier in training.

    At first it forgets faster, so that it does not remember the random start (Tarvainen and Valpola, "Mean
    teachers are better role models", NeurIPS 2017, section 3.4). It counts on the device: a GPU that replays
    a step does not wait for a number.

    Once it teaches, its batch norms follow the rows that it is shown: the classifier's own statistics are
    of rows changed strongly, by which those that are hardly changed would be normalised wrongly.
    """

    def __init__(self, classifier: Classifier, decay: float) -> None:
        super().__init__()
        self.classifier = copy.deepcopy(classifier).requires_grad_(requires_grad=False)
        self.decay = decay
        self.n_averaged: Tensor
        self.register_buffer("n_averaged", torch.zeros(()))
        self._has_taught = False

    def teach(self, content: Tensor, classifier: Classifier) -> Tensor:
        """(N, K) logits of raw content, for the `classifier` in training; norms frozen there are so here."""
        self._has_taught = True
        forgets = self._forgets(_NORM_DECAY)
        layers = zip(self.classifier.eval().modules(), classifier.modules(), strict=True)
        hooks = [
            own.register_forward_pre_hook(partial(_follow, forgets=forgets))
            for own, other in layers
            if isinstance(own, _BatchNorm) and other.training
        ]
        logits: Tensor = self.classifier(content)
        for hook in hooks:
            hook.remove()
        return logits

    @torch.no_grad()
    def update(self, classifier: Classifier) -> None:
        """Take in the weights after a step."""
        forgets = self._forgets(self.decay)
        self.n_averaged += 1
        own, others = (
            [*each.parameters(), *(() if self._has_taught else each.buffers())]
            for each in (self.classifier, classifier)
        )
        for mean, value in zip(own, others, strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, forgets.to(mean.dtype))

    def _forgets(self, decay: float) -> Tensor:
        """() the share of a mean that a new value takes."""
        return 1 - ((1 + self.n_averaged) / (10 + self.n_averaged)).clamp(max=decay)


def _follow(norm: _BatchNorm, inputs: tuple[Tensor], forgets: Tensor) -> None:
    """Take the statistics of a batch (N, C, ...) into those of a norm, before it normalises by them."""
    batch = inputs[0].float()
    variance, mean = torch.var_mean(batch, dim=[axis for axis in range(batch.ndim) if axis != 1])
    for held, new in ((norm.running_mean, mean), (norm.running_var, variance)):
        assert held is not None  # noqa: S101
        held.lerp_(new.to(held.dtype), forgets.to(held.dtype))


def learning_rates_of(model: str, options: Section) -> str:
    """The learning rates among a model's options, as a person finds them in params.yaml."""
    rates = [f"models.{model}.{name} ({value:g})" for name, value in options if name.endswith("lr")]
    return " and ".join(rates) or f"the learning rate of models.{model}"


def _as_list(found: Any) -> list[Any]:
    # Lightning gives a single one as itself.
    return found if isinstance(found, list) else [found]
