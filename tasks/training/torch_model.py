"""A model trained by torch, as stages call it: NumPy in, NumPy out.

Importing this module imports torch and Lightning (about 5 seconds).
"""

import logging
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from tasks import TrainingError, plugins
from tasks.contents import Content, Features, Images
from tasks.sections import Section
from tasks.tables.facts import DatasetFacts
from tasks.training.batches import Objective, Places, draw_batches
from tasks.training.checkpoints import write_checkpoint
from tasks.training.curves import Curves
from tasks.training.devices import choose_precision, find_device, has_accelerator
from tasks.training.lightning import MisconfigurationException, pl
from tasks.training.loop import Classifier, Course, Prediction, Recipe, Training, learning_rates_of
from tasks.training.progress import EpochProgress
from tasks.training.protocol import Arrays, Predictions, Rows, Run, Signals, check_content, check_taught
from tasks.training.replay import replay_on_cuda
from tasks.training.statistics import moments, portions
from tasks.training.tensors import Positions, read_batches, to_tensor

# Prediction holds no gradients, so larger batches fit and cost less a row; of large pictures fewer come.
_PREDICT_ROWS = 1024
_PREDICT_BYTES = 2**22
# Few enough for a bar that moves and for a stop within seconds.
_GPU_STEPS = 25


class TorchModel:
    """A classifier that a `Recipe` describes; see `tasks.training.protocol.Model`."""

    def __init__(
        self, name: str, facts: DatasetFacts, options: Section, recipe: Recipe, run: Run | None = None
    ) -> None:
        self._name, self._facts, self._options, self._recipe, self._run = name, facts, options, recipe, run
        self._precision = "auto" if run is None else run.precision
        self._accelerator = "auto" if run is None else run.accelerator
        self._classifier: Classifier | None = None

    def fit(self, rows: Rows, held_out: Rows | None, unlabeled: Content | None = None) -> Signals | None:
        """See `Model`. Signals are those that the objective observes."""
        run = self._run
        if run is None:
            raise TrainingError("A model of a checkpoint predicts; build a new one to train it.")
        content = check_taught(rows, self._facts)
        torch.set_num_threads(run.threads)
        with _seeded(run.seed), _flushed_denormals(), _quiet():
            classifier = Classifier(self._recipe, _row_shape(self._facts), self._facts.n_classes)
            if classifier.has_narrow_maps:
                self._precision = self._precision_of_narrow_maps()
            mean, deviation = self._recipe.statistics or moments(content)
            classifier.mean.copy_(torch.from_numpy(mean).view_as(classifier.mean))
            classifier.deviation.copy_(torch.from_numpy(deviation).view_as(classifier.deviation))
            objective = plugins.load("objectives", run.objective)
            trainer = self._trainer(
                max_epochs=run.epochs,
                logger=Curves(run.log_dir),
                callbacks=[EpochProgress(run.title), *self._recipe.callbacks()],
                num_sanity_val_steps=0,
                log_every_n_steps=1,
            )
            device = find_device(self._accelerator)
            n_unlabeled = 0 if unlabeled is None else len(unlabeled)
            epochs = _Epochs(
                partial(
                    draw_batches, objective, len(content), n_unlabeled, run.batch_size, run.objective_options
                ),
                run.seed,
                least=-(-run.min_steps // run.epochs),
                at_once=_steps_at_once(self._recipe, device),
            )
            curve = held_out if held_out is not None and len(held_out.content) else None
            course = Course(
                n_rows=len(content),
                n_unlabeled=n_unlabeled,
                n_steps=run.epochs * epochs.n_batches,
                read=read_batches(rows, unlabeled, self._facts, device),
                read_held_out=None if curve is None else read_batches(curve, None, self._facts, device),
                generator=torch.Generator(device if device.type == "cuda" else "cpu").manual_seed(run.seed),
                replay=replay_on_cuda if self._can_be_replayed(objective, device) else None,
            )
            rates = learning_rates_of(self._name, self._options)
            training = Training(classifier, self._recipe, objective, run, course, rates)
            with _status_of_sigterm():
                trainer.fit(
                    training,
                    DataLoader(_Chosen(), sampler=epochs, batch_size=None),
                    None if curve is None else _in_order(curve, self._facts),
                )
        self._classifier = training.predictor
        margins = training.mean_margins()
        return None if margins is None else Signals(margins)

    def predict(self, content: Content) -> Predictions:
        """See `Model`."""
        content = check_content(content, self._facts)
        # Of no rows, too, the network says how long their embeddings are.
        chosen = list(portions(content, _PREDICT_BYTES, _PREDICT_ROWS)) or [slice(0, 0)]
        loader = DataLoader(_Content(content), sampler=chosen, batch_size=None)
        with _flushed_denormals(), _quiet():
            trainer = self._trainer(logger=False, enable_progress_bar=False)
            with _status_of_sigterm():
                batches = trainer.predict(Prediction(self._fitted(), self._recipe), loader)
        probs, embeddings = (torch.cat(parts).cpu().numpy() for parts in zip(*batches or [], strict=True))
        if not np.isfinite(probs).all():
            raise TrainingError(
                f"The model {self._name} gave probabilities that are no numbers. Raise train_fold.precision "
                f"({self._precision}), or lower {learning_rates_of(self._name, self._options)}."
            )
        return Predictions(probs.astype(np.float32), embeddings.astype(np.float32), is_learned=True)

    def save(self, path: Path) -> None:
        """See `Model`."""
        weights = {name: value.cpu().numpy() for name, value in self._fitted().state_dict().items()}
        # A checkpoint predicts as its training did; of the devices, only the CPU is everywhere.
        accelerator = "cpu" if self._accelerator == "cpu" else "auto"
        how = {"precision": np.array(self._precision), "accelerator": np.array(accelerator)}
        write_checkpoint(path, self._name, self._options, self._facts, weights | how)

    def restore(self, arrays: Arrays) -> None:
        """Take the weights that `save` wrote.

        Raises:
            ValueError: an array is missing, is one too many, or has another shape.
        """
        self._precision = str(arrays.get("precision", "auto"))
        self._accelerator = str(arrays.get("accelerator", "auto"))
        weights = {
            name: torch.tensor(array)
            for name, array in arrays.items()
            if name not in ("precision", "accelerator")
        }
        with _seeded(0):
            classifier = Classifier(self._recipe, _row_shape(self._facts), self._facts.n_classes)
        for name in ("mean", "deviation"):
            # The first edition has one value for all channels.
            weights[name] = weights[name].expand_as(getattr(classifier, name))
        try:
            classifier.to(weights["head.weight"].dtype).load_state_dict(weights)
        except (KeyError, RuntimeError, TypeError) as error:
            raise ValueError(str(error)) from error
        self._classifier = classifier.eval()

    def _fitted(self) -> Classifier:
        if self._classifier is None:
            raise TrainingError(f"The model {self._name} has learned nothing yet: fit it first.")
        return self._classifier

    def _can_be_replayed(self, objective: Objective, device: torch.device) -> bool:
        # With float16 it is a step itself whether the optimisers move.
        return (
            device.type == "cuda"
            and self._recipe.replayable
            and getattr(objective, "REPLAYABLE", False)
            and choose_precision(self._precision, self._accelerator) in ("bf16-mixed", "32-true", "64-true")
        )

    def _precision_of_narrow_maps(self) -> str:
        """The precision for maps of which bfloat16 on a CPU gives no right gradients."""
        on_cpu = self._accelerator == "cpu" or (self._accelerator == "auto" and not has_accelerator())
        if not on_cpu or choose_precision(self._precision, self._accelerator) not in (
            "bf16-mixed",
            "16-mixed",
        ):
            return self._precision
        if self._precision == "auto":
            return "32-true"
        raise TrainingError(
            f"train_fold.precision: {self._precision} gives no right gradients on a CPU for pictures of "
            f"{self._facts.shape[0]} x {self._facts.shape[1]}, which are too narrow for the convolutions of "
            f"{self._name}. Set it to auto or 32-true."
        )

    def _trainer(self, **settings: Any) -> pl.Trainer:
        try:
            return pl.Trainer(
                accelerator=self._accelerator,
                devices=1,
                precision=choose_precision(self._precision, self._accelerator),
                deterministic=True,
                enable_checkpointing=False,
                enable_model_summary=False,
                **settings,
            )
        except MisconfigurationException as error:
            raise TrainingError(
                f"Expected a device that can do train_fold.accelerator {self._accelerator} with "
                f"train_fold.precision {self._precision}, found none ({error}). Set both to auto."
            ) from error


def restore_model(
    name: str,
    facts: DatasetFacts,
    options: Section,
    recipe: Recipe,
    arrays: Arrays,
) -> TorchModel:
    """The model with the weights of a checkpoint, ready to predict.

    Raises:
        ValueError: see `TorchModel.restore`.
    """
    model = TorchModel(name, facts, options, recipe)
    model.restore(arrays)
    return model


def _row_shape(facts: DatasetFacts) -> tuple[int, ...]:
    """(C, H, W) of pictures, (d,) of features."""
    if facts.content != Images.kind:
        return facts.shape
    height, width, *channels = facts.shape
    return (*channels, height, width) if channels else (1, height, width)


class _Content(Dataset[Tensor]):
    """Content by whole batches."""

    def __init__(self, content: Images | Features) -> None:
        # All rows as positions, which `take` then need not count for each batch.
        self._content = content.take(slice(None))

    def __getitem__(self, rows: slice) -> Tensor:
        return to_tensor(self._content.take(rows))


class _Chosen(Dataset[Any]):
    """Positions of rows as tensors, which Lightning sends to the device; a batch is read there."""

    def __getitem__(self, places: Places | list[Places]) -> Any:
        if isinstance(places, list):
            return [self[each] for each in places]
        labeled, unlabeled = (torch.as_tensor(each, dtype=torch.int64) for each in places)
        return Positions(labeled, unlabeled)


class _Epochs(Sampler[list[Places]]):
    """The batches that an objective draws anew for each pass over the rows, `at_once` at a time.

    An epoch has `least` batches at least.
    """

    def __init__(
        self, draw: Callable[[torch.Generator], Iterator[Places]], seed: int, least: int = 1, at_once: int = 1
    ) -> None:
        self._draw, self._generator = draw, torch.Generator().manual_seed(seed)
        self._at_once = at_once
        n_batches = sum(1 for _ in draw(torch.Generator().manual_seed(seed)))
        self._n_passes = max(-(-least // n_batches), 1)
        self.n_batches = n_batches * self._n_passes

    def __iter__(self) -> Iterator[list[Places]]:
        batches = (each for _ in range(self._n_passes) for each in self._draw(self._generator))
        for start in range(0, self.n_batches, self._at_once):
            # Never past the last one: the sampler would draw once more at its end.
            yield list(islice(batches, min(self._at_once, self.n_batches - start)))

    def __len__(self) -> int:
        return -(-self.n_batches // self._at_once)


def _steps_at_once(recipe: Recipe, device: torch.device) -> int:
    """How many optimiser steps Lightning sees as one.

    What it does about each takes longer than the step of a small network on a GPU. On a CPU that counts for
    little, and a training can be stopped between any two of them.
    """
    return _GPU_STEPS if recipe.replayable and device.type == "cuda" else 1


def _in_order(rows: Rows, facts: DatasetFacts) -> DataLoader[Any]:
    """All rows in their order."""
    chosen = portions(check_content(rows.content, facts), _PREDICT_BYTES, _PREDICT_ROWS)
    places = [Places(range(each.start, each.stop)) for each in chosen]
    return DataLoader(_Chosen(), sampler=places, batch_size=None)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed torch's global generators (initial weights and dropout draw from them) and restore them after."""
    devices = range(torch.cuda.device_count())
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


@contextmanager
def _flushed_denormals() -> Iterator[None]:
    """Treat vanishing values as 0, which otherwise slow a CPU down by orders of magnitude, and no longer."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        # torch has no way to ask for the state before; off is how every process starts.
        torch.set_flush_denormal(False)


@contextmanager
def _status_of_sigterm() -> Iterator[None]:
    """Let SIGTERM end the process with 143; Lightning ends it with 0, as if the work were done."""
    try:
        yield
    except pl.utilities.exceptions.SIGTERMException as error:
        raise SystemExit(128 + signal.SIGTERM) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Lightning's advertisements and the hint to use worker processes for in-memory slices."""
    logger = logging.getLogger("pytorch_lightning")
    level = logger.level
    logger.setLevel(logging.WARNING)
    for name in ("pytorch_lightning.utilities.rank_zero", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            # Where there are no held-out rows, there is no held-out curve.
            warnings.filterwarnings("ignore", message=".*have no `val_dataloader`.*")
            warnings.filterwarnings("ignore", message=".*`isinstance.treespec, LeafSpec.` is deprecated.*")
            yield
    finally:
        logger.setLevel(level)
