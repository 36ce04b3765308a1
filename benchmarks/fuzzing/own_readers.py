"""Readers of what people bring: examples, labels, probabilities, embeddings, IDX files, decisions."""

import csv
import hashlib
import io
from collections.abc import Iterator
from dataclasses import astuple
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from benchmarks.fuzzing import columns, damage
from benchmarks.fuzzing.reader import NAMES, TEXT, Reader
from tasks.contents import Examples, Fetch
from tasks.datasets import _idx as idx
from tasks.datasets import _idx_sets, parquet
from tasks.decisions.log import HEADER_LINE, Decision, format_decisions, read_decisions
from tasks.download import examples_table
from tasks.own_files.labels import GIVEN, read_labels
from tasks.own_files.vectors import EMBEDDINGS, PROBABILITIES, Content, open_vectors
from tasks.tables.facts import DatasetFacts
from tasks.training.checkpoints import load_model

# -- What people bring.


def own_files(folder: Path) -> Iterator[Reader]:
    rng = np.random.default_rng(0)
    n = 40
    given = [NAMES[k] for k in rng.integers(0, 3, n)]
    probs = rng.dirichlet(np.ones(3), n)
    ids = [f"row/{number}" for number in range(n)]
    examples = folder / "inputs" / "examples"
    examples.mkdir(parents=True)
    table = pa.table(
        {
            "example_id": ids,
            "split": ["train"] * n,
            "given_label": given,
            "features": list(rng.normal(size=(n, 4)).astype(np.float32)),
        }
    )
    pq.write_table(table, examples / "examples.parquet", write_page_checksum=True)
    options = parquet.Options(class_names=NAMES)
    fetch = Fetch(("local",), 1, 0, Console(stderr=True))
    both = {"any file": damage.ANY, "Parquet": columns.PARQUET}
    yield Reader(
        "own examples (Parquet)",
        folder,
        "inputs/examples/examples.parquet",
        lambda place: _download(parquet.read(place / "inputs", options, fetch)),
        both,
        _examples_by_pyarrow,
        n=3,
    )
    labels = pa.table({"id": ids, "given_label": given})
    vectors = pa.table({"id": ids} | {name: probs[:, k] for k, name in enumerate(NAMES)})
    for separator, suffix in ((",", "csv"), ("\t", "tsv")):
        _write_csv(folder / f"labels.{suffix}", labels, separator)
        _write_csv(folder / f"probs.{suffix}", vectors, separator)
    pq.write_table(labels, folder / "labels.parquet", write_page_checksum=True)
    pq.write_table(vectors, folder / "probs.parquet", write_page_checksum=True)
    for name, table in (("labels", labels), ("probs", vectors)):
        with pa.ipc.new_stream(folder / f"{name}.arrow", table.schema) as writer:
            writer.write_table(table, max_chunksize=15)
    np.save(folder / "labels.npy", np.array([NAMES.index(name) for name in given]))
    np.save(folder / "probs.npy", probs)
    np.save(folder / "vectors.npy", rng.normal(size=(n, 4)))
    kinds = {
        "csv": {**TEXT, "table": damage.TABLE, "gzip": damage.GZIP},
        "tsv": {**TEXT, "table": damage.TABLE},
        "parquet": both,
        "arrow": {"any file": damage.ANY},
        "npy": {"any file": damage.ANY, ".npy": columns.NPY},
    }
    for suffix, damages in kinds.items():
        yield Reader(
            f"labels ({suffix})",
            folder,
            f"labels.{suffix}",
            partial(_labels, suffix),
            damages,
            partial(_labels_plainly, suffix),
            n=2,
        )
        yield Reader(
            f"own probabilities ({suffix})",
            folder,
            f"probs.{suffix}",
            partial(_vectors, f"probs.{suffix}", PROBABILITIES),
            damages,
            partial(_vectors_plainly, f"probs.{suffix}"),
            n=2,
        )
    yield Reader(
        "own embeddings (npy)",
        folder,
        "vectors.npy",
        partial(_vectors, "vectors.npy", EMBEDDINGS),
        kinds["npy"],
        partial(_vectors_plainly, "vectors.npy"),
    )


def _write_csv(path: Path, table: pa.Table, separator: str) -> None:
    with path.open("w", newline="") as file:
        rows = csv.writer(file, delimiter=separator, lineterminator="\n")
        rows.writerows([table.column_names, *zip(*table.to_pydict().values(), strict=True)])


def _download(found: Examples) -> object:
    """What stage `download` makes of it, which looks at the ids."""
    examples_table(found)
    return _examples(found)


def _examples(found: Examples) -> object:
    given = None if found.given_label is None else found.given_label.tolist()
    order = np.argsort(np.array(found.key))
    return (
        [found.key[row] for row in order],
        [str(found.split[row]) for row in order],
        given and [given[row] for row in order],
        np.asarray(found.content.values(), dtype=float)[order].tolist(),
    )


def _examples_by_pyarrow(folder: Path) -> object:
    table = pq.ParquetFile(folder / "inputs/examples/examples.parquet").read()
    names = table.column_names
    keys = [_key(value) for value in table.column("example_id").to_pylist()]
    split = table.column("split").to_pylist() if "split" in names else ["train"] * len(keys)
    given = None
    if "given_label" in names and table.column("given_label").null_count < len(keys):
        given = [_label(value) for value in table.column("given_label").to_pylist()]
    content = np.array(table.column("features").to_pylist(), dtype=np.float32).astype(float)
    if len(set(keys)) < len(keys) or not np.isfinite(content).all():
        raise ValueError
    order = np.argsort(np.array(keys))
    return (
        [keys[row] for row in order],
        [split[row] for row in order],
        given and [given[row] for row in order],
        content[order].tolist(),
    )


def _key(value: object) -> str:
    if isinstance(value, bytes):
        value = value.decode()
    if isinstance(value, float) and value == int(value):
        value = int(value)
    if value is None or isinstance(value, float | bool) or value == "":
        raise ValueError
    return str(value)


def _label(value: object) -> int:
    """The class of a label, by name, index, or true and false."""
    if value is None or value != value or value == "":
        return -1
    if isinstance(value, bytes):
        value = value.decode()
    if isinstance(value, str) and value.strip() in NAMES:
        return NAMES.index(value.strip())
    index = float(str(value).replace(",", "."))
    if index not in range(len(NAMES)):
        raise ValueError
    return int(index)


def _labels(suffix: str, folder: Path) -> object:
    found = read_labels(folder / f"labels.{suffix}", NAMES, GIVEN)
    rows = np.arange(found.n_rows)
    return found.indices.tolist(), found.ids and found.ids.keys(rows).to_pylist()


def _labels_plainly(suffix: str, folder: Path) -> object:
    rows = _rows_plainly(folder / f"labels.{suffix}")
    if suffix == "npy":
        return [_label(row) for row in rows], None
    if not rows:
        return [], [] if suffix in ("parquet", "arrow") else None
    given = [_label(row["given_label"]) for row in rows]
    names = [name for name in ("example_id", "id", "key") if name in rows[0]]
    keys = [_key(row[names[0]]) for row in rows] if names else None
    if -1 in given or (keys and len(set(keys)) < len(keys)):
        raise ValueError
    return given, keys


def _vectors(name: str, content: Content, folder: Path) -> object:
    found = open_vectors(folder / name, content)
    order = found.ids.order if found.ids else None
    keys = found.ids.keys(order).to_pylist() if found.ids else None
    return keys, np.concatenate([np.zeros((0, found.width)), *found.in_order(1000, folder)]).tolist()


def _vectors_plainly(name: str, folder: Path) -> object:
    rows = _rows_plainly(folder / name)
    if name.endswith(".npy"):
        values, keys = np.array(rows), None
    else:
        ids = [column for column in ("example_id", "id", "key") if column in rows[0]]
        keys = [_key(row[ids[0]]) for row in rows] if ids else None
        values = np.array(
            [[float(value) for column, value in row.items() if column not in ids] for row in rows]
        )
    if values.ndim != 2 or not np.isfinite(values).all() or (keys and len(set(keys)) < len(keys)):
        raise ValueError
    if name.startswith("probs") and (np.abs(values.sum(axis=1) - 1) > 1e-3).any():
        raise ValueError
    if keys:
        order = sorted(range(len(keys)), key=lambda row: catalog_id(keys[row]))
        keys, values = [keys[row] for row in order], values[order]
    return keys, values.astype(np.float32).astype(float).tolist()


def catalog_id(key: str) -> int:
    from tasks.tables.keys import example_id_of

    return example_id_of(key)


_SEPARATOR = {".csv": ",", ".tsv": "\t"}


def _rows_plainly(path: Path) -> Any:
    """The rows of a table by the plainest reader there is."""
    if path.suffix == ".npy":
        return np.load(path, allow_pickle=False).tolist()
    if path.suffix == ".parquet":
        return pq.ParquetFile(path).read().to_pylist()
    if path.suffix == ".arrow":
        table = pa.ipc.open_stream(path.read_bytes()).read_all()
        table.validate(full=True)
        return table.to_pylist()
    content = path.read_bytes()
    if content.startswith(b"\x1f\x8b"):
        import gzip

        content = gzip.decompress(content)
    text = io.StringIO(content.decode("utf-8-sig"), newline="")
    try:
        heading, *lines = [
            row for row in csv.reader(text, delimiter=_SEPARATOR[path.suffix], strict=True) if row
        ]
    except csv.Error:
        if path.suffix == ".csv":
            raise
        # Between tabs a quotation mark that opens alone is a character like others.
        text.seek(0)
        rows = csv.reader(text, delimiter="\t", quoting=csv.QUOTE_NONE)
        heading, *lines = [row for row in rows if row]
    names = [name.strip() for name in heading]
    if any(len(line) != len(names) for line in lines) or len(set(names)) < len(names):
        raise ValueError
    return [dict(zip(names, line, strict=True)) for line in lines]


# -- Files with checksums, and those of our own.


def idx_files(folder: Path) -> Iterator[Reader]:
    rng = np.random.default_rng(0)
    place = folder / "idx" / "examples"
    place.mkdir(parents=True)
    arrays = [
        rng.integers(0, 255, (20, 8, 8)),
        np.arange(20) % 10,
        rng.integers(0, 255, (5, 8, 8)),
        np.arange(5),
    ]
    hashes = {}
    shapes = {}
    for name, array in zip(_idx_sets.FILES, arrays, strict=True):
        content = idx.encode(array)
        (place / name).write_bytes(content)
        hashes[name], shapes[name] = hashlib.sha256(content).hexdigest(), array.shape
    classes = tuple(map(str, range(10)))
    for title, sums in (("with checksums", hashes), ("without", {})):
        wanted = _idx_sets.IdxSet("small", "Small", "small", (), classes, sums, shapes=shapes)
        for name in _idx_sets.FILES[:2]:
            yield Reader(
                f"IDX, {title}: {name.split('-')[1]}",
                folder / "idx",
                f"examples/{name}",
                partial(_idx_examples, wanted),
                {"any file": damage.ANY, "gzip": damage.GZIP},
                None if sums else _idx_plainly,
            )


def _idx_examples(wanted: _idx_sets.IdxSet, folder: Path) -> object:
    found = _idx_sets.load(wanted, folder, Fetch(("local",), 1, 0, Console(quiet=True)))
    return found.true_label.tolist(), found.content.values().tolist()


def _idx_plainly(folder: Path) -> object:
    import gzip

    arrays = []
    for name, shape in zip(_idx_sets.FILES, [(20, 8, 8), (20,), (5, 8, 8), (5,)], strict=True):
        content = (folder / "examples" / name).read_bytes()
        content = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
        head = 4 + 4 * len(shape)
        if content[:head] != idx.encode(np.zeros(shape, np.uint8))[:head]:
            raise ValueError
        arrays.append(np.frombuffer(content[head:], np.uint8).reshape(shape))
    labels = np.concatenate([arrays[1], arrays[3]])
    if labels.max() > 9:
        raise ValueError
    return labels.tolist(), np.concatenate([arrays[0], arrays[2]]).tolist()


def decisions(folder: Path) -> Iterator[Reader]:
    lines = [
        Decision(
            f"row/{n}",
            ("keep", "choose", "drop")[n % 3],
            "dog" if n % 3 == 1 else "",
            "cat",
            "anna, b",
            "2026-01-31T12:00:00Z",
            "none",
        )
        for n in range(30)
    ]
    (folder / "reviews").mkdir()
    (folder / "reviews" / "decisions.csv").write_bytes(HEADER_LINE + format_decisions(lines).encode())
    yield Reader(
        "decisions.csv",
        folder,
        "reviews/decisions.csv",
        lambda place: [astuple(line) for line in read_decisions(place / "reviews" / "decisions.csv")],
        {**TEXT, "table": damage.TABLE},
        _decisions_plainly,
        n=3,
    )


def _decisions_plainly(folder: Path) -> object:
    path = folder / "reviews" / "decisions.csv"
    if not path.exists():
        return []
    text = path.read_bytes().decode("utf-8-sig")
    rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    return [tuple(row) for row in rows[1:]]


def checkpoints(folder: Path) -> Iterator[Reader]:
    from tasks.models import logistic, nearest_mean
    from tasks.training.checkpoints import write_checkpoint

    facts = DatasetFacts("d", NAMES, "features", (4,))
    rng = np.random.default_rng(0)
    arrays = {
        "nearest_mean": {
            "mean": rng.normal(size=4),
            "deviation": np.ones(4),
            "means": rng.normal(size=(3, 4)),
            "shares": np.full(3, 1 / 3),
            "sharpness": np.array(1.0),
        },
    }
    del logistic
    write_checkpoint(
        folder / "model.ckpt", "nearest_mean", nearest_mean.Options(), facts, arrays["nearest_mean"]
    )
    yield Reader("checkpoint", folder, "model.ckpt", _checkpoint, {"any file": damage.ANY}, n=6)


def _checkpoint(folder: Path) -> object:
    model, facts = load_model(folder / "model.ckpt")
    arrays = model.arrays  # type: ignore[attr-defined]
    return sorted((name, array.tolist()) for name, array in arrays.items()), facts
