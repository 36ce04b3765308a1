"""All readers: those of parameters, of tables of stages, and of pages and programs that show figures."""

import csv
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml as pyyaml

from benchmarks.fuzzing import columns, damage
from benchmarks.fuzzing.intake_readers import intake
from benchmarks.fuzzing.own_readers import checkpoints, decisions, idx_files, own_files
from benchmarks.fuzzing.reader import TEXT, Read, Reader
from flows.comparison.versions import compare_versions
from flows.dvc_api.graph import stage_graph
from review.server import Page, Review
from tasks.explain import describe_life
from tasks.params import Params, load_params
from tasks.report import report
from tasks.tables import catalog
from tasks.tables.facts import DatasetFacts, read_facts
from tasks.tables.io import read_table
from tasks.tables.portions import TableReader
from tasks.tables.schemas import Artifact


def all_readers(folder: Path, run: Path, repository: Path) -> Iterator[Reader]:
    """Every reader.

    Args:
        folder: an empty one, for good inputs.
        run: the workspace of a finished run.
        repository: a DVC repository whose commit and workspace can be compared.
    """
    yield from _parameters(run, repository)
    yield from own_files(folder)
    yield from idx_files(folder)
    yield from intake(folder)
    yield from decisions(folder)
    yield from checkpoints(folder)
    yield from _tables(run)
    yield from _figures(run, repository)


# -- Parameters.


def _parameters(run: Path, repository: Path) -> Iterator[Reader]:
    kinds = {**TEXT, "YAML": damage.YAML}
    yield Reader(
        "params.yaml",
        run,
        "params.yaml",
        lambda folder: load_params(folder / "params.yaml").model_dump(mode="json"),
        kinds,
        lambda folder: Params.model_validate(
            pyyaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8-sig"))
        ).model_dump(mode="json"),
        n=3,
    )
    yield Reader(
        "own_probs.yaml as dvc.yaml, by the flow",
        repository,
        "dvc.yaml",
        lambda folder: {name: list(needs) for name, needs in stage_graph(folder).items()},
        kinds,
        lambda folder: {name: list(needs) for name, needs in stage_graph(folder).items()},
    )


# -- What stages wrote.


def _tables(run: Path) -> Iterator[Reader]:
    for artifact in vars(catalog).values():
        if not isinstance(artifact, Artifact):
            continue
        file = artifact.path.format(fold=0, labels="given")
        if (run / file).exists():
            for way, read in (("whole", _read_whole), ("in portions", _read_portions)):
                yield Reader(
                    f"{file}, {way}",
                    run,
                    file,
                    partial(read, artifact, file),
                    {"any file": damage.ANY, "Parquet": columns.PARQUET},
                    partial(_table_plainly, artifact, file),
                )


def _read_whole(artifact: Artifact, file: str, folder: Path) -> Any:
    table = read_table(folder / file, artifact)
    return read_facts(table, file), sorted(map(repr, table.to_pylist()))


def _read_portions(artifact: Artifact, file: str, folder: Path) -> Any:
    reader = TableReader(folder / file, artifact)
    return reader.facts, sorted(repr(row) for table in reader.portions() for row in table.to_pylist())


def _table_plainly(artifact: Artifact, file: str, folder: Path) -> Any:
    table = _valid_table(folder / file)
    facts = json.loads(table.schema.metadata[b"relabel"])
    facts = DatasetFacts(
        facts["dataset"],
        tuple(facts["class_names"]),
        facts["content"],
        tuple(facts["shape"]),
        tuple(facts.get("feature_names", ())),
    )
    return facts, sorted(map(repr, table.to_pylist()))


def _valid_table(path: Path) -> pa.Table:
    """A table whose rows are each there once, with labels that are classes."""
    table = pq.ParquetFile(path).read()
    n_classes = len(json.loads(table.schema.metadata[b"relabel"])["class_names"])
    for name in table.column_names:
        is_label = name.endswith("label") and name != "soft_label"
        if is_label and not all(
            value is None or 0 <= value < n_classes for value in table.column(name).to_pylist()
        ):
            raise ValueError
    ids = table.column("example_id").to_pylist()
    if len(set(ids)) < len(ids):
        raise ValueError
    return table


# -- Pages and programs that read figures.


def _figures(run: Path, repository: Path) -> Iterator[Reader]:
    for file in sorted([*(run / "metrics").glob("*.json")]):
        name = str(file.relative_to(run))
        kinds = {"any file": damage.ANY, "text": damage.TEXT, "JSON": damage.JSON}
        if file.stem in ("cross_validation", "label_issues", "health", "training_set"):
            yield Reader(
                f"{name}, by report", run, name, _report, kinds, partial(_same_form, name, run, _report), n=1
            )
        yield Reader(
            f"{name}, by compare",
            repository,
            name,
            _compare,
            kinds,
            partial(_any_object, name),
        )
    for file in sorted([*(run / "plots").rglob("*.csv"), *(run / "plots/train_fold/fold_0").rglob("*.tsv")]):
        if file.stem in ("confusion", "funnel", "learning_curves", "test"):
            continue
        name = str(file.relative_to(run))
        kinds = {"any file": damage.ANY, "text": damage.TEXT, "table": damage.TABLE}
        yield Reader(f"{name}, by report", run, name, _report, kinds, partial(_same_form, name, run, _report))
    for table in ("label_issues", "given_labels", "splits", "examples"):
        yield Reader(
            f"data/{table}.parquet, by the review page",
            run,
            f"data/{table}.parquet",
            _review,
            {"any file": damage.ANY, "Parquet": columns.PARQUET},
            partial(_same_form, f"data/{table}.parquet", run, _review),
        )
    for table in ("label_issues", "given_labels", "splits", "pred_probs", "training_set"):
        yield Reader(
            f"data/{table}.parquet, by explain",
            run,
            f"data/{table}.parquet",
            _explain,
            {"any file": damage.ANY, "Parquet": columns.PARQUET},
            partial(_same_form, f"data/{table}.parquet", run, _explain),
        )
    yield Reader(
        "dvc.lock, by compare", repository, "dvc.lock", _compare, {**TEXT, "YAML": damage.YAML}, _compare
    )


def _report(folder: Path) -> Any:
    report(load_params(folder / "params.yaml"), folder)
    return [(folder / "report" / "index.html").read_text(), (folder / "metrics" / "report.json").read_text()]


def _compare(folder: Path) -> Any:
    return compare_versions(folder, ["HEAD", "workspace"]).json()


def _review(folder: Path) -> Any:
    review = Review(folder, "anna")
    found = review.rows(Page(issues=False, decided="any"))
    return list(found["rows"])


def _explain(folder: Path) -> Any:
    return json.dumps(describe_life(load_params(folder / "params.yaml"), folder, "3", ask_classifiers=False))


def _same_form(file: str, good: Path, read: Read, folder: Path) -> Any:
    """What `read` finds, if the damaged file has the form of the good one: other numbers are its own."""
    one, other = _form(good / file), _form(folder / file)
    if one != other:
        raise ValueError
    return read(folder)


def _any_object(file: str, folder: Path) -> Any:
    """What a comparison finds, if the figures of the version are missing or any JSON object."""
    path = folder / file
    if path.exists() and not isinstance(json.loads(path.read_text(encoding="utf-8-sig")), dict):
        raise ValueError
    return _compare(folder)


def _form(path: Path) -> Any:
    if path.suffix == ".json":
        return _json_form(json.loads(path.read_text(encoding="utf-8-sig")))
    if path.suffix == ".parquet":
        table = _valid_table(path)
        return table.schema.names, sorted(table.column("example_id").to_pylist())
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.reader(file, delimiter="\t" if path.suffix == ".tsv" else ",", strict=True))
    return rows[0], [[_is_number(cell) or cell for cell in row] for row in rows[1:] if row]


def _json_form(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _json_form(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_json_form(item) for item in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return 0.0 if np.isfinite(float(value)) else "not finite"
    return "text" if isinstance(value, str) else value


def _is_number(cell: str) -> bool:
    try:
        return bool(np.isfinite(float(cell)))
    except ValueError:
        return False
