"""`init` understands what is there, or says in one sentence what it needs; nothing is left half done."""

import json
import os
import re
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import own_forms
import pandas as pd
import pytest
from own_forms import read_brought
from PIL import Image

from tasks import DatasetError, RelabelError
from tasks.download import examples_table
from tasks.intake import archives
from tasks.intake.command import init
from tasks.own_files.label_studio import read_tasks
from tasks.params import load_params


def refused(workspace: Path, *arguments: str) -> str:
    before = (workspace / "params.yaml").read_bytes()
    with pytest.raises(RelabelError) as caught:
        init(workspace, arguments)
    assert (workspace / "params.yaml").read_bytes() == before
    assert not [path for path in (workspace / "inputs").rglob("*") if path.is_file()]
    assert str(caught.value).count("\n") == 0
    return str(caught.value)


def save(path: Path, pixels: np.ndarray, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def two_classes(folder: Path, n: int = 6, side: int = 12) -> Path:
    rng = np.random.default_rng(0)
    for row in range(n):
        save(
            folder / ("cat", "dog")[row % 2] / f"{row}.png",
            rng.integers(0, 255, (side, side), dtype=np.uint8),
        )
    return folder


# -- What goes in.


def test_only_lines_of_chosen_values_change_and_comments_stay(workspace: Path, given: Path) -> None:
    before = (workspace / "params.yaml").read_text().splitlines()
    init(workspace, [str(two_classes(given / "pets"))])
    after = (workspace / "params.yaml").read_text().splitlines()
    changed = {line.split("#")[0].strip() for line in after if line not in before}
    assert {"dataset: folder", "kind: none", "path: pets", "name: pets"} <= changed
    comments = [line.partition("#")[2] for line in before if "#" in line]
    assert [line.partition("#")[2] for line in after if "#" in line] == comments
    assert set(load_params(workspace / "params.yaml").retrain.label_sets) == {"given", "cleaned"}


def test_folders_for_splits_hold_the_classes(
    workspace: Path, given: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split in ("train", "val", "test"):
        two_classes(given / "pets" / split)
    save(given / "pets" / "train" / "loose.png", np.zeros((12, 12), dtype=np.uint8))
    init(workspace, [str(given / "pets")])
    found = read_brought(workspace)
    assert found.facts.class_names == ("cat", "dog")
    assert dict(zip(*np.unique(found.split, return_counts=True), strict=True)) == {
        "train": 6,
        "valid": 6,
        "test": 6,
        "unlabeled": 1,
    }
    assert found.key[0] == "test/cat/0.png"
    assert "1 pictures lie in no folder of a class" in capsys.readouterr().out


def test_a_folder_of_a_split_beside_one_that_is_none_is_refused(workspace: Path, given: Path) -> None:
    """Else `train` and `extra` would be the classes."""
    for place in ("train/cat", "train/dog", "extra"):
        for row in range(3):
            save(given / "pets" / place / f"{row}.png", np.zeros((12, 12), dtype=np.uint8))
    with pytest.raises(RelabelError, match=r"found train, .* beside extra"):
        init(workspace, [str(given / "pets")])


def test_a_class_may_be_called_as_a_split(workspace: Path, given: Path) -> None:
    for place in ("train", "bus"):
        for row in range(3):
            save(given / "traffic" / place / f"{row}.png", np.zeros((12, 12), dtype=np.uint8))
    init(workspace, [str(given / "traffic")])
    assert read_brought(workspace).facts.class_names == ("bus", "train")


def test_what_is_not_read_of_a_folder_is_named_and_other_endings_of_jpeg_are_read(
    workspace: Path, given: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b", "elsewhere/c"):
        for row in range(3):
            save(given / "pets" / name / f"{row}.jpg", np.zeros((12, 12), dtype=np.uint8))
    (given / "pets" / "a" / "0.jpg").rename(given / "pets" / "a" / "0.jfif")
    (given / "pets" / "elsewhere").rename(given / "elsewhere")
    (given / "pets" / "c").symlink_to(given / "elsewhere" / "c")
    (given / "pets" / "b" / "lost.png").symlink_to(given / "gone.png")
    (given / "pets" / "a" / "phone.HEIC").write_bytes(b"x")
    init(workspace, [str(given / "pets")])
    said = " ".join(capsys.readouterr().out.split())
    assert "Links to folders are not followed: c." in said
    assert "1 of the files are links that lead to nothing: b/lost.png." in said
    assert "Files that are not read: 1 .heic." in said
    assert sorted(read_brought(workspace).key) == [
        *("a/0.jfif", "a/1.jpg", "a/2.jpg"),
        *("b/0.jpg", "b/1.jpg", "b/2.jpg"),
    ]


@pytest.mark.parametrize(
    ("leave", "says"),
    [
        (lambda pets, other: (pets / "cat").symlink_to(other), "Links to folders are not followed: cat."),
        (lambda pets, _: (pets / "phone.heic").write_bytes(b"x"), "Files that are not read: 1 .heic."),
    ],
)
def test_a_folder_without_pictures_says_what_of_it_is_not_read(
    workspace: Path, given: Path, leave: Callable[[Path, Path], object], says: str
) -> None:
    save(given / "other" / "0.png", np.zeros((12, 12), dtype=np.uint8))
    (given / "pets").mkdir()
    leave(given / "pets", given / "other")
    with pytest.raises(DatasetError, match=re.escape(says)):
        init(workspace, [str(given / "pets")])


def test_a_class_that_has_no_training_row_is_a_warning(
    workspace: Path, given: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{row},{'xy'[row % 2]},train" for row in range(20)] + ["1,y,test", "2,z,test", "3,z,unlabeled"]
    (given / "t.csv").write_text("\n".join(["n,label,split", *rows]))
    init(workspace, [str(given / "t.csv")])
    warned = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Warning")]
    assert len(warned) == 1
    assert "class z." in warned[0]
    assert "1 rows count as errors" in warned[0]


def test_pictures_of_differing_sizes_and_kinds_come_to_one_shape(workspace: Path, given: Path) -> None:
    rng = np.random.default_rng(0)
    for row, (suffix, shape) in enumerate(
        [("png", (200, 300)), ("jpg", (90, 40, 3)), ("webp", (64, 64, 3)), ("png", (30, 30, 4))]
    ):
        for name in ("a", "b"):
            save(given / "mixed" / name / f"{row}.{suffix}", rng.integers(0, 255, shape, dtype=np.uint8))
    init(workspace, [str(given / "mixed")])
    assert read_brought(workspace).content.values().shape == (8, 160, 160, 3)
    init(workspace, [str(given / "mixed"), "--image-size", "32", "--name", "small"])
    assert read_brought(workspace).content.values().shape == (8, 32, 32, 3)


def test_a_table_that_names_some_pictures_leaves_the_others_without_a_label(
    workspace: Path, given: Path
) -> None:
    folder = own_forms.pictures_and_table(given)
    save(folder / "images" / "extra.png", np.zeros((8, 8), dtype=np.uint8))
    init(workspace, [str(folder)])
    found = read_brought(workspace)
    assert found.split.tolist().count("unlabeled") == 1
    assert found.split[found.key.index("images/extra.png")] == "unlabeled"


def test_the_labels_of_pictures_are_those_of_their_row_whatever_the_order(
    workspace: Path, given: Path
) -> None:
    folder = two_classes(given / "p", 8)
    flat = given / "flat"
    flat.mkdir()
    rows = []
    for path in folder.rglob("*.png"):
        path.rename(flat / path.name)
        rows.append((path.name, path.parent.name, "train" if path.stem < "6" else "test"))
    frame = pd.DataFrame(rows, columns=["filename", "label", "split"]).sample(frac=1, random_state=1)
    frame.to_csv(flat / "labels.csv", index=False)
    init(workspace, [str(flat / "labels.csv")])
    found = read_brought(workspace)
    by_key = {
        key: (found.facts.class_names[k], split)
        for key, k, split in zip(found.key, found.given_label, found.split, strict=True)
    }
    assert by_key == {name: (label, split) for name, label, split in rows}


def test_a_hub_table_keeps_indices_names_and_splits(workspace: Path, given: Path) -> None:
    init(workspace, [str(own_forms.hugging_face(given))])
    found = read_brought(workspace)
    pixels, names, _ = own_forms.digits()
    order = [int(key.rpartition("/")[2]) + (200 if key.startswith("test") else 0) for key in found.key]
    assert [found.facts.class_names[k] for k in found.given_label] == [names[row] for row in order]
    np.testing.assert_array_equal(found.content.values(), pixels[order])
    assert set(found.split) == {"train", "test"}


@pytest.mark.parametrize(
    "odd", [5, "NaN", {"result": []}, [5], [{"result": 5}], [{"result": [{"value": 5}]}]]
)
def test_what_is_no_list_of_annotations_answers_nothing(workspace: Path, given: Path, odd: object) -> None:
    def task(number: int, name: str) -> dict[str, Any]:
        result = {"from_name": "kind", "to_name": "text", "type": "choices", "value": {"choices": [name]}}
        return {"id": number, "data": {"text": f"words {number}"}, "annotations": [{"result": [result]}]}

    tasks = [task(row, "ab"[row % 2]) for row in range(12)]
    tasks[7]["annotations"] = odd
    (given / "tasks.json").write_text(json.dumps(tasks))
    init(workspace, [str(given / "tasks.json")])
    brought = read_brought(workspace)
    assert brought.given_label is not None
    assert [key for key, label in zip(brought.key, brought.given_label, strict=True) if label < 0] == ["7"]


def test_of_several_annotations_the_newest_counts(
    workspace: Path, given: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = own_forms.label_studio(given)
    tasks = json.loads(path.read_text())
    tasks[7]["annotations"] = []
    path.write_text(json.dumps(tasks))
    init(workspace, [str(path)])
    assert "239 tasks have several annotations, and the newest counts" in capsys.readouterr().out
    found = read_brought(workspace)
    _, names, _ = own_forms.texts()
    labels = [found.facts.class_names[k] if k >= 0 else None for k in found.given_label]
    assert labels == [*names[:7], None, *names[8:]]
    assert found.split[7] == "unlabeled"


def test_a_choice_of_label_studio_that_is_null_is_no_label(tmp_path: Path) -> None:
    def task(number: int, choice: str | None) -> dict[str, object]:
        result = {"from_name": "kind", "type": "choices", "value": {"choices": [choice]}}
        return {"id": number, "data": {"text": "words"}, "annotations": [{"result": [result]}]}

    path = tmp_path / "export.json"
    path.write_text(json.dumps([task(0, "cat"), task(1, None)]))
    assert [each.label for each in read_tasks(path, None)] == ["cat", None]


def test_an_odd_task_among_others_is_named(tmp_path: Path) -> None:
    tasks = [{"id": row, "data": {"text": "words"}, "annotations": []} for row in range(4)]
    path = tmp_path / "export.json"
    path.write_text(json.dumps([*tasks, {"id": 4, "annotations": []}]))
    with pytest.raises(DatasetError, match=r"found id, annotations in place 4"):
        read_tasks(path, None)


def test_a_list_of_one_label_is_that_label_and_several_at_once_are_refused(
    workspace: Path, given: Path
) -> None:
    rows = [{"text": f"some words {row}", "label": [["ant", "bee"][row % 2]]} for row in range(20)]
    rows[3]["label"] = []
    (given / "rows.json").write_text(json.dumps(rows))
    init(workspace, [str(given / "rows.json")])
    found = read_brought(workspace)
    assert found.facts.class_names == ("ant", "bee")
    assert list(found.given_label[:4]) == [0, 1, 0, -1]
    rows[5]["label"] = ["ant", "bee"]
    (given / "several.json").write_text(json.dumps(rows))
    with pytest.raises(DatasetError, match=r'found several at once: \["ant", "bee"\]\.'):
        init(workspace, [str(given / "several.json")])
    # Python's own spelling, as pandas writes a column of lists to CSV.
    cells = ["['ant', 'bee']" if row == 5 else "['ant']" for row in range(20)]
    lines = [f'some words {row},"{cell}"' for row, cell in enumerate(cells)]
    (given / "several.csv").write_text("\n".join(["text,label", *lines]))
    with pytest.raises(DatasetError, match=r"found several at once: \['ant', 'bee'\]\."):
        init(workspace, [str(given / "several.csv")])


def test_pictures_of_label_studio_lie_beside_its_export(workspace: Path, given: Path) -> None:
    pixels, names, _ = own_forms.digits()
    tasks = []
    for row in range(20):
        save(given / "upload" / f"scan {row}.png", pixels[row])
        places = [
            f"/data/upload/3/0a1b2c3d-scan%20{row}.png",
            f"/data/local-files/?d=upload/scan%20{row}.png",
        ]
        result = {
            "from_name": "digit",
            "to_name": "image",
            "type": "choices",
            "value": {"choices": [names[row]]},
        }
        tasks.append({"id": row, "data": {"image": places[row % 2]}, "annotations": [{"result": [result]}]})
    (given / "export.json").write_text(json.dumps(tasks))
    init(workspace, [str(given)])
    found = read_brought(workspace)
    assert [found.facts.class_names[k] for k in found.given_label] == names[:20]
    np.testing.assert_array_equal(found.content.values(), pixels[:20])


@pytest.mark.parametrize(
    "place", ["/data/local-files/?d={}/1.png", "/{}/1.png", "https://host.example/{}/1.png"]
)
@pytest.mark.parametrize("form", ["export.json", "export.csv"])
def test_pictures_of_one_name_are_told_apart_by_their_paths(
    workspace: Path, given: Path, place: str, form: str
) -> None:
    folders = [f"{row:02d}" for row in range(20)]
    for folder, pixels in zip(folders, own_forms.digits()[0][:20], strict=True):
        save(given / "scans" / folder / "1.png", pixels)
    named = [place.format(f"scans/{folder}") for folder in folders]
    if form == "export.csv":
        rows = [f"{name},{'xy'[row % 2]}" for row, name in enumerate(named)]
        (given / form).write_text("\n".join(["image,label", *rows]))
    else:
        result = {"from_name": "digit", "to_name": "image", "type": "choices"}
        choices = [{**result, "value": {"choices": ["xy"[row % 2]]}} for row in range(20)]
        tasks = [
            {"id": row, "data": {"image": name}, "annotations": [{"result": [choices[row]]}]}
            for row, name in enumerate(named)
        ]
        (given / form).write_text(json.dumps(tasks))
    init(workspace, [str(given / form)])
    found = read_brought(workspace)
    assert [found.facts.class_names[k] for k in found.given_label] == list("xy" * 10)
    np.testing.assert_array_equal(found.content.values(), own_forms.digits()[0][:20])


PLACES = (
    "/data/upload/3/0a1b2c3d-scan%20{row}.png",
    "/data/local-files/?d=upload/scan%20{row}.png",
    "https://pictures.example/{row}/scan%20{row}.png?size=large",
    "/home/anna/other machine/scan {row}.png",
    "C:\\pictures\\scan {row}.png",
)


def picture_table(given: Path, place: str) -> Path:
    """A table as Label Studio exports it, which names pictures and says how long each took."""
    rows = "".join(
        f'{row},"{place.format(row=row)}",{name},{row / 7}\n' for row, name in enumerate("xy" * 10)
    )
    table = given / "export.csv"
    table.write_text("annotation_id,image,choice,lead_time\n" + rows)
    return table


@pytest.mark.parametrize("place", PLACES)
def test_a_table_may_name_its_pictures_by_urls_and_paths_of_elsewhere(
    workspace: Path, given: Path, place: str
) -> None:
    pixels = own_forms.digits()[0]
    for row in range(20):
        save(given / "upload" / f"scan {row}.png", pixels[row])
    init(workspace, [str(picture_table(given, place)), "--label", "choice"])
    found = read_brought(workspace)
    assert found.facts.content == "image"
    assert {key: found.facts.class_names[k] for key, k in zip(found.key, found.given_label, strict=True)} == {
        f"upload/scan {row}.png": name for row, name in enumerate("xy" * 10)
    }


def test_names_of_pictures_may_lack_their_suffix(workspace: Path, given: Path) -> None:
    pixels = own_forms.digits()[0]
    for row in range(20):
        save(given / "pets" / "images" / f"{row:03d}.png", pixels[row])
    save(given / "pets" / "images" / "004.png.jpg", pixels[0])
    rows = "".join(f"{name},{row:03d}\n" for row, name in reversed(list(enumerate("xy" * 10))))
    (given / "pets" / "labels.csv").write_text("breed,id\n" + rows)
    init(workspace, [str(given / "pets"), "--label", "breed"])
    found = read_brought(workspace)
    told = dict(zip(found.key, found.given_label, strict=True))
    assert told.pop("images/004.png.jpg") == -1
    assert told == {f"images/{row:03d}.png": row % 2 for row in range(20)}


@pytest.mark.parametrize("place", [*PLACES, "https://[no address/scan {row}.png"])
def test_names_of_pictures_that_are_not_there_are_no_texts(workspace: Path, given: Path, place: str) -> None:
    table = picture_table(given, place)
    with pytest.raises(DatasetError, match=r"image names.*--drop image.*--text image"):
        init(workspace, [str(table), "--label", "choice"])
    for said, content in ((["--drop", "image"], "features"), (["--text", "image"], "text")):
        init(workspace, [str(table), "--label", "choice", *said])
        assert read_brought(workspace).facts.content == content


@pytest.mark.parametrize("said", [["--id", "id"], ["--drop", "id"]])
def test_numbers_of_pictures_that_are_elsewhere_are_learned_from(
    workspace: Path, given: Path, said: list[str]
) -> None:
    """The sentence that asks for the pictures names both options; groups may be pictures without a word."""
    rows = [f"{row}.jpg,whole-{row // 4}.jpg,{row / 7},{'xy'[row % 2]}" for row in range(20)]
    (given / "t.csv").write_text("\n".join(["id,group,width,label", *rows]))
    with pytest.raises(DatasetError, match=r"column id names.*--drop id.*--id id"):
        init(workspace, [str(given / "t.csv")])
    init(workspace, [str(given / "t.csv"), *said])
    found = read_brought(workspace)
    assert found.facts.content == "features"
    assert "0.jpg" in list(found.key)


def test_a_table_of_numbers_is_read_whatever_lies_beside_it(workspace: Path, given: Path) -> None:
    (given / "t.csv").write_text("\n".join(["n,label", *(f"{row / 7},{'xy'[row % 2]}" for row in range(20))]))
    Path(os.fsdecode(os.fsencode(given) + b"/\xff.png")).touch()
    init(workspace, [str(given / "t.csv")])
    assert read_brought(workspace).facts.content == "features"


def test_columns_of_truth_and_split_are_used(workspace: Path, given: Path) -> None:
    rows = "".join(
        f"r{k},{'xy'[k % 2]},{'xy'[k % 3 > 0]},{k % 5},{['train', 'Test'][k % 4 == 0]}\n" for k in range(40)
    )
    (given / "t.csv").write_text("name,label,right,n,split\n" + rows)
    init(workspace, [str(given / "t.csv"), "--truth", "right"])
    found = read_brought(workspace)
    assert found.true_label is not None
    assert found.true_label.tolist() == [int(k % 3 > 0) for k in range(40)]
    assert found.given_label.tolist() == [k % 2 for k in range(40)]
    assert found.split.tolist() == [["train", "test"][k % 4 == 0] for k in range(40)]
    assert found.key[3] == "r3"
    assert found.facts.feature_names == ("n",)
    assert set(load_params(workspace / "params.yaml").retrain.label_sets) == {"given", "cleaned", "true"}


def test_the_true_labels_come_back_where_they_are_known_again(workspace: Path, given: Path) -> None:
    (given / "t.csv").write_text(
        "label,right,n\n" + "".join(f"{'xy'[k % 2]},{'xy'[k % 2]},{k % 7}\n" for k in range(20))
    )
    init(workspace, [str(given / "t.csv")])
    assert "true" not in load_params(workspace / "params.yaml").retrain.label_sets
    init(workspace, [str(given / "t.csv"), "--truth", "right"])
    assert "true" in load_params(workspace / "params.yaml").retrain.label_sets


@pytest.mark.parametrize("index", ["named", "unnamed"])
def test_the_index_of_a_pandas_table_names_the_rows(workspace: Path, given: Path, index: str) -> None:
    frame = pd.DataFrame({"label": ["x", "y"] * 10, "n": np.arange(20) ** 2})
    frame = frame.iloc[::-1].rename_axis("row" if index == "named" else None)
    frame.to_parquet(given / "t.parquet")
    init(workspace, [str(given / "t.parquet")])
    found = read_brought(workspace)
    assert found.key == [str(19 - row) for row in range(20)]
    assert found.facts.feature_names == ("n",)


@pytest.mark.parametrize("label", ["label", "relabel_label"])
def test_what_an_earlier_export_wrote_is_no_content(workspace: Path, given: Path, label: str, capsys) -> None:
    frame = pd.DataFrame({"n": np.arange(40) ** 2, "site": list("abcd") * 10, "label": ["x", "y"] * 20})
    frame["relabel_label"] = ["y", *frame.label[1:-1], None]
    frame["relabel_action"] = ["relabelled", *["trusted"] * 38, "dropped"]
    frame["suggested"], frame["error_prob"], frame["decided_by"] = "x", np.linspace(0, 1, 40), None
    frame.to_csv(given / "t.csv", index=False)
    init(workspace, [str(given / "t.csv"), "--label", label])
    found = read_brought(workspace)
    assert found.facts.feature_names == ("n", *(f"site = {name}" for name in "abcd"))
    said = next(line for line in capsys.readouterr().out.splitlines() if "export" in line)
    assert all(name in said for name in ("relabel_action", "suggested", "error_prob", "decided_by"))
    assert ("label" if label == "relabel_label" else "relabel_label") in said


def test_columns_of_the_owner_that_are_called_as_those_of_an_export_are_content(
    workspace: Path, given: Path
) -> None:
    frame = pd.DataFrame(
        {"suggested": np.arange(20) ** 2, "error_prob": np.arange(20) * 7 % 11, "label": ["x", "y"] * 10}
    )
    frame.to_csv(given / "t.csv", index=False)
    init(workspace, [str(given / "t.csv")])
    assert read_brought(workspace).facts.feature_names == ("suggested", "error_prob")
    frame["relabel_label"], frame["relabel_action"] = frame.label, "trusted"
    frame["relabel_suggested"], frame["relabel_error_prob"], frame["decided_by"] = "x", 0.5, "me"
    frame.to_csv(given / "u.csv", index=False)
    init(workspace, [str(given / "u.csv")])
    assert read_brought(workspace).facts.feature_names == ("suggested", "error_prob")


def test_a_label_that_is_called_the_truth_is_not_measured_against_itself(
    workspace: Path, given: Path
) -> None:
    rows = (f"{'xy'[k % 2]},{k % 7}" for k in range(20))
    init(workspace, [str(table_of("true_label,n", *rows)(given)), "--label", "true_label"])
    assert read_brought(workspace).true_label is None
    assert "true" not in load_params(workspace / "params.yaml").retrain.label_sets


def test_a_column_of_ids_that_repeat_names_no_rows(
    workspace: Path, given: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = (f"{k % 15},{'xy'[k % 2]},{k % 7},{k % 5}" for k in range(20))
    init(workspace, [str(table_of("id,label,n,leak", *rows)(given)), "--drop", "leak"])
    found = read_brought(workspace)
    assert found.key == [str(row) for row in range(20)]
    assert found.facts.feature_names == ("n",)
    assert "5 of them repeat" in capsys.readouterr().out


def test_rows_of_one_group_stay_together(workspace: Path, given: Path) -> None:
    rows = (f"r{k},{'xy'[k % 2]},{k % 7},P{k % 4}" for k in range(20))
    init(workspace, [str(table_of("id,label,n,patient", *rows)(given)), "--group", "patient"])
    found = read_brought(workspace)
    assert found.group == [f"P{k % 4}" for k in range(20)]
    assert found.facts.feature_names == ("n",)
    assert examples_table(found).column("group").to_pylist()[0] in {"P0", "P1", "P2", "P3"}
    # A class has two patients.
    assert len(load_params(workspace / "params.yaml").train_fold.folds) == 2


@pytest.mark.parametrize("n", [2, 3, 9])
def test_a_small_class_shortens_the_folds(workspace: Path, given: Path, n: int) -> None:
    (given / "t.csv").write_text(
        "label,n\n" + "".join(f"{'x' if k < n else 'y'},{k % 7}\n" for k in range(40))
    )
    init(workspace, [str(given / "t.csv")])
    assert len(load_params(workspace / "params.yaml").train_fold.folds) == min(n, 5)


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_an_archive_is_unpacked_and_nothing_of_it_stays_elsewhere(
    workspace: Path, given: Path, kind: str
) -> None:
    folder = two_classes(given / "pets")
    path = given / f"more pets.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for file in folder.rglob("*.png"):
                archive.write(file, file.relative_to(given))
    else:
        with tarfile.open(path, "w:gz") as archive:
            archive.add(folder, "pets")
    init(workspace, [str(path)])
    assert len(read_brought(workspace).key) == 6
    assert [each.name for each in (workspace / "inputs").iterdir()] == ["examples"]


def test_links_are_followed_and_none_is_left(workspace: Path, given: Path) -> None:
    folder = two_classes(given / "pets")
    target = folder / "cat" / "0.png"
    elsewhere = given / "elsewhere.png"
    target.rename(elsewhere)
    target.symlink_to(elsewhere)
    init(workspace, [str(folder)])
    brought = list((workspace / "inputs").rglob("*.png"))
    assert len(brought) == 6
    assert not any(path.is_symlink() for path in brought)


def test_the_same_data_again_are_left_and_other_data_are_not_overwritten(
    workspace: Path, given: Path
) -> None:
    folder = two_classes(given / "pets")
    init(workspace, [str(folder)])
    init(workspace, [str(folder), "--image-size", "20"])
    assert read_brought(workspace).content.values().shape[1:] == (20, 20)
    other = two_classes(given / "other" / "pets", side=14)
    with pytest.raises(RelabelError, match="--name"):
        init(workspace, [str(other)])
    init(workspace, [str(other), "--name", "more"])
    assert sorted(path.name for path in (workspace / "inputs" / "examples").iterdir()) == ["more", "pets"]


def test_data_that_lie_in_inputs_are_not_copied(workspace: Path) -> None:
    folder = two_classes(workspace / "inputs" / "examples" / "pets")
    init(workspace, [str(folder)])
    assert len(read_brought(workspace).key) == 6


# -- What does not.


def image_folder(given: Path) -> Path:
    return two_classes(given / "pets")


def broken_picture(given: Path) -> Path:
    (image_folder(given) / "dog" / "broken.jpg").write_bytes(b"\xff\xd8\xff not a picture")
    return given / "pets"


def tiny_picture(given: Path) -> Path:
    save(image_folder(given) / "dog" / "tiny.png", np.zeros((7, 20), dtype=np.uint8))
    return given / "pets"


def lonely_class(given: Path) -> Path:
    save(image_folder(given) / "dgo" / "9.png", np.zeros((12, 12), dtype=np.uint8))
    return given / "pets"


def one_class(given: Path) -> Path:
    (given / "t.csv").write_text("label,n\n" + "".join(f"x,{k % 5}\n" for k in range(20)))
    return given / "t.csv"


def table_of(header: str, *rows: str, name: str = "t.csv") -> Callable[[Path], Path]:
    def make(given: Path) -> Path:
        (given / name).write_text("\n".join([header, *rows]) + "\n")
        return given / name

    return make


def escaping_archive(given: Path) -> Path:
    with zipfile.ZipFile(given / "a.zip", "w") as archive:
        archive.writestr("pets/cat/0.png", b"")
        archive.writestr("../../escaped.png", b"")
    return given / "a.zip"


def archive_with_a_link(given: Path) -> Path:
    with tarfile.open(given / "a.tar", "w") as archive:
        link = tarfile.TarInfo("pets/cat")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        archive.addfile(link)
    return given / "a.tar"


def damaged_archive(given: Path) -> Path:
    (given / "a.zip").write_bytes(b"PK\x03\x04 and no more")
    return given / "a.zip"


def channels_first(given: Path) -> Path:
    np.save(given / "x.npy", np.zeros((10, 3, 16, 16), dtype=np.uint8))
    np.save(given / "y.npy", np.arange(10) % 2)
    return given


def unequal_arrays(given: Path) -> Path:
    np.save(given / "x.npy", np.zeros((10, 3)))
    np.save(given / "y.npy", np.arange(9) % 2)
    return given


def objects_in_an_array(given: Path) -> Path:
    np.save(given / "x.npy", np.array([{}, []], dtype=object), allow_pickle=True)
    np.save(given / "y.npy", np.arange(2))
    return given


def two_tables(given: Path) -> Path:
    folder = own_forms.pictures_and_table(given)
    (folder / "more.csv").write_text("file,label\n0000.png,x\n")
    return folder


def picture_outside(given: Path) -> Path:
    folder = own_forms.pictures_and_table(given)
    text = (folder / "labels.csv").read_text(encoding="utf-8-sig")
    save(given / "outside.png", np.zeros((8, 8), dtype=np.uint8))
    (folder / "labels.csv").write_text(text + "../outside.png;x\n")
    return folder


def entities(given: Path) -> Path:
    folder = own_forms.cvat(given)
    (folder / "annotations.xml").write_text('<!DOCTYPE a [<!ENTITY b "c">]><annotations>&b;</annotations>')
    return folder


def two_tags(given: Path) -> Path:
    folder = own_forms.cvat(given)
    text = (folder / "annotations.xml").read_text()
    (folder / "annotations.xml").write_text(text.replace("</image>", '<tag label="x"></tag></image>', 1))
    return folder


def name_of_other_bytes(given: Path) -> Path:
    (image_folder(given) / "cat" / "0.png").rename(
        os.fsdecode(os.fsencode(given / "pets" / "cat") + b"/K\xe4fer.png")
    )
    return given / "pets"


FAULTS: list[tuple[Callable[[Path], Path], list[str], list[str]]] = [
    (broken_picture, [], ["dog/broken.jpg", "1"]),
    (tiny_picture, [], ["dog/tiny.png", "8 x 8"]),
    (lonely_class, [], ["dgo", "dgo/9.png"]),
    (one_class, [], ["two or more classes", "x"]),
    (table_of("Id,Text,Sentiment", "1,a b c d,x"), [], ["--label", "Sentiment"]),
    (table_of("Id,Text,Sentiment", "1,a b c d,x"), ["--label", "sentimant"], ["Did you mean Sentiment"]),
    (table_of("label,target,n", "x,y,1", "y,x,2"), [], ["label, target", "--label"]),
    (table_of("id,label,n", "a,x,1", "b,y,2", "a,x,3", "c,y,4"), ["--id", "id"], ["a", "twice"]),
    (channels_first, [], ["x.npy", "moveaxis"]),
    (table_of("id,label,n", "1,x,1", "2,y,2", ",x,3"), [], ["row 2"]),
    (table_of("text,label", "some words,x", ",y", "more words,x", "other words,y"), [], ["row 1", "text"]),
    (table_of("text,label", "a b,x", "c d,y"), ["--text", "txet"], ["Did you mean text"]),
    (table_of("a,b", name="t.csv"), ["--label", "a"], ["rows"]),
    (table_of("label,n,split", "x,1,train", "y,2,tran"), ["--split", "split"], ["tran", "row 1"]),
    (escaping_archive, [], ["../../escaped.png", "out of it"]),
    (archive_with_a_link, [], ["link", "pets/cat"]),
    (damaged_archive, [], ["a.zip"]),
    (unequal_arrays, [], ["10", "9", "y.npy"]),
    (objects_in_an_array, [], ["x.npy", "pickled"]),
    (two_tables, [], ["labels.csv, more.csv", "--labels"]),
    (picture_outside, [], ["outside.png", "row 240"]),
    (entities, [], ["entities"]),
    (name_of_other_bytes, [], ["UTF-8", "K\\udce4fer.png"]),
    (two_tags, [], ["0000.png", "one tag"]),
    (lambda given: given, [], ["expected pictures", "none"]),
    (lambda given: given / "absent", [], ["absent", "none"]),
    (image_folder, ["--labels", "lables.csv"], ["lables.csv"]),
    (image_folder, ["--name", "../up"], ["../up"]),
]


@pytest.mark.parametrize(("make", "options", "words"), FAULTS)
def test_a_fault_is_one_sentence_and_nothing_is_left(
    workspace: Path, given: Path, make: Callable[[Path], Path], options: list[str], words: list[str]
) -> None:
    said = refused(workspace, str(make(given)), *options)
    assert all(word in said for word in words), said
    assert not (workspace.parent / "escaped.png").exists()


def test_a_bomb_is_not_unpacked(workspace: Path, given: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "_LEAST", 2**16)
    with zipfile.ZipFile(given / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("pets/cat/0.png", bytes(2**24))
    assert "unpack it yourself" in refused(workspace, str(given / "a.zip"))


def test_classes_that_hardly_differ_are_a_warning(
    workspace: Path, given: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{['Cat', 'cat', 'dog'][k % 3]},{k % 7}" for k in range(30)]
    init(workspace, [str(table_of("label,n", *rows)(given))])
    assert "Warning" in (said := capsys.readouterr().out)
    assert "Cat, cat" in said


def test_a_params_yaml_that_does_not_fit_leaves_nothing(workspace: Path, given: Path) -> None:
    text = (workspace / "params.yaml").read_text()
    (workspace / "params.yaml").write_text(text.replace("batch_size: 256", "batch_size: none"))
    with pytest.raises(RelabelError, match="batch_size"):
        init(workspace, [str(image_folder(given))])
    assert not list((workspace / "inputs").rglob("*.png"))


def test_where_no_pipeline_is_the_command_says_so(tmp_path: Path, given: Path) -> None:
    with pytest.raises(RelabelError, match=r"params\.yaml"):
        init(tmp_path, [str(image_folder(given))])


def test_a_full_disk_leaves_nothing(workspace: Path, given: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "link", fail)
    monkeypatch.setattr("fcntl.ioctl", fail)
    monkeypatch.setattr("shutil.copyfile", fail)
    assert "No space left" in refused(workspace, str(image_folder(given)))


def test_rows_keep_their_ids_when_others_come_go_and_move(workspace: Path, given: Path) -> None:
    rows = [f"s/{k}.txt,{'xy'[k % 2]},{k % 7}" for k in range(20)]
    path = table_of("id,label,n", *rows)(given)
    init(workspace, [str(path)])
    before = examples_table(read_brought(workspace))
    changed = table_of("id,label,n", "new,x,3", *reversed(rows[5:]))(workspace / "inputs" / "examples")
    assert changed.name == "t.csv"
    after = examples_table(read_brought(workspace))
    ids = [
        dict(zip(each.column("key").to_pylist(), each.column("example_id").to_pylist(), strict=True))
        for each in (before, after)
    ]
    assert {key: ids[1][key] for key in ids[0] if key in ids[1]} == {
        f"s/{k}.txt": ids[0][f"s/{k}.txt"] for k in range(5, 20)
    }


def test_arrays_may_have_ids_splits_and_truth(workspace: Path, given: Path, capsys) -> None:
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(40, 3)), np.arange(40) % 2
    np.save(given / "x.npy", features)
    np.save(given / "y.npy", labels)
    np.save(given / "ids.npy", np.array([f"plate {row}" for row in range(40)]))
    np.save(given / "split.npy", np.where(np.arange(40) < 30, "train", "test"))
    np.save(given / "gold.npy", labels[::-1])
    init(workspace, [str(given), "--truth", "gold.npy"])
    said = capsys.readouterr().out
    assert "30 train, 10 test" in said
    assert "Each row is called by ids.npy." in said
    found = read_brought(workspace)
    assert list(found.key) == [f"plate {row}" for row in range(40)]
    assert found.split.tolist() == ["train"] * 30 + ["test"] * 10
    assert found.given_label.tolist() == labels.tolist()
    assert found.true_label.tolist() == labels[::-1].tolist()
    assert np.array_equal(found.content.values(), features.astype(np.float32))


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("ids.npy", ["a"] * 40, "rows 0 and 1|expected"),
        ("split.npy", ["later"] * 40, "expected splits"),
        ("ids.npy", ["a"], "expected a value for each of the 40 rows"),
    ],
)
def test_arrays_of_other_rows_are_refused(workspace: Path, given: Path, name, values, words) -> None:
    np.save(given / "x.npy", np.random.default_rng(0).normal(size=(40, 3)))
    np.save(given / "y.npy", np.arange(40) % 2)
    np.save(given / name, np.array(values))
    assert re.search(words, refused(workspace, str(given)))
