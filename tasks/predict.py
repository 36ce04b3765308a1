"""`python -m tasks predict FILES --out CSV`: classes of new rows, by a classifier of a run.

The checkpoint knows how its rows were prepared, the names of its classes, and the columns that it expects.
In Python:

    from tasks.predict import Classifier
    classifier = Classifier.load(Path("models/classifier.ckpt"))
    pred_probs = classifier.predict(classifier.read([Path("new/1.jpg"), Path("new/2.jpg")]).content)
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Self

import numpy as np
import numpy.typing as npt
from rich.console import Console

from tasks import ArtifactError, DatasetError, plugins
from tasks.contents import Content, Features, Images, Texts
from tasks.own_files.encoding import NumberColumn, columns_from_json, encode_like
from tasks.own_files.names import listed, shown
from tasks.own_files.own_tables import OwnTable, is_table, read_own_table, texts_of
from tasks.own_files.picture_folders import find_pictures
from tasks.own_files.pictures import SUFFIXES, Picture, decode_pictures
from tasks.own_files.spreadsheets import write_rows
from tasks.tables.facts import DatasetFacts
from tasks.tables.files import atomic_path
from tasks.training.checkpoints import load_model, read_header
from tasks.training.protocol import Model

CHECKPOINT = Path("models", "classifier.ckpt")
"""The classifier that learned from the repaired labels."""
# Pictures that are in memory at a time.
_PORTION = 512


@dataclass(frozen=True)
class NewRows:
    """N rows to classify: what their owner calls them, and their content."""

    key: Sequence[str]
    content: Content


@dataclass(frozen=True)
class Classifier:
    """A model of a run, and what it expects.

    Attributes:
        model: predicts.
        module: its file in `tasks/models`.
        facts: of the data that it learned from.
        accelerator: where frozen features are computed, `auto`, `cpu`, `gpu` or `mps`.
    """

    model: Model
    module: ModuleType
    facts: DatasetFacts
    accelerator: str = "auto"

    @classmethod
    def load(cls, path: Path, accelerator: str = "auto") -> Self:
        """The classifier in a checkpoint.

        Raises:
            ArtifactError: there is none, or it cannot be used; see `checkpoints.load_model`.
        """
        model, facts = load_model(path)
        return cls(model, plugins.load("models", read_header(path)["model"]), facts, accelerator)

    @property
    def content(self) -> str:
        """What rows are made of: `image`, `text` or `features`."""
        return self.facts.raw_content or self.facts.content

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a row, as the model takes it."""
        return self.facts.raw_shape or self.facts.shape

    def predict(self, content: Content) -> npt.NDArray[np.float32]:
        """(N, K) probabilities of the classes `facts.class_names`; rows sum to 1.

        Raises:
            DatasetError: the rows are not like those that the model learned from.
        """
        if self.facts.raw_content:
            content = Features(self.module.extract(content, self.accelerator))
        return self.model.predict(content).pred_probs

    def read(
        self,
        paths: Sequence[Path],
        text: str | None = None,
        key: str | None = None,
        console: Console | None = None,
    ) -> NewRows:
        """New rows: pictures and folders of such, or one table.

        Args:
            paths: what the person names.
            text: the column of a table with the texts, where the model takes texts.
            key: the column of a table that names the rows; their number from 0 by default.
            console: shows a progress bar, if given.

        Raises:
            DatasetError: a file is missing, or its rows are not like those that the model learned from.
        """
        missing = [path for path in paths if not path.exists()]
        if missing:
            raise DatasetError(f"{missing[0]}: expected a file or a folder, found none.")
        if self.content == Images.kind:
            pictures = find_new_pictures(paths)
            decoded = decode_pictures(pictures, self.shape, console)
            return NewRows([picture.name for picture in pictures], Images(decoded))
        if len(paths) != 1 or not (is_table(paths[0]) or paths[0].is_dir()):
            names = listed([str(path) for path in paths])
            raise DatasetError(f"predict: expected one table for a model of {self.content}, found {names}.")
        own = read_own_table(paths[0])
        keys = [value or "" for value in texts_of(own.column(key, "id"))] if key else own.numbers()
        if self.content == Features.kind:
            return NewRows(keys, Features(self._encode(own)))
        if text is None and len(own.names) != 1:
            raise DatasetError(
                f"{paths[0]}: expected the name of the column with the texts (--text), found "
                f"{listed(own.names, 10)}."
            )
        column = own.column(text or own.names[0], "text")
        return NewRows(keys, Texts([value or "" for value in texts_of(column)]))

    def _encode(self, own: OwnTable) -> npt.NDArray[np.float32]:
        """(N, d) the rows of a table as those that the model learned from.

        Raises:
            DatasetError: a column is missing, or holds something other than numbers.
        """
        if self.facts.columns:
            return encode_like(own.table, columns_from_json(self.facts.columns), own.decimal, str(own.path))
        names = self.facts.feature_names or tuple(own.names)
        numbers = [NumberColumn(name, float("nan"), says_missing=False) for name in names]
        found = encode_like(own.table, numbers, own.decimal, str(own.path))
        if found.shape[1:] != self.shape:
            raise DatasetError(
                f"{own.path}: expected {self.shape[0]:,} columns of numbers, as the model learned from, "
                f"found {found.shape[1]:,}."
            )
        return found


def find_new_pictures(paths: Sequence[Path]) -> list[Picture]:
    """The pictures that `paths` names, those in folders included, each under its path.

    Raises:
        DatasetError: a file is no picture by its suffix, or a folder holds none.
    """
    found = []
    for path in paths:
        if path.is_dir():
            inside = [path / picture.path for picture in find_pictures(path)]
            if not inside:
                raise DatasetError(f"{path}: expected pictures in this folder, found none.")
            found += inside
        elif path.suffix.lower() in SUFFIXES:
            found.append(path)
        else:
            raise DatasetError(
                f"{path}: expected a picture ({', '.join(sorted(SUFFIXES))}) for a model of pictures, found "
                f"{shown(path.suffix) if path.suffix else 'no suffix'}."
            )
    return [Picture(str(path), path) for path in found]


def describe(
    keys: Sequence[str], pred_probs: npt.NDArray[np.float32], names: Sequence[str], with_probs: bool
) -> list[list[str]]:
    """A header and (N,) lines: the key, the class and its probability, on request those of all classes."""
    best = pred_probs.argmax(axis=1)
    lines = [["key", "predicted_label", "probability", *(names if with_probs else ())]]
    for key, k, probs in zip(keys, best.tolist(), pred_probs, strict=True):
        all_probs = [f"{prob:.6g}" for prob in probs] if with_probs else []
        lines.append([key, names[k], f"{probs[k]:.6g}", *all_probs])
    return lines


def predict(workspace: Path, arguments: Sequence[str]) -> None:
    """Write what the command line asks for.

    Raises:
        RelabelError: the classifier or a file cannot be used; nothing is written then.
    """
    parser = argparse.ArgumentParser(
        prog="python -m tasks predict", description="Classify new rows with the classifier of a run."
    )
    parser.add_argument("paths", metavar="FILES", nargs="+", type=Path, help="pictures, folders, or a table")
    parser.add_argument("--out", type=Path, required=True, metavar="CSV", help="the file to write")
    parser.add_argument("--model", type=Path, default=CHECKPOINT, help=f"the checkpoint ({CHECKPOINT})")
    parser.add_argument("--text", metavar="COLUMN", help="of a table: the column with the texts")
    parser.add_argument("--id", metavar="COLUMN", help="of a table: what names the rows (their number)")
    parser.add_argument("--probs", action="store_true", help="a column for each class, too")
    parser.add_argument("--accelerator", default="auto", choices=("auto", "cpu", "gpu", "mps"))
    chosen = parser.parse_args(arguments)
    classifier = Classifier.load(workspace / chosen.model, chosen.accelerator)
    console = Console(stderr=True)
    pieces = [chosen.paths]
    if classifier.content == Images.kind:
        pictures = [Path(picture.name) for picture in find_new_pictures(chosen.paths)]
        pieces = [pictures[start : start + _PORTION] for start in range(0, len(pictures), _PORTION)]
    try:
        with atomic_path(chosen.out) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            n = 0
            for piece in pieces:
                rows = classifier.read(piece, chosen.text, chosen.id, console)
                pred_probs = classifier.predict(rows.content)
                lines = describe(rows.key, pred_probs, classifier.facts.class_names, chosen.probs)
                write_rows(file, lines if n == 0 else lines[1:])
                n += len(rows.key)
    except OSError as error:
        raise ArtifactError(f"{chosen.out}: it cannot be written ({error}).") from error
    print(f"predict: {n:,} rows by {chosen.model}, {chosen.out}")
