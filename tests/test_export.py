"""What a person takes home, and what comes back from Label Studio."""

import csv
import json
from pathlib import Path

import numpy as np
import own_forms
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_runs import ROOT, run_pipeline

from tasks import ArtifactError, DatasetError
from tasks.command_line import main
from tasks.decisions.log import PATH, Decision, append_decisions, read_decisions
from tasks.explain import describe_life
from tasks.export import export
from tasks.export.folders import new_paths
from tasks.export.label_studio import GIVEN
from tasks.export.rows import ACTION, COLUMNS, DECIDED_BY, LABEL, NOT_JUDGED, collect_rows
from tasks.export.tables import extend_file, new_names
from tasks.import_decisions import import_decisions
from tasks.intake.command import init
from tasks.own_files.own_tables import read_own_table
from tasks.own_files.spreadsheets import write_sheet
from tasks.params import load_params
from tasks.params_file import set_params
from tasks.pseudo_label import pseudo_label
from tasks.tables.catalog import TRAINING_SET
from tasks.tables.io import read_table, write_table
from tasks.tables.keys import example_id_of


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which every stage ran on tasks of Label Studio."""
    given = tmp_path_factory.mktemp("studio")
    folder = given / "workspace"
    folder.mkdir()
    (folder / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    init(folder, [str(own_forms.label_studio(given))])
    values = {"train_fold.folds": [0, 1], "prune.importance": "none", "pseudo_label.on_weak_model": "go_on"}
    set_params(folder / "params.yaml", values)
    run_pipeline(folder)
    return folder


def test_what_people_choose_in_label_studio_comes_back_as_decisions(
    studio: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export(studio, [str(tmp_path / "out")])
    tasks = json.loads((tmp_path / "out" / "tasks.json").read_text())
    rows, facts = collect_rows(studio)
    told = {row["key"]: row for row in rows.to_pylist()}
    assert len(tasks) == len(told)
    suspicion = [task["data"]["relabel_error_prob"] or 0 for task in tasks]
    assert suspicion == sorted(suspicion, reverse=True)
    assert all("annotations" not in task for task in tasks)
    assert tasks[0]["predictions"][0]["result"][0]["type"] == "choices"
    # People look at the worst three; Label Studio numbers tasks anew.
    for number, task in enumerate(tasks[:3]):
        row = told[task["data"]["relabel_key"]]
        other = next(name for name in facts.class_names if name != row["given_label"])
        chosen = row["given_label"] if number == 0 else other
        result = {**task["predictions"][0]["result"][0], "value": {"choices": [chosen]}}
        person = {"id": 7, "email": "anna@example.org"} if number else 7
        task["annotations"] = [
            {"result": [result], "completed_by": person, "updated_at": "2026-11-25T10:00:00.5+01:00"}
        ]
    for number, task in enumerate(tasks):
        task["id"] = 90_000 + number
        task.setdefault("annotations", [])
    back = tmp_path / "back.json"
    back.write_text(json.dumps(tasks))
    import_decisions(studio, [str(back)])
    assert "3 new decisions (1 keep the label, 2 choose another)" in capsys.readouterr().out
    made = read_decisions(studio / PATH)
    assert [each.decision for each in made] == ["keep", "choose", "choose"]
    assert [each.reviewer for each in made] == ["7", "anna@example.org", "anna@example.org"]
    assert made[0].time == "2026-11-25T09:00:00Z"
    # A second time nothing is added.
    import_decisions(studio, [str(back)])
    assert read_decisions(studio / PATH) == made
    export(studio, [str(tmp_path / "before")])
    assert "newer than the repair" in capsys.readouterr().out
    pseudo_label(load_params(studio / "params.yaml"), studio)
    after = {row["key"]: row for row in collect_rows(studio)[0].to_pylist()}
    for each in made:
        assert after[each.key][LABEL] == (each.label or each.given_label)
        assert (after[each.key][ACTION], after[each.key][DECIDED_BY]) == ("reviewed", each.reviewer)


def test_tasks_and_choices_that_are_not_known_are_refused(studio: Path, tmp_path: Path) -> None:
    before = (studio / PATH).read_bytes() if (studio / PATH).exists() else b""

    def task(key: str, choice: str) -> Path:
        result = {"from_name": "a", "to_name": "b", "type": "choices", "value": {"choices": [choice]}}
        path = tmp_path / "odd.json"
        content = [{"id": 1, "data": {"relabel_key": key}, "annotations": [{"result": [result]}]}]
        path.write_text(json.dumps(content))
        return path

    key = collect_rows(studio)[0].column("key")[0].as_py()
    with pytest.raises(DatasetError, match="nobody"):
        import_decisions(studio, [str(task("nobody", "sport"))])
    with pytest.raises(DatasetError, match="tennis"):
        import_decisions(studio, [str(task(key, "tennis"))])
    assert (studio / PATH).exists() == bool(before)


def test_a_table_of_decisions_is_refused_with_what_to_do(studio: Path, tmp_path: Path) -> None:
    (tmp_path / "said.csv").write_text("id,label\n1,sport\n")
    with pytest.raises(DatasetError, match=r"as JSON, found a table.*relabel review"):
        import_decisions(studio, [str(tmp_path / "said.csv")])


def test_what_is_said_of_test_rows_is_taken_and_of_rows_without_a_label_is_not(
    studio: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, facts = collect_rows(studio)
    tested = next(row for row in rows.to_pylist() if row[ACTION] == NOT_JUDGED)
    name = facts.class_names[0]
    value = {"from_name": "a", "to_name": "b", "type": "choices", "value": {"choices": [name]}}
    about: list[dict[str, object]] = [
        {"relabel_key": tested["key"], GIVEN: tested["given_label"], ACTION: NOT_JUDGED},
        {"relabel_key": "no text", GIVEN: name, ACTION: NOT_JUDGED},
        {"relabel_key": "no label", GIVEN: None, ACTION: "unlabeled"},
    ]
    path = tmp_path / "back.json"
    path.write_text(
        json.dumps([{"id": 1, "data": each, "annotations": [{"result": [value]}]} for each in about])
    )
    before = read_decisions(studio / PATH) if (studio / PATH).exists() else []
    import_decisions(studio, [str(path)])
    assert "1 new decision (" in (said := capsys.readouterr().out)
    assert "2 about rows without a label" in said
    new = read_decisions(studio / PATH)[len(before) :]
    assert [(each.key, each.given_label) for each in new] == [(tested["key"], tested["given_label"])]


def test_a_dropped_row_is_listed_with_who_dropped_it(studio: Path, tmp_path: Path) -> None:
    row = collect_rows(studio)[0].to_pylist()[5]
    said = Decision(row["key"], "drop", "", row["given_label"], "=anna", "2026-11-26T12:00:00Z", "none")
    append_decisions(studio / PATH, [said])
    pseudo_label(load_params(studio / "params.yaml"), studio)
    export(studio, [str(tmp_path / "out")])
    with (tmp_path / "out" / "dropped.csv").open(newline="") as file:
        lines = {line["key"]: line for line in csv.DictReader(file)}
    assert lines[row["key"]]["why"] == "'=anna dropped it on 2026-11-26"
    assert lines[row["key"]]["decided_by"] == "'=anna"


def test_a_folder_that_is_there_and_a_run_that_is_not_are_refused(studio: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(ArtifactError, match="not there yet"):
        export(studio, [str(tmp_path / "out")])
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    with pytest.raises(ArtifactError, match="dvc repro"):
        export(tmp_path, [str(tmp_path / "new")])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "params.yaml"]


def test_the_command_says_what_it_wrote(
    studio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(studio)
    assert main(["export", str(tmp_path / "out")]) == 0
    assert "tasks.json" in capsys.readouterr().out
    assert main(["export", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.startswith("export: ")


def test_files_go_where_their_label_says_and_none_over_another() -> None:
    rows = pa.table(
        {
            "key": [
                "train/cat/1.jpg",
                "train/dog/1.jpg",
                "test/cat/2.jpg",
                "train/cat/3.jpg",
                "cat/x/cat/4.jpg",
            ],
            "given_label": ["cat", "dog", "cat", "cat", "cat"],
            LABEL: ["dog", "dog", "cat", None, "dog"],
        }
    )
    assert new_paths(rows, is_nested=True) == [
        "train/dog/1 (cat).jpg",
        "train/dog/1.jpg",
        "test/cat/2.jpg",
        None,
        "dog/x/cat/4.jpg",
    ]
    flat = rows.set_column(0, "key", pa.array(["1.jpg", "a/1.jpg", "2.jpg", "3.jpg", "4.jpg"]))
    assert new_paths(flat, is_nested=False) == ["dog/1.jpg", "dog/a/1.jpg", "cat/2.jpg", None, "dog/4.jpg"]


@pytest.mark.parametrize("label", ["../../elsewhere", "/etc/elsewhere", "..", ".", ".hidden", "a/b", "a\0b"])
@pytest.mark.parametrize("is_nested", [True, False])
def test_a_label_that_is_a_path_leads_nowhere_else(label: str, is_nested: bool) -> None:
    rows = pa.table({"key": ["cat/1.jpg"], "given_label": ["cat"], LABEL: [label]})
    [path] = new_paths(rows, is_nested=is_nested)
    assert path is not None
    assert "\0" not in path
    folder, *others = Path(path).parts
    assert not folder.startswith((".", "/"))
    assert others == (["1.jpg"] if is_nested else ["cat", "1.jpg"])


def test_added_columns_never_have_the_name_of_the_owners() -> None:
    assert list(new_names(["text"]).values()) == list(COLUMNS)
    taken = ["suggested", "relabel_suggested", "relabel_label"]
    found = list(new_names(taken).values())
    assert not set(found) & set(taken)
    assert len(set(found)) == len(COLUMNS)


def test_cells_that_are_formulas_are_texts_and_numbers_stay_numbers(tmp_path: Path) -> None:
    write_sheet(tmp_path / "a.csv", ["n", "t"], [[-1.5, "=1+1"], ["-2,5", "@x"], [None, "a,b"]])
    with (tmp_path / "a.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["n", "t"], ["-1.5", "'=1+1"], ["-2,5", "'@x"], ["", "a,b"]]


def test_classes_of_a_hub_table_keep_their_names(tmp_path: Path) -> None:
    folder = tmp_path / "workspace"
    folder.mkdir()
    (folder / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    init(folder, [str(own_forms.hugging_face(tmp_path))])
    values = {"train_fold.folds": [0, 1], "prune.importance": "none", "train_fold.model": "nearest_mean"}
    set_params(folder / "params.yaml", values)
    run_pipeline(folder)
    export(folder, [str(tmp_path / "out")])
    (path,) = (tmp_path / "out").rglob("train-*.parquet")
    table = pq.read_table(path)
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert features[LABEL] == features["label"]
    assert table.schema.field(LABEL).type == pa.int64()
    assert features["error_prob"] == {"dtype": "float32", "_type": "Value"}


@pytest.mark.parametrize("form", ["file", "stream"])
def test_arrow_comes_back_in_the_form_it_had(tmp_path: Path, form: str) -> None:
    texts, labels = ["a", "b", "c", "d"], pa.array(["x", "y", "y", "x"]).dictionary_encode()
    table = pa.table({"text": texts, "label": labels})
    path, out = tmp_path / "t.feather", tmp_path / "new.feather"
    start_writing = pa.ipc.new_file if form == "file" else pa.ipc.new_stream
    with start_writing(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=3)
    nothing = pa.nulls(4, pa.string())
    added = pa.table({**dict.fromkeys(COLUMNS, nothing), "error_prob": pa.nulls(4, pa.float32())})
    extend_file(path, read_own_table(path), 0, added, "label", out)
    opened = pa.ipc.open_file(out) if form == "file" else pa.ipc.open_stream(out)
    found = opened.read_all()
    assert found.select(["text", "label"]).equals(table)
    assert found.column_names[2:] == list(COLUMNS)


def test_a_row_without_a_label_that_did_not_join_is_not_called_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    lines = ["id,height,width,label"]
    for row in range(90):
        # Of rows between the classes the model is not sure; a third has a label.
        centre = (-3.0, 3.0, 0.0)[row % 3]
        label = "" if row % 3 == 2 else ("low", "high")[row % 3]
        lines.append(f"row {row},{rng.normal(centre):.3f},{rng.normal(centre):.3f},{label}")
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    folder = tmp_path / "workspace"
    folder.mkdir()
    (folder / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    init(folder, [str(tmp_path / "rows.csv")])
    set_params(folder / "params.yaml", {"train_fold.model": "nearest_mean", "train_fold.folds": [0, 1]})
    run_pipeline(folder)
    export(folder, [str(tmp_path / "out")])
    with (tmp_path / "out" / "rows.csv").open(newline="") as file:
        without = [row for row in csv.DictReader(file) if not row["label"]]
    assert len(without) == 30
    left = [row for row in without if row[ACTION] == "unlabeled"]
    assert left
    assert {row[LABEL] for row in left} == {""}
    params = load_params(folder / "params.yaml")
    monkeypatch.chdir(folder)
    for fate in ("did not join", "joined: "):
        life = describe_life(params, folder, left[0]["id"], ask_classifiers=False)
        assert (life["given_label"], life["split"], life["issue"]) == (None, "unlabeled", None)
        assert life["prediction"]["fold"] is None
        assert sum(life["prediction"]["pred_probs"].values()) == pytest.approx(1, abs=1e-5)
        assert main(["explain", left[0]["id"], "--no-classifiers"]) == 0
        said = capsys.readouterr().out
        assert "this row has no label" in said
        assert fate in said
        table = read_table(folder / "data" / "training_set.parquet", TRAINING_SET)
        joined = {"label": 0, "weight": 1.0, "action": "pseudo_labelled", "source": "unlabeled"}
        is_row = pa.compute.equal(table.column("example_id"), example_id_of(left[0]["id"]))
        for name, value in joined.items():
            place, field = table.schema.get_field_index(name), table.schema.field(name)
            changed = pa.compute.if_else(is_row, pa.scalar(value, field.type), table.column(name))
            table = table.set_column(place, field, changed)
        write_table(folder / "data" / "training_set.parquet", table, TRAINING_SET)
    assert main(["explain", "row 1000"]) == 1
    assert "row 1000" in capsys.readouterr().err
    dropped = tmp_path / "out" / "dropped.csv"
    assert not dropped.exists() or not set(dropped.read_text().split(",")) & {row["id"] for row in left}
