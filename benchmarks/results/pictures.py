"""Grids of digits with their labels, for docs/."""

from pathlib import Path

from matplotlib.figure import Figure

from tasks.tables.catalog import EXAMPLES, LABEL_ISSUES
from tasks.tables.facts import read_facts
from tasks.tables.io import read_table
from tasks.tables.portions import TableReader
from tasks.tables.schemas import column_array


def draw_digits(path: Path, folder: Path, keys: list[str], shape: tuple[int, int]) -> None:
    """Draw the rows of a workspace that have these keys, line by line, each with its labels."""
    columns = ["key", "given_label", "suggested_label"]
    issues = read_table(LABEL_ISSUES.at(folder), LABEL_ISSUES, columns=columns)
    names = read_facts(issues, str(folder)).class_names
    places = {key: row for row, key in enumerate(issues.column("key").to_pylist())}
    rows = [places[key] for key in keys]
    ids, given, suggested = (
        column_array(issues, name)[rows] for name in ("example_id", "given_label", "suggested_label")
    )
    examples = TableReader(EXAMPLES.at(folder), EXAMPLES, ["image"])
    pictures = column_array(examples.rows(ids, ["image"]), "image")
    figure = Figure(figsize=(1.3 * shape[1], 1.5 * shape[0]), layout="constrained")
    axes = figure.subplots(*shape, squeeze=False).ravel()
    for cell in axes:
        cell.axis("off")
    for cell, key, picture, label, other in zip(axes, keys, pictures, given, suggested, strict=False):
        cell.imshow(picture, cmap="gray_r", interpolation="nearest")
        cell.set_title(f"{key}\ngiven {names[label]}, suggested {names[other]}", fontsize=6)
    figure.savefig(path, dpi=120, metadata={"Software": None})
