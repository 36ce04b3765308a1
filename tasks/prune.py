"""Stage `prune`: which rows are label issues, in which order, and what their labels should be.

The tables are read row group by row group, four times: thresholds, confident joint, selection, and once more
to write. Beside the row groups at work, memory holds what `label_quality.filters.find_issues` holds, and,
where the truth is known, one score a row to rank by.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pacsv
from rich.console import Console

from tasks import ArtifactError
from tasks.artifacts import (
    GIVEN_LABELS,
    LABEL_ISSUES,
    PRED_PROBS,
    TableReader,
    atomic_path,
    available_cores,
    column_array,
    locate,
    map_in_order,
    write_json,
    write_stream,
)
from tasks.label_quality.filters import PRUNE_FILTERS, IssueRows, find_issues
from tasks.label_quality.metrics import detection_of_counts, ranking_quality
from tasks.label_quality.noise_posterior import fit_rows
from tasks.label_quality.rows import Batch
from tasks.label_quality.scores import SCORES, Score, ranking_score, ranks
from tasks.params import Params
from tasks.params import Prune as Section

Result = TypeVar("Result")

_N_PASSES = 4
# Below so many probabilities a progress bar would be gone before it is read.
_LONG = 50_000_000
# A part takes so many times its size while it is read, decoded and looked at.
_PART_COPIES = 3
# Matrices of K x K numbers held at a time, and bytes for each probability that the noise model is fitted on.
_MATRICES = 8
_FIT_BYTES = 28
# Scores are computed in pieces that stay in the processor's cache.
_PIECE_ENTRIES = 2**18


def prune(params: Params, workspace: Path) -> None:
    """Write data/label_issues.parquet, metrics/label_issues.json and plots/filters.csv.

    Raises:
        ArtifactError: an input is missing or not what it should be, or the memory allowed is too little.
    """
    section = params.prune
    data = workspace / "data"
    limit = section.memory_limit_mb * 2**20
    predictions = TableReader(data / "pred_probs.parquet", PRED_PROBS, ["pred_probs"], limit)
    given = TableReader(data / "given_labels.parquet", GIVEN_LABELS, ["given_label", "is_noisy"], limit)
    facts = given.facts
    n_classes = predictions.shape_of("pred_probs")[0]
    if n_classes != facts.n_classes:
        raise ArtifactError(
            f"{predictions.path}: column `pred_probs` was expected with one probability for "
            f"each of {facts.n_classes} classes, found {n_classes}. Rebuild it with `dvc repro aggregate`."
        )
    console = Console(stderr=True)
    n_threads = threads_within(limit, predictions)
    with progress_bar(console, predictions) as advance:
        rows = LabelledRows(predictions, given, n_threads, advance)
        try:
            issues = find_issues(
                rows,
                frac_noise=section.frac_noise,
                min_examples_per_class=section.min_examples_per_class,
                rank_by=section.rank_by,
                adjust_pred_probs=section.adjust_pred_probs,
            )
        except ValueError as error:
            raise ArtifactError(
                f"{predictions.path}: {error}. Rebuild it with `dvc repro aggregate`."
            ) from error
        detection = write_issues(data / "label_issues.parquet", rows, issues, section)
    skipped = issues.skipped_classes if section.filter_by in PRUNE_FILTERS else ()
    for k in skipped:
        console.print(
            f"prune: class {facts.class_names[k]} has too few rows for the prune filters "
            f"(prune.min_examples_per_class = {section.min_examples_per_class}), which leave it as it is"
        )
    write_metrics(workspace, predictions.n_rows, issues, detection, section)


@dataclass(frozen=True)
class Part:
    """Consecutive rows with their ids (n,) and, where the truth is known, whether they are noisy (n,)."""

    batch: Batch
    ids: npt.NDArray[np.int64]
    is_noisy: npt.NDArray[np.bool_] | None


class LabelledRows:
    """The rows of data/pred_probs.parquet joined with their given labels; see `label_quality.rows.Rows`."""

    def __init__(
        self,
        predictions: TableReader,
        given: TableReader,
        n_threads: int = 1,
        done: Callable[[], None] = lambda: None,
    ) -> None:
        """Args: the two tables, threads to work in, and what to call after each part of each pass."""
        self.predictions, self.given = predictions, given
        self.n_threads, self._done = n_threads, done
        self.n_rows, self.n_classes = predictions.n_rows, predictions.shape_of("pred_probs")[0]
        # Neighbouring parts of the predictions share parts of the labels.
        self._given_part = lru_cache(maxsize=2 * n_threads + 2)(given.read)

    def map(self, function: Callable[[Batch], Result]) -> Iterator[Result]:
        """See `Rows`."""
        return self.map_parts(lambda part: function(part.batch))

    def map_parts(self, function: Callable[[Part], Result]) -> Iterator[Result]:
        """One pass over the parts, in order of rows, `function` being called by several threads."""
        parts = map_in_order(
            lambda number: function(self.read(number)), len(self.predictions), self.n_threads
        )
        for result in parts:
            self._done()
            yield result

    def read(self, number: int) -> Part:
        """One part of the predictions.

        Raises:
            ArtifactError: a row has no given label.
        """
        table = self.predictions.read(number)
        ids = column_array(table, "example_id")
        parts = [self._given_part(int(part)) for part in self.given.parts_with(ids[0], ids[-1])]
        given = pa.concat_tables([self.given.nothing, *parts])
        rows = locate(column_array(given, "example_id"), ids, str(self.given.path))
        labels = column_array(given, "given_label")[rows].astype(np.int64)
        batch = Batch(int(self.predictions.starts[number]), labels, column_array(table, "pred_probs"))
        known = given.column("is_noisy").is_valid().to_numpy()[rows]
        is_noisy = given.column("is_noisy").fill_null(False).to_numpy()[rows]
        return Part(batch, ids, is_noisy if known.all() else None)


@dataclass(frozen=True)
class Detection:
    """How the flags compare with the truth.

    Attributes:
        n_errors: wrong rows.
        by_filter: see `metrics.detection_quality`.
        ranking: see `metrics.ranking_quality`.
    """

    n_errors: int
    by_filter: dict[str, dict[str, float]]
    ranking: dict[str, float]


def write_issues(path: Path, rows: LabelledRows, issues: IssueRows, section: Section) -> Detection | None:
    """Write data/label_issues.parquet; compare it with the truth, where that is known of every row."""
    chosen = issues.flagged[section.filter_by]
    ranked = ranks(chosen.scores)
    suspicion = ranking_score(section.rank_by, issues.thresholds if section.adjust_pred_probs else None)

    def describe(part: Part) -> tuple[dict[str, Any], npt.NDArray[np.bool_] | None, npt.NDArray[np.float64]]:
        batch = part.batch
        flags = {name: _flags(flagged.rows, batch) for name, flagged in issues.flagged.items()}
        rank = np.full(len(part.ids), -1, dtype=np.int64)
        first, last = np.searchsorted(chosen.rows, (batch.start, batch.stop))
        rank[chosen.rows[first:last] - batch.start] = ranked[first:last]
        suggested = batch.pred_probs.argmax(axis=1)
        nothing = pa.nulls(len(part.ids), pa.float64())
        columns = {
            "example_id": part.ids,
            "given_label": batch.labels,
            "suggested_label": suggested,
            "suggested_prob": batch.pred_probs[np.arange(len(suggested)), suggested],
            **{name: _scores(score, batch) for name, score in SCORES.items()},
            "importance": nothing,
            "importance_percentile": nothing,
            "is_issue": flags[section.filter_by],
            "rank": pa.array(rank, pa.int64(), mask=rank < 0),
            **flags,
        }
        return columns, part.is_noisy, _scores(suspicion, batch)

    truth: list[npt.NDArray[np.bool_]] | None = []
    scores: list[npt.NDArray[np.float64]] = []
    n_hits = dict.fromkeys(issues.flagged, 0)
    with write_stream(path, LABEL_ISSUES, rows.given.facts) as append:
        for columns, is_noisy, part_scores in rows.map_parts(describe):
            append(columns)
            if is_noisy is None:
                truth = None
            if truth is not None and is_noisy is not None:
                truth.append(is_noisy)
                scores.append(part_scores)
                for name in n_hits:
                    n_hits[name] += int((columns[name] & is_noisy).sum())
    if not truth:
        return None
    wrong = np.concatenate(truth)
    n_errors = int(wrong.sum())
    return Detection(
        n_errors,
        {
            name: detection_of_counts(n_errors, len(flagged.rows), n_hits[name])
            for name, flagged in issues.flagged.items()
        },
        ranking_quality(wrong, 1 - np.concatenate(scores)),
    )


def _flags(rows: npt.NDArray[np.int64], batch: Batch) -> npt.NDArray[np.bool_]:
    """(n,) True for the rows of the batch that are among `rows`, which ascend."""
    flags = np.zeros(batch.stop - batch.start, dtype=bool)
    first, last = np.searchsorted(rows, (batch.start, batch.stop))
    flags[rows[first:last] - batch.start] = True
    return flags


def _scores(score: Score, batch: Batch) -> npt.NDArray[np.float64]:
    return np.concatenate([score(piece.labels, piece.pred_probs) for piece in batch.cut(_PIECE_ENTRIES)])


def write_metrics(
    workspace: Path, n_rows: int, issues: IssueRows, detection: Detection | None, section: Section
) -> None:
    """Write metrics/label_issues.json and plots/filters.csv."""
    metrics: dict[str, Any] = {
        "n_rows": n_rows,
        "n_issues": len(issues.flagged[section.filter_by].rows),
        "n_errors_estimated": issues.n_errors,
    }
    columns: dict[str, list[Any]] = {"filter": list(issues.flagged)}
    columns["n_issues"] = [len(flagged.rows) for flagged in issues.flagged.values()]
    if detection:
        metrics["n_errors"] = detection.n_errors
        metrics |= detection.by_filter[section.filter_by] | detection.ranking
        quality = detection.by_filter.values()
        columns |= {name: [entry[name] for entry in quality] for name in ("precision", "recall", "f1")}
    write_json(workspace / "metrics" / "label_issues.json", metrics)
    with atomic_path(workspace / "plots" / "filters.csv") as temporary:
        pacsv.write_csv(pa.table(columns), temporary)


def threads_within(limit: int, predictions: TableReader) -> int:
    """How many threads may work side by side in `limit` bytes; no result depends on it.

    Raises:
        ArtifactError: not even one.
    """
    n_classes = predictions.shape_of("pred_probs")[0]
    fixed = 8 * n_classes**2 * _MATRICES
    a_thread = _PART_COPIES * predictions.part_bytes + 8 * n_classes**2
    # The fit comes between two passes, when no part is at work.
    fit = fixed + _FIT_BYTES * n_classes * len(fit_rows(predictions.n_rows, n_classes))
    needed = max(fixed + a_thread, fit)
    if needed > limit:
        raise ArtifactError(
            f"{predictions.path}: its largest row group ({predictions.part_bytes / 2**20:,.0f} MB) at work "
            f"with {n_classes} classes takes about {needed / 2**20:,.0f} MB, found prune.memory_limit_mb = "
            f"{limit // 2**20}. Raise it in params.yaml, or write the file with smaller row groups."
        )
    return int(min(available_cores(), max((limit - fixed) // a_thread, 1)))


@contextmanager
def progress_bar(console: Console, predictions: TableReader) -> Iterator[Callable[[], None]]:
    """Yield what to call after each part of each pass: a bar, on a terminal and where the way is long."""
    entries = predictions.n_rows * predictions.shape_of("pred_probs")[0]
    if entries < _LONG or not console.is_terminal:
        yield lambda: None
        return
    from rich.progress import Progress

    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("prune", total=_N_PASSES * len(predictions))
        yield lambda: bar.advance(task)
