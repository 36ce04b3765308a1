"""`params.yaml` as typed, frozen values: every knob of every stage, checked once, before a stage runs."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from tasks import ParamsError

Seed = Annotated[int, Field(ge=0, lt=2**32)]
Fraction = Annotated[float, Field(ge=0, le=1)]
DatasetName = Literal["mnist", "fashion_mnist", "digits", "parquet"]
SourceName = Literal["local", "mirrors", "openml", "wheel"]
NoiseKind = Literal["none", "uniform", "symmetric", "pair", "matrix", "file"]
FilterName = Literal[
    "prune_by_class",
    "prune_by_noise_rate",
    "both",
    "confident_learning",
    "predicted_neq_given",
    "low_normalized_margin",
    "low_self_confidence",
    "noise_posterior",
]
ScoreName = Literal["self_confidence", "normalized_margin", "confidence_weighted_entropy"]
LabelSetName = Literal["given", "cleaned", "true"]


class Section(BaseModel):
    """A section of `params.yaml`: frozen, and closed to unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Download(Section):
    """Where the examples come from."""

    dataset: DatasetName
    sources: Annotated[tuple[SourceName, ...], Field(min_length=1)]
    class_names: tuple[str, ...]
    pool_test: bool
    connect_timeout_s: Annotated[float, Field(gt=0, le=120)]
    retries: Annotated[int, Field(ge=0, le=10)]


class InjectNoise(Section):
    """Which labels are made wrong on purpose, or where given labels from outside are read."""

    kind: NoiseKind
    rate: Fraction
    seed: Seed
    transition_matrix: tuple[tuple[Fraction, ...], ...] | None
    path: str | None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.kind == "matrix":
            if self.transition_matrix is None:
                raise ValueError("kind: matrix needs `transition_matrix` (rows: true class, sum to 1)")
            size = len(self.transition_matrix)
            for index, row in enumerate(self.transition_matrix):
                if len(row) != size or abs(sum(row) - 1) > 1e-6:
                    raise ValueError(
                        f"`transition_matrix` must be square with rows that sum to 1; row {index} has "
                        f"{len(row)} of {size} entries and sums to {sum(row):g}"
                    )
        if self.kind == "file" and self.path is None:
            raise ValueError("kind: file needs `path`, a CSV or Parquet file in inputs/labels")
        return self


class AssignFolds(Section):
    """How the training rows are split for out-of-fold prediction."""

    n_splits: Annotated[int, Field(ge=2, le=20)]
    seed: Seed


class TrainFold(Section):
    """The training recipe, shared by the folds and by `retrain`.

    `max_lr` and `muon_lr` are the peaks of the one-cycle schedules of SGD (head, batch norms) and of Muon
    (hidden weights); `gce_q` is the q of the generalised cross-entropy (0: cross-entropy); `shift` is the
    largest random shift in pixels; `eval_shift` averages predictions over shifts of so many pixels (0: one
    view); equal `threads` are part of what makes runs bitwise equal.
    """

    folds: tuple[int, ...]
    network: Literal["convnet", "mlp"]
    epochs: Annotated[int, Field(ge=1, le=1000)]
    batch_size: Annotated[int, Field(ge=2, le=65_536)]
    max_lr: Annotated[float, Field(gt=0, le=10)]
    muon_lr: Annotated[float, Field(gt=0, le=10)]
    weight_decay: Annotated[float, Field(ge=0, le=1)]
    gce_q: Fraction
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    shift: Annotated[int, Field(ge=0, le=8)]
    eval_shift: Annotated[int, Field(ge=0, le=4)]
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed", "64-true"]
    accelerator: Literal["auto", "cpu", "gpu", "mps"]
    threads: Annotated[int, Field(ge=1, le=256)]
    seed: Seed


class Aggregate(Section):
    """How the joined predictions are measured."""

    calibration_bins: Annotated[int, Field(ge=2, le=1000)]


class Prune(Section):
    """Which rows count as label issues, and in which order; `memory_limit_mb` changes no result."""

    filter_by: FilterName
    rank_by: ScoreName
    adjust_pred_probs: bool
    frac_noise: Annotated[float, Field(gt=0, le=1)]
    min_examples_per_class: Annotated[int, Field(ge=0)]
    importance: Literal["none", "given_class", "all_classes"]
    memory_limit_mb: Annotated[int, Field(ge=16)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.adjust_pred_probs and self.rank_by == "confidence_weighted_entropy":
            raise ValueError(
                "`adjust_pred_probs` goes with rank_by: self_confidence or normalized_margin; "
                "confidence_weighted_entropy can not be computed from adjusted probabilities"
            )
        return self


class PseudoLabel(Section):
    """What is done with each label issue."""

    min_confidence: Fraction
    otherwise: Literal["drop", "keep", "soft"]


class LabelSet(Section):
    """One label set of `retrain`: the table with the labels (in data/) and the checkpoint (in models/)."""

    table: Literal["given_labels", "training_set"]
    checkpoint: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]


class Retrain(Section):
    """Which label sets are trained on and compared, with which loss; all else is the recipe of the folds."""

    gce_q: Fraction
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    label_sets: Annotated[dict[LabelSetName, LabelSet], Field(min_length=1)]
    seed: Seed


class Report(Section):
    """How the report looks."""

    top_issues: Annotated[int, Field(ge=0, le=400)]


class Params(Section):
    """All sections of `params.yaml`, one per stage."""

    download: Download
    inject_noise: InjectNoise
    assign_folds: AssignFolds
    train_fold: TrainFold
    aggregate: Aggregate
    prune: Prune
    pseudo_label: PseudoLabel
    retrain: Retrain
    report: Report

    @model_validator(mode="after")
    def _folds_match(self) -> Self:
        expected = tuple(range(self.assign_folds.n_splits))
        if self.train_fold.folds != expected:
            raise ValueError(
                f"`train_fold.folds` must list the folds of `assign_folds.n_splits: "
                f"{self.assign_folds.n_splits}`, that is {list(expected)}; found "
                f"{list(self.train_fold.folds)}"
            )
        return self


def load_params(path: Path) -> Params:
    """Read and check a `params.yaml`.

    Raises:
        ParamsError: the file is missing or not YAML, or a value is unknown, missing or out of range; the
            message names every fault with its path in the file.
    """
    try:
        content = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ParamsError(f"{path}: expected the parameters here, found no file.") from error
    except OSError as error:
        raise ParamsError(f"{path}: expected a readable file ({error}).") from error
    except (YAMLError, ValueError) as error:  # ValueError: text that is not UTF-8, a date that is none
        raise ParamsError(f"{path}: expected YAML, found text that does not parse: {error}") from error
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        faults = [
            f"  {'.'.join(str(part) for part in fault['loc']) or 'params'}: "
            f"{fault['msg'].removeprefix('Value error, ')}"
            + (
                f" (found {fault['input']!r})"
                if fault["loc"] and fault["type"] not in ("value_error", "missing")
                else ""
            )
            for fault in error.errors()
        ]
        raise ParamsError(f"{path}: mend these values:\n" + "\n".join(faults)) from error
