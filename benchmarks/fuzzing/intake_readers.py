"""Readers of what `init` takes: tables, JSON lines, Parquet with pictures, exports, folders, arrays."""

import csv
import gzip
import io
import json
import random
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from rich.console import Console

from benchmarks.fuzzing import columns, damage
from benchmarks.fuzzing.reader import TEXT, Reader
from tasks import DatasetError, plugins
from tasks.contents import Fetch
from tasks.intake.asked import Asked
from tasks.intake.forms import make_plan

N = 30
CLASSES = ("bird", "fish", "worm")
Rows = list[tuple[object, ...]]


def intake(folder: Path) -> Iterator[Reader]:
    """Every form, in a folder of its own."""
    rng = np.random.default_rng(0)
    labels = [CLASSES[k % 3] for k in range(N)]
    texts = [f"Text {k} of a {label}, \u00e9" for k, label in enumerate(labels)]
    numbers = [[str(round(value, 3)) for value in row] for row in rng.normal(size=(N, 2))]
    of_texts = [
        ["uid", "text", "label"],
        *map(list, zip([f"row/{k}" for k in range(N)], texts, labels, strict=True)),
    ]
    of_numbers = [
        ["width", "height", "label"],
        *([*row, label] for row, label in zip(numbers, labels, strict=True)),
    ]
    asked = Asked(id="uid", text="text", label="label")
    kinds = {**TEXT, "table": damage.TABLE}
    for name, separator in (("texts.csv", ","), ("texts.tsv", "\t")):
        place = _folder(folder, name)
        _write(place / name, of_texts, separator)
        yield _reader(f"init, {name}", place, name, asked, kinds, partial(_texts_plainly, separator))
    place = _folder(folder, "packed")
    _write(place / "texts.csv", of_texts, ",")
    (place / "texts.csv.gz").write_bytes(gzip.compress((place / "texts.csv").read_bytes()))
    packed = {"any file": damage.ANY, "gzip": damage.GZIP}
    yield _reader("init, texts.csv.gz", place, "texts.csv.gz", asked, packed, partial(_texts_plainly, ","))
    place = _folder(folder, "numbers")
    _write(place / "numbers.csv", of_numbers, ",")
    yield _reader("init, numbers.csv", place, "numbers.csv", Asked(label="label"), kinds, _numbers_plainly)
    place = _folder(folder, "lines")
    objects = [dict(zip(of_texts[0], row, strict=True)) for row in of_texts[1:]]
    (place / "texts.jsonl").write_text("".join(json.dumps(each) + "\n" for each in objects))
    yield _reader("init, texts.jsonl", place, "texts.jsonl", asked, {**TEXT, "a line": LINES}, _lines_plainly)
    place = _folder(folder, "exported")
    (place / "tasks.json").write_text(
        json.dumps([_task(k, *pair) for k, pair in enumerate(zip(texts, labels, strict=True))])
    )
    json_kinds = {**TEXT, "JSON": damage.JSON}
    yield _reader("init, Label Studio", place, "tasks.json", Asked(text="text"), json_kinds, _tasks_plainly)
    pictures = [_picture(rng, "PNG" if k % 2 else "JPEG") for k in range(N)]
    place = _folder(folder, "hub")
    hub = {"image": [{"bytes": content, "path": None} for content in pictures], "label": labels}
    pq.write_table(pa.table(hub), place / "pictures.parquet", write_page_checksum=True)
    parquet = {"any file": damage.ANY, "Parquet": columns.PARQUET}
    yield _reader(
        "init, Parquet of pictures", place, "pictures.parquet", Asked(label="label"), parquet, _hub_plainly
    )
    place = _folder(folder, "pets")
    for k, (content, label) in enumerate(zip(pictures, labels, strict=True)):
        (place / label).mkdir(exist_ok=True)
        (place / label / f"{k:02}.{'png' if k % 2 else 'jpg'}").write_bytes(content)
    for file in ("bird/00.jpg", "fish/01.png"):
        any_file = {"any file": damage.ANY}
        yield _reader(
            f"init, folder: {file[-3:]}", place, file, Asked(), any_file, _folder_plainly, whole=True
        )
    place = _folder(folder, "arrays")
    np.save(place / "features.npy", rng.normal(size=(N, 4)))
    np.save(place / "labels.npy", np.array([k % 3 for k in range(N)]))
    npy = {"any file": damage.ANY, ".npy": columns.NPY}
    for file in ("features.npy", "labels.npy"):
        yield _reader(f"init, arrays: {file}", place, file, Asked(), npy, _arrays_plainly, whole=True)


def _folder(folder: Path, name: str) -> Path:
    place = folder / "intake" / name / "inputs" / "examples"
    place.mkdir(parents=True)
    return place


def _write(path: Path, rows: Sequence[Sequence[str]], separator: str) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter=separator, lineterminator="\n").writerows(rows)


def _picture(rng: np.random.Generator, form: str) -> bytes:
    pixels = np.kron(rng.integers(0, 255, (4, 4, 3)), np.ones((4, 4, 1))).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


def _task(number: int, text: str, label: str) -> dict[str, object]:
    result = {"from_name": "kind", "to_name": "text", "type": "choices", "value": {"choices": [label]}}
    return {"id": number, "data": {"text": text}, "annotations": [{"id": number, "result": [result]}]}


def _reader(
    name: str,
    place: Path,
    file: str,
    asked: Asked,
    damages: dict[str, dict[str, damage.Damage]],
    oracle: Callable[[Path], Rows],
    whole: bool = False,
) -> Reader:
    """A reader of a file, or (`whole`) of the folder around it."""
    root = place.parent.parent
    name_of_source = "" if whole else file
    return Reader(
        name,
        root,
        f"inputs/examples/{file}",
        partial(_init, name_of_source, asked),
        damages,
        lambda folder: sorted(oracle(folder / "inputs" / "examples" / name_of_source)),
        n=2,
    )


def _init(name: str, asked: Asked, folder: Path) -> Rows:
    """What `init` understands, and what `download` then reads: key, split, label and content of each row."""
    plan = make_plan(folder / "inputs" / "examples" / name, asked)
    module = plugins.load("datasets", plan.dataset)
    options = module.Options.model_validate({**plan.options, "path": name})
    found = module.read(folder / "inputs", options, Fetch(("local",), 1, 0, Console(quiet=True)))
    if found.left_out:  # the sentence that names the row counts as that of a refusal
        raise DatasetError(found.left_out[0])
    names = found.facts.class_names
    given = [-1] * len(found.key) if found.given_label is None else found.given_label.tolist()
    labels = [None if k < 0 else names[k] for k in given]
    content = [_plain(value) for value in found.content.values()]
    if found.facts.feature_names:
        content = [None] * len(content)  # encoded numbers: their values are tested elsewhere
    return sorted(zip(found.key, map(str, found.split), map(str, labels), content, strict=True))


def _plain(value: object) -> object:
    return value.tolist() if isinstance(value, np.ndarray) else value


# -- The same by plain readers.


def _row(key: str, label: object, content: object) -> tuple[object, ...]:
    name = None if label is None else unicodedata.normalize("NFC", str(label).strip()) or None
    return key, "train" if name else "unlabeled", str(name), content


def _cells(path: Path, separator: str) -> list[dict[str, str]]:
    content = path.read_bytes()
    content = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
    text = io.StringIO(content.decode("utf-8-sig"), newline="")
    try:
        heading, *lines = [row for row in csv.reader(text, delimiter=separator, strict=True) if row]
    except csv.Error:
        if separator != "\t":
            raise
        text.seek(0)
        heading, *lines = [row for row in csv.reader(text, delimiter="\t", quoting=csv.QUOTE_NONE) if row]
    names = [name.strip() for name in heading]
    if any(len(line) != len(names) for line in lines):
        raise ValueError
    return [dict(zip(names, line, strict=True)) for line in lines]


def _checked(rows: Rows) -> Rows:
    keys = [row[0] for row in rows]
    if len(set(keys)) < len(keys):
        raise ValueError
    return rows


def _texts_plainly(separator: str, path: Path) -> Rows:
    rows = _cells(path, separator)
    return _checked([_row(_given(row["uid"]), row["label"], _given(row["text"])) for row in rows])


def _given(cell: object) -> str:
    text = "" if cell is None else str(cell).strip()
    if not text:
        raise ValueError
    return text


def _numbers_plainly(path: Path) -> Rows:
    return [_row(str(number), row["label"], None) for number, row in enumerate(_cells(path, ","))]


def _lines_plainly(path: Path) -> Rows:
    lines = path.read_bytes().decode("utf-8-sig").split("\n")
    objects = [json.loads(line) for line in lines if line.strip()]
    return _checked([_row(_given(each["uid"]), each.get("label"), _given(each["text"])) for each in objects])


def _tasks_plainly(path: Path) -> Rows:
    rows = []
    for number, task in enumerate(json.loads(path.read_bytes().decode("utf-8-sig"))):
        found = task.get("annotations")
        annotations = found if isinstance(found, list) else []
        # What holds no choices answers another question, or none.
        values = [each.get("value", {}) for one in annotations for each in one["result"]]
        choices = [value["choices"] for value in values if "choices" in value]
        label = choices[0][0] if choices and choices[0] else None
        rows.append(_row(str(task.get("id", number)), label, _given(task["data"]["text"])))
    return _checked(rows)


def _pixels(content: bytes) -> object:
    with Image.open(io.BytesIO(content)) as picture:
        return np.asarray(picture.convert("RGB")).tolist()


def _hub_plainly(path: Path) -> Rows:
    rows = pq.ParquetFile(path).read().to_pylist()
    return [
        _row(str(number), row["label"], _pixels(row["image"]["bytes"])) for number, row in enumerate(rows)
    ]


def _folder_plainly(path: Path) -> Rows:
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return [_row(str(file.relative_to(path)), file.parent.name, _pixels(file.read_bytes())) for file in files]


def _arrays_plainly(path: Path) -> Rows:
    content = np.load(path / "features.npy", allow_pickle=False)
    labels = np.load(path / "labels.npy", allow_pickle=False)
    if content.ndim != 2 or labels.ndim != 1 or len(content) != len(labels) or not np.isfinite(content).all():
        raise ValueError
    rows = zip(content.astype(np.float32), labels, strict=True)
    return [
        _row(str(number), f"{label:g}" if label.dtype.kind == "f" else label, row.tolist())
        for number, (row, label) in enumerate(rows)
    ]


def _other_line(content: bytes, draw: random.Random) -> bytes:
    lines = content.splitlines(keepends=True)
    lines[draw.randrange(len(lines))] = json.dumps(draw.choice(damage.ODD_VALUES)).encode() + b"\n"
    return b"".join(lines)


def _odd_value_in_line(content: bytes, draw: random.Random) -> bytes:
    lines = content.splitlines(keepends=True)
    place = draw.randrange(len(lines))
    lines[place] = damage.odd_value(lines[place], draw) + b"\n"
    return b"".join(lines)


LINES: dict[str, damage.Damage] = {
    "another line": _other_line,
    "another value in a line": _odd_value_in_line,
    "a line lost": damage.lose_line,
    "a line twice": damage.line_twice,
}
