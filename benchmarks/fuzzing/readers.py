"""All readers: those of parameters, of tables of stages, and of pages and programs that show figures."""

import csv
import io
import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml as pyyaml

from benchmarks.fuzzing import columns, damage
from benchmarks.fuzzing.intake_readers import intake
from benchmarks.fuzzing.own_readers import checkpoints, decisions, idx_files, own_files
from benchmarks.fuzzing.reader import NAMES, TEXT, Read, Reader
from flows.comparison.versions import compare_versions
from flows.dvc_api.graph import stage_graph
from review.server import Page, Review
from tasks.decisions.log import PATH
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


def _read_whole(artifact: Artifact, file: str, folder: Path) -> object:
    table = read_table(folder / file, artifact)
    return read_facts(table, file), sorted(map(repr, table.to_pylist()))


def _read_portions(artifact: Artifact, file: str, folder: Path) -> object:
    reader = TableReader(folder / file, artifact)
    return reader.facts, sorted(repr(row) for table in reader.portions() for row in table.to_pylist())


def _table_plainly(artifact: Artifact, file: str, folder: Path) -> object:
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
    for file in sorted((run / "metrics").glob("*.json")):
        name = str(file.relative_to(run))
        kinds = {"any file": damage.ANY, "text": damage.TEXT, "JSON": damage.JSON}
        if file.stem in ("cross_validation", "label_issues", "health", "training_set", "self_tests"):
            yield Reader(f"{name}, by report", run, name, _report, kinds, partial(_report_saying, name))
        yield Reader(
            f"{name}, by compare",
            repository,
            name,
            _compare,
            kinds,
            partial(_compare_saying, name),
        )
    plots = run / "plots"
    curves = [next((plots / stage).rglob("accuracy.tsv")) for stage in ("train_fold", "retrain")]
    read = [
        plots / f"{name}.csv" for name in ("filters", "joints", "noise_matrices", "reliability/out_of_fold")
    ]
    for file in [*read, *curves]:
        name = str(file.relative_to(run))
        kinds = {"any file": damage.ANY, "text": damage.TEXT, "table": damage.TABLE}
        # Of curves dvc.lock has the folder.
        made = name.split("/plots/")[0]
        yield Reader(f"{name}, by report", run, name, _report, kinds, partial(_report_saying, made))
    yield Reader(
        "dvc.lock, by report",
        run,
        "dvc.lock",
        _report,
        {**TEXT, "YAML": damage.YAML},
        partial(_report_saying, "dvc.lock"),
    )
    of_pages = (
        ("the review page", _review, ("label_issues", "given_labels", "splits", "examples")),
        ("explain", _explain, ("label_issues", "given_labels", "splits", "pred_probs", "training_set")),
    )
    for who, look, tables in of_pages:
        for table in tables:
            name = f"data/{table}.parquet"
            plainly = _explained_plainly if look is _explain else _reviewed_plainly
            kinds = {"any file": damage.ANY, "Parquet": columns.PARQUET}
            yield Reader(f"{name}, by {who}", run, name, look, kinds, plainly)
        kinds = {**TEXT, "table": damage.TABLE}
        yield Reader(f"{PATH}, by {who}", run, str(PATH), look, kinds, partial(_decided_plainly, look))
    for name in ("dvc.lock", "params.yaml"):
        kinds = {**TEXT, "YAML": damage.YAML}
        plainly = partial(_other_yaml, name, repository)
        yield Reader(f"{name}, by compare", repository, name, _compare, kinds, plainly)


def _report(folder: Path) -> list[str]:
    report(load_params(folder / "params.yaml"), folder)
    return [(folder / "report" / "index.html").read_text(), (folder / "metrics" / "report.json").read_text()]


def _compare(folder: Path) -> str:
    return compare_versions(folder, ["HEAD", "workspace"]).json()


def _review(folder: Path) -> list[dict[str, object]]:
    review = Review(folder, "anna")
    found = review.rows(Page(issues=False, decided="any", count=500))
    return list(found["rows"])


def _explain(folder: Path) -> str:
    return json.dumps(describe_life(load_params(folder / "params.yaml"), folder, "3", ask_classifiers=False))


def _report_saying(name: str, folder: Path) -> object:
    """What the report says, if it says too that the file is not what dvc.lock names."""
    found = _report(folder)
    said = re.search(r'role="alert">((?:Not as dvc.lock has it|dvc.lock cannot be read)[^<]*)', found[0])
    if said is None or name not in said[1]:
        raise ValueError
    return found


def _compare_saying(name: str, folder: Path) -> object:
    """What a comparison says, if it says too that the file is another; of one that is missing it has none."""
    found = _compare(folder)
    if (folder / name).exists() and f"{name} is not the file that dvc.lock names" not in found:
        raise ValueError
    return found


def _other_yaml(file: str, good: Path, folder: Path) -> object:
    """What a comparison says, if the file is YAML and says something else, or is said to be missing."""
    found = _compare(folder)
    if not (folder / file).exists() and f"has no {file}" in found:
        return found
    one, other = (
        pyyaml.safe_load((place / file).read_text(encoding="utf-8-sig")) for place in (good, folder)
    )
    if not isinstance(other, dict) or one == other:
        raise ValueError
    return found


def _decided_plainly(read: Read, folder: Path) -> object:
    """What `read` says, if each line has the cells of the heading; without a file nobody decided."""
    path = folder / PATH
    text = path.read_bytes().decode("utf-8-sig") if path.exists() else ""
    lines = [line for line in csv.reader(io.StringIO(text, newline=""), strict=True) if line]
    if any(len(line) != len(lines[0]) for line in lines):
        raise ValueError
    return read(folder)


def _reviewed_plainly(folder: Path) -> object:
    """What the page shows, if it is each row that pyarrow finds; without contents there is nothing to see."""
    found = _review(folder)
    paths = {name: folder / "data" / f"{name}.parquet" for name in ("label_issues", "splits", "examples")}
    tables = {name: _valid_table(path) for name, path in paths.items() if path.exists()}
    rows = tables["label_issues"].to_pylist()
    if sorted((row["key"], NAMES[row["given_label"]]) for row in rows) != sorted(
        (row["key"], row["given"]) for row in found
    ):
        raise ValueError
    return found


def _explained_plainly(folder: Path) -> object:
    """What `explain` says, if it is what pyarrow finds, and nothing of a table that is not there."""
    found = _explain(folder)
    said = json.loads(found)
    rows: dict[str, Any] = {}
    for table in ("label_issues", "given_labels", "pred_probs", "training_set"):
        path = folder / "data" / f"{table}.parquet"
        of_it = _valid_table(path).to_pylist() if path.exists() else ()
        rows[table] = next((row for row in of_it if row["example_id"] == 3), None)
    issue, training = rows["label_issues"], rows["training_set"] if rows["label_issues"] else None
    found_plainly = (
        NAMES[rows["given_labels"]["given_label"]],
        issue and (NAMES[issue["suggested_label"]], issue["rank"], issue["error_prob"]),
        rows["pred_probs"] and rows["pred_probs"]["fold"],
        training and training["action"],
    )
    of_issue, of_fold, of_training = said["issue"], said["prediction"], said["training"]
    if found_plainly != (
        said["given_label"],
        of_issue and (of_issue["suggested_label"], of_issue["rank"], of_issue["scores"]["error_prob"]),
        of_fold and of_fold["fold"],
        of_training and of_training["action"],
    ):
        raise ValueError
    return found
