"""The charts of a sweep bear every number that a metric or a parameter may be, and are whole or not there."""

import re
from pathlib import Path

import pytest

from flows.sweeping import sweep_plot
from flows.sweeping.finished import COLUMNS, Run, summarise
from flows.sweeping.sweep_plot import save_plot

F1 = next(column for column in COLUMNS if column.title == "F1")


def write(path: Path, points: dict[float, float]) -> str:
    runs = [Run("e", {"p.rate": rate}, None, {F1.metric: value}) for rate, value in points.items()]
    save_plot(path, summarise(runs, [F1]), [F1])
    return path.read_text()


@pytest.mark.parametrize(
    ("points", "n_drawn"),
    [
        ({0.1: 0.5, 0.2: 1e308, 0.3: -1e308}, 1),
        ({0.1: 0.5, -1e308: 0.25, 1e308: 0.75}, 3),
        ({0.1: 0.5, 0.2: 1e300, 0.3: -1e300}, 3),
    ],
)
def test_values_that_no_axis_bears_are_left_to_the_table(
    tmp_path: Path, points: dict[float, float], n_drawn: int
) -> None:
    drawn = write(tmp_path / "plot.html", points)
    dashes = re.findall(r'points="([\d.]+),([\d.]+) ([\d.]+),([\d.]+)"', drawn)
    assert len([one for one in dashes if one[1] == one[3] and one[0] != one[2]]) == n_drawn
    assert not re.search(r"\b(nan|inf)\b", drawn)


def test_a_page_that_cannot_be_written_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "plot.html"
    before = write(path, {0.1: 0.5, 0.2: 0.75})

    def fail(path: Path, text: str) -> int:
        with path.open("w") as file:
            file.write(text[:10])
        raise OSError("no space left")

    monkeypatch.setattr(Path, "write_text", lambda self, text, encoding: fail(self, text))
    with pytest.raises(sweep_plot.FlowError):
        write(path, {0.1: 0.25, 0.2: 0.5})
    assert path.read_text() == before
    assert list(tmp_path.iterdir()) == [path]
