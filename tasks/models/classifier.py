"""The classifier as a LightningModule, with `fit`, `predict`, `save` and `load`.

Importing this module imports torch and Lightning (about 5 seconds); only training stages do.
"""

import io
import itertools
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
import torch
from dvclive.lightning import DVCLiveLogger
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, SequentialSampler

from tasks import ArtifactError, TrainingError
from tasks.models.networks import NETWORKS, generalized_cross_entropy, shift_images
from tasks.models.progress import EpochProgress
from tasks.params import TrainFold
from tasks.tables.facts import DatasetFacts
from tasks.tables.files import atomic_path

# Prediction holds no gradients, so larger batches fit and cost less a row.
_PREDICT_BATCH = 1024


@dataclass(frozen=True)
class Predictions:
    """What a classifier says of N rows: `pred_probs` (N, K) and `embedding` (N, D), both float32."""

    pred_probs: npt.NDArray[np.float32]
    embedding: npt.NDArray[np.float32]


@dataclass(frozen=True)
class TrainingRows:
    """Rows to train on.

    Attributes:
        content: (N, ...) uint8 images or float32 features.
        soft_label: (N, K) float32 target probabilities, one-hot for a hard label.
        weight: (N,) float32 weight of each row in the loss.
    """

    content: npt.NDArray[Any]
    soft_label: npt.NDArray[np.float32]
    weight: npt.NDArray[np.float32]

    def head(self, n: int) -> "TrainingRows":
        """The first `n` rows."""
        return TrainingRows(self.content[:n], self.soft_label[:n], self.weight[:n])


class Classifier(pl.LightningModule):
    """A network with a linear head, trained on soft labels by Muon and SGD on a one-cycle schedule.

    Muon (Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks") moves the hidden
    weight matrices, SGD with Nesterov momentum the head and the batch norms. Batches are (content,
    soft_label, weight); content comes as uint8 (images) or float32 (features) and is normalised on the
    device with the mean and deviation of the training rows.
    """

    def __init__(self, recipe: TrainFold, shape: tuple[int, ...], n_classes: int) -> None:
        super().__init__()
        # Two optimisers: Lightning steps only one by itself.
        self.automatic_optimization = False
        self.recipe = recipe
        self.shape = shape
        self.network = NETWORKS[recipe.network](shape)
        self.head = nn.Linear(self.network.n_features, n_classes)
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("deviation", torch.ones(()))
        self.shifts = torch.Generator()
        self._sums: Tensor
        self.register_buffer("_sums", torch.zeros(2), persistent=False)
        self._n_rows = 0

    def features(self, content: Tensor) -> Tensor:
        """(N, ...) feature maps of raw content."""
        features: Tensor = self.network((content.to(self.dtype) - self.mean) / self.deviation)
        return features

    def forward(self, content: Tensor) -> Tensor:
        """(N, K) logits of raw content."""
        logits: Tensor = self.head(self.features(content).flatten(1))
        return logits

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> None:
        content, soft_label, weight = batch
        if self.recipe.shift and content.ndim == 4:
            reach = self.recipe.shift
            moves = torch.randint(-reach, reach + 1, (2, len(content)), generator=self.shifts)
            moves = moves.to(content.device)
            content = shift_images(content, moves[0], moves[1], reach)
        logits = self(content)
        smoothing = self.recipe.label_smoothing
        target = soft_label * (1 - smoothing) + smoothing / soft_label.shape[1]
        losses = generalized_cross_entropy(logits, target, self.recipe.gce_q)
        loss = (losses * weight).sum() / weight.sum()
        for optimizer in self._optimizers():
            optimizer.zero_grad()
        self.manual_backward(loss)
        for optimizer, schedule in zip(self._optimizers(), self._schedules(), strict=True):
            optimizer.step()
            schedule.step()
        # Logged once an epoch: Lightning's `log` at every batch takes a twentieth of the training time.
        correct = (logits.argmax(dim=1) == soft_label.argmax(dim=1)).float()
        self._sums += torch.stack([loss.detach() * len(content), correct.sum()])
        self._n_rows += len(content)
        if self.trainer.is_last_batch:
            mean_loss, accuracy = self._sums / self._n_rows
            self._log("train/loss", mean_loss)
            self._log("train/accuracy", accuracy)
            self._log("step", float(self.current_epoch + 1))
            self._sums, self._n_rows = torch.zeros_like(self._sums), 0

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> None:
        content, soft_label, _ = batch
        logits = self(content)
        losses = generalized_cross_entropy(logits, soft_label, self.recipe.gce_q)
        correct = logits.argmax(dim=1) == soft_label.argmax(dim=1)
        self._log("validation/loss", losses.mean(), len(content))
        self._log("validation/accuracy", correct.float().mean(), len(content))
        self._log("step", float(self.current_epoch + 1))

    def on_train_epoch_end(self) -> None:
        loss = self.trainer.callback_metrics["train/loss"]
        if not torch.isfinite(loss):
            raise TrainingError(
                f"The training loss became {loss.item()} in epoch {self.current_epoch + 1} of "
                f"{self.recipe.epochs}. Lower train_fold.max_lr ({self.recipe.max_lr:g}) and "
                f"train_fold.muon_lr ({self.recipe.muon_lr:g}), or raise train_fold.precision "
                f"({self.recipe.precision})."
            )

    def predict_step(self, batch: tuple[Tensor], batch_idx: int) -> tuple[Tensor, Tensor]:
        (content,) = batch
        features = self.features(content)
        # The mean over places keeps the embedding small: one value a channel.
        embedding = features.flatten(2).mean(dim=2) if features.ndim > 2 else features
        probs = self.head(features.flatten(1)).float().softmax(dim=1)
        reach = self.recipe.eval_shift
        if reach and content.ndim == 4:
            n_views = 1
            for down, right in itertools.product((-reach, 0, reach), repeat=2):
                if (down, right) != (0, 0):
                    moves = torch.tensor([down, right], device=content.device)[:, None].expand(
                        2, len(content)
                    )
                    view = shift_images(content, moves[0], moves[1], reach)
                    probs = probs + self(view).float().softmax(dim=1)
                    n_views += 1
            probs = probs / n_views
        return probs, embedding.float()

    def configure_optimizers(self) -> Any:
        hidden = [weight for weight in self.network.parameters() if weight.ndim == 2]
        others = [weight for weight in self.network.parameters() if weight.ndim != 2]
        recipe = self.recipe
        muon = torch.optim.Muon(hidden, lr=recipe.muon_lr, momentum=0.9, weight_decay=0.0)
        sgd = torch.optim.SGD(
            [*others, *self.head.parameters()],
            lr=recipe.max_lr,
            momentum=0.9,
            nesterov=True,
            weight_decay=recipe.weight_decay,
        )
        steps = int(self.trainer.estimated_stepping_batches)
        schedules = [
            torch.optim.lr_scheduler.OneCycleLR(
                optimizer,
                max_lr=peak,
                total_steps=steps,
                pct_start=0.25,
                anneal_strategy="linear",
                cycle_momentum=False,
                final_div_factor=1e3,
            )
            for optimizer, peak in ((muon, recipe.muon_lr), (sgd, recipe.max_lr))
        ]
        return [muon, sgd], schedules

    def _optimizers(self) -> list[Any]:
        return self.optimizers()  # type: ignore[return-value]  # a list, there being two

    def _schedules(self) -> list[Any]:
        return self.lr_schedulers()  # type: ignore[return-value]

    def _log(self, name: str, value: Tensor | float, n_rows: int = 1) -> None:
        # Lightning takes a logged `step` as the x of every logged value: epochs, not batches.
        self.log(name, value, on_step=False, on_epoch=True, batch_size=n_rows)


class _Rows(Dataset[Any]):
    """Tensors sliced by a whole batch of indices at once."""

    def __init__(self, *tensors: Tensor) -> None:
        self.tensors = tensors

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, index: list[int]) -> tuple[Tensor, ...]:
        rows = torch.as_tensor(index)
        return tuple(tensor[rows] for tensor in self.tensors)


def fit(
    rows: TrainingRows,
    validation: TrainingRows,
    recipe: TrainFold,
    seed: int,
    log_dir: Path,
    title: str,
) -> Classifier:
    """Train a classifier.

    Args:
        rows: what it learns from.
        validation: held-out rows for the learning curve; they choose nothing.
        recipe: network, schedule, precision and device.
        seed: of the initial weights, the order of the rows and their shifts. Equal seeds, rows, recipe and
            `recipe.threads` give bitwise equal weights on one machine's CPU.
        log_dir: where DVCLive writes the curves.
        title: of the progress bar.

    Raises:
        TrainingError: there are too few rows for a batch, or the loss is not finite.
    """
    if len(rows.content) < 2:
        raise TrainingError(f"Training needs at least 2 rows, found {len(rows.content)}.")
    torch.set_num_threads(recipe.threads)
    content = _content_tensor(rows.content)
    with _seeded(seed), _flushed_denormals(), _quiet():
        classifier = Classifier(recipe, tuple(content.shape[1:]), rows.soft_label.shape[1])
        classifier.mean, classifier.deviation = _moments(content)
        classifier.shifts.manual_seed(seed)
        trainer = pl.Trainer(
            max_epochs=recipe.epochs,
            accelerator=recipe.accelerator,
            devices=1,
            precision=_precision(recipe),
            deterministic=True,
            logger=DVCLiveLogger(dir=str(log_dir), save_dvc_exp=False, dvcyaml=None, report=None),
            callbacks=[EpochProgress(title)],
            enable_checkpointing=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
        )
        trainer.fit(
            classifier,
            _loader(
                _training_tensors(rows),
                min(recipe.batch_size, len(content)),
                torch.Generator().manual_seed(seed),
            ),
            _loader(_training_tensors(validation), _PREDICT_BATCH) if len(validation.content) else None,
        )
    return classifier


def predict(classifier: Classifier, content: npt.NDArray[Any]) -> Predictions:
    """Probabilities and embeddings of `content` (N, ...), in its order."""
    recipe = classifier.recipe
    with _flushed_denormals(), _quiet():
        trainer = pl.Trainer(
            accelerator=recipe.accelerator,
            devices=1,
            precision=_precision(recipe),
            deterministic=True,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
        )
        batches = trainer.predict(classifier, _loader(_Rows(_content_tensor(content)), _PREDICT_BATCH))
    probs, embeddings = zip(*batches or [], strict=True)
    return Predictions(
        torch.cat(probs).cpu().numpy().astype(np.float32),
        torch.cat(embeddings).cpu().numpy().astype(np.float32),
    )


def save(path: Path, classifier: Classifier, facts: DatasetFacts) -> None:
    """Write a checkpoint of tensors and plain values, which `load` reads without unpickling code."""
    content = {
        "state_dict": classifier.state_dict(),
        "recipe": classifier.recipe.model_dump(mode="json"),
        "shape": list(classifier.shape),
        "dataset": facts.dataset,
        "class_names": list(facts.class_names),
    }
    # torch names the archive after its file; through memory the bytes do not depend on the temporary name.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def load(path: Path) -> tuple[Classifier, tuple[str, ...]]:
    """The classifier in a checkpoint and its class names.

    Raises:
        ArtifactError: the file is missing, damaged, or holds anything but tensors and plain values.
    """
    try:
        content = torch.load(path, weights_only=True, map_location="cpu")
        recipe = TrainFold.model_validate(content["recipe"])
        classifier = Classifier(recipe, tuple(content["shape"]), len(content["class_names"]))
        state = content["state_dict"]
        classifier.mean = torch.zeros_like(state["mean"])
        classifier.deviation = torch.ones_like(state["deviation"])
        classifier.load_state_dict(state)
        return classifier.eval(), tuple(content["class_names"])
    except FileNotFoundError as error:
        raise ArtifactError(
            f"{path}: expected a checkpoint, found no file. Make it with `dvc repro retrain`."
        ) from error
    except Exception as error:  # torch.load raises pickle, zip, runtime and key errors alike
        raise ArtifactError(
            f"{path}: expected a checkpoint of this project, found a damaged or foreign file "
            f"({type(error).__name__}). Make it with `dvc repro retrain`."
        ) from error


def _precision(recipe: TrainFold) -> Any:
    """The precision asked for; `auto` is bf16-mixed where the device computes in bfloat16, else 32-true."""
    if recipe.precision != "auto":
        return recipe.precision
    on_gpu = recipe.accelerator in ("auto", "gpu") and torch.cuda.is_available()
    if on_gpu:
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    features = torch.cpu.get_capabilities() if recipe.accelerator in ("auto", "cpu") else {}
    native = features.get("avx512_bf16", False) or features.get("amx_bf16", False)
    return "bf16-mixed" if native else "32-true"


def one_hot(labels: npt.NDArray[Any], n_classes: int) -> npt.NDArray[np.float32]:
    """(N, K) float32 rows of the identity."""
    return np.asarray(np.eye(n_classes, dtype=np.float32)[labels])


def _content_tensor(content: npt.NDArray[Any]) -> Tensor:
    """Images (N, H, W) or (N, H, W, C) as (N, C, H, W) uint8; features as they are."""
    tensor = torch.from_numpy(np.ascontiguousarray(content))
    if tensor.dtype == torch.uint8 and tensor.ndim == 3:
        return tensor[:, None]
    if tensor.dtype == torch.uint8 and tensor.ndim == 4:
        return tensor.permute(0, 3, 1, 2).contiguous()
    return tensor


def _training_tensors(rows: TrainingRows) -> _Rows:
    return _Rows(_content_tensor(rows.content), torch.tensor(rows.soft_label), torch.tensor(rows.weight))


def _moments(content: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation to normalise with: of all pixels of an image set, or of each feature."""
    if content.dtype == torch.uint8:
        counts = torch.bincount(content.flatten(), minlength=256).double()
        values = torch.arange(256, dtype=torch.float64)
        mean = (counts * values).sum() / counts.sum()
        variance = (counts * (values - mean) ** 2).sum() / counts.sum()
    else:
        mean, variance = content.double().mean(dim=0), content.double().var(dim=0, correction=0)
    return mean.float(), variance.sqrt().clamp_min(1e-6).float()


def _loader(rows: _Rows, batch_size: int, shuffle: torch.Generator | None = None) -> DataLoader[Any]:
    order = SequentialSampler(rows) if shuffle is None else RandomSampler(rows, generator=shuffle)
    # A last batch of few rows would give batch norm poor statistics, so training drops it.
    batches = BatchSampler(order, batch_size, drop_last=shuffle is not None)
    return DataLoader(rows, sampler=batches, batch_size=None)


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
