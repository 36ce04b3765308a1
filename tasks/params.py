"""`params.yaml` as typed, frozen values: every knob of every stage, checked once, before a stage runs."""

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from reprlib import Repr
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainValidator,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from ruamel.yaml.error import YAMLError

from tasks import ParamsError, plugins
from tasks.sections import Fraction, Section, Seed
from tasks.small_files import parse_yaml, read_small

SourceName = Literal["local", "mirrors", "openml", "wheel"]
NoiseKind = Literal["none", "uniform", "symmetric", "pair", "matrix", "instance", "doubt", "file"]
ScoreName = Literal["error_prob", "self_confidence", "normalized_margin", "confidence_weighted_entropy"]
LabelSetName = Literal["given", "cleaned", "true", "coreset", "random_subset"]
OwnSplit = Literal["valid", "test"]

DatasetName = Annotated[str, AfterValidator(partial(plugins.check_name, "datasets"))]
ModelName = Annotated[str, AfterValidator(partial(plugins.check_name, "models"))]
ObjectiveName = Annotated[str, AfterValidator(partial(plugins.check_name, "objectives"))]
MethodName = Annotated[str, AfterValidator(partial(plugins.check_name, "pseudo_labels"))]
FilterName = Annotated[str, AfterValidator(partial(plugins.check_name, "filters"))]


_FRACTION = TypeAdapter(Fraction)
# Whatever a value holds, what is said of it is a line.
_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = 80


def _check_cut(value: object) -> float | str:
    try:
        return "audited" if value == "audited" else _FRACTION.validate_python(value)
    except ValidationError as error:
        found = _SHORT.repr(value)
        raise ValueError(f"expected a number from 0 to 1, or `audited` (found {found})") from error


def uses_unlabeled(objective: str) -> bool:
    """Whether a training by this objective learns from rows without a label."""
    return bool(getattr(plugins.load("objectives", objective), "USES_UNLABELED", False))


def _name_plugins(kind: str, given: object) -> object:
    """Options by name, each with what `plugins.read_options` needs to check it."""
    if not isinstance(given, Mapping):
        return given
    return {name: (kind, str(name), options) for name, options in given.items()}


# `Any`, so that options are dumped by what each plug-in makes of them.
_Options = dict[str, Annotated[Any, PlainValidator(lambda named: plugins.read_options(*named))]]
DatasetOptions = Annotated[_Options, BeforeValidator(partial(_name_plugins, "datasets"))]
ModelOptions = Annotated[_Options, BeforeValidator(partial(_name_plugins, "models"))]
ObjectiveOptions = Annotated[_Options, BeforeValidator(partial(_name_plugins, "objectives"))]
MethodOptions = Annotated[_Options, BeforeValidator(partial(_name_plugins, "pseudo_labels"))]


class Download(Section):
    """Where the examples come from; `pool` names splits whose rows become training rows, to be judged too.

    `labels_per_class` hides the labels of all training rows but so many of each class, drawn by
    `labels_seed`, to rehearse what can be done with few labels; None hides none. The seed is not called
    `seed`, which a sweep would vary.
    """

    dataset: DatasetName
    sources: Annotated[tuple[SourceName, ...], Field(min_length=1)]
    pool: tuple[OwnSplit, ...]
    labels_per_class: Annotated[int, Field(ge=1)] | None
    labels_seed: Seed
    connect_timeout_s: Annotated[float, Field(gt=0, le=120)]
    retries: Annotated[int, Field(ge=0, le=10)]


class Features(Section):
    """Where frozen features are computed, for models that learn from such."""

    accelerator: Literal["auto", "cpu", "gpu", "mps"]


class SplitRows(Section):
    """Which rows belong together, and which are held out where the data set has no test split.

    `near_duplicates` looks for rows that are almost the same, beside those that are; `held_out_share` is of
    the training rows. Their seed is not called `seed`, which a sweep would vary: all its points are measured
    on the same rows.
    """

    near_duplicates: bool
    held_out_share: Annotated[float, Field(ge=0, le=0.5)]
    held_out_seed: Seed


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
    """How the training rows are spread over `train_fold.folds`."""

    seed: Seed


class TrainFold(Section):
    """What is trained, and how: shared by the folds and by `retrain`.

    A fold trains `ensemble` models of this recipe and predicts by their mean; `retrain` trains one. `gce_q`
    is the q of the generalised cross-entropy (0: cross-entropy). Equal `threads` are part of what
    makes runs bitwise equal. What a model alone knows stands in `models`, under its name.
    """

    folds: tuple[int, ...]
    ensemble: Annotated[int, Field(ge=1, le=10)] = 1
    model: ModelName
    objective: ObjectiveName
    epochs: Annotated[int, Field(ge=1, le=1000)]
    min_steps: Annotated[int, Field(ge=0, le=1_000_000)]
    batch_size: Annotated[int, Field(ge=2, le=65_536)]
    gce_q: Fraction
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed", "64-true"]
    accelerator: Literal["auto", "cpu", "gpu", "mps"]
    threads: Annotated[int, Field(ge=1, le=256)]
    seed: Seed

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not 2 <= len(self.folds) <= 20 or self.folds != tuple(range(len(self.folds))):
            raise ValueError(
                f"`folds` must list 2 to 20 folds in order, 0, 1, 2, ...; found {list(self.folds)}"
            )
        return self


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
    coreset_share: Annotated[float, Field(gt=0, le=1)] | None
    coreset_seed: Seed
    self_tests: bool
    memory_limit_mb: Annotated[int, Field(ge=16)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.adjust_pred_probs and self.rank_by not in ("self_confidence", "normalized_margin"):
            raise ValueError(
                "`adjust_pred_probs` goes with rank_by: self_confidence or normalized_margin; "
                f"{self.rank_by} can not be computed from adjusted probabilities"
            )
        if self.coreset_share is not None and self.importance == "none":
            raise ValueError(
                "`coreset_share` draws rows by their importance, and `importance: none` measures none. Set "
                "importance to given_class, or coreset_share to null"
            )
        return self


class Audit(Section):
    """Rows that are drawn at random and shown among the suspects, so that people learn what no filter found.

    `share` of the rows that the review page shows are drawn among those that are not flagged; the seed names
    the draw. With `min_confidence: audited`, suggestions are taken of which people's verdicts show that at
    least the share `precision` is right.
    """

    share: Annotated[float, Field(ge=0, le=0.9)] = 0.1
    seed: Seed = 0
    precision: Annotated[float, Field(gt=0, lt=1)] = 0.95


class PseudoLabel(Section):
    """What is done with each label issue, by which method.

    A suggestion is taken that is at least `min_confidence` probable; 1 takes none, also where a model says
    exactly 1.
    A model that agrees with the given labels little more than chance does, or that would change more than
    `max_changed_share` of the rows, changes no label; `on_weak_model` says what happens then. Where there are
    rows without a label, up to `rounds` rounds of students prove out of fold whether labels for them help.
    """

    method: MethodName
    min_confidence: Annotated[float | Literal["audited"], PlainValidator(_check_cut)]
    otherwise: Literal["drop", "keep", "soft", "unlabeled"]
    rounds: Annotated[int, Field(ge=0, le=20)]
    max_changed_share: Fraction
    on_weak_model: Literal["rank_only", "stop", "go_on"]
    audit: Audit = Audit()
    seed: Seed


SUBSETS = ("coreset", "random_subset")
"""The tables that `prune` draws from the training rows."""


class LabelSet(Section):
    """One label set of `retrain`: the table with the labels (in data/) and the checkpoint (in models/)."""

    table: Literal["given_labels", "training_set", "coreset", "random_subset"]
    checkpoint: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]


class Retrain(Section):
    """Which label sets are trained on and compared, with which loss; all else is as in `train_fold`."""

    objective: ObjectiveName
    gce_q: Fraction
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    label_sets: Annotated[dict[LabelSetName, LabelSet], Field(min_length=1)]
    seed: Seed


class Report(Section):
    """How the report looks."""

    top_issues: Annotated[int, Field(ge=0, le=400)]


class Check(Section):
    """Limits of `relabel check` (`flows.check`), which no stage reads; None is no limit.

    `against` is the version that suspects, class shares and accuracy are compared with.
    """

    enabled: bool = True
    against: Annotated[str, Field(min_length=1)] = "last"
    max_new_suspects: Annotated[int, Field(ge=0)] | None = None
    max_contradictions: Annotated[int, Field(ge=0)] | None = None
    min_class_health: Fraction | None = None
    max_class_drift: Fraction | None = None
    max_accuracy_drop: Fraction | None = None


class Params(Section):
    """All sections of `params.yaml`: one a stage, limits, and the options of plug-ins by kind and name."""

    download: Download
    features: Features
    split_rows: SplitRows
    inject_noise: InjectNoise
    assign_folds: AssignFolds
    train_fold: TrainFold
    aggregate: Aggregate
    prune: Prune
    pseudo_label: PseudoLabel
    retrain: Retrain
    report: Report
    check: Check = Check()
    datasets: DatasetOptions
    models: ModelOptions
    objectives: ObjectiveOptions
    pseudo_labels: MethodOptions

    @model_validator(mode="after")
    def _fit_each_other(self) -> Self:
        gives = getattr(plugins.load("datasets", self.download.dataset), "GIVES", None)
        takes = plugins.load("models", self.train_fold.model).TAKES
        if gives and not set(gives) & set(takes):
            raise ValueError(
                f"`train_fold.model: {self.train_fold.model}` learns from {' or '.join(takes)}, and "
                f"`download.dataset: {self.download.dataset}` gives {' or '.join(gives)}. Choose "
                "another model"
            )
        subsets = [key for key, each in self.retrain.label_sets.items() if each.table in SUBSETS]
        if subsets and self.prune.coreset_share is None:
            raise ValueError(
                f"`retrain.label_sets: {subsets[0]}` trains on rows that `prune` draws, and "
                "`prune.coreset_share` asks for none. Set it to a share of the rows, such as 0.1"
            )
        method = plugins.load("pseudo_labels", self.pseudo_label.method)
        if self.pseudo_label.min_confidence == "audited" and not getattr(method, "TAKES_A_CUT", False):
            raise ValueError(
                "`pseudo_label.min_confidence: audited` chooses a cut of the suggestions' probability, by "
                f"which `pseudo_label.method: {self.pseudo_label.method}` does not go. Choose a number, or "
                "another method"
            )
        if self.pseudo_label.otherwise == "unlabeled" and not uses_unlabeled(self.retrain.objective):
            raise ValueError(
                "`pseudo_label.otherwise: unlabeled` leaves the content of rows to `retrain`, and "
                f"`retrain.objective: {self.retrain.objective}` learns nothing from rows without a label. "
                "Choose an objective that does (docs/pseudo_labels.md), or `pseudo_label.otherwise: drop`"
            )
        return self

    @property
    def trains_on_truth(self) -> bool:
        """Whether a label set needs the true label of every training row."""
        return "true" in self.retrain.label_sets

    def used(self) -> list[str]:
        """The plug-ins that are used, as their options stand in `params.yaml`: `models.convnet`."""
        names = {
            f"datasets.{self.download.dataset}",
            f"models.{self.train_fold.model}",
            f"objectives.{self.train_fold.objective}",
            f"objectives.{self.retrain.objective}",
            f"pseudo_labels.{self.pseudo_label.method}",
        }
        return sorted(names)

    def unlisted(self) -> list[str]:
        """The plug-ins that are used and have no section for their options in `params.yaml`."""
        given = {f"{kind}.{name}" for kind in plugins.KINDS for name in getattr(self, kind, {})}
        return [name for name in self.used() if name not in given]

    def chosen(self) -> dict[str, dict[str, object]]:
        """The values of each stage, and of each plug-in that is used (`models.convnet`), as plain values."""
        options = {path: self.options(*path.split(".")).model_dump(mode="json") for path in self.used()}
        return {stage: getattr(self, stage).model_dump(mode="json") for stage in STAGES} | options

    def options(self, kind: str, name: str) -> Section:
        """The options of a plug-in: those of `params.yaml`, or its defaults."""
        given: Mapping[str, Section] = getattr(self, kind)
        return given[name] if name in given else plugins.read_options(kind, name)


STAGES = tuple(name for name in Params.model_fields if name not in (*plugins.KINDS, "check"))
"""The stages in the order in which they run; each has its section."""

# What the first edition called otherwise, and how it is called now.
_RENAMED = {
    "download.class_names": "datasets.parquet.class_names",
    "download.pool_test": "download.pool (a list of splits: [test])",
    "assign_folds.n_splits": "train_fold.folds (the list alone says how many)",
    "train_fold.network": "train_fold.model",
    **{
        f"train_fold.{name}": f"models.convnet.{name} (or that of another model)"
        for name in ("max_lr", "muon_lr", "weight_decay", "shift", "eval_shift")
    },
}

_MOST_FAULTS, _LONGEST_FAULT = 20, 400


def load_params(path: Path) -> Params:
    """Read and check a `params.yaml`.

    Raises:
        ParamsError: the file is missing or not YAML, or a value is unknown, missing or out of range; the
            message names every fault with its path in the file.
    """
    try:
        text = read_small(path).decode("utf-8-sig")
    except FileNotFoundError as error:
        raise ParamsError(f"{path}: expected the parameters here, found no file.") from error
    except UnicodeDecodeError as error:
        raise ParamsError(
            f"{path}: expected YAML, found text that does not parse: it is not UTF-8 ({error.reason})."
        ) from error
    except OSError as error:
        raise ParamsError(f"{path}: expected a readable file ({error}).") from error
    return parse_params(text, path)


def parse_params(text: str, where: Path) -> Params:
    """Check the text of a `params.yaml`, which messages call `where`.

    Raises:
        ParamsError: see `load_params`.
    """
    try:
        content = parse_yaml(text)
    except (YAMLError, ValueError) as error:  # ValueError: too deep, a date that is none
        raise ParamsError(f"{where}: expected YAML, found text that does not parse: {_cut(error)}") from error
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        faults = [f"  {_cut(fault)}" for fault in islice(_describe(error), _MOST_FAULTS)]
        raise ParamsError(f"{where}: mend these values:\n" + "\n".join(faults)) from error


def _cut(said: object) -> str:
    text = str(said)
    return text if len(text) <= _LONGEST_FAULT else f"{text[:_LONGEST_FAULT]}…"


def _describe(error: ValidationError, *path: object) -> Iterator[str]:
    """A line for each fault; `path` leads to what was checked."""
    for fault in error.errors():
        place, cause = (*path, *fault["loc"]), fault.get("ctx", {}).get("error")
        name = ".".join(map(str, place)) or "params"
        if isinstance(cause, ValidationError):  # of the options of a plug-in
            yield from _describe(cause, *place)
        elif name in _RENAMED and fault["type"] == "extra_forbidden":
            yield f"{name}: is now {_RENAMED[name]}; move the value there"
        else:
            shown = fault["loc"] and fault["type"] not in ("value_error", "missing")
            found = f" (found {_SHORT.repr(fault['input'])})" if shown else ""
            yield f"{name}: {fault['msg'].removeprefix('Value error, ')}{found}"
