"""`python -m tasks import-probs`: start at `prune` with probabilities and labels from elsewhere.

Writes all tables that later stages read, checked, without download or training: probabilities, given labels
and splits; and examples, features and rows without a label, of which there is nothing or little. It is a
stage of docs/own_probs.yaml, or run by hand before `dvc repro --single-item prune`. Probabilities and
embeddings are read in portions, so they may exceed the memory, and are kept in float32.
"""

import argparse
import hashlib
import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks import DatasetError
from tasks.datasets._own import MOST_LEFT_OUT
from tasks.own_files.columns import readable
from tasks.own_files.ids import check_same_rows
from tasks.own_files.labels import GIVEN, TRUE, UNKNOWN, Labels, read_labels
from tasks.own_files.names import check_class_names, listed, nfc, read_class_names, shown
from tasks.own_files.own_examples import OwnExamples, open_examples
from tasks.own_files.vectors import EMBEDDINGS, NO_FOLD, PROBABILITIES, Vectors, open_vectors
from tasks.prediction_quality import Counts, labels_to_meet, write_quality
from tasks.tables.catalog import (
    EXAMPLES,
    FEATURES,
    FOLD_UNLABELED_PROBS,
    GIVEN_LABELS,
    PRED_PROBS,
    SPLIT_ROWS,
    UNLABELED_PROBS,
)
from tasks.tables.facts import DatasetFacts
from tasks.tables.files import atomic_paths
from tasks.tables.io import stream_to
from tasks.tables.proofs import MARK

_PORTION_ENTRIES = 2**21
# Of confidence, in the reliability diagram.
_BINS = 15
# They are put in place from the last on: those that `prune` finds to be of two imports come first.
_TABLES = (FOLD_UNLABELED_PROBS, UNLABELED_PROBS, EXAMPLES, FEATURES, SPLIT_ROWS, GIVEN_LABELS, PRED_PROBS)


@dataclass(frozen=True)
class Brought:
    """What a person brought, opened and found to be of the same rows."""

    names: tuple[str, ...]
    predictions: Vectors
    given: Labels
    true: Labels | None
    embeddings: Vectors | None
    second: Vectors | None
    examples: OwnExamples | None

    @property
    def parts(self) -> list[Vectors | Labels | None]:
        """All files of labels and vectors, None for one that is not there."""
        return [self.predictions, self.given, self.true, self.embeddings, self.second]


def import_probs(workspace: Path, arguments: Sequence[str]) -> None:
    """Read the command line's files and write the tables, all or none.

    Raises:
        DatasetError: a file is missing or not what it should be; says what was expected and found.
    """
    brought = open_all(parse(arguments))
    try:
        done = write_tables(workspace, brought)
    except OSError as error:
        raise DatasetError(
            f"{workspace / 'data'}: expected to write "
            f"{', '.join(Path(table.path).name for table in _TABLES[1:])} "
            f"here ({error}). Nothing there has changed."
        ) from error
    width = f", with embeddings of {brought.embeddings.width} numbers" if brought.embeddings else ""
    print(f"data: {done:,} rows of {len(brought.names)} classes{width}.")
    # As a stage of docs/own_probs.yaml it is followed by what follows.
    if "DVC_STAGE" not in os.environ:
        print(
            "Next: dvc repro --single-item prune, then dvc repro --single-item pseudo_label\n"
            "The tables stand where dvc.yaml has outputs of other stages: a plain `dvc repro` would make\n"
            "those again, `dvc exp run` and `dvc checkout` take them away. To keep versions, take the\n"
            "pipeline of docs/own_probs.yaml (docs/own_probabilities.md)."
        )


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m tasks import-probs", description=__doc__)
    forms = "Parquet, CSV (.csv, .tsv, .csv.gz) or .npy"
    parser.add_argument("--pred-probs", type=Path, required=True, help=f"{forms}, N x K")
    parser.add_argument("--labels", type=Path, required=True, help=f"{forms}, N given labels")
    parser.add_argument("--class-names", help="names by class index: a,b,c or a text file, one a line")
    parser.add_argument("--embeddings", type=Path, help=f"{forms}, N x d, for importance")
    parser.add_argument(
        "--second-pred-probs",
        type=Path,
        help=f"{forms}, N x K by another model: the second opinion of the self-tests",
    )
    parser.add_argument("--true-labels", type=Path, help=f"{forms}, N labels to measure against")
    parser.add_argument("--label", metavar="COLUMN", default=GIVEN, help=f"of --labels; default {GIVEN}")
    parser.add_argument("--truth", metavar="COLUMN", default=TRUE, help=f"of --true-labels; default {TRUE}")
    parser.add_argument(
        "--examples", type=Path, help="what the rows are, for pages: a table or a folder of pictures"
    )
    parser.add_argument("--text", metavar="COLUMN", help="of --examples: holds the texts")
    parser.add_argument("--image", metavar="COLUMN", help="of --examples: holds pictures, or their paths")
    parser.add_argument("--id", metavar="COLUMN", help="of --examples: names the rows")
    parser.add_argument("--image-size", type=int, metavar="PIXELS", help="of pictures, height and width")
    return parser.parse_args(arguments)


def open_all(chosen: argparse.Namespace) -> Brought:
    """Open the files, and read all but probabilities and embeddings.

    Raises:
        DatasetError: a file is not what it should be, or of other rows than another.
    """
    predictions = open_vectors(chosen.pred_probs, PROBABILITIES)
    names = class_names(chosen.class_names, predictions)
    for warning in check_class_names(names, "class names"):
        print(f"import-probs: warning: {warning}", file=sys.stderr)
    given = read_labels(chosen.labels, names, chosen.label)
    true = None
    if chosen.true_labels:
        true = read_labels(chosen.true_labels, names, chosen.truth, may_lack=True)
    embeddings = open_vectors(chosen.embeddings, EMBEDDINGS) if chosen.embeddings else None
    second = open_vectors(chosen.second_pred_probs, PROBABILITIES) if chosen.second_pred_probs else None
    if second and second.width != predictions.width:
        raise DatasetError(
            f"{second.path}: expected {predictions.width} probabilities a row, one a class, as "
            f"{predictions.path} has, found {second.width}."
        )
    examples = None
    if chosen.examples:
        examples = open_examples(
            chosen.examples,
            text=chosen.text,
            image=chosen.image,
            id_column=chosen.id,
            image_size=chosen.image_size,
        )
        examples.places_of(given)
    brought = Brought(names, predictions, given, true, embeddings, second, examples)
    for part in brought.parts[1:]:
        if part:
            check_same_rows(predictions, part)
    for ids in {part.path: part.ids for part in brought.parts if part and part.ids}.values():
        if ids.unused:
            print(f"{ids.path}: rows go by the column {ids.column}, not by {' or '.join(ids.unused)}.")
    return brought


def class_names(chosen: str | None, predictions: Vectors) -> tuple[str, ...]:
    """Names by class index: those chosen, the headings of the probabilities' columns, or 0, 1, 2, ...

    Raises:
        DatasetError: their number is not that of the classes.
    """
    if chosen is None:
        in_headings = not predictions.in_lists
        return tuple(map(nfc, predictions.columns if in_headings else map(str, range(predictions.width))))
    names = read_class_names(chosen)
    if len(names) != predictions.width:
        raise DatasetError(
            f"--class-names: expected {predictions.width} names, one a class, found {len(names)}: "
            f"{listed(names)}."
        )
    return names


def write_tables(workspace: Path, brought: Brought) -> int:
    """Write the tables, all or none, and return N.

    Raises:
        DatasetError: rows are not what they should be.
        OSError: the tables cannot be written.
    """
    facts = facts_of(brought)
    paths = [table.at(workspace, fold=0) for table in _TABLES]
    mark = {MARK: digest_of(brought)}
    done = 0
    # All are whole before any appears. Where a kill parts them all the same, their marks differ.
    with ExitStack() as stack:
        appends = [
            stack.enter_context(stream_to(new, path, table, facts, mark))
            for new, path, table in zip(stack.enter_context(atomic_paths(paths)), paths, _TABLES, strict=True)
        ]
        *of_unlabeled, of_examples = appends[:3]
        # Nobody brings rows without a label here; `pseudo_label` reads that there are none.
        for append in of_unlabeled:
            append({"example_id": [], "pred_probs": np.zeros((0, len(brought.names)))})
        contents = Contents(brought)
        labels, truth = labels_in_order(brought)
        counts = {
            name: (values, Counts(len(brought.names), _BINS))
            for name, values in labels_to_meet(labels, truth).items()
        }
        for columns in rows_by_id(brought, workspace / "data"):
            part = slice(done, done + len(columns["example_id"]))
            contents.append_to(of_examples, columns, done)
            for append in appends[3:]:
                append(columns)
            for values, counted in counts.values():
                counted.add(values[part], columns["pred_probs"])
            done = part.stop
        for sentence in contents.describe_blank(done):
            print(f"data: {sentence}")
        found = {name: counted for name, (_, counted) in counts.items()}
        write_quality(workspace, found, labels, truth, brought.names)
    return done


def facts_of(brought: Brought) -> DatasetFacts:
    """What is said of the data set: where no examples are brought, its rows are texts, all empty."""
    name, examples = brought.predictions.path.stem, brought.examples
    if examples is None:
        return DatasetFacts(name, brought.names, "text", ())
    facts = DatasetFacts(name, brought.names, examples.kind, examples.shape)
    return replace(facts, feature_names=examples.feature_names)


def labels_in_order(brought: Brought) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int16] | None]:
    """(N,) given class indices by ascending id, and true ones, if they are known of all rows."""
    given, true = brought.given, brought.true
    labels = given.indices[_order(given, given.n_rows)]
    if true is None or (true.indices == UNKNOWN).any():
        return labels, None
    return labels, true.indices[_order(true, given.n_rows)]


class Contents:
    """The content of rows by ascending id, some at a time."""

    def __init__(self, brought: Brought) -> None:
        self._examples, given = brought.examples, brought.given
        self._blank: dict[str, str] = {}
        if self._examples is not None:
            self._places = self._examples.places_of(given)[_order(given, given.n_rows)]

    def append_to(
        self, append: Callable[[Mapping[str, object]], None], columns: Mapping[str, Any], first: int
    ) -> None:
        """Append the rows of a portion, whose first one is the `first` of all, with their content."""
        n = len(columns["example_id"])
        step = n
        if self._examples is not None and self._examples.kind == "image":
            step = max(_PORTION_ENTRIES * 8 // math.prod(self._examples.shape), 1)
        for start in range(0, n, step):
            part = slice(start, min(start + step, n))
            # A group is, in this table, what the owner says of rows that belong together.
            some = {name: values[part] for name, values in columns.items() if name != "group"}
            if self._examples is None:
                append({**some, "text": [""] * (part.stop - start)})
            else:
                places = self._places[first + start : first + part.stop]
                content, reasons = self._examples.read(places)
                append({**some, self._examples.kind: content})
                self._blank.update({str(some["key"][place]): why for place, why in reasons.items()})

    def describe_blank(self, n_rows: int) -> list[str]:
        """A sentence that counts the rows whose picture is blank, and names the first.

        Raises:
            DatasetError: they are more than one in ten.
        """
        if self._examples is None or not self._blank:
            return []
        key, why = next(iter(self._blank.items()))
        n = len(self._blank)
        said = f"{n:,} of {n_rows:,} pictures cannot be read, the first that of {shown(key)} ({why})"
        if n > MOST_LEFT_OUT * n_rows:
            raise DatasetError(f"{self._examples.path}: {said}. Mend them, or leave the pictures away.")
        return [f"{said}. Pages show white there; their probabilities and labels count."]


def rows_by_id(brought: Brought, folder: Path) -> Iterator[dict[str, Any]]:
    """The columns of all tables, a portion of rows at a time, by ascending id.

    Raises:
        DatasetError: rows are not what they should be, or one file has more than another.
        OSError: `folder`, which holds vectors that are in another order meanwhile, takes no more.
    """
    predictions, given, true = brought.predictions, brought.given, brought.true
    vectors, second = brought.embeddings, brought.second
    n = given.n_rows
    in_file = _order(given, n)
    ids = in_file if given.ids is None else given.ids.example_id[in_file]
    labels = given.indices[in_file]
    truth = np.full(n, UNKNOWN, dtype=np.int16) if true is None else true.indices[_order(true, n)]
    folds = np.full(n, NO_FOLD) if predictions.folds is None else predictions.folds[_order(predictions, n)]
    step = max(_PORTION_ENTRIES // max(predictions.width, vectors.width if vectors else 0), 1)
    probs_in_order = predictions.in_order(step, folder)
    vectors_in_order = vectors.in_order(step, folder) if vectors else ()
    second_in_order = second.in_order(step, folder) if second else ()
    done = 0
    for probs, embedding, others in zip_longest(probs_in_order, vectors_in_order, second_in_order):
        for part, values in ((predictions, probs), (vectors, embedding), (second, others)):
            found = done + (0 if values is None else len(values))
            if part and (found > n or found < min(done + step, n)):
                more = " or more" if found > n else ""
                raise DatasetError(
                    f"{part.path}: expected as many rows as {given.path} has, found {found:,}{more} for "
                    f"{n:,}."
                )
        rows = slice(done, done + len(probs))
        train = np.full(len(probs), "train")
        is_unknown = truth[rows] == UNKNOWN
        yield {
            "example_id": ids[rows],
            "key": given.ids.keys(in_file[rows]) if given.ids else pa.array(ids[rows]).cast(pa.string()),
            "group": ids[rows],
            "split": train,
            "original_split": train,
            "given_label": labels[rows],
            "true_label": pa.array(truth[rows], pa.int16(), mask=is_unknown),
            "is_noisy": pa.array(labels[rows] != truth[rows], pa.bool_(), mask=is_unknown),
            "fold": folds[rows],
            "pred_probs": probs,
            **({} if embedding is None else {"embedding": embedding}),
            **({} if others is None else {"second_probs": others}),
        }
        done = rows.stop
    if done < n:
        raise DatasetError(
            f"{predictions.path}: expected as many rows as {given.path} has, found {done:,} for {n:,}."
        )


def _order(part: Vectors | Labels, n_rows: int) -> npt.NDArray[np.intp]:
    """(N,) the rows of a file by ascending id; as they are where it has no ids."""
    return part.ids.order if part.ids else np.arange(n_rows)


def digest_of(brought: Brought) -> str:
    """sha256 of all that was brought: the files' bytes, and the names of the classes; not pictures' files."""
    whole = hashlib.sha256(json.dumps(brought.names).encode())
    for part in brought.parts:
        if part is None:
            whole.update(b"none")
            continue
        whole.update(_digest_of_file(part.path))
    for path in _files_of(brought.examples):
        whole.update(_digest_of_file(path))
    return whole.hexdigest()


def _files_of(examples: OwnExamples | None) -> list[Path]:
    """The table of examples; nothing where there is a folder of files, or none."""
    return [examples.path] if examples is not None and examples.path.is_file() else []


def _digest_of_file(path: Path) -> bytes:
    with readable(path, "file"), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
