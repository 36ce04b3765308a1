"""`python -m benchmarks.results.epochs`: docs/epochs.svg, drawn from the table of docs/results.md.

Accuracy on the validation rows of Imagenette with 50 % wrong labels, against epochs, trained on given and on
repaired labels; beside it what fastai's board has for given labels, with larger pictures and another network.
"""

import re
import sys
from pathlib import Path

from benchmarks.results.page import PAGE
from tasks.tables.files import atomic_path

PICTURE = Path("docs/epochs.svg")
HEADER = "| epochs | given labels | repaired labels |"
# Of given labels, as the page says.
BOARD = ((5, 20, 80), (0.666, 0.794, 0.508))


def read_curves(text: str) -> dict[str, tuple[list[int], list[float]]]:
    """Epochs and accuracies in [0, 1] of each column of the table in the text of the page.

    Raises:
        SystemExit: the page has no such table.
    """
    found = re.search(rf"^{re.escape(HEADER)}\n[| -]+\n(?P<rows>(?:\|.*\n)+)", text, re.MULTILINE)
    if found is None:
        raise SystemExit(f"{PAGE}: expected a table that begins with `{HEADER}`, found none.")
    names = [cell.strip() for cell in HEADER.strip("|").split("|")][1:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in found["rows"].splitlines()]
    epochs = [int(row[0]) for row in rows]
    return {
        name: (epochs, [round(float(row[place].rstrip("%")) / 100, 4) for row in rows])
        for place, name in enumerate(names, start=1)
    }


def draw(path: Path, curves: dict[str, tuple[list[int], list[float]]]) -> None:
    """The curves and fastai's board as a picture."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 3.2), layout="constrained")
    axes = figure.subplots()
    for (name, values), colour in zip(curves.items(), ("firebrick", "seagreen"), strict=True):
        axes.plot(*values, marker="o", color=colour, label=name)
    axes.plot(*BOARD, "--", color="grey", label="given labels, fastai's board")
    axes.set(xscale="log", xlabel="epochs", ylabel="validation accuracy")
    axes.minorticks_off()
    axes.set_xticks(BOARD[0], list(map(str, BOARD[0])))
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.legend(fontsize=8, loc="lower left")
    # Equal names of shapes in every run, and texts as texts.
    with rc_context({"svg.hashsalt": "relabel", "svg.fonttype": "none"}), atomic_path(path) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None})


def main() -> int:
    draw(PICTURE, read_curves(PAGE.read_text("utf-8")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
