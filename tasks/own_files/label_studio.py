"""Tasks that Label Studio exported as JSON, and the choice that people made for each.

https://labelstud.io/guide/task_format
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

from tasks import DatasetError
from tasks.own_files.json_tables import read_objects
from tasks.own_files.names import listed, shown


@dataclass(frozen=True)
class Task:
    """A task: its id, its data by name, the choice that holds, and how many people chose otherwise.

    `label` is None where nobody chose. `by` is who chose it, and `at` when (ISO 8601); empty where not said.
    """

    key: str
    data: Mapping[str, object]
    label: str | None
    n_annotations: int
    n_other: int
    by: str = ""
    at: str = ""


def are_tasks(objects: Sequence[Mapping[str, object]]) -> bool:
    """Whether most of the objects are tasks of Label Studio."""
    return 2 * sum(map(_is_task, objects)) > len(objects)


def _is_task(found: Mapping[str, object]) -> bool:
    return isinstance(found.get("data"), Mapping) and ("annotations" in found or "completions" in found)


def data_of(task: Mapping[str, object]) -> Mapping[str, object]:
    """The data of a task, by name; none of what is no task."""
    found = task.get("data")
    return found if isinstance(found, Mapping) else {}


def read_tasks(path: Path, control: str | None) -> list[Task]:
    """The tasks of an export, with the choice of their newest annotation that was not cancelled.

    `control` is the name of the choices (`from_name`); None where there are no others.

    Raises:
        DatasetError: it is no such export, has no choices or several controls, or a task has several choices
            at once.
    """
    objects = read_objects(path)
    if not are_tasks(objects):
        raise DatasetError(
            f"{path}: expected tasks as Label Studio exports them (JSON), found other objects."
        )
    odd = next((row for row, each in enumerate(objects) if not _is_task(each)), None)
    if odd is not None:
        raise DatasetError(
            f"{path}: expected a task of Label Studio with `data` and `annotations` in every place, found "
            f"{listed(list(objects[odd])) or 'nothing'} in place {odd} (counted from 0). Mend or remove it."
        )
    controls = sorted({name for each in objects for _, name, _ in _choices(each)})
    if control is None and not controls:
        raise DatasetError(
            f"{path}: expected tasks with one choice each (choices of Label Studio), found {len(objects):,} "
            "tasks without choices. Other annotations, as spans or boxes, are no classes."
        )
    if control is None and len(controls) > 1:
        raise DatasetError(
            f"{path}: expected one question with choices, found {listed(controls, 10)}. Name the one that "
            "holds the label (--label)."
        )
    if control is not None and control not in controls:
        raise DatasetError(
            f"{path}: expected choices called {shown(control)} (--label), found "
            f"{listed(controls, 10) or 'none'}."
        )
    return [_task(each, row, control, path) for row, each in enumerate(objects)]


def file_names(value: str) -> list[str]:
    """What a file may be called that a path or a URL names, the likeliest first.

    That is as it stands, of a URL the path, then the name alone, and the name before upload: several files
    may have one name. Label Studio's own server has URLs that end in `local-files/?d=PATH` or in
    `upload/PROJECT/HEX-NAME`.
    """
    name = PurePosixPath(value).name
    try:
        parts = urlsplit(value)
    except ValueError:  # brackets that hold no address
        return [value, name]
    path = PurePosixPath(unquote(parse_qs(parts.query).get("d", [parts.path])[0]))
    prefix, _, rest = path.name.partition("-")
    is_upload = len(prefix) == 8 and all(digit in "0123456789abcdef" for digit in prefix) and rest
    return [value, str(path).lstrip("/"), name, path.name, *([rest] if is_upload else [])]


def _annotations(task: Mapping[str, object]) -> list[Mapping[str, object]]:
    found = task.get("annotations") or task.get("completions")
    kept = [each for each in _items(found) if isinstance(each, Mapping) and not each.get("was_cancelled")]
    # Times are in ISO 8601 and UTC: their order is that of the text.
    return sorted(kept, key=lambda each: str(each.get("updated_at") or each.get("created_at") or ""))


def _items(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def choice_results(
    task: Mapping[str, object],
) -> Iterator[tuple[int, Mapping[str, object], list[object]]]:
    """Places of annotations, the oldest first, their results that hold choices, and what was chosen."""
    for place, annotation in enumerate(_annotations(task)):
        for result in _items(annotation.get("result")):
            if not isinstance(result, Mapping):
                continue
            value = result.get("value")
            choices = value.get("choices") if isinstance(value, Mapping) else None
            if isinstance(choices, list):
                yield place, result, choices


def _choices(task: Mapping[str, object]) -> list[tuple[int, str, list[str]]]:
    """The choices of a task: the place of the annotation, what was asked, and what was chosen."""
    return [
        (
            place,
            str(result.get("from_name", "")),
            [str(choice) for choice in choices if choice is not None],
        )
        for place, result, choices in choice_results(task)
    ]


def _task(task: Mapping[str, object], row: int, control: str | None, path: Path) -> Task:
    key = str(task.get("id", row))
    chosen = {place: choice for place, name, choice in _choices(task) if control in (None, name) and choice}
    for choice in chosen.values():
        if len(choice) > 1:
            raise DatasetError(
                f"{path}: expected one choice for each task, found {listed(choice)} for task {shown(key)}."
            )
    if not chosen:
        return Task(key, data_of(task), None, 0, 0)
    newest = max(chosen)
    label = chosen[newest][0]
    others = sum(choice != [label] for choice in chosen.values())
    annotation = _annotations(task)[newest]
    at = str(annotation.get("updated_at") or annotation.get("created_at") or "")
    return Task(key, data_of(task), label, len(chosen), others, _person(annotation.get("completed_by")), at)


def _person(found: object) -> str:
    """Who annotated: an address, or the number of an account."""
    if isinstance(found, Mapping):
        found = found.get("email") or found.get("id")
    return "" if found is None else " ".join(str(found).split())
