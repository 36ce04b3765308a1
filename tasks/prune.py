"""Stage `prune`: which rows are label issues, in which order, and what their labels should be.

The rows are passed over part by part, four times: thresholds, confident joint, selection, and once more to
write; the self-tests pass over them some eight times more. Beside the parts at work, memory holds what
`label_quality.issues.find_issues` holds, the labels (two bytes a row), and, where the truth is known, the
score that rows are ranked by. Embeddings, where there are any, are read twice before the last pass, and leave
three numbers a row: importance, its percentile, contrast. For a second opinion they are read twice more, or
oftener where they are large.
"""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from rich.console import Console

from tasks import ArtifactError
from tasks.label_quality.confident_joint import noise_matrix
from tasks.label_quality.confusions import count_confusions
from tasks.label_quality.contradictions import find_contradictions
from tasks.label_quality.error_prob import ErrorCounts, NumberOfErrors, average
from tasks.label_quality.gate import LEAST_AGREEMENT
from tasks.label_quality.health import health_metrics, mean_l1_error
from tasks.label_quality.importance import Block, block_rows, percentile_in_class, score_stream
from tasks.label_quality.in_sample import Surprise
from tasks.label_quality.issues import IssueRows, find_issues
from tasks.label_quality.margins import margin_steps
from tasks.label_quality.metrics import chance_corrected_agreement, detection_of_counts, ranking_quality
from tasks.label_quality.rows import Batch
from tasks.label_quality.scores import SCORES, Score, ranking_score, ranks
from tasks.label_quality.selection import Flagged
from tasks.label_quality.self_tests.neighbours_vote import ask_neighbours
from tasks.label_quality.self_tests.run import Ask, SelfTests, run_self_tests
from tasks.label_quality.self_tests.words import describe
from tasks.label_quality.statistics import sample_rows
from tasks.label_quality.suggestions import second_best
from tasks.params import Params
from tasks.params import Prune as Section
from tasks.tables.catalog import GIVEN_LABELS, LABEL_ISSUES, PRED_PROBS, SPLIT_ROWS
from tasks.tables.facts import DatasetFacts
from tasks.tables.files import without_nan, write_csv, write_json
from tasks.tables.io import write_stream
from tasks.tables.portions import Scratch, TableReader, available_cores, map_in_order
from tasks.tables.probabilities import check_same_classes, rows_off_1
from tasks.tables.proofs import MARK, OUT_OF_FOLD, FoldsDigest, check_same_import
from tasks.tables.schemas import column_array

Result = TypeVar("Result")

_N_PASSES = 4
# Of the self-tests; a filter may need one less for each of two kinds of planted errors.
_N_TEST_PASSES = 8
# Below so many probabilities a progress bar would be gone before it is read.
_LONG = 50_000_000
# A part takes so many times its size while it is read, decoded and looked at.
_PART_COPIES = 3
# Matrices of K x K numbers held at a time, kept fits among them, and bytes for each fitted probability.
_MATRICES = 16
_FIT_BYTES = 20
# Rows are read from the scratch file so many probabilities at a time: the allocator uses buffers of this size
# again, and must clear larger ones.
_BATCH_ENTRIES = 2**20
# Scores are computed in pieces that stay in the processor's cache.
_PIECE_ENTRIES = 2**18
# A block of embeddings takes so many times its size in float64 while it is put together and worked on. Two
# threads read ahead of it, and what they have read waits: so many times the size of a part.
_BLOCK_COPIES = 4
_AHEAD_COPIES = 8
# What importance keeps of each row: five numbers in float64, its label and its fold.
_IMPORTANCE_BYTES = 56
# Overlapping and confused pairs that metrics/health.json names.
_PAIRS = 10
_REMEDY = (
    "Rebuild it with `dvc repro aggregate`, or, if the probabilities are your own, import them again "
    "(`python -m tasks import-probs`)."
)


def prune(params: Params, workspace: Path) -> None:
    """Write data/label_issues.parquet, metrics of the issues, the health and the self-tests, and plots.

    Raises:
        ArtifactError: an input is missing or not what it should be, or the memory allowed is too little.
    """
    section = params.prune
    limit = section.memory_limit_mb * 2**20
    measured = [] if section.importance == "none" else ["embedding"]
    predictions = TableReader(PRED_PROBS.at(workspace), PRED_PROBS, ["fold", "pred_probs"], measured)
    given = TableReader(
        GIVEN_LABELS.at(workspace), GIVEN_LABELS, ["key", "given_label", "true_label", "is_noisy"]
    )
    facts = given.facts
    for n_classes in (predictions.facts.n_classes, *predictions.shape_of("pred_probs")):
        check_same_classes(facts, n_classes, predictions.where, _REMEDY)
    check_same_import({table.where: table.metadata(MARK) for table in (predictions, given)})
    proved = check_proof(predictions)
    contradicting = read_contradictions(workspace, predictions, given, needed=proved)
    # Names of classes and files may look like markup.
    console = Console(stderr=True, markup=False, highlight=False)
    n_threads = threads_within(limit, predictions, given)
    is_measured = section.importance != "none" and "embedding" in predictions.schema.names
    if is_measured:
        check_memory_of_importance(predictions, limit)
    with progress_bar(console, predictions, section) as advance:
        rows = LabelledRows(predictions, given, n_threads, advance)
        try:
            issues = find_issues(
                rows,
                frac_noise=section.frac_noise,
                min_examples_per_class=section.min_examples_per_class,
                rank_by=section.rank_by,
                adjust_pred_probs=section.adjust_pred_probs,
                with_error_prob=True,
            )
        except ValueError as error:
            raise ArtifactError(f"{predictions.path}: {error}. {_REMEDY}") from error
        importance = None
        if is_measured:
            importance = measure_importance(rows, limit, contrast=section.importance == "all_classes")
        tests = test_itself(rows, issues, section) if section.self_tests else None
        counts, detection, doubts, n_errors = write_issues(
            LABEL_ISSUES.at(workspace),
            rows,
            issues,
            importance,
            contradicting,
            tests,
            section,
            judge=not proved,
        )
    for k in issues.skipped_classes[section.filter_by]:
        console.print(
            f"prune: class {facts.class_names[k]} has too few rows for {section.filter_by} "
            f"(prune.min_examples_per_class = {section.min_examples_per_class}), which leaves it as it is",
            soft_wrap=True,
        )
    for warning in doubts.warnings(predictions.path):
        console.print(f"prune: {warning}", soft_wrap=True)
    can_tell = chance_corrected_agreement(counts.suggested) >= LEAST_AGREEMENT
    write_metrics(
        workspace,
        predictions.n_rows,
        issues,
        detection,
        n_errors if can_tell else None,
        len(contradicting),
        section,
    )
    write_health(workspace, facts, issues, counts)
    found = tests.entries(facts.class_names) if tests else {}
    write_json(workspace / "metrics" / "self_tests.json", found)
    print(
        f"prune: {len(issues.flagged[section.filter_by].rows):,} of {predictions.n_rows:,} labels are issues "
        f"({section.filter_by}), data/label_issues.parquet"
    )
    for sentence in describe(found):
        print(f"prune: {sentence}")


def check_proof(predictions: TableReader) -> bool:
    """Whether `aggregate` proved that each row was predicted by a model that never saw it.

    Raises:
        ArtifactError: it proved so of other rows, or of rows in other folds, than the table holds now.
    """
    proof = predictions.metadata(OUT_OF_FOLD)
    if proof is None:
        return False
    digest = FoldsDigest()
    for number in range(len(predictions)):
        table = predictions.read(number, ["fold"])
        digest.add(column_array(table, "example_id"), column_array(table, "fold"))
    if digest.hex() != proof:
        raise ArtifactError(
            f"{predictions.path}: expected the rows and folds that `aggregate` proved to be out-of-fold, "
            "found others: a row may have been predicted by a model that learned from it. Rebuild the file "
            "with `dvc repro --force --single-item aggregate`."
        )
    return True


def read_contradictions(
    workspace: Path, predictions: TableReader, given: TableReader, needed: bool
) -> npt.NDArray[np.int64]:
    """(M,) the ids, ascending, of the rows with another given label than a copy of theirs.

    Copies are the rows of one `group` of data/splits.parquet. Memory follows the rows that have copies.

    Args:
        workspace: where data/splits.parquet is.
        predictions: of the labelled training rows; other copies are not asked.
        given: their given labels.
        needed: whether the file has to be there. Probabilities of one's own may come without.

    Raises:
        ArtifactError: the file is missing, or not what it should be.
    """
    path = SPLIT_ROWS.at(workspace)
    if not needed and not path.exists():
        return np.zeros(0, dtype=np.int64)
    splits = TableReader(path, SPLIT_ROWS, ["group"])
    check_same_classes(given.facts, splits.facts.n_classes, splits.where, SPLIT_ROWS.remedy)
    check_same_import({table.where: table.metadata(MARK) for table in (given, splits)})
    # A group is called by the lowest id in it, so a row that has another id is one of several.
    copies: list[npt.NDArray[np.int64]] = [np.zeros((2, 0), dtype=np.int64)]
    for table in splits.portions():
        pairs = np.stack([column_array(table, "example_id"), column_array(table, "group")])
        copies.append(pairs[:, pairs[0] != pairs[1]])
    ids, groups = np.concatenate(copies, axis=1)
    first = np.unique(groups)
    ids, groups = np.concatenate([ids, first]), np.concatenate([groups, first])
    is_trained = np.isin(ids, column_array(predictions.find(ids, []), "example_id"))
    ids, groups = ids[is_trained], groups[is_trained]
    labels = column_array(given.rows(ids, ["given_label"]), "given_label")
    return np.sort(ids[find_contradictions(groups, labels)])


@dataclass(frozen=True)
class Part:
    """Consecutive rows with their ids (n,) and keys (n,).

    Where the truth is known of each, their true labels (n,) and whether they are noisy (n,).
    """

    batch: Batch
    ids: npt.NDArray[np.int64]
    keys: pa.ChunkedArray
    true: npt.NDArray[np.int64] | None
    is_noisy: npt.NDArray[np.bool_] | None


class LabelledRows:
    """The rows of data/pred_probs.parquet joined with their given labels; see `label_quality.rows.Rows`.

    Parquet is decoded once: the first pass leaves the probabilities in a scratch file, where the disk has the
    room, and the labels in memory, two bytes a row.
    """

    def __init__(
        self,
        predictions: TableReader,
        given: TableReader,
        n_threads: int = 1,
        done: Callable[[float], None] = lambda _: None,
    ) -> None:
        """Args: the two tables, threads to work in, and what to tell which share of a pass has been done."""
        self.predictions, self.given = predictions, given
        self.n_threads, self._done = n_threads, done
        self.n_rows, (self.n_classes,) = predictions.n_rows, predictions.shape_of("pred_probs")
        folder = predictions.path.parent
        self._scratch = (
            Scratch(folder, (self.n_classes,), np.float32)
            if Scratch.fits(folder, 4 * self.n_rows * self.n_classes)
            else None
        )
        self._labels = np.empty(self.n_rows, dtype=np.int16)
        self._kept: set[int] = set()
        self._batch_rows = max(_BATCH_ENTRIES // self.n_classes, 1)

    def map(self, function: Callable[[Batch], Result]) -> Iterator[Result]:
        """See `Rows`."""
        scratch, step = self._scratch, self._batch_rows
        if scratch and len(self._kept) == len(self.predictions):
            starts = range(0, self.n_rows, step)
            return self._map(
                lambda place: function(self._read_back(scratch, starts[place], step)), len(starts)
            )
        return self._map(lambda number: function(self.batch(number)), len(self.predictions))

    def map_parts(self, function: Callable[[Part], Result]) -> Iterator[Result]:
        """One pass over the parts, in order of rows, `function` being called by several threads."""
        return self._map(lambda number: function(self.part(number)), len(self.predictions))

    def _map(self, function: Callable[[int], Result], n_items: int) -> Iterator[Result]:
        for result in map_in_order(function, n_items, self.n_threads):
            self._done(1 / n_items)
            yield result
        # What decoding took is not kept for the next pass, or the fit, which may decode nothing.
        pa.default_memory_pool().release_unused()

    def _read_back(self, scratch: Scratch, start: int, n_rows: int) -> Batch:
        """Rows that an earlier pass kept, as many as there are."""
        stop = min(start + n_rows, self.n_rows)
        return Batch(start, self._labels[start:stop].astype(np.int64), scratch.read(start, stop - start))

    def batch(self, number: int) -> Batch:
        """The labels and probabilities of one part of the predictions, which are kept on the way.

        Raises:
            ArtifactError: a row has no given label.
        """
        start, stop = (int(end) for end in self.predictions.starts[number : number + 2])
        if number in self._kept and self._scratch:
            return self._read_back(self._scratch, start, stop - start)
        table = self.predictions.read(number, ["pred_probs"])
        pred_probs = column_array(table, "pred_probs")
        if number not in self._kept:
            given = self.given.rows(column_array(table, "example_id"), ["given_label"])
            self._labels[start:stop] = column_array(given, "given_label")
            self._keep(start, pred_probs)
            self._kept.add(number)
        return Batch(start, self._labels[start:stop].astype(np.int64), pred_probs)

    def _keep(self, start: int, pred_probs: npt.NDArray[np.float32]) -> None:
        if self._scratch:
            try:
                self._scratch.write(start, pred_probs)
            except OSError:
                # A disk that fills up costs time, not the run.
                self._scratch = None

    def part(self, number: int) -> Part:
        """The same with the ids, the keys and the truth."""
        ids = column_array(self.predictions.read(number, []), "example_id")
        given = self.given.rows(ids, ["key", "true_label", "is_noisy"])
        true, is_noisy = (
            None if given.column(name).null_count else column_array(given, name)
            for name in ("true_label", "is_noisy")
        )
        true = None if true is None else true.astype(np.int64)
        return Part(self.batch(number), ids, given.column("key"), true, is_noisy)

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """(N,) all given labels, once a pass has been made."""
        return self._labels.astype(np.int64)


@dataclass(frozen=True)
class Importance:
    """Of every row, in order of `example_id`: see `label_quality.importance`.

    Attributes:
        importance: (N,).
        percentile: (N,) of the importance in the class, in (0, 100].
        contrast: (N,), if it was asked for.
    """

    importance: npt.NDArray[np.float64]
    percentile: npt.NDArray[np.float64]
    contrast: npt.NDArray[np.float64] | None


def check_memory_of_importance(predictions: TableReader, limit: int) -> None:
    """Check that importance can be measured within `limit` bytes.

    Raises:
        ArtifactError: it can not.
    """
    n_features = predictions.shape_of("embedding")[0]
    needed = _importance_bytes(predictions) + 16 * (n_features + 1) ** 2
    if needed > limit:
        raise ArtifactError(
            f"{predictions.where}: importance from embeddings of {n_features} numbers takes about "
            f"{needed / 2**20:,.0f} MB, found prune.memory_limit_mb = {limit // 2**20}. Raise it in "
            "params.yaml, or set prune.importance to none."
        )


def _importance_bytes(predictions: TableReader) -> int:
    """What importance takes beside its matrices."""
    n_features = predictions.shape_of("embedding")[0]
    block_bytes = 8 * (n_features + 1) * min(block_rows(n_features), predictions.n_rows)
    parts = _BLOCK_COPIES * block_bytes + _AHEAD_COPIES * predictions.part_bytes
    return parts + _IMPORTANCE_BYTES * predictions.n_rows


def measure_importance(rows: LabelledRows, limit: int, contrast: bool) -> Importance:
    """Importance from the embeddings, those of each fold on their own.

    Folds are predicted by different models, whose embeddings have no axes in common.

    Raises:
        ArtifactError: an embedding is not finite.
    """
    # Imported here, where it is needed: the number of threads in a matrix product moves its last bits.
    from threadpoolctl import threadpool_limits

    predictions = rows.predictions
    n_features = predictions.shape_of("embedding")[0]
    folds, space = np.unique(predictions.column("fold"), return_inverse=True)
    labels = rows.labels

    def read() -> Iterator[Block]:
        start = 0
        for features in in_blocks(predictions, block_rows(n_features)):
            part = slice(start, start + len(features))
            yield Block(features, labels[part], space[part])
            start += len(features)

    try:
        with threadpool_limits(1), ThreadPoolExecutor(rows.n_threads) as pool:
            importance, compared = score_stream(
                read,
                predictions.n_rows,
                rows.n_classes,
                len(folds),
                n_features,
                contrast=contrast,
                memory_bytes=limit - _importance_bytes(predictions),
                each=pool.map,
            )
    except ValueError as error:
        raise ArtifactError(f"{predictions.where}: column `embedding`: {error}. {_REMEDY}") from error
    return Importance(importance, percentile_in_class(importance, labels), compared)


def in_blocks(predictions: TableReader, n_rows: int) -> Iterator[npt.NDArray[np.float32]]:
    """The embeddings `n_rows` at a time, whatever the row groups of the file: sums depend on it."""
    parts = map_in_order(
        lambda number: column_array(predictions.read(number, ["embedding"]), "embedding"),
        len(predictions),
        n_threads=2,
    )
    n_features, n_left, filled = predictions.shape_of("embedding")[0], predictions.n_rows, 0
    block = np.empty((min(n_rows, n_left), n_features), dtype=np.float32)
    for part in parts:
        while len(part):
            taken = part[: len(block) - filled]
            block[filled : filled + len(taken)] = taken
            part, filled = part[len(taken) :], filled + len(taken)
            if filled == len(block):
                yield block
                n_left, filled = n_left - len(block), 0
                block = np.empty((min(n_rows, n_left), n_features), dtype=np.float32)


def suspicion(issues: IssueRows, section: Section) -> Score:
    """What rows are ranked by; low is suspect."""
    adjust_by = issues.thresholds if section.adjust_pred_probs else None
    return ranking_score(section.rank_by, adjust_by, issues.error_model)


def test_itself(rows: LabelledRows, issues: IssueRows, section: Section) -> SelfTests:
    """What the self-tests say of the chosen filter on these rows.

    Raises:
        ArtifactError: an embedding is not finite.
    """
    return run_self_tests(
        rows,
        issues.flagged[section.filter_by].rows,
        who_to_ask(rows),
        filter_by=section.filter_by,
        score=suspicion(issues, section),
        frac_noise=section.frac_noise,
        min_examples_per_class=section.min_examples_per_class,
    )


def who_to_ask(rows: LabelledRows) -> Ask | None:
    """Who has a second opinion on the rows: a second table of probabilities, or neighbours by embedding."""
    predictions = rows.predictions
    if "second_probs" in predictions.schema.names:
        return lambda asked: ask_second_table(predictions, asked)
    if "embedding" not in predictions.schema.names:
        return None

    def ask(asked: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        # As in `measure_importance`.
        from threadpoolctl import threadpool_limits

        n_rows = block_rows(predictions.shape_of("embedding")[0])
        try:
            with threadpool_limits(1), ThreadPoolExecutor(rows.n_threads) as pool:
                return ask_neighbours(
                    lambda: in_blocks(predictions, n_rows),
                    rows.labels,
                    predictions.column("fold"),
                    asked,
                    each=pool.map,
                )
        except ValueError as error:
            raise ArtifactError(f"{predictions.where}: column `embedding`: {error}. {_REMEDY}") from error

    return ask


def ask_second_table(predictions: TableReader, asked: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(Q,) the most probable class of the rows `asked` (Q,), which ascend, by the second table."""
    found = []
    for number, (start, stop) in enumerate(pairwise(predictions.starts.tolist())):
        first, last = np.searchsorted(asked, (start, stop))
        if last > first:
            probs = column_array(predictions.read(number, ["second_probs"]), "second_probs")
            found.append(probs[asked[first:last] - start].argmax(axis=1))
    return np.concatenate(found)


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


@dataclass(frozen=True)
class Counts:
    """Rows by pair of classes.

    Attributes:
        suggested: (K, K) rows indexed [given, suggested].
        true: (K, K) rows indexed [given, true], where the truth is known of every row.
    """

    suggested: npt.NDArray[np.int64]
    true: npt.NDArray[np.int64] | None


@dataclass(frozen=True)
class Doubts:
    """What speaks against probabilities that nothing is proved of; parts add, in order of rows.

    Attributes:
        surprise: what tells whether they look in-sample.
        n_off: rows that do not sum to 1.
        first_off: the key of the first such row, and its sum.
    """

    surprise: Surprise = field(default_factory=Surprise)
    n_off: int = 0
    first_off: tuple[str, float] = ("", 1.0)

    @classmethod
    def of(cls, part: Part) -> Self:
        """Those of a part."""
        doubts = cls()
        for piece in part.batch.cut(_PIECE_ENTRIES):
            rows, sums = rows_off_1(piece.pred_probs)
            first = piece.start - part.batch.start + rows[:1]
            doubts += cls(
                Surprise.of(piece.labels, piece.pred_probs),
                len(rows),
                (part.keys[int(first[0])].as_py(), float(sums[0])) if len(rows) else cls.first_off,
            )
        return doubts

    def __add__(self, later: Self) -> Self:
        first_off = self.first_off if self.n_off else later.first_off
        return type(self)(self.surprise + later.surprise, self.n_off + later.n_off, first_off)

    def warnings(self, path: Path) -> Iterator[str]:
        """What to say of them."""
        if self.surprise.looks_in_sample:
            yield (
                f"{path} looks as if its models had learned from the labels that they judge: "
                f"{self.surprise.agreement:.1%} of the given labels are predicted, with "
                f"{self.surprise.ratio:.0%} of the surprise that the probabilities expect. Wrong labels that "
                "a model has memorised are not found: use out-of-fold probabilities. "
                "(docs/label_quality.md says how sure this warning is.)"
            )
        if self.n_off:
            key, total = self.first_off
            yield (
                f"{path} has rows whose probabilities do not sum to 1: {self.n_off:,}, the first with "
                f"key {key} and a sum of {total:.4g}. Filters and scores measure them by "
                "another scale than the rest: divide each row by its sum."
            )


def write_issues(
    path: Path,
    rows: LabelledRows,
    issues: IssueRows,
    importance: Importance | None,
    contradicting: npt.NDArray[np.int64],
    tests: SelfTests | None,
    section: Section,
    judge: bool,
) -> tuple[Counts, Detection | None, Doubts, NumberOfErrors]:
    """Write data/label_issues.parquet; `contradicting` are the ids of `read_contradictions`.

    Returns:
        rows by pair of classes; how the flags compare with the truth, where that is known of every row;
        where `judge`, what speaks against the probabilities; and how many labels are wrong, estimated.
    """
    score = suspicion(issues, section)
    chosen = with_contradictions(issues.flagged[section.filter_by], rows, contradicting, score)
    ranked = ranks(chosen.scores)

    def describe(
        part: Part,
    ) -> tuple[Part, dict[str, Any], npt.NDArray[np.float64], Doubts, ErrorCounts]:
        batch = part.batch
        flags = {name: _flags(flagged.rows, batch) for name, flagged in issues.flagged.items()}
        rank = np.full(len(part.ids), -1, dtype=np.int64)
        first, last = np.searchsorted(chosen.rows, (batch.start, batch.stop))
        rank[chosen.rows[first:last] - batch.start] = ranked[first:last]
        suggested = batch.pred_probs.argmax(axis=1)
        second, second_prob = second_best(batch.pred_probs)
        right = np.concatenate(
            [
                issues.error_model.right_by_sharpness(piece.labels, piece.pred_probs)
                for piece in batch.cut(_PIECE_ENTRIES)
            ],
            axis=1,
        )
        columns = {
            "example_id": part.ids,
            "key": part.keys,
            "given_label": batch.labels,
            "suggested_label": suggested,
            "suggested_prob": batch.pred_probs[np.arange(len(suggested)), suggested],
            "second_label": second,
            "second_prob": second_prob,
            "error_prob": 1 - average(right),
            **{name: _scores(score, batch) for name, score in SCORES.items()},
            **_importance(importance, batch),
            "contradicts": np.isin(part.ids, contradicting, assume_unique=True),
            "second_opinion": _second_opinion(tests, batch),
            "is_issue": flags[section.filter_by],
            "rank": pa.array(rank, pa.int64(), mask=rank < 0),
            **flags,
        }
        return (
            part,
            columns,
            _scores(score, batch),
            Doubts.of(part) if judge else Doubts(),
            ErrorCounts.of(right),
        )

    truth: list[npt.NDArray[np.bool_]] | None = []
    scores: list[npt.NDArray[np.float64]] = []
    n_hits = dict.fromkeys(issues.flagged, 0)
    n_classes = rows.n_classes
    suggested_counts: npt.NDArray[np.int64] = np.zeros((n_classes, n_classes), dtype=np.int64)
    true_counts: npt.NDArray[np.int64] | None = np.zeros_like(suggested_counts)
    doubts, expected = Doubts(), ErrorCounts.none()
    extra = {"filter_by": section.filter_by}
    if section.filter_by in issues.rules:
        extra["rule"] = issues.rules[section.filter_by]
    if tests:
        extra["self_tests"] = json.dumps(without_nan(tests.entries(rows.given.facts.class_names)))
    if mark := rows.given.metadata(MARK):
        extra[MARK] = mark
    with write_stream(path, LABEL_ISSUES, rows.given.facts, extra) as append:
        for part, columns, part_scores, found, errors in rows.map_parts(describe):
            append(columns)
            doubts += found
            expected += errors
            labels, is_noisy = part.batch.labels, part.is_noisy
            suggested_counts += count_confusions(labels, columns["suggested_label"], n_classes)
            if part.true is None or true_counts is None:
                true_counts = None
            else:
                true_counts += count_confusions(labels, part.true, n_classes)
            if is_noisy is None:
                truth = None
            if truth is not None and is_noisy is not None:
                truth.append(is_noisy)
                scores.append(part_scores)
                for name in n_hits:
                    n_hits[name] += int((columns[name] & is_noisy).sum())
    counts = Counts(suggested_counts, true_counts)
    if not truth:
        return counts, None, doubts, expected.estimate()
    wrong = np.concatenate(truth)
    n_errors = int(wrong.sum())
    by_filter = {
        name: detection_of_counts(n_errors, len(flagged.rows), n_hits[name])
        for name, flagged in issues.flagged.items()
    }
    detection = Detection(n_errors, by_filter, ranking_quality(wrong, 1 - np.concatenate(scores)))
    return counts, detection, doubts, expected.estimate()


def with_contradictions(
    flagged: Flagged, rows: LabelledRows, contradicting: npt.NDArray[np.int64], score: Score
) -> Flagged:
    """What the filter flagged, and the rows with these ids (M,), whose copies have other labels; both rank.

    At least one label of a group with several is wrong, whatever the model says of each.
    """
    if not len(contradicting):
        return flagged
    places = np.flatnonzero(np.isin(rows.predictions.column("example_id"), contradicting))
    more = np.setdiff1d(places, flagged.rows)

    def look_at(batch: Batch) -> npt.NDArray[np.float64]:
        first, last = np.searchsorted(more, (batch.start, batch.stop))
        here = more[first:last] - batch.start
        return score(batch.labels[here], batch.pred_probs[here])

    scores = np.concatenate([flagged.scores, *rows.map(look_at)])
    together = np.concatenate([flagged.rows, more])
    order = np.argsort(together, kind="stable")
    return Flagged(together[order], scores[order])


def _importance(importance: Importance | None, batch: Batch) -> dict[str, Any]:
    """The columns of a batch; nulls for what was not measured."""
    rows = slice(batch.start, batch.stop)
    nothing = pa.nulls(batch.stop - batch.start, pa.float64())
    if importance is None:
        return dict.fromkeys(("importance", "importance_percentile", "contrast"), nothing)
    return {
        "importance": importance.importance[rows],
        "importance_percentile": importance.percentile[rows],
        "contrast": nothing if importance.contrast is None else importance.contrast[rows],
    }


def _second_opinion(tests: SelfTests | None, batch: Batch) -> pa.Array:
    """The column of a batch; nulls where nobody was asked."""
    if tests is None:
        return pa.nulls(batch.stop - batch.start, pa.int16())
    opinion = tests.second_opinion(batch.start, batch.stop)
    return pa.array(opinion, pa.int16(), mask=opinion < 0)


def _flags(rows: npt.NDArray[np.int64], batch: Batch) -> npt.NDArray[np.bool_]:
    """(n,) True for the rows of the batch that are among `rows`, which ascend."""
    flags = np.zeros(batch.stop - batch.start, dtype=bool)
    first, last = np.searchsorted(rows, (batch.start, batch.stop))
    flags[rows[first:last] - batch.start] = True
    return flags


def _scores(score: Score, batch: Batch) -> npt.NDArray[np.float64]:
    return np.concatenate([score(piece.labels, piece.pred_probs) for piece in batch.cut(_PIECE_ENTRIES)])


def write_metrics(
    workspace: Path,
    n_rows: int,
    issues: IssueRows,
    detection: Detection | None,
    n_errors: NumberOfErrors | None,
    n_contradicting: int,
    section: Section,
) -> None:
    """Write metrics/label_issues.json and plots/filters.csv.

    `n_errors` is None where the classifier is too weak to tell.
    """
    metrics: dict[str, Any] = {
        "n_rows": n_rows,
        "n_issues": len(issues.flagged[section.filter_by].rows),
        "rule": issues.rules.get(section.filter_by),
        "n_errors_estimated": n_errors.estimate if n_errors else None,
        "n_errors_low": n_errors.low if n_errors else None,
        "n_errors_high": n_errors.high if n_errors else None,
        "n_contradicting": n_contradicting,
    }
    columns: dict[str, list[Any]] = {"filter": list(issues.flagged)}
    columns["n_issues"] = [len(flagged.rows) for flagged in issues.flagged.values()]
    if detection:
        metrics["n_errors"] = detection.n_errors
        metrics |= detection.by_filter[section.filter_by] | detection.ranking
        quality = detection.by_filter.values()
        columns |= {name: [entry[name] for entry in quality] for name in ("precision", "recall", "f1")}
    write_json(workspace / "metrics" / "label_issues.json", metrics)
    write_csv(workspace / "plots" / "filters.csv", pa.table(columns))


def write_health(workspace: Path, facts: DatasetFacts, issues: IssueRows, counts: Counts) -> None:
    """Write metrics/health.json and, entry by entry, plots/noise_matrices.csv and plots/joints.csv."""
    metrics = health_metrics(
        issues.calibrated, issues.n_off_diagonal, counts.suggested, facts.class_names, _PAIRS
    )
    matrices = {"confident_joint": noise_matrix(issues.calibrated), **issues.noise_matrices}
    if counts.true is not None:
        injected, true_counts = noise_matrix(counts.true), counts.true.sum(axis=0)
        metrics["noise_matrix_l1_error"] = {
            name: mean_l1_error(estimated, injected, true_counts) for name, estimated in matrices.items()
        }
        matrices["injected"] = injected
    write_json(workspace / "metrics" / "health.json", metrics)
    # A model leaves a trace in every entry; those that the counts leave out would only be long.
    counted = [matrix > 0 for name, matrix in matrices.items() if name not in issues.noise_matrices]
    given, true = np.nonzero(np.any(counted, axis=0))
    names = np.array(facts.class_names)
    columns = {"given": names[given], "true": names[true]}
    joints = {"confident_joint": issues.calibrated}
    if counts.true is not None:
        joints["injected"] = counts.true
    for file, tables in ("noise_matrices.csv", matrices), ("joints.csv", joints):
        entries = columns | {name: table[given, true] for name, table in tables.items()}
        write_csv(workspace / "plots" / file, pa.table(entries))


def threads_within(limit: int, predictions: TableReader, given: TableReader) -> int:
    """How many threads may work side by side within `limit` bytes; no result depends on it.

    Raises:
        ArtifactError: not even one thread may.
    """
    n_classes = predictions.shape_of("pred_probs")[0]
    matrices = 8 * n_classes**2 * _MATRICES
    # The counted margins, and twice as much while cutoffs are read from them.
    fixed = matrices + 8 * n_classes**2 * 3 * margin_steps(n_classes)
    a_thread = 8 * n_classes**2 + _PART_COPIES * (predictions.part_bytes + given.part_bytes)
    # The fit comes between two passes, when neither parts are at work nor margins counted.
    n_fitted = len(sample_rows(predictions.n_rows, n_classes))
    fit, passes = matrices + _FIT_BYTES * n_classes * n_fitted, fixed + a_thread
    if max(fit, passes) > limit:
        what = (
            f"the noise model's fit on {n_fitted:,} rows of {n_classes} classes takes"
            if fit > passes
            else f"counts for each pair of {n_classes} classes, and the rows at work, take"
        )
        raise ArtifactError(
            f"{predictions.where}: {what} about {max(fit, passes) / 2**20:,.0f} MB, found "
            f"prune.memory_limit_mb = {limit // 2**20}. Raise it in params.yaml."
        )
    return int(min(available_cores(), max((limit - fixed) // a_thread, 1)))


@contextmanager
def progress_bar(
    console: Console, predictions: TableReader, section: Section
) -> Iterator[Callable[[float], None]]:
    """Yield what to tell which share of a pass is done: a bar, on a terminal and where the way is long."""
    entries = predictions.n_rows * predictions.shape_of("pred_probs")[0]
    if entries < _LONG or not console.is_terminal:
        yield lambda _: None
        return
    from rich.progress import Progress

    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("prune", total=_N_PASSES + _N_TEST_PASSES * section.self_tests)
        yield lambda share: bar.advance(task, share)
