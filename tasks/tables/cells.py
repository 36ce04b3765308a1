"""Cells of CSV files that a spreadsheet would take for formulas, and run.

OWASP, "CSV injection": a cell that begins with =, +, -, @, a tab or a carriage return gets an apostrophe
before it. Here it can be taken back: a text that begins with apostrophes and such a character gets one more.
"""

import re

import pyarrow as pa
import pyarrow.compute as pc

_FORMULA = r"^'*[=+\-@\t\r]"
_ESCAPED = re.compile(r"'+[=+\-@\t\r]")
# -5 and +1.5e3 are what they look like.
_NUMBER = r"^[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?$"
_IS_FORMULA, _IS_NUMBER = re.compile(_FORMULA), re.compile(_NUMBER.removesuffix("$") + r"\Z")


def escape_cell(text: str) -> str:
    """`text` as a cell that no spreadsheet runs."""
    return f"'{text}" if _IS_FORMULA.match(text) and not _IS_NUMBER.match(text) else text


def unescape_cell(cell: str) -> str:
    """The text that `escape_cell` made a cell of; other cells as they are."""
    return cell[1:] if _ESCAPED.match(cell) else cell


def escape_texts(table: pa.Table) -> pa.Table:
    """The table with every text as `escape_cell` has it, names of columns too."""
    for place, field in enumerate(table.schema):
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
            column = table.column(place)
            risky = pc.and_(
                pc.match_substring_regex(column, _FORMULA),
                pc.invert(pc.match_substring_regex(column, _NUMBER)),
            )
            if pc.any(risky).as_py():
                marked = pc.binary_join_element_wise("'", column, "")
                table = table.set_column(place, field, pc.if_else(risky, marked, column))
    return table.rename_columns([escape_cell(name) for name in table.column_names])
