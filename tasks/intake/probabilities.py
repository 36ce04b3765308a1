"""A person's own probabilities: the pipeline that begins with them, in place of dvc.yaml."""

import json
import re
import shlex
import subprocess
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tasks import DatasetError
from tasks.import_probs import Brought, open_all, parse
from tasks.intake.asked import Asked
from tasks.intake.bring import bring_files
from tasks.intake.columns import LABELS
from tasks.own_files.columns import load_array, open_file
from tasks.own_files.labels import GIVEN
from tasks.own_files.names import shown
from tasks.own_files.vectors import PROBABILITIES, open_vectors
from tasks.tables.files import write_text

_EXAMPLES = "inputs/examples"
_SUFFIXES = (".npy", ".npz", ".csv", ".tsv", ".csv.gz", ".parquet", ".pq", ".arrow", ".feather")
_LOOKED_AT = 1000
_CALLED_SO = re.compile(r"(?<![a-z])(prob(a|s|abilit(y|ies))?|logits?|softmax)(?![a-z])", re.IGNORECASE)
_NEARLY = 0.05
"""Two digits of each of ten probabilities may be so far from a sum of 1."""


def find_fault(path: Path) -> DatasetError | None:
    """Why the first rows of a file are no probabilities, whose sum is 1; None where they are."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            next(open_vectors(path, PROBABILITIES).in_order(_LOOKED_AT, Path(folder)), None)
    except DatasetError as error:
        return error
    return None


def are_meant(path: Path, asked: Asked) -> bool:
    """Whether a file that holds no probabilities is there for some: then what is wrong with them is said.

    It is called so, or its rows nearly sum to 1, as rounded ones do. A table with `--labels` can be nothing
    else: other tables hold their labels themselves.
    """
    is_array = path.suffix.lower() in (".npy", ".npz")
    if _CALLED_SO.search(path.name) or (asked.labels and not is_array):
        return True
    if path.suffix.lower() != ".npy":
        return False
    rows = load_array(path, most_dimensions=4)[:_LOOKED_AT]
    if rows.ndim != 2 or rows.dtype.kind != "f" or rows.shape[1] < PROBABILITIES.least or not len(rows):
        return False
    return bool((rows >= 0).all() and (abs(rows.sum(axis=1, dtype=np.float64) - 1) <= _NEARLY).all())


def open_probabilities(path: Path, asked: Asked) -> Brought | None:
    """The probabilities with their labels, all checked; None where a file holds something else.

    Raises:
        DatasetError: the labels are missing or do not fit, or what was to be probabilities is none.
    """
    # Examples belong beside probabilities alone: then what is wrong with these is said.
    if not asked.examples:
        if not path.is_file() or not path.name.lower().endswith(_SUFFIXES):
            return None
        fault = find_fault(path)
        if fault and not are_meant(path, asked):
            return None
        if fault and _CALLED_SO.search(path.name) and not asked.labels:
            raise DatasetError(
                f"{fault} If it is to hold no probabilities, give the file another name."
            ) from fault
        if fault:
            raise fault
    own_labels = path.suffix.lower() != ".npy" and (asked.label or GIVEN) in open_file(path).names
    labels = Path(asked.labels) if asked.labels else path if own_labels else None
    if labels is None:
        raise DatasetError(
            f"{path}: expected labels for these probabilities, found none. Name their file: --labels FILE."
        )
    return open_all(parse(_arguments(path, labels, _options(labels, asked))))


def _usual_label(labels: Path) -> str | None:
    """The column of given labels where it is not called `given_label`, and one alone has a usual name."""
    names = open_file(labels).names
    found = [name for name in names if name.casefold() in LABELS]
    return found[0] if len(found) == 1 and GIVEN not in names else None


def _options(labels: Path, asked: Asked) -> dict[str, str]:
    """The options of `import-probs`, but for the probabilities and the labels."""
    truth = {}
    if asked.truth and Path(asked.truth).is_file():
        truth = {"--true-labels": asked.truth}
    elif asked.truth:
        truth = {"--true-labels": str(labels), "--truth": asked.truth}
    options = {
        "--class-names": ",".join(asked.class_names),
        "--label": asked.label or _usual_label(labels),
        **truth,
        "--examples": asked.examples,
        "--text": asked.text,
        "--image": asked.image,
        "--id": asked.id,
        "--image-size": str(asked.image_size or ""),
    }
    return {name: value for name, value in options.items() if value}


def _arguments(probs: Path | str, labels: Path | str, options: Mapping[str, str]) -> list[str]:
    files = ["--pred-probs", str(probs), "--labels", str(labels)]
    return files + [word for option in options.items() for word in option]


def describe(brought: Brought, name: str) -> list[str]:
    """What there is: rows, classes with their counts, and what rows are called."""
    counts = Counter(brought.given.indices.tolist())
    classes = [f"{shown(each, 40)} {counts[k]:,}" for k, each in enumerate(brought.names[:10])]
    more = f" and {len(brought.names) - 10:,} more" if len(brought.names) > 10 else ""
    ids = brought.given.ids
    return [
        f"{name}: {brought.given.n_rows:,} rows of your own probabilities, {len(brought.names):,} classes",
        f"Classes, by given label: {', '.join(classes)}{more}.",
        f"Each row is called by {f'its {ids.column}' if ids else 'its number, from 0'}.",
        "They must be out-of-fold: of a model that did not learn from the row. That cannot be checked.",
        _describe_examples(brought),
        "The truth is known: what is found is measured against it."
        if brought.true is not None
        else "No truth is known: the number of wrong labels is estimated.",
        "No model is trained: the pipeline begins at `prune`, and has a report.",
    ]


def _describe_examples(brought: Brought) -> str:
    examples = brought.examples
    if examples is None:
        return "Pages name the rows and show nothing of them; --examples brings texts, pictures or numbers."
    kinds = {"text": "the texts", "image": "the pictures", "features": "the numbers"}
    n = examples.n_unreadable
    blank = f" {n:,} of {examples.n_rows:,} cannot be read: pages show white in their place." if n else ""
    return f"Pages show {kinds[examples.kind]} of {examples.path.name}.{blank}"


def start(workspace: Path, brought: Brought, asked: Asked) -> list[str]:
    """Bring the files to inputs/probs and put the pipeline that begins with them in place; say what was done.

    Raises:
        DatasetError: dvc.yaml has changes that are not committed, or a file cannot be brought.
    """
    pipeline = _pipeline(workspace, brought, asked)
    path = workspace / "dvc.yaml"
    if path.exists() and path.read_text(encoding="utf-8") != pipeline and _is_changed(workspace):
        raise DatasetError(
            f"{path}: expected the file as it is committed, found changes, which would be lost. Commit "
            "them, or make a workspace of its own: --into FOLDER."
        )
    files = {brought.predictions.path, brought.given.path}
    files |= {brought.true.path} if brought.true else set()
    ways = {bring_files(file, (), workspace / _place(file)) for file in files}
    if brought.examples:
        source, inside = brought.examples.source
        ways.add(bring_files(source, inside, workspace / _EXAMPLES / source.resolve().name))
    write_text(path, pipeline)
    return [
        f"Brought to inputs/{'probs and inputs/examples' if brought.examples else 'probs'} "
        f"({', '.join(sorted(ways))}).",
        "dvc.yaml is now the pipeline that begins with them; `git checkout dvc.yaml` brings back the other.",
    ]


def _place(file: Path) -> str:
    return f"inputs/probs/{file.name}"


def _pipeline(workspace: Path, brought: Brought, asked: Asked) -> str:
    """docs/own_probs.yaml with the names of the files."""
    source = workspace / "docs" / "own_probs.yaml"
    try:
        text = source.read_text(encoding="utf-8")
    except OSError as error:
        raise DatasetError(
            f"{source}: expected the pipeline for probabilities of one's own, found none ({error.strerror})."
        ) from error
    options = _options(brought.given.path, asked)
    if brought.true:
        options["--true-labels"] = _place(brought.true.path)
    examples = _EXAMPLES
    if brought.examples:
        source, _ = brought.examples.source
        examples = f"{_EXAMPLES}/{source.resolve().name}"
        is_inside = source.is_dir() and source != brought.examples.path
        options["--examples"] = f"{examples}/{brought.examples.path.name}" if is_inside else examples
    values = {
        "pred_probs": _place(brought.predictions.path),
        "labels": _place(brought.given.path),
        "examples": examples,
        "options": shlex.join(word for option in options.items() for word in option),
    }
    lines = text.split("\n")
    for place, line in enumerate(lines):
        variable = line.removeprefix("  - ").partition(":")[0]
        if line.startswith("  - ") and variable in values:
            lines[place] = f"  - {variable}: {json.dumps(values.pop(variable), ensure_ascii=False)}"
    return "\n".join(lines)


def _is_changed(workspace: Path) -> bool:
    command = ["git", "status", "--porcelain", "--", "dvc.yaml"]
    try:
        done = subprocess.run(command, cwd=workspace, capture_output=True, text=True, check=False)
    except OSError:
        return False
    return bool(done.stdout.strip())
