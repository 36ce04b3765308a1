"""The tables of docs/results.md: where they are written, and what they are made of."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv as pacsv
import pytest
from hand_made import write_run
from small_runs import ROOT

import benchmarks.results.__main__ as program
from benchmarks.results import coreset, epochs, imagenette, page, tweets
from benchmarks.results.__main__ import TABLES
from benchmarks.results.runs import read_issues
from tasks.datasets.imagenette import CLASSES
from tasks.tables.catalog import GIVEN_LABELS, LABEL_ISSUES
from tasks.tables.io import read_table
from tasks.tables.joins import join
from tasks.tables.schemas import column_array


def test_a_table_is_replaced_and_the_rest_of_the_page_stays() -> None:
    text = "# A\n\n<!-- begin one -->\nold\n<!-- end one -->\n\n<!-- begin two -->\n<!-- end two -->\nlast\n"
    once = page.replace_table(text, "one", ["| new |", r"\1 stays as it is"])
    assert "old" not in once
    assert "| new |\n\\1 stays as it is" in once
    assert once.endswith("<!-- begin two -->\n<!-- end two -->\nlast\n")
    assert page.replace_table(once, "one", ["| new |", r"\1 stays as it is"]) == once
    with pytest.raises(SystemExit, match="begin three"):
        page.replace_table(text, "three", [])


def test_the_page_has_a_place_for_each_table_and_make_names_the_command() -> None:
    text = (ROOT / page.PAGE).read_text()
    for name in TABLES:
        assert text.count(f"<!-- begin {name} -->") == text.count(f"<!-- end {name} -->") == 1
        assert (ROOT / "benchmarks" / "results" / f"{name}.py").is_file()
    assert "python -m benchmarks.results" in (ROOT / "Makefile").read_text()


def test_what_was_measured_is_kept_and_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(program, "FOLDER", tmp_path / "kept")
    monkeypatch.setattr(tweets, "measure", lambda: {"n": 1, "said": 7})
    monkeypatch.setattr(
        tweets, "describe", lambda found: [f"said {found['said']}, {page.describe_origin(found)}"]
    )
    path = tmp_path / page.PAGE
    path.parent.mkdir()
    path.write_text("<!-- begin tweets -->\n<!-- end tweets -->\n")
    monkeypatch.setattr("sys.argv", ["results", "tweets"])
    assert program.main() == 0
    once = path.read_text()
    assert "said 7, `python -m benchmarks.results tweets`" in once
    path.write_text("<!-- begin tweets -->\n<!-- end tweets -->\n")
    monkeypatch.setattr("sys.argv", ["results", "tweets", "--again"])
    monkeypatch.setattr(tweets, "measure", lambda: pytest.fail("it was measured again"))
    assert program.main() == 0
    assert path.read_text() == once
    monkeypatch.setattr("sys.argv", ["results", "nothing"])
    with pytest.raises(SystemExit):
        program.main()


def test_the_picture_of_epochs_is_that_of_its_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / page.PAGE).read_text("utf-8")
    curves = epochs.read_curves(text)
    assert [found[0] for found in curves.values()] == [[5, 20, 80]] * 2
    assert f"| 80 | {curves['given labels'][1][2]:.1%} | {curves['repaired labels'][1][2]:.1%} |" in text
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / page.PAGE).write_text(text, "utf-8")
    assert epochs.main() == 0
    assert (tmp_path / epochs.PICTURE).read_bytes() == (ROOT / epochs.PICTURE).read_bytes()
    (tmp_path / page.PAGE).write_text(text.replace("| 80 | 45.7%", "| 80 | 44.1%"), "utf-8")
    assert epochs.main() == 0
    assert (tmp_path / epochs.PICTURE).read_bytes() != (ROOT / epochs.PICTURE).read_bytes()
    with pytest.raises(SystemExit, match="found none"):
        epochs.read_curves("# no table\n")


def test_no_tweet_is_on_the_page() -> None:
    text = (ROOT / page.PAGE).read_text()
    assert "@USER" not in text
    assert "HTTPURL" not in text


def write_archive(path: Path) -> list[dict[str, str]]:
    """An archive with the table of labels alone: two pictures a class to train on, one to validate."""
    rows = []
    for place, folder in enumerate(CLASSES):
        for split, number in (("train", 0), ("train", 1), ("val", 0)):
            labels = {f"noisy_labels_{level}": folder for level in (0, *imagenette.LEVELS)}
            if split == "train" and number:
                labels["noisy_labels_50"] = list(CLASSES)[(place + 1) % 10]
            rows.append({"path": f"{split}/{folder}/{number}.JPEG", **labels})
    lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
    content = "\n".join(lines).encode()
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo("imagenette2-160/noisy_imagenette.csv")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return rows


def test_official_labels_become_files_that_inject_noise_reads(tmp_path: Path) -> None:
    (tmp_path / "inputs" / "examples").mkdir(parents=True)
    (tmp_path / "inputs" / "labels").mkdir()
    rows = write_archive(tmp_path / "inputs" / "examples" / "imagenette.tar")
    imagenette.write_official_labels(tmp_path)
    train = [row for row in rows if row["path"].startswith("train/")]
    for level in imagenette.LEVELS:
        path = tmp_path / "inputs" / "labels" / f"noisy_{level}.csv"
        found = pacsv.read_csv(path)
        assert found.column("key").to_pylist() == [row["path"] for row in train]
        expected = [CLASSES[row[f"noisy_labels_{level}"]] for row in train]
        assert found.column("given_label").to_pylist() == expected
        assert imagenette.noise_of(level)["inject_noise.path"] == path.name


def of_filter(n_wrong: int, flagged: int, right: int) -> dict[str, Any]:
    return {"flagged": flagged, "right": right, "precision": None, "recall": right / n_wrong, "f1": 0.5}


def test_a_level_is_a_line_for_each_filter_and_one_for_the_repairs() -> None:
    def run(accuracy: float) -> dict[str, Any]:
        return {"n_rows": 90, "n_test_rows": 3925, "test": {"accuracy": accuracy}}

    repair = {"cleaned": run(0.96), "label_accuracy": {"before": 0.95, "after": 0.999}, "is_closed": False}
    level = {
        "n_wrong": 474,
        "filters": {"auto": of_filter(474, 500, 460)},
        "given": run(0.95),
        "true": run(0.97),
        "repairs": dict.fromkeys(imagenette.POLICIES, repair) | {"soft": {**repair, "is_closed": True}},
        "out_of_fold": {"true": {"accuracy": 0.961}},
    }
    found = {"n": 1, "levels": {"5": level}, **page.origin("imagenette")}
    lines = imagenette.describe(json.loads(json.dumps(found)))
    assert "| 5 % | `auto` | 474 | 500 | 460 |  | 0.970 | 0.500 |" in lines
    (repairs,) = [line for line in lines if line.startswith("| 5 % | 95.00%")]
    assert repairs.count("96.00%*") == 1
    assert "python -m benchmarks.results imagenette" in lines[-1]


def test_suspects_of_a_pool_are_counted_by_split_and_written_with_their_texts(tmp_path: Path) -> None:
    texts = [f"text {place}" for place in range(120)]
    write_run(tmp_path, texts, ("NO", "YES"), known=False, test_split=False, pooled=True, noise=0.1)
    counts = tweets.write_suspects(tmp_path, tmp_path / "suspects.csv")
    written = pacsv.read_csv(tmp_path / "suspects.csv")
    assert counts["test"]["rows"] == 30
    assert counts["train"]["rows"] == 90
    assert written.num_rows == counts["test"]["issues"] > 0
    issues = read_table(LABEL_ISSUES.at(tmp_path), LABEL_ISSUES)
    row = written.slice(0, 1).to_pylist()[0]
    assert row["split"] == "test"
    assert row["text"] == texts[int(row["key"]) // 3]
    of_row = issues.filter([key == str(row["key"]) for key in issues.column("key").to_pylist()])
    assert ("NO", "YES").index(row["given"]) == of_row.column("given_label")[0].as_py()
    assert row["probability"] == pytest.approx(of_row.column("suggested_prob")[0].as_py())


def test_a_gate_says_why_in_a_sentence() -> None:
    said = tweets.describe_gate({"sentence": "No label is changed: 90% of 2.5 are needed. More rows help."})
    assert "No label is changed: 90% of 2.5 are needed." in said
    assert "More rows" not in said


def test_precision_is_that_of_the_most_suspect_rows() -> None:
    is_wrong = np.arange(100) < 5
    suspicion = 100.0 - np.arange(100)
    assert coreset.precision_at(suspicion, is_wrong, 0.05) == 1
    assert coreset.precision_at(suspicion, is_wrong, 0.1) == 0.5
    assert coreset.extremes(suspicion, np.ones(100, bool), is_wrong) == {"most": 5, "least": 0}


def test_classes_of_interest_are_those_that_test_rows_are_taken_for(tmp_path: Path) -> None:
    write_run(tmp_path, np.random.default_rng(0).normal(size=(90, 2)), ("a", "b", "c"))
    pairs = coreset.confused_pairs(tmp_path, 3)
    # `write_run` takes rows of each class for the class after it.
    assert {(true, predicted) for true, predicted, share in pairs if share} <= {(0, 1), (1, 2), (2, 0)}
    assert [share for _, _, share in pairs] == sorted((share for _, _, share in pairs), reverse=True)


def test_wrong_rows_are_joined_by_id(tmp_path: Path) -> None:
    write_run(tmp_path, ["a text"] * 60, ("NO", "YES"), noise=0.3)
    issues, is_wrong = read_issues(tmp_path, ["given_label"])
    given = read_table(GIVEN_LABELS.at(tmp_path), GIVEN_LABELS, columns=["true_label"])
    true = column_array(join(given, column_array(issues, "example_id")), "true_label")
    np.testing.assert_array_equal(is_wrong, column_array(issues, "given_label") != true)
    assert 0 < is_wrong.sum() < 60
