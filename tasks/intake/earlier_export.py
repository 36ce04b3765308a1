"""The columns that `relabel export` once added to a person's table: they are no content."""

import re
from collections.abc import Collection
from functools import partial

import pyarrow as pa

from tasks.export.rows import ACTION, COLUMNS, LABEL
from tasks.own_files.own_tables import OwnTable, texts_of
from tasks.own_files.pictures import is_encoded
from tasks.repair import TRUSTED

_AGAIN = r"(_new)*"


def columns_of_export(own: OwnTable, taken: Collection[str]) -> list[str]:
    """What an earlier export wrote into a table, and the labels that it read; none of `taken`.

    Where rows are judged anew, a model that reads these columns repeats what the earlier run said. The labels
    that were read are the columns that say the same as `relabel_label` of every trusted row. They are looked
    for only where `relabel_label` itself is taken, as else the given label is the one taken.
    """
    if not {LABEL, ACTION} <= set(own.names):
        return []
    found = [name for name in own.names if any(_is_added(name, added, own.names) for added in COLUMNS)]
    if LABEL in taken:
        actions, labels = texts_of(own.table.column(ACTION)), texts_of(own.table.column(LABEL))
        trusted = [row for row, action in enumerate(actions) if action == TRUSTED]
        others = [name for name in own.names if name not in {*found, *taken}] if trusted else []
        for name in filter(partial(_may_be_labels, own), others):
            values = texts_of(own.table.column(name))
            if all(values[row] == labels[row] for row in trusted):
                found.append(name)
    return [name for name in found if name not in taken]


def _may_be_labels(own: OwnTable, name: str) -> bool:
    kind = own.table.column(name).type
    # Bytes need not be text.
    return not pa.types.is_nested(kind) and not is_encoded(kind) and kind != pa.binary_view()


def _is_added(name: str, added: str, names: Collection[str]) -> bool:
    """Whether `name` is the column `added`, of this or of a later export.

    An owner's column of that name stays: the export then called its own `relabel_...`.
    """
    full = added if added.startswith("relabel_") else f"relabel_{added}"
    return re.fullmatch(full + _AGAIN, name) is not None or (name == added and full not in names)
