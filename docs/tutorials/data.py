"""Small data for the tutorials, labels made wrong on purpose: `python docs/tutorials/data.py FOLDER NAME`.

Each name writes files of its own into the folder, and `NAME_wrong.txt`, which lists the rows whose label is
wrong. Nothing is downloaded.
"""

import csv
import inspect
import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

_SIDE = 96
_THINGS = ("apple", "house", "tree")
_DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
Rng = np.random.Generator


def make_photos(folder: Path, rng: Rng) -> list[str]:
    """240 drawn pictures in `photos/`, a folder for each class; every tenth lies in a wrong one."""
    wrong = []
    for row in range(240):
        true = row % len(_THINGS)
        given = (true + int(rng.integers(1, 3))) % 3 if row % 10 == 4 else true
        path = folder / "photos" / _THINGS[given] / f"{row:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        _draw(_THINGS[true], rng).save(path)
        if given != true:
            wrong.append(f"{_THINGS[given]}/{row:03d}.png")
    return wrong


def make_texts(folder: Path, rng: Rng) -> list[str]:
    """`texts.csv`: what the first sentence of a function's manual is about; every 20th label is wrong."""
    import pandas as pd
    from scipy import signal, stats

    rows = []
    for topic, module in (("tables", pd), ("statistics", stats), ("signals", signal)):
        found = {_sentence(getattr(module, name)) for name in dir(module) if name[0] != "_"}
        rows += [(text, topic) for text in sorted(found) if 30 < len(text) < 200]
    return _write_table(folder / "texts.csv", ["text"], rows, rng)


def make_numbers(folder: Path, rng: Rng) -> list[str]:
    """`numbers.csv`: 30 measures of 500 tumours (scikit-learn's breast cancer); every 20th label is wrong.

    `numbers_later.csv` has 69 more, as a table does that grows.
    """
    later = folder / "numbers_later.csv"
    wrong = _write_table(later, *_tumours(), rng)
    lines = later.read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "numbers.csv").write_text("".join(lines[:501]), encoding="utf-8")
    return wrong[:25]


def make_unlabeled(folder: Path, rng: Rng) -> list[str]:
    """`scans.csv`: the ink in 64 places of 1,797 handwritten digits (scikit-learn's); 200 have a label."""
    from sklearn.datasets import load_digits

    data = load_digits()
    rows = [
        (*pixels.astype(int).tolist(), _DIGITS[label])
        for pixels, label in zip(data.data, data.target, strict=True)
    ]
    columns = [f"ink {place}" for place in range(64)]
    _write_table(folder / "scans.csv", columns, rows, rng, wrong=0, labelled=200)
    return []


def make_probs(folder: Path, rng: Rng) -> list[str]:
    """`probs.csv` of a model of one's own, with `labels.csv` and `digits/`; every 20th label is wrong."""
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    data = load_digits(n_class=4)
    ids = [f"{row:03d}.png" for row in range(len(data.target))]
    given = data.target.copy()
    given[::20] = (given[::20] + rng.integers(1, 4, len(given[::20]))) % 4
    probs = cross_val_predict(LogisticRegression(), data.data / 16, given, cv=5, method="predict_proba")
    (folder / "digits").mkdir(exist_ok=True)
    for name, image in zip(ids, data.images, strict=True):
        Image.fromarray((image * 15).astype(np.uint8)).save(folder / "digits" / name)
    classes = _DIGITS[:4]
    _write_csv(
        folder / "probs.csv", ["id", *classes], [[key, *row] for key, row in zip(ids, probs, strict=True)]
    )
    labels = [[key, classes[label]] for key, label in zip(ids, given, strict=True)]
    _write_csv(folder / "labels.csv", ["id", "given_label"], labels)
    return ids[::20]


MAKERS: dict[str, Callable[[Path, Rng], list[str]]] = {
    "photos": make_photos,
    "texts": make_texts,
    "numbers": make_numbers,
    "probs": make_probs,
    "unlabeled": make_unlabeled,
}


def _draw(thing: str, rng: Rng) -> Image.Image:
    """One picture of 96 x 96 pixels: the thing at a random place, size and colour, with grain."""

    def near(colour: tuple[int, int, int]) -> tuple[int, ...]:
        return tuple(np.clip(np.array(colour) + rng.integers(-25, 26, 3), 0, 255).tolist())

    picture = Image.new("RGB", (_SIDE, _SIDE), near((225, 200, 170) if thing == "apple" else (160, 200, 235)))
    draw = ImageDraw.Draw(picture)
    size, x, y = int(rng.integers(22, 34)), int(rng.integers(36, 60)), int(rng.integers(44, 58))
    if thing != "apple":
        draw.rectangle((0, y + size // 2, _SIDE, _SIDE), fill=near((110, 160, 80)))
    if thing == "apple":
        skin = near((200, 40, 40) if rng.random() < 0.5 else (120, 170, 50))
        for side in (-1, 1):
            draw.ellipse(
                (
                    x + side * size // 3 - size // 2,
                    y - size // 2,
                    x + side * size // 3 + size // 2,
                    y + size // 2,
                ),
                fill=skin,
            )
        draw.line((x, y - size // 3, x + 3, y - size), fill=(90, 60, 40), width=3)
        draw.ellipse((x + 3, y - size, x + 15, y - size + 8), fill=near((60, 140, 60)))
    elif thing == "house":
        draw.rectangle((x - size // 2, y - size // 4, x + size // 2, y + size), fill=near((200, 200, 190)))
        draw.polygon(
            ((x - size * 2 // 3, y - size // 4), (x, y - size), (x + size * 2 // 3, y - size // 4)),
            fill=near((165, 70, 50)),
        )
        draw.rectangle((x - 4, y + size // 3, x + 4, y + size), fill=(95, 65, 40))
    else:
        draw.rectangle((x - 4, y, x + 4, y + size), fill=(95, 65, 40))
        for turn in range(5):
            to_x, to_y = x + size / 2 * math.cos(turn * 1.26), y - size / 3 + size / 2 * math.sin(turn * 1.26)
            draw.ellipse(
                (to_x - size / 2, to_y - size / 2, to_x + size / 2, to_y + size / 2), fill=near((45, 130, 50))
            )
    grain = np.asarray(picture, np.int16) + rng.normal(0, 6, (_SIDE, _SIDE, 3)).astype(np.int16)
    return Image.fromarray(np.clip(grain, 0, 255).astype(np.uint8))


def _sentence(thing: object) -> str:
    """The first paragraph of what the manual says of a thing, in one line."""
    return " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())


def _tumours() -> tuple[list[str], list[tuple[object, ...]]]:
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    rows = [
        (*map(float, row), str(data.target_names[label]))
        for row, label in zip(data.data, data.target, strict=True)
    ]
    return [str(name) for name in data.feature_names], rows


def _write_table(
    path: Path,
    columns: list[str],
    rows: list[tuple[object, ...]],
    rng: Rng,
    wrong: int = 20,
    labelled: int | None = None,
) -> list[str]:
    """Write rows in a random order, every `wrong`th label made another; the ids of those.

    Args:
        rows: content, the label last.
        labelled: the number of rows that keep their label.
    """
    classes = sorted({str(row[-1]) for row in rows})
    written, changed = [], []
    for place, row in enumerate(rng.permutation(len(rows)).tolist()):
        key, label = f"row-{place:04d}", str(rows[row][-1])
        if wrong and place % wrong == 0:
            label = classes[(classes.index(label) + int(rng.integers(1, len(classes)))) % len(classes)]
            changed.append(key)
        written.append([key, *rows[row][:-1], label if labelled is None or place < labelled else ""])
    _write_csv(path, ["id", *columns, "label"], written)
    return changed


def _write_csv(path: Path, header: list[str], rows: list[list[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def main(arguments: list[str]) -> int:
    """Write the data that are named into a folder."""
    place, names = arguments[:1], arguments[1:]
    if not names or not set(names) <= set(MAKERS):
        found = " ".join(arguments) or "nothing"
        print(f"Expected a folder and some of {', '.join(MAKERS)}, found {found}.", file=sys.stderr)
        return 2
    folder = Path(place[0])
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        wrong = MAKERS[name](folder, np.random.default_rng(0))
        if wrong:
            (folder / f"{name}_wrong.txt").write_text("\n".join(wrong) + "\n", encoding="utf-8")
            print(f"{name}: {len(wrong)} labels are wrong, see {name}_wrong.txt")
        else:
            print(f"{name}: no label is wrong")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
