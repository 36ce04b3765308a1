"""What earlier stages measured, metrics/*.json and plots/*, checked for its form before a page shows it."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tasks import ArtifactError
from tasks.label_quality.health import HealthMetrics
from tasks.label_quality.metrics import CrossValidationMetrics, IssueMetrics
from tasks.label_quality.self_tests.words import SelfTestMetrics
from tasks.own_files.names import shown
from tasks.repair import RepairMetrics
from tasks.small_files import MOST_BYTES, parse_json, read_small
from tasks.tables.cells import unescape_cell

_Count = Annotated[int, Field(ge=0, lt=2**53)]
_Number = Annotated[float, Field(allow_inf_nan=False)]
_Share = Annotated[float, Field(ge=0, le=1)]
# A line for every pair of classes: 32,767 of them have more than one page shows, and less than this.
_LARGEST_PLOT = 16 * MOST_BYTES


Content = TypeVar("Content")


class _Metrics(BaseModel):
    """More may be there than a page shows."""

    model_config = ConfigDict(extra="allow", strict=True)


class File(_Metrics, Generic[Content]):
    """A file whose stage writes `Content`, and what is checked of it before it counts as that."""


class _Quality(_Metrics):
    accuracy: _Share | None
    log_loss: _Number | None
    expected_calibration_error: _Share | None


class CrossValidation(File[CrossValidationMetrics]):
    """metrics/cross_validation.json."""

    n_rows: _Count
    given: _Quality
    true: _Quality | None = None


class Detection(File[IssueMetrics]):
    """metrics/label_issues.json: where the truth is known, all that is measured against it, else nothing.

    A classifier that is too weak estimates no number of wrong labels.
    """

    n_rows: Annotated[int, Field(ge=1)]
    n_issues: _Count
    n_errors_estimated: _Count | None
    n_errors: _Count | None = None
    precision: _Share | None = None
    recall: _Share | None = None
    f1: _Share | None = None

    @model_validator(mode="after")
    def _check(self) -> "Detection":
        known = {"n_errors", "precision", "recall", "f1"}
        if lacking := known - self.model_fields_set if known & self.model_fields_set else set():
            raise ValueError(
                f"{', '.join(sorted(lacking))} missing beside {', '.join(sorted(known - lacking))}"
            )
        return self


class _ClassHealth(_Metrics):
    name: str
    label_quality: _Share
    label_noise: _Share
    inverse_label_noise: _Share
    given_share: _Share
    true_share: _Share


class _Pair(_Metrics):
    name: str
    n_rows: _Count
    share: _Share


class Health(File[HealthMetrics]):
    """metrics/health.json."""

    label_health: _Share
    classes: Annotated[list[_ClassHealth], Field(min_length=1)]
    overlapping: list[_Pair]
    confused: list[_Pair]
    noise_matrix_l1_error: dict[str, _Number | None] | None = None


class _Gate(_Metrics):
    is_closed: bool
    is_too_weak: bool
    sentence: str | None


class _Of(_Metrics):
    share: _Share | None


class _Interval(_Of):
    low: _Share | None
    high: _Share | None


class _Planted(_Metrics):
    n_planted: _Count
    found: _Of
    repaired: _Of


class _Uniform(_Metrics):
    uniform: _Planted


class _Second(_Metrics):
    is_known: bool
    agrees_with_model: _Of
    right_labels: _Interval | None = None


class _ClassShares(_Metrics):
    is_shifted: bool


class SelfTests(File[SelfTestMetrics]):
    """metrics/self_tests.json; nothing is in it where the tests are off."""

    planted: _Uniform | None = None
    second_opinion: _Second | None = None
    class_shares: _ClassShares | None = None


class _LabelAccuracy(_Metrics):
    before: _Share
    after: _Share | None
    of_pseudo_labels: _Share | None


class Repair(File[RepairMetrics]):
    """metrics/training_set.json."""

    n_rows_before: _Count
    n_rows_after: _Count
    actions: dict[str, _Count]
    gate: _Gate
    decisions: dict[str, object]
    label_accuracy: _LabelAccuracy | None = None


def read_metrics(path: Path, form: type[File[Content]]) -> Content:
    """The content of a metrics file.

    Raises:
        ArtifactError: it is missing, not readable, or not of this form; names the first fault.
    """
    try:
        content: Content = parse_json(read_small(path))
        form.model_validate(content)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"])) or "the whole"
        raise _not_measured(path, f"{shown(place)}: {shown(fault['msg'], 200)}") from error
    except PermissionError as error:
        raise _may_not_read(path) from error
    except (OSError, ValueError) as error:
        raise _not_measured(path, shown(error, 200)) from error
    return content


def read_plot(path: Path, texts: Sequence[str], numbers: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The lines of a plot's table: `texts` as text, all other columns as numbers, None for an empty or a NaN.

    Args:
        path: a .csv file, or .tsv.
        texts: columns of text that it has.
        numbers: columns that hold a number in every line.

    Raises:
        ArtifactError: it is missing or not readable, a column is missing, or a cell is no number.
    """
    delimiter = "\t" if path.suffix == ".tsv" else ","
    try:
        text = read_small(path, _LARGEST_PLOT).decode("utf-8-sig")
        rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        names = list(rows.fieldnames or ())
        if lacking := [name for name in (*texts, *numbers) if name not in names]:
            raise ValueError(f"no column {', '.join(lacking)}")
        if len(set(names)) < len(names):
            raise ValueError("a column twice")
        return [_typed(row, texts, numbers) for row in rows]
    except PermissionError as error:
        raise _may_not_read(path) from error
    except (OSError, ValueError, csv.Error) as error:
        raise not_a_plot(path, str(error)) from error


def not_a_plot(path: Path, fault: str) -> ArtifactError:
    """What is said of a plot's table that is not what it should be."""
    return ArtifactError(
        f"{path}: expected the plot of an earlier stage ({shown(fault, 200)}). Rebuild it with `dvc repro`."
    )


def _may_not_read(path: Path) -> ArtifactError:
    return ArtifactError(
        f"{path}: expected a file that you may read, found no permission. `chmod u+r {path}` grants it."
    )


def _typed(row: Mapping[str, str], texts: Sequence[str], numbers: Sequence[str]) -> dict[str, Any]:
    if None in row or None in row.values():
        raise ValueError("a line that is longer or shorter than the first")
    found = {name: unescape_cell(value) if name in texts else _number(value) for name, value in row.items()}
    if missing := [name for name in numbers if found[name] is None]:
        raise ValueError(f"no number in column {missing[0]}")
    return found


def _number(text: str) -> float | None:
    value = float(text) if text else math.nan
    if math.isinf(value):
        raise ValueError(f"no finite number, {text}")
    return None if math.isnan(value) else value


def _not_measured(path: Path, fault: str) -> ArtifactError:
    return ArtifactError(
        f"{path}: expected the metrics of an earlier stage ({fault}). Rebuild them with `dvc repro`."
    )
