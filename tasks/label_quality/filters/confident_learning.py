"""Rows that are confidently another class: as probably as the rows that are given it are on average."""

from tasks.label_quality.selection import ByRow
from tasks.label_quality.statistics import Statistics


def select(statistics: Statistics) -> ByRow:
    return ByRow(lambda rows: (rows.confident >= 0) & (rows.confident != rows.labels))
