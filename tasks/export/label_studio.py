"""Exports for Label Studio: its tasks with our suggestions as predictions, the most suspect first.

https://labelstud.io/guide/predictions
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from tasks import DatasetError, plugins
from tasks.datasets._own import place_of
from tasks.export.rows import COLUMNS, ERROR_PROB, LABEL, SUGGESTED, Written
from tasks.export.tables import in_order, write_list_of
from tasks.own_files.json_tables import read_objects
from tasks.own_files.label_studio import choice_results, data_of, read_tasks
from tasks.params import Params

KEY = "relabel_key"
"""Among the data of each task: by what Relabel knows it, whatever number Label Studio gives it."""

GIVEN = "relabel_given_label"
"""Among the data of each task: its given label, null where it has none."""


def write_tasks(params: Params, workspace: Path, rows: pa.Table, out: Path, copy: bool) -> Written:  # noqa: ARG001
    """Write `tasks.json`, to be imported into Label Studio, and `labels.csv`.

    The annotations of the tasks are left out: those that come back are then new, and `import-decisions` takes
    them for decisions.
    """
    options = params.options("datasets", "label_studio")
    place = place_of(workspace / "inputs" / "examples", options)  # type: ignore[arg-type]
    reader = plugins.load("datasets", "label_studio")
    path = reader.export_in(place)
    objects, tasks = read_objects(path), read_tasks(path, options.label)  # type: ignore[attr-defined]
    found = reader.find_all(path, tasks, options)
    rows = in_order(rows, found, lambda lacking: reader.are_left_out(path, tasks, options, lacking))
    question = find_question(objects, options.label, str(path))  # type: ignore[attr-defined]
    told = rows.to_pylist()
    order = sorted(range(len(told)), key=lambda row: (-(told[row][ERROR_PROB] or 0), row))
    answers = [_task(objects[row], told[row], question) for row in order]
    (out / "tasks.json").write_text(
        json.dumps(answers, ensure_ascii=False, indent=1) + "\n", encoding="utf-8"
    )
    write_list_of(rows.drop_columns(["split", "why"]), out / "labels.csv")
    return Written(rows, f"tasks.json, {len(tasks):,} tasks, the most suspect first; labels.csv")


def find_question(
    objects: Sequence[Mapping[str, object]], control: str | None, where: str
) -> tuple[str, str]:
    """The names of the choices (`from_name`) and of what they are about (`to_name`), from the annotations.

    Raises:
        DatasetError: no annotation has choices.
    """
    for task in objects:
        for _, result, _ in choice_results(task):
            name = str(result.get("from_name", ""))
            if control in (None, name):
                return name, str(result.get("to_name", ""))
    raise DatasetError(f"{where}: expected an annotation with choices, found none.")


def _task(
    task: Mapping[str, object], row: Mapping[str, object], question: tuple[str, str]
) -> dict[str, object]:
    told = {f"relabel_{name.removeprefix('relabel_')}": row[name] for name in COLUMNS}
    kept = {name: value for name, value in task.items() if name == "meta"}
    label = row[SUGGESTED] or row[LABEL]
    data = {**data_of(task), KEY: row["key"], GIVEN: row["given_label"], **told}
    if label is None:
        return {**kept, "data": data}
    result = {
        "from_name": question[0],
        "to_name": question[1],
        "type": "choices",
        "value": {"choices": [label]},
    }
    prediction = {"model_version": "relabel", "score": row[ERROR_PROB], "result": [result]}
    return {**kept, "data": data, "predictions": [prediction]}
