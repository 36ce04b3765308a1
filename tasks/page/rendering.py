"""The Jinja environment of every page."""

from pathlib import Path

import jinja2

_HERE = Path(__file__).parent
_DASH = "\N{EN DASH}"
# A number and its unit stay on one line.
_SPACE = "\N{NO-BREAK SPACE}"


def environment(folder: Path) -> jinja2.Environment:
    """An environment for the templates in `folder`, which may extend base.html and import macros.html.

    Values are escaped, and a name that is not given is an error. Filters: `count` (1,234), `percent`
    (12.34 %), `decimals` (0.1234), each of which shows a number that is missing as a dash; `significant` for
    scores of any size; and, for the cells of a matrix, `rows` (1,234) and `bare_percent` (12.3).
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, _HERE]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        count=_count,
        percent=_percent,
        decimals=_decimals,
        significant=_significant,
        rows=_rows,
        bare_percent=_bare_percent,
    )
    return environment


def _missing(value: object) -> bool:
    return value is None or value != value  # NaN alone differs from itself


def _count(value: object) -> str:
    return _DASH if _missing(value) else f"{value:,}"


def _percent(share: float, places: int = 2) -> str:
    return _DASH if _missing(share) else f"{share * 100:.{places}f}{_SPACE}%"


def _decimals(value: float, places: int = 4) -> str:
    return _DASH if _missing(value) else f"{value:.{places}f}"


def _significant(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.4g}"


def _rows(value: float) -> str:
    return f"{value:,.0f}"


def _bare_percent(share: float) -> str:
    return f"{share * 100:.1f}"
