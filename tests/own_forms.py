"""A person's data in the forms that `init` takes: small, real files, with some labels wrong."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from sklearn.datasets import load_breast_cancer, load_digits

from tasks import plugins
from tasks.contents import Examples
from tasks.params import load_params

N = 240
DIGITS = ("zero", "one", "two")
_WORDS = {"sport": "goal match team coach league win", "food": "bread soup salt taste oven plate"}


def digits(n: int = N) -> tuple[np.ndarray, list[str], list[int]]:
    """Pictures (n, 8, 8) of three digits, their names, and the rows whose name is wrong: every 20th."""
    data = load_digits()
    rows = np.flatnonzero(data.target < 3)[:n]
    pixels = np.rint(data.images[rows] * 255 / 16).astype(np.uint8)
    wrong = list(range(0, n, 20))
    names = [DIGITS[(k + (row in wrong)) % 3] for row, k in enumerate(data.target[rows])]
    return pixels, names, wrong


def png(pixels: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def class_folders(folder: Path) -> Path:
    for row, (pixels, name) in enumerate(zip(*digits()[:2], strict=True)):
        place = folder / "digits" / name / f"{row:04d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(png(pixels))
    return folder / "digits"


def pictures_and_table(folder: Path) -> Path:
    pixels, names, _ = digits()
    place = folder / "scans"
    (place / "images").mkdir(parents=True)
    rows = [["Image ID", "Label"]]
    for row, (picture, name) in enumerate(zip(pixels, names, strict=True)):
        (place / "images" / f"{row:04d}.png").write_bytes(png(picture))
        rows.append([f"{row:04d}.png", name])
    with (place / "labels.csv").open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file, delimiter=";").writerows(rows)
    return place


def saved_to_disk(folder: Path) -> Path:
    """As `save_to_disk` of `datasets` leaves texts: Arrow, with notes of its own beside it."""
    found, names, _ = texts()
    topics = list(_WORDS)
    columns = {"text": found, "label": pa.array([topics.index(name) for name in names], pa.int64())}
    features = {"text": {"_type": "Value"}, "label": {"names": topics, "_type": "ClassLabel"}}
    about = {"huggingface": json.dumps({"info": {"features": features}})}
    place = folder / "saved"
    for split, first, last in (("train", 0, 200), ("test", 200, N)):
        (place / split).mkdir(parents=True)
        table = pa.table(columns).slice(first, last - first).replace_schema_metadata(about)
        with pa.ipc.new_stream(place / split / "data-00000-of-00001.arrow", table.schema) as writer:
            writer.write_table(table)
        (place / split / "dataset_info.json").write_text(json.dumps({"features": features}))
        (place / split / "state.json").write_text('{"_split": null}')
    (place / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    return place


def cvat(folder: Path) -> Path:
    pixels, names, _ = digits()
    place = folder / "cvat"
    (place / "images").mkdir(parents=True)
    images = []
    for row, (picture, name) in enumerate(zip(pixels, names, strict=True)):
        (place / "images" / f"{row:04d}.png").write_bytes(png(picture))
        images.append(
            f'<image id="{row}" name="{row:04d}.png" width="8" height="8">'
            f'<tag label="{name}" source="manual"></tag></image>'
        )
    (place / "annotations.xml").write_text(
        f'<?xml version="1.0" encoding="utf-8"?><annotations><version>1.1</version>'
        f"{''.join(images)}</annotations>"
    )
    return place


def hugging_face(folder: Path) -> Path:
    """As `datasets` writes it: pictures as structs, labels as indices, their names in the metadata."""
    pixels, names, _ = digits()
    pictures = [{"bytes": png(picture), "path": f"{row}.png"} for row, picture in enumerate(pixels)]
    table = pa.table(
        {
            "image": pa.array(pictures, pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            "label": pa.array([DIGITS.index(name) for name in names], pa.int64()),
        }
    )
    features = {"image": {"_type": "Image"}, "label": {"names": list(DIGITS), "_type": "ClassLabel"}}
    schema = table.schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    place = folder / "hub" / "data"
    place.mkdir(parents=True)
    table = table.cast(schema)
    pq.write_table(table.slice(0, 200), place / "train-00000-of-00001.parquet")
    pq.write_table(table.slice(200), place / "test-00000-of-00001.parquet")
    return folder / "hub"


def texts(n: int = N) -> tuple[list[str], list[str], list[int]]:
    """Texts of two topics, the name of the topic, and the rows whose name is wrong."""
    rng = np.random.default_rng(0)
    topics = list(_WORDS)
    wrong = list(range(0, n, 20))
    found, names = [], []
    for row in range(n):
        words = rng.choice(_WORDS[topics[row % 2]].split(), 12)
        found.append(f'Note {row}, on the day: {" ".join(words)} and "so" on.')
        names.append(topics[(row + (row in wrong)) % 2])
    return found, names, wrong


def json_lines(folder: Path) -> Path:
    lines = [
        json.dumps({"id": f"t-{row}", "text": text, "label": name})
        for row, (text, name) in enumerate(zip(*texts()[:2], strict=True))
    ]
    path = folder / "notes.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def label_studio(folder: Path) -> Path:
    """Each task has an older annotation that says something else, and a cancelled one after it."""
    found, names, _ = texts()
    others = dict(zip(_WORDS, reversed(_WORDS), strict=True))

    def annotation(choice: str, minute: int, **more: Any) -> dict[str, Any]:
        result = {"from_name": "topic", "to_name": "text", "type": "choices", "value": {"choices": [choice]}}
        time = f"2026-01-31T12:{minute:02d}:00.000000Z"
        return {"id": minute, "result": [result], "was_cancelled": False, "updated_at": time, **more}

    tasks = [
        {
            "id": 1000 + row,
            "data": {"text": text},
            "annotations": [
                annotation(name, 5),
                annotation(others[name], 3),
                annotation(others[name], 9, was_cancelled=True),
            ],
            "predictions": [],
        }
        for row, (text, name) in enumerate(zip(found, names, strict=True))
    ]
    path = folder / "export.json"
    path.write_text(json.dumps(tasks))
    return path


def numbers_and_categories(folder: Path) -> Path:
    """Breast cancer as a European spreadsheet writes it: semicolons, decimal commas, empty cells."""
    data = load_breast_cancer()
    place = folder / "cancer.csv"
    rng = np.random.default_rng(0)
    wrong = set(range(0, len(data.target), 20))
    rows = [["patient", *data.feature_names[:6], "site", "class"]]
    for row, (values, target) in enumerate(zip(data.data, data.target, strict=True)):
        cells = [f"{value:g}".replace(".", ",") for value in values[:6]]
        cells[0] = "" if row % 17 == 0 else cells[0]
        site = ("north", "south", "west")[rng.integers(3)]
        rows.append([f"P{row:03d}", *cells, site, ("malignant", "benign")[target ^ (row in wrong)]])
    with place.open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file, delimiter=";").writerows(rows)
    return place


def arrays(folder: Path) -> Path:
    pixels, names, _ = digits()
    place = folder / "arrays"
    place.mkdir()
    np.save(place / "features.npy", pixels.reshape(N, -1).astype(np.float64))
    np.save(place / "labels.npy", np.array([float(DIGITS.index(name)) for name in names]))
    return place


def read_brought(workspace: Path) -> Examples:
    """What the reader that `init` chose makes of what it brought."""
    params = load_params(workspace / "params.yaml")
    name = params.download.dataset
    fetch = type("Silent", (), {"console": None})()
    return plugins.load("datasets", name).read(workspace / "inputs", params.options("datasets", name), fetch)
