"""Imagenette from its archive: small real archives, of which some are hostile."""

import csv
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from tasks import DatasetError, plugins
from tasks.contents import Examples, Fetch
from tasks.datasets import imagenette
from tasks.tables.keys import example_ids_of

FOLDERS = list(imagenette.CLASSES)
LEVELS = (0, 1, 5, 25, 50)
COLOURS = np.random.default_rng(0).integers(256, size=(10, 3))
# One class wrong at 50 % only, one already at 5 %.
NAMES = {f"train/{folder}/{folder}_{k}.JPEG": k for k, folder in enumerate(FOLDERS)}
NAMES |= {f"val/{folder}/{folder}_9.JPEG": k for k, folder in enumerate(FOLDERS[:3])}


def jpeg(colour: np.ndarray, size: tuple[int, int] = (40, 24)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, tuple(map(int, colour))).save(file, "JPEG", quality=95)
    return file.getvalue()


def table() -> bytes:
    file = io.StringIO()
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(["path", *(f"noisy_labels_{level}" for level in LEVELS), "is_valid"])
    for name, k in NAMES.items():
        is_valid = name.startswith("val")
        wrong_at = {3: 5, 4: 50}.get(k, 100) if not is_valid else 100
        labels = [FOLDERS[(k + 1) % 10] if level >= wrong_at else FOLDERS[k] for level in LEVELS]
        rows.writerow([name, *labels, is_valid])
    return file.getvalue().encode()


def write(
    inputs: Path,
    name: str = "imagenette2-160.tgz",
    root: str = "imagenette2-160/",
    add: Callable[[tarfile.TarFile], None] = lambda archive: None,
    without: str = "",
    labels: bytes | None = None,
) -> Path:
    (inputs / "examples").mkdir(exist_ok=True)
    contents = {file: jpeg(COLOURS[k]) for file, k in NAMES.items()}
    contents["noisy_imagenette.csv"] = table() if labels is None else labels
    contents["train/readme.txt"] = b"no picture"
    with tarfile.open(inputs / "examples" / name, "w:gz" if name.endswith("gz") else "w") as archive:
        for file, content in contents.items():
            if file != without:
                put(archive, f"{root}{file}", content)
        add(archive)
    return inputs


def put(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def read(inputs: Path, **options: object) -> Examples:
    fetch = Fetch(("local",), 5, 0, Console(file=io.StringIO()))
    return imagenette.read(inputs, plugins.read_options("datasets", "imagenette", options), fetch)


def refused(inputs: Path, **options: object) -> str:
    with pytest.raises(DatasetError) as caught:
        read(inputs, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "root"),
    [("imagenette2-160.tgz", "imagenette2-160/"), ("imagenette160.tar", ""), ("imagenette.tar.gz", "./")],
)
def test_pictures_get_the_names_splits_and_labels_of_the_archive(
    tmp_path: Path, name: str, root: str
) -> None:
    examples = read(write(tmp_path, name, root), image_size=32)
    assert set(examples.key) == set(NAMES)
    assert (np.diff(example_ids_of(examples.key, "")) > 0).all()  # the table need not sort the pictures
    true = [NAMES[key] for key in examples.key]
    np.testing.assert_array_equal(examples.true_label, true)
    is_wrong = examples.given_label != examples.true_label
    assert [key for key, wrong in zip(examples.key, is_wrong, strict=True) if wrong] == [
        f"train/{FOLDERS[3]}/{FOLDERS[3]}_3.JPEG"
    ]
    assert [key.split("/")[0] for key in examples.key] == [
        "val" if split == "test" else split for split in examples.split
    ]
    pixels = examples.content.values()
    assert (pixels.shape, pixels.dtype) == ((13, 32, 32, 3), np.uint8)
    assert np.abs(pixels[:, 16, 16].astype(int) - COLOURS[true]).max() < 8
    assert examples.facts.class_names[0] == "tench"


@pytest.mark.parametrize(("level", "n_wrong"), [(0, 0), (1, 0), (5, 1), (25, 1), (50, 2)])
def test_the_level_of_noise_is_an_option(tmp_path: Path, level: int, n_wrong: int) -> None:
    examples = read(write(tmp_path), noise_level=level, image_size=8)
    assert (examples.given_label != examples.true_label).sum() == n_wrong


def test_an_archive_is_found_by_its_name_or_as_the_only_one(tmp_path: Path) -> None:
    (tmp_path / "examples").mkdir()
    assert "expected the archive of Imagenette here, found none. Put imagenette2-160.tgz" in refused(tmp_path)
    write(tmp_path)
    write(tmp_path, "imagenette160.tar")
    assert "found imagenette160.tar, imagenette2-160.tgz. Name one" in refused(tmp_path)
    assert len(read(tmp_path, archive="imagenette160.tar", image_size=8).key) == 13
    for name in ("../examples/../../x.tar", "none.tar"):
        assert "datasets.imagenette.archive: expected the name of a file" in refused(tmp_path, archive=name)


@pytest.mark.parametrize("name", ["../evil.JPEG", "imagenette2-160/train/../../../evil", "/etc/evil"])
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    write(tmp_path, add=lambda archive: put(archive, name, b"x"))
    found = refused(tmp_path)
    assert "which leads out of it" in found
    assert name in found


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    def add(archive: tarfile.TarFile) -> None:
        member = tarfile.TarInfo("imagenette2-160/train/n01440764/link.JPEG")
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)

    assert "expected files alone" in refused(write(tmp_path, add=add))


def test_an_archive_that_says_it_holds_too_much_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path)
    monkeypatch.setattr(imagenette, "_MOST_FILES", 10)
    assert "expected at most 10 files" in refused(tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr(imagenette, "_MOST_BYTES", 2_000)
    assert "found more" in refused(tmp_path)


def test_damaged_archives_pictures_and_tables_are_named(tmp_path: Path) -> None:
    write(tmp_path)
    path = tmp_path / "examples" / "imagenette2-160.tgz"
    path.write_bytes(path.read_bytes()[:-3_000])
    assert f"{path}: expected a tar archive, whole" in refused(tmp_path)
    path.write_bytes(b"no archive")
    assert f"{path}: expected a tar archive, whole" in refused(tmp_path)
    name = f"train/{FOLDERS[0]}/{FOLDERS[0]}_0.JPEG"
    write(tmp_path, add=lambda archive: put(archive, f"imagenette2-160/{name}", b"no picture"))
    assert name in refused(tmp_path)
    write(tmp_path, without=name)
    assert f"found {name} with one of them alone (1 such names)" in refused(tmp_path)
    write(tmp_path, without="noisy_imagenette.csv")
    assert "expected one noisy_imagenette.csv in it, found 0" in refused(tmp_path)
    write(tmp_path, labels=b"path,label\na,b\n")
    assert "expected the column noisy_labels_5, found path, label" in refused(tmp_path)
    write(tmp_path, labels=table().replace(FOLDERS[9].encode() + b",False", b"n9,False"))
    assert "expected one of n01440764" in refused(tmp_path, noise_level=50)
