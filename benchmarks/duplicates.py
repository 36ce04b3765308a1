"""Finding duplicates: time and memory on MNIST, and how many planted copies are found, as tables.

`python -m benchmarks.duplicates FOLDER` looks in the folder for `mnist` (the four IDX files),
`imagenette160.tar` and `covid_tweets` (WNUT-2020 task 2: train.tsv, valid.tsv, test.tsv); what is not there
is left out. The tables of scikit-learn are always there. The thresholds of pictures and texts were chosen on
the training parts and on random parts of all MNIST; the other parts confirm them.

For each change, rows are drawn that no other change has, and a changed copy of each is added to the part. A
copy is found if it comes into the group of its row. What must not be found is counted too: groups among the
rows as they are (`--show` prints those of texts), copies that come together with strange rows, and texts with
another number, which are none.
"""

import argparse
import csv
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageEnhance
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_breast_cancer, load_digits
from threadpoolctl import threadpool_limits

from benchmarks.prune import peak_mb
from tasks.datasets import _idx as idx
from tasks.split_rows.duplicates import find_groups, fingerprint, join
from tasks.split_rows.groups import Groups

Rng = np.random.Generator
Change = Callable[[Any, Rng], Any]

PORTION_BYTES = 2**22
PICTURE_SIDE = 128


def recoded(picture: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return Image.open(file).convert(picture.mode)


def resized(picture: Image.Image, factor: float) -> Image.Image:
    size = (round(picture.width * factor), round(picture.height * factor))
    return picture.resize(size, Image.Resampling.BICUBIC).resize(picture.size, Image.Resampling.BICUBIC)


def cropped(picture: Image.Image, share: float, rng: Rng) -> Image.Image:
    """Without `share` of the width and of the height, which the two sides lose at random, at the old size."""
    lost = np.array(picture.size) * share
    left, upper = lost * rng.random(2)
    box = (left, upper, left + picture.width - lost[0], upper + picture.height - lost[1])
    return picture.resize(picture.size, Image.Resampling.BICUBIC, box=box)


def moved(picture: Image.Image, pixels: int, rng: Rng) -> Image.Image:
    right, down = rng.choice([-pixels, pixels], 2)
    return picture.transform(picture.size, Image.Transform.AFFINE, (1, 0, right, 0, 1, down))


def marked(picture: Image.Image, _: Rng) -> Image.Image:
    copy = picture.copy()
    ImageDraw.Draw(copy).text((copy.width // 20, copy.height * 7 // 8), "(c) photos", fill="white")
    return copy


PICTURE_CHANGES: Mapping[str, Change] = {
    "JPEG, quality 90": lambda picture, _: recoded(picture, 90),
    "JPEG, quality 50": lambda picture, _: recoded(picture, 50),
    "JPEG, quality 25": lambda picture, _: recoded(picture, 25),
    "halved and enlarged": lambda picture, _: resized(picture, 0.5),
    "doubled and reduced": lambda picture, _: resized(picture, 2),
    "brightness 0.8": lambda picture, _: ImageEnhance.Brightness(picture).enhance(0.8),
    "brightness 1.3": lambda picture, _: ImageEnhance.Brightness(picture).enhance(1.3),
    "contrast 1.3": lambda picture, _: ImageEnhance.Contrast(picture).enhance(1.3),
    "moved 1 pixel": lambda picture, rng: moved(picture, 1, rng),
    "moved 3 pixels": lambda picture, rng: moved(picture, 3, rng),
    "2 % cropped": lambda picture, rng: cropped(picture, 0.02, rng),
    "5 % cropped": lambda picture, rng: cropped(picture, 0.05, rng),
    "10 % cropped": lambda picture, rng: cropped(picture, 0.10, rng),
    "a mark": marked,
    "grey": lambda picture, _: picture.convert("L").convert(picture.mode),
    "turned 2 degrees": lambda picture, _: picture.rotate(2, Image.Resampling.BICUBIC),
}


def swapped_letters(text: str, rng: Rng) -> str:
    """A typing error in a longer word."""
    places = [match.start() for match in re.finditer(r"[a-z]{5,}", text)]
    if not places:
        return text + "."
    place = int(rng.choice(places)) + 1
    return text[:place] + text[place + 1] + text[place] + text[place + 2 :]


def renumbered(text: str, rng: Rng) -> str | None:
    """Another number: other news, and no copy."""
    numbers = list(re.finditer(r"(?<![\w-])\d+(?![\w-])", text))
    if not numbers:
        return None
    number = numbers[int(rng.integers(len(numbers)))]
    return text[: number.start()] + str(int(number[0]) + int(rng.integers(1, 9))) + text[number.end() :]


def renamed(text: str, rng: Rng) -> str | None:
    """Another name in place of one: by its words alone, this cannot be told from a typing error."""
    names = [match for match in re.finditer(r"\b[A-Z][a-z]{3,}\b", text) if match.start()]
    if not names:
        return None
    name = names[int(rng.integers(len(names)))]
    other = str(rng.choice(["Ghana", "Kenya", "Texas", "Milan", "Quito", "Johnson", "Merkel"]))
    return text[: name.start()] + other + text[name.end() :]


TEXT_CHANGES: Mapping[str, Change] = {
    "another link": lambda text, _: f"{text.replace('HTTPURL', '').strip()} https://t.co/Ab1cD2eF",
    "another handle": lambda text, _: f"@someone {text.replace('@USER', '@another_one')}",
    "retweet": lambda text, _: f"RT @someone: {text}",
    "capitals": lambda text, _: text.upper(),
    "no punctuation": lambda text, _: re.sub(r"[!?.;:\"']", "", text),
    "two hashtags": lambda text, _: f"{text} #StayHome #News",
    "a typing error": swapped_letters,
    "a comment": lambda text, _: f"Everyone should read this now: {text}",
    "cut at 80 %": lambda text, _: text[: len(text) * 4 // 5] + "…",
    "another name": renamed,
    "another number (is none)": renumbered,
}


def with_digits(row: npt.NDArray[np.float32], n_digits: int) -> npt.NDArray[np.float32]:
    return np.array([float(f"{value:.{n_digits}g}") for value in row], dtype=np.float32)


def table_changes(deviation: npt.NDArray[np.float32]) -> Mapping[str, Change]:
    def noisy(share: float) -> Change:
        return lambda row, rng: row + (share * deviation * rng.normal(size=len(row))).astype(np.float32)

    return {
        "noise of 1 % of a deviation": noisy(0.01),
        "noise of 5 % of a deviation": noisy(0.05),
        "3 digits": lambda row, _: with_digits(row, 3),
        "2 digits": lambda row, _: with_digits(row, 2),
    }


def squared(picture: Image.Image) -> npt.NDArray[np.uint8]:
    """The middle of a picture, PICTURE_SIDE wide and high."""
    side = min(picture.size)
    left, upper = (picture.width - side) // 2, (picture.height - side) // 2
    box = (left, upper, left + side, upper + side)
    size = (PICTURE_SIDE, PICTURE_SIDE)
    return np.asarray(picture.resize(size, Image.Resampling.BILINEAR, box=box))


@dataclass(frozen=True)
class Part:
    """Rows of one data set, and how copies of them are made.

    Attributes:
        name: of the set and the part.
        sources: what changes apply to.
        encode: makes the row of a source.
        changes: by name; None where this source cannot be changed so.
        n_copies: planted for each change.
    """

    name: str
    sources: Sequence[Any]
    encode: Callable[[Any], Any]
    changes: Mapping[str, Change]
    n_copies: int


def read_mnist(folder: Path) -> dict[str, npt.NDArray[np.uint8]]:
    files = {"train": "train-images-idx3-ubyte.gz", "test": "t10k-images-idx3-ubyte.gz"}
    return {
        part: idx.decode(idx.gunzip((folder / name).read_bytes(), name), name) for part, name in files.items()
    }


def read_imagenette(path: Path) -> dict[str, list[Image.Image]]:
    pictures: dict[str, list[Image.Image]] = {"train": [], "val": []}
    with tarfile.open(path) as archive:
        for member in sorted(archive, key=lambda member: member.name):
            file = archive.extractfile(member) if member.name.endswith(".JPEG") else None
            if file is not None:
                part = member.name.split("/")[0]
                pictures[part].append(Image.open(io.BytesIO(file.read())).convert("RGB"))
    return pictures


def read_tweets(folder: Path) -> dict[str, list[str]]:
    """The second column of each file; not all of the files have a line of names."""
    texts = {}
    for part in ("train", "valid", "test"):
        with (folder / f"{part}.tsv").open(encoding="utf-8", newline="") as file:
            rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            texts[part] = [row[1] for row in rows if len(row) > 1 and row[1] != "Text"]
    return texts


def parts_of(folder: Path) -> Iterator[Part]:
    """Every part of the sets that are there; of a set with two, thresholds were chosen on the first alone."""
    if (folder / "mnist").is_dir():
        for name, pictures in read_mnist(folder / "mnist").items():
            yield Part(
                f"MNIST, {name}",
                [Image.fromarray(each) for each in pictures],
                np.asarray,
                PICTURE_CHANGES,
                200,
            )
    if (folder / "imagenette160.tar").is_file():
        for name, photographs in read_imagenette(folder / "imagenette160.tar").items():
            yield Part(f"Imagenette, {name}", photographs, squared, PICTURE_CHANGES, 100)
    if (folder / "covid_tweets").is_dir():
        tweets = read_tweets(folder / "covid_tweets")
        yield Part("tweets, train", tweets["train"], str, TEXT_CHANGES, 200)
        yield Part("tweets, valid and test", tweets["valid"] + tweets["test"], str, TEXT_CHANGES, 100)
    for name, rows in (("digits", load_digits().data), ("breast cancer", load_breast_cancer().data)):
        singles = rows.astype(np.float32)
        yield Part(f"{name}, all", list(singles), np.asarray, table_changes(singles.std(axis=0)), 50)


def portions(rows: Sequence[Any]) -> Iterator[Any]:
    """Consecutive rows as arrays, or lists of texts, of about PORTION_BYTES."""
    texts = isinstance(rows[0], str)
    step = max(PORTION_BYTES // (len(rows[0]) if texts else rows[0].nbytes), 1)
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        yield list(part) if texts else np.stack(part)


def group(rows: Sequence[Any]) -> Groups:
    """The groups of rows in memory, with all cores."""
    n_cores = len(os.sched_getaffinity(0))
    with threadpool_limits(1), ThreadPoolExecutor(n_cores) as pool:
        prints = join([fingerprint(portion) for portion in portions(rows)])
        return find_groups(np.arange(len(rows)), prints, each=pool.map)


@dataclass(frozen=True)
class Planted:
    """What became of planted copies.

    Attributes:
        n_groups: groups of the rows as they are, without copies.
        largest: rows of the largest of these.
        found: (found, planted) of each change.
        n_strange: copies with a row that is neither theirs nor in their row's group without copies.
    """

    n_groups: int
    largest: int
    found: dict[str, tuple[int, int]]
    n_strange: int


def plant(part: Part, rng: Rng) -> tuple[Planted, list[list[Any]]]:
    """Group a part as it is and with copies; also the rows of each group of the part as it is."""
    rows = [part.encode(source) for source in part.sources]
    alone = group(rows)
    names, copies, origins = [], [], []
    waiting = iter(rng.permutation(len(rows)))
    for name, change in part.changes.items():
        n_made = 0
        while n_made < part.n_copies:
            origin = next(waiting)
            copy = change(part.sources[origin], rng)
            if copy is not None:
                names.append(name), copies.append(part.encode(copy)), origins.append(origin)
                n_made += 1
    together = group([*rows, *copies])
    n = len(rows)
    own = together.group[origins] == together.group[n:]
    found = {name: (int(own[[each == name for each in names]].sum()), part.n_copies) for name in part.changes}
    strange = 0
    for copy, origin in enumerate(origins):
        mates = np.flatnonzero(together.group[:n] == together.group[n + copy])
        strange += bool(len(mates)) and not (alone.group[mates] == alone.group[origin]).all()
    sizes = np.unique(alone.group, return_counts=True)
    several = sizes[0][sizes[1] > 1]
    members = [[part.sources[row] for row in np.flatnonzero(alone.group == each)] for each in several]
    return Planted(len(several), int(sizes[1].max()), found, strange), members


def time_mnist(folder: Path) -> None:
    """Group all MNIST in this process, and print what it took as JSON."""
    pictures = np.concatenate(list(read_mnist(folder).values()))
    started, cpu = time.monotonic(), time.process_time()
    groups = group(pictures)
    found = {
        "rows": len(pictures),
        "wall_s": time.monotonic() - started,
        "cpu_s": time.process_time() - cpu,
        "peak_mb": peak_mb(),
        "groups": int((np.unique(groups.group, return_counts=True)[1] > 1).sum()),
    }
    print(json.dumps(found))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", default=Path("data"))
    parser.add_argument("--show", action="store_true", help="print the groups of texts as they are")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--time-mnist", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.time_mnist:
        time_mnist(options.folder / "mnist")
        return 0
    console = Console(width=110)
    if (options.folder / "mnist").is_dir():
        command = [sys.executable, "-m", "benchmarks.duplicates", str(options.folder), "--time-mnist"]
        run = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        console.print(
            f"MNIST, {run['rows']:,} pictures: {run['wall_s']:.1f} s ({run['cpu_s']:.1f} CPU-s), "
            f"{run['peak_mb']:.0f} MB in all, {run['groups']} groups"
        )
    for part in parts_of(options.folder):
        started = time.monotonic()
        planted, members = plant(part, np.random.default_rng(options.seed))
        console.print(
            f"\n{part.name}: {len(part.sources):,} rows. As they are {planted.n_groups} groups, the largest "
            f"of {planted.largest}. {planted.n_strange} copies with strange rows. "
            f"{time.monotonic() - started:.0f} s in all."
        )
        table = Table()
        table.add_column("change")
        table.add_column("copies found", justify="right")
        for name, (n_found, n_planted) in planted.found.items():
            table.add_row(name, f"{n_found} of {n_planted}")
        console.print(table)
        if options.show and isinstance(part.sources[0], str):
            for texts in members:
                console.print("\n".join(texts), end="\n\n", markup=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
