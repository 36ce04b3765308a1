"""`python -m benchmarks.results.epochs`: docs/epochs.svg, drawn from the table of docs/results.md.

Accuracy on the validation rows of Imagenette with 50 % wrong labels, against epochs, trained on given and on
repaired labels; beside it what fastai's board has for given labels, with larger pictures and another network.
"""

import re
import sys
from pathlib import Path

from benchmarks.results.page import PAGE
from tasks.page.charts import Axis, Chart, Colour, Line, axis, line_chart
from tasks.page.rendering import environment
from tasks.tables.files import write_text

PICTURE = Path("docs/epochs.svg")
HEADER = "| epochs | given labels | repaired labels |"
# Of given labels, as the page says.
BOARD = ((5, 20, 80), (0.666, 0.794, 0.508))
_COLOURS: tuple[Colour, ...] = ("bad", "good")
# The light colours of the pages: a picture does not know the page that it is on, so it brings its ground too.
_STYLE = re.compile(r":root \{\s*(?:color-scheme: [a-z ]+;)?(?P<colours>.*?)\}", re.DOTALL)


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


def draw(curves: dict[str, tuple[list[int], list[float]]]) -> str:
    """The curves and fastai's board as SVG, which stands alone."""
    lines = [
        Line(name, *values, colour) for (name, values), colour in zip(curves.items(), _COLOURS, strict=True)
    ]
    lines.append(Line("given labels, fastai's board", *BOARD, "soft", dashed=True))
    epochs = sorted({value for line in lines for value in line.x})
    shares = [value for line in lines for value in line.y]
    x = Axis("epochs", 0.8 * epochs[0], 1.25 * epochs[-1], tuple(epochs), ",.0f", log=True)
    return _render(line_chart(x, axis("validation accuracy", min(shares), max(shares), ".0%"), lines))


def _render(chart: Chart) -> str:
    pages = environment(Path(__file__).parent)
    base = (Path(sys.modules[environment.__module__].__file__ or "").parent / "base.html").read_text("utf-8")
    colours = _STYLE.search(base)
    assert colours is not None
    drawn = pages.from_string('{% import "macros.html" as macros %}{{ macros.draw(chart) }}').render(
        chart=chart
    )
    svg = re.sub(r"\n\s*\n", "\n", drawn[drawn.index("<svg") : drawn.index("</svg>")])
    head, shapes = svg.split(">", 1)
    style = " ".join(colours["colours"].split())
    return (
        f'{head} xmlns="http://www.w3.org/2000/svg">\n'
        f"<style>svg {{ {style} }} text {{ fill: var(--soft); font: 11px sans-serif; }}</style>\n"
        '<rect width="100%" height="100%" fill="var(--paper)"/>'
        f"{shapes}{_name_lines(chart)}</svg>\n"
    )


def _name_lines(chart: Chart) -> str:
    """A legend in the lower left corner, where no line is."""
    names = []
    for place, shape in enumerate(chart.shapes):
        x, y = chart.left + 10, chart.bottom - 12 - 16 * (len(chart.shapes) - 1 - place)
        dashes = ' stroke-dasharray="5 3"' if shape.dashed else ""
        names.append(
            f'<line x1="{x}" x2="{x + 22}" y1="{y}" y2="{y}" stroke="var(--{shape.colour})" '
            f'stroke-width="1.6"{dashes}/>\n<text x="{x + 28}" y="{y + 4}">{shape.name}</text>\n'
        )
    return "".join(names)


def main() -> int:
    write_text(PICTURE, draw(read_curves(PAGE.read_text("utf-8"))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
