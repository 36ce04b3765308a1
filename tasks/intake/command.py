"""`python -m tasks init PATH`: look, explain, bring, and write params.yaml."""

import argparse
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tasks import DatasetError, ParamsError, plugins
from tasks.import_probs import Brought
from tasks.intake import probabilities
from tasks.intake.archives import is_archive, stem_of, unpack
from tasks.intake.asked import Asked, Plan
from tasks.intake.bring import bring_files, remove
from tasks.intake.forms import make_plan, sizes_of
from tasks.own_files.labels import UNKNOWN
from tasks.own_files.names import read_class_names, shown
from tasks.own_files.own_tables import SUFFIXES
from tasks.own_files.pictures import MOST_OWN_SIDE
from tasks.params import LabelSet, load_params
from tasks.params_file import set_params
from tasks.workspace import make_workspace

_FOLDS = 5
_SHOWN_CLASSES = 10
_TRUE = "true"
_LABEL_SET = {"table": "given_labels", "checkpoint": "classifier_true"}
_TRUTH_IS_KNOWN = "The truth is known: what is found is measured against it."
_NO_TRUTH = (
    "No truth is known: the number of wrong labels is estimated, the repair is measured against given "
    "labels, and there is no retrain@true."
)
# What does best on each kind of content, of the files of tasks/models.
_PHOTOS, _SMALL_PICTURES = "efficientnet_lite0", "convnet"
_MODELS = {"text": "text", "features": "boosting"}


def init(workspace: Path, arguments: Sequence[str]) -> None:
    """Understand what lies at a path, say so, bring it under inputs/ and write params.yaml.

    Raises:
        DatasetError: it is none of the forms, a choice is not certain, or it is not what it should be.
        ParamsError: there is no params.yaml here, or what it says does not fit.
    """
    chosen = _parse(arguments)
    asked = Asked(
        label=chosen.label,
        text=chosen.text,
        id=chosen.id,
        split=chosen.split,
        group=chosen.group,
        truth=chosen.truth,
        drop=tuple(chosen.drop),
        labels=chosen.labels,
        image_size=chosen.image_size,
        class_names=read_class_names(chosen.class_names) if chosen.class_names else (),
        examples=chosen.examples,
        image=chosen.image,
    )
    unpacked = workspace / "inputs" / ".unpacked.tmp"
    path: Path = chosen.path
    try:
        if is_archive(path):
            shutil.rmtree(unpacked, ignore_errors=True)
            unpack(path, unpacked / stem_of(path))
            path = unpacked / stem_of(path)
        name = chosen.name or _name_of(path)
        if (brought := probabilities.open_probabilities(path, asked)) is not None:
            _start_probabilities(workspace, brought, asked, name, chosen.into)
            return
        plan = make_plan(path, asked)
        _start(workspace, plan, name, chosen.into, chosen.dvc_add)
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tasks init",
        description="Look at your data, say what they are, and make them a run: then type `dvc repro`.",
    )
    parser.add_argument("path", type=Path, help="a folder, a file, or a .zip or .tar of them")
    parser.add_argument("--name", help="what the data set is to be called")
    parser.add_argument("--label", metavar="COLUMN", help="holds what people said")
    parser.add_argument("--text", metavar="COLUMN", help="holds the texts to learn from")
    parser.add_argument("--id", metavar="COLUMN", help="names the rows, or the files of pictures")
    parser.add_argument("--split", metavar="COLUMN", help="says train, valid, test or unlabeled")
    parser.add_argument(
        "--group", metavar="COLUMN", help="rows of one value stay together, as of one patient"
    )
    parser.add_argument(
        "--truth", metavar="COLUMN", help="holds what is known to be right (of probabilities a file may)"
    )
    parser.add_argument(
        "--drop", metavar="COLUMN", action="append", default=[], help="is no content; again for more"
    )
    parser.add_argument("--labels", metavar="FILE", help="holds the labels of pictures, or of an array")
    parser.add_argument(
        "--examples", metavar="PATH", help="beside probabilities: a table or folder of what the rows are"
    )
    parser.add_argument("--image", metavar="COLUMN", help="of --examples: holds pictures, or their paths")
    parser.add_argument("--image-size", type=int, metavar="PIXELS", help="height and width, from 8 to 1024")
    parser.add_argument("--class-names", metavar="NAMES", help="by class index: a,b,c or a file, one a line")
    parser.add_argument(
        "--into", type=Path, metavar="FOLDER", help="make a workspace of its own there for it"
    )
    parser.add_argument("--dvc-add", action="store_true", help="keep a version of the data with DVC")
    chosen = parser.parse_args(arguments)
    if chosen.image_size is not None and not 8 <= chosen.image_size <= 1024:
        parser.error("--image-size is from 8 to 1024")
    return chosen


def _name_of(path: Path) -> str:
    name = path.resolve().name
    suffix = max(
        (each for each in (*SUFFIXES, ".npy", ".xml") if name.lower().endswith(each)), key=len, default=""
    )
    return name[: len(name) - len(suffix)]


def _start(workspace: Path, plan: Plan, name: str, into: Path | None, dvc_add: bool) -> None:
    """Explain the plan and carry it out."""
    _check_name(name)
    for line in (*describe(plan, name), *plan.said):
        print(line)
    for warning in plan.found.warnings:
        print(f"Warning: {warning}")
    place = name if plan.files else plan.source.name
    model, folds = choose_model(plan), _n_folds(plan)
    label_sets = load_params(workspace / "params.yaml").retrain.label_sets
    settings = _settings(
        plan, place, name, model, folds, {str(key): each for key, each in label_sets.items()}
    )
    if into is not None:
        make_workspace(into, settings)
        workspace = into
    target = workspace / "inputs" / "examples" / place
    is_new = not target.exists()
    way = bring_files(plan.source, plan.files, target)
    try:
        set_params(workspace / "params.yaml", settings)
    except ParamsError:
        if is_new:
            remove(target)
        raise
    print(f"Model: {model}, in {folds} folds" + ("" if folds == _FOLDS else " (a class has few rows)") + ".")
    print(_TRUTH_IS_KNOWN if _knows_truth(plan) else _NO_TRUTH)
    print(f"Brought to {target.relative_to(workspace)} ({way}); params.yaml says the rest.")
    if dvc_add:
        _dvc_add(workspace, target)
    versioned = f"dvc add {shlex.quote(str(target.relative_to(workspace)))}"
    print(
        f"Next: {_cd(into)}relabel run"
        + ("" if dvc_add else f"   (and `{versioned}` keeps a version of the data)")
    )


def _start_probabilities(
    workspace: Path, brought: Brought, asked: Asked, name: str, into: Path | None
) -> None:
    for line in probabilities.describe(brought, name):
        print(line)
    if into is not None:
        make_workspace(into, {})
        workspace = into
    for line in probabilities.start(workspace, brought, asked):
        print(line)
    print(f"Next: {_cd(into)}relabel run")


def _cd(into: Path | None) -> str:
    return f"cd {shlex.quote(str(into))} && " if into else ""


def _check_name(name: str) -> None:
    if not name or name.startswith(".") or set(name) & set('/\\\0\n"') or len(name) > 100:
        raise DatasetError(f"--name: expected the name of a folder, found {shown(name)}.")


def describe(plan: Plan, name: str) -> list[str]:
    """What there is: kind, rows, splits, classes with their counts, and what rows are called."""
    found = plan.found
    kinds = {"image": "pictures", "text": "texts", "features": "rows of numbers and categories"}
    sizes = f" of {sizes_of(plan)}" if plan.headers else ""
    size = plan.options.get("image_size")
    to = f", brought to {size} x {size}" if size else ""
    lines = [f"{name}: {len(found.key):,} {kinds[found.kind]}{sizes}{to}"]
    counts = Counter(found.split.tolist())
    splits = [
        f"{counts[split]:,} {split}" for split in ("train", "valid", "test", "unlabeled") if counts[split]
    ]
    if not counts["test"] and not counts["valid"]:
        splits.append("a share of the training rows will be held out to measure on")
    lines.append(f"Splits: {', '.join(splits)}.")
    per_class = np.bincount(found.labels[found.labels != UNKNOWN], minlength=len(found.class_names))
    ranked = np.argsort(-per_class, kind="stable")
    listed = [f"{shown(found.class_names[k], 40)} {per_class[k]:,}" for k in ranked]
    more = len(listed) - _SHOWN_CLASSES
    if more > 0:
        listed = [*listed[: _SHOWN_CLASSES - 1], f"and {more + 1:,} more, down to {listed[-1]}"]
    lines.append(f"{len(per_class):,} classes: {', '.join(listed)}.")
    lines.append(f"Each row is called by {found.keys_are}.")
    return lines


def choose_model(plan: Plan) -> str:
    """The model for the kind of content."""
    if plan.found.kind == "image":
        size = plan.options.get("image_size")
        return _PHOTOS if isinstance(size, int) and size > MOST_OWN_SIDE else _SMALL_PICTURES
    return _MODELS[plan.found.kind]


def _n_folds(plan: Plan) -> int:
    """Five folds, or as many as the smallest class has training rows, or groups of them."""
    found = plan.found
    train = np.flatnonzero((found.split == "train") & (found.labels != UNKNOWN))
    groups = found.group or [""] * len(found.key)
    different = {(int(found.labels[row]), groups[row] or row) for row in train.tolist()}
    counts = Counter(label for label, _ in different)
    return max(min(_FOLDS, *counts.values()), 2)


def _knows_truth(plan: Plan) -> bool:
    true = plan.found.true
    return true is not None and bool((true[plan.found.split == "train"] != UNKNOWN).all())


def _settings(
    plan: Plan, place: str, name: str, model: str, folds: int, label_sets: dict[str, LabelSet]
) -> dict[str, object]:
    """The values of params.yaml that make a run of the plan."""
    module = plugins.load("datasets", plan.dataset)
    options = module.Options(**{**plan.options, "path": place, "name": name}).model_dump(mode="json")
    settings: dict[str, object] = {
        "download.dataset": plan.dataset,
        **{f"datasets.{plan.dataset}.{option}": value for option, value in options.items()},
        "inject_noise.kind": "none",
        "train_fold.model": model,
        "train_fold.folds": list(range(folds)),
    }
    if _knows_truth(plan) != (_TRUE in label_sets):
        kept = {key: each.model_dump() for key, each in label_sets.items() if key != _TRUE}
        settings["retrain.label_sets"] = kept | ({_TRUE: _LABEL_SET} if _knows_truth(plan) else {})
    return settings


def _dvc_add(workspace: Path, target: Path) -> None:
    command = [sys.executable, "-m", "dvc", "add", "--quiet", str(target.relative_to(workspace))]
    done = subprocess.run(command, cwd=workspace, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DatasetError(f"`dvc add` failed: {done.stderr.strip() or done.stdout.strip()}")
    print(f"Versioned: {target.relative_to(workspace)}.dvc, which belongs in git.")
