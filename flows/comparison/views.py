"""A comparison as tables of texts, which terminal, markdown and page share."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from flows.comparison.metric_names import in_words
from flows.comparison.parameters import show
from flows.comparison.result import ChangedRow, Comparison, Judgement, Metric, RowChanges
from flows.comparison.row_changes import MIN_DISTANCE
from tasks.label_quality.changes import ACTIONS, OUTCOMES

Tone = Literal["", "good", "bad", "best"]
MOST_CLASSES = 20
_SMALLEST_SHOWN = 0.0005  # a probability that is not 0.0 %
_DASH = "\N{EN DASH}"


@dataclass(frozen=True)
class Cell:
    """A text, and whether it is good news, bad news or the best of its row."""

    text: str
    tone: Tone = ""


@dataclass(frozen=True)
class Table:
    """A small table with a name; all columns but the first hold numbers, or texts where `words` says so."""

    title: str
    heading: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    words: bool = False


@dataclass(frozen=True)
class Section:
    """Tables of one version against the base, and of `n_changed` rows those that changed most."""

    base: str
    version: str
    tables: tuple[Table, ...]
    n_changed: int
    most_changed: tuple[ChangedRow, ...]

    @property
    def title(self) -> str:
        """What is compared with what."""
        return f"{self.version} against {self.base}"

    @property
    def heading(self) -> str:
        """How many rows are shown, and of how many that changed."""
        if not self.n_changed:
            return "No row changed"
        if self.n_changed == len(self.most_changed):
            return (
                "The one row that changed"
                if self.n_changed == 1
                else f"The {self.n_changed} rows that changed"
            )
        return f"The {len(self.most_changed)} most changed of {self.n_changed:,} changed rows"

    @property
    def order(self) -> str:
        """What counts as a change, and which goes first."""
        said = "First rows with another fate, then those judged otherwise"
        if self.most_changed and not any(row.distance for row in self.most_changed):
            return (
                f"{said}; within each the least probable given label first. Their probabilities are the same "
                "in both."
            )
        moved = f"{said}, then those whose probabilities moved by {100 * MIN_DISTANCE:.3g} % or more"
        return f"{moved}; within each by how far they moved (total variation distance)."


def overview(comparison: Comparison) -> list[Table]:
    """Parameters that differ, metrics, and the rows that changed, a column for each version."""
    return [
        part for part in (_params(comparison), _metrics(comparison), _changes(comparison)) if part is not None
    ]


def sections(comparison: Comparison) -> list[Section]:
    """Flow, classes, truth and the most changed rows of each version against the base."""
    return [_section(rows) for rows in comparison.rows]


def _params(comparison: Comparison) -> Table | None:
    if not comparison.params:
        return None
    names = [version.name for version in comparison.versions]
    rows = [
        (
            Cell(param.name),
            *(Cell(show(param.values[name]) if name in param.values else _DASH) for name in names),
        )
        for param in comparison.params
    ]
    return Table("Parameters that differ", ("parameter", *names), tuple(rows), words=True)


def _metrics(comparison: Comparison) -> Table | None:
    base, *others = (version.name for version in comparison.versions)
    names = [base, *others]
    shown = [metric for metric in comparison.metrics if metric.differs]
    main = [metric for metric in shown if not metric.is_detail]
    equal = len(comparison.metrics) - len(shown)
    left_out = [f"{equal} more are equal in all."] if equal else []
    if details := len(shown) - len(main):
        left_out.append(f"{details} more, of single classes, differ (--json and --html have them).")
    caption = " ".join(left_out)
    if not main:
        return None
    # Of two versions, the sign of the difference says which is better. Of more, a mark says it.
    marks = len(names) > 2
    rows = []
    for metric in main:
        cells = [_value(metric, name, marks) for name in names]
        rows.append((Cell(in_words(metric.name)), *cells, *([] if marks else [_delta(metric, others[0])])))
    heading = ("metric", *names, *([] if marks else ["change"]))
    notes = " ".join(note for note in (_legend(main, marks), caption) if note)
    return Table("Metrics that differ", heading, tuple(rows), notes)


def _legend(metrics: Sequence[Metric], marks: bool) -> str:
    """What a mark means, and what a difference within the sampling error."""
    by_chance = "two shares of so many rows differ by chance (1.96 standard errors)"
    unknown = (
        "Of other metrics no such error is known; another seed adds to it: `python -m flows.sweep --seeds`."
    )
    if marks and any(metric.best for metric in metrics):
        with_margins = any(metric.margins for metric in metrics)
        return f"* best, or as near to it as {by_chance}. {unknown}" if with_margins else "* best."
    if not marks and any(metric.margins.keys() & metric.within_error for metric in metrics):
        return f"±: as much as {by_chance}; within it neither is called better. {unknown}"
    return ""


def _value(metric: Metric, name: str, mark: bool) -> Cell:
    if name not in metric.values:
        return Cell(_DASH)
    best = mark and name in metric.best
    return Cell(number(metric.values[name]) + (" *" if best else ""), "best" if best else "")


def _delta(metric: Metric, name: str) -> Cell:
    if name not in metric.deltas:
        return Cell(_DASH)
    delta = metric.deltas[name]
    text = number(delta, signed=True)
    if name in metric.within_error and name in metric.margins and delta:
        return Cell(f"{text} within ±{number(metric.margins[name])}")
    if metric.better is None or name in metric.within_error:
        return Cell(text)
    good = (delta > 0) == (metric.better == "higher")
    return Cell(f"{text} {'better' if good else 'worse'}", "good" if good else "bad")


def number(value: float, signed: bool = False) -> str:
    """A count as it is, with commas; another number to four places, or four digits where it is small."""
    sign = "+" if signed else ""
    if value == 0 or (abs(value) >= 1 and float(value).is_integer()):
        return f"{int(value):{sign},}"
    return f"{value:{sign}.4f}" if abs(value) >= 0.001 else f"{value:{sign}.2g}"


def _changes(comparison: Comparison) -> Table | None:
    if not comparison.rows:
        return None
    base = comparison.rows[0].base
    kinds = dict.fromkeys(kind for rows in comparison.rows for kind in rows.changes)

    def line(name: str, values: Iterable[str]) -> tuple[Cell, ...]:
        return (Cell(name), *(Cell(value) for value in values))

    there = [kind for kind in kinds if any(rows.changes.get(kind) for rows in comparison.rows)]
    counts = [
        line(kind, (f"{len(r.changes[kind]):,}" if kind in r.changes else _DASH for r in comparison.rows))
        for kind in there
    ]
    agreement = (_DASH if rows.agreement is None else f"{rows.agreement:.4f}" for rows in comparison.rows)
    rows = (
        line("rows in both", (f"{rows.n_rows:,}" for rows in comparison.rows)),
        line(
            f"label issues, in {base} {comparison.rows[0].n_issues[0]:,}",
            (f"{rows.n_issues[1]:,}" for rows in comparison.rows),
        ),
        line("agreement of the issues (Jaccard)", agreement),
        *counts,
    )
    none = ", ".join(kind for kind in kinds if kind not in there)
    caption = f"None: {none}." if none else ""
    return Table(
        f"Labels against {base}", ("rows", *(rows.version for rows in comparison.rows)), rows, caption
    )


def _section(rows: RowChanges) -> Section:
    tables = [_flow(rows), _truth(rows), _classes(rows)]
    return Section(
        rows.base,
        rows.version,
        tuple(part for part in tables if part is not None),
        rows.n_changed,
        rows.most_changed,
    )


def _flow(rows: RowChanges) -> Table | None:
    if rows.flow is None:
        return None
    used = [k for k in range(len(ACTIONS)) if any(rows.flow[k]) or any(row[k] for row in rows.flow)]
    lines = [
        (
            Cell(ACTIONS[i]),
            *(Cell(f"{rows.flow[i][j]:,}", "best" if i != j and rows.flow[i][j] else "") for j in used),
        )
        for i in used
    ]
    heading = (f"{rows.base} ↓ {rows.version} →", *(ACTIONS[k] for k in used))
    return Table("What became of the rows", heading, tuple(lines))


def _truth(rows: RowChanges) -> Table | None:
    if rows.truth is None:
        return None
    counts = rows.truth.table
    used = [k for k in range(len(OUTCOMES)) if any(counts[k]) or any(row[k] for row in counts)]
    lines = [(Cell(OUTCOMES[i]), *(Cell(f"{counts[i][j]:,}") for j in used)) for i in used]
    right, wrong, dropped = range(len(OUTCOMES))
    said = [f"Label trained on against the true one, {rows.truth.n_rows:,} rows."]
    alone = counts[right][wrong], counts[wrong][right]
    said.append(
        f"{rows.base} alone is right on {alone[0]:,}, {rows.version} alone on {alone[1]:,}; McNemar's exact "
        f"test: p = {rows.truth.p_value:.2g}."
        if any(alone)
        else "Neither is right where the other is wrong."
    )
    for name, other, kept in (
        (rows.base, rows.version, counts[dropped]),
        (rows.version, rows.base, [row[dropped] for row in counts]),
    ):
        if kept[right] or kept[wrong]:
            judged = f"{kept[right]:,} right and {kept[wrong]:,} wrong"
            said.append(f"Of those that {name} alone drops, {other} has {judged}.")
    if any(cell for cells in rows.truth.ids.values() for cell in cells.values()):
        said.append("--json has the ids of the rows of each cell (rows, truth, ids).")
    caption = " ".join(said)
    heading = (f"{rows.base} ↓ {rows.version} →", *(OUTCOMES[k] for k in used))
    return Table("Which version is right", heading, tuple(lines), caption)


def _classes(rows: RowChanges) -> Table | None:
    changed = {name: counts for name, counts in rows.classes.items() if any(counts.values())}
    if not changed:
        return None
    order = list(changed)
    if len(order) > MOST_CLASSES:
        order = sorted(order, key=lambda name: -sum(changed[name].values()))[:MOST_CLASSES]
    kinds = [
        kind for kind in next(iter(changed.values())) if any(counts[kind] for counts in changed.values())
    ]
    lines = [(Cell(name), *(Cell(f"{changed[name][kind]:,}") for kind in kinds)) for name in order]
    left = len(rows.classes) - len(order)
    which = "with fewer changes" if len(changed) > MOST_CLASSES else "without a change"
    caption = (
        f"{left} {'class' if left == 1 else 'classes'} {which} {'is' if left == 1 else 'are'} left out."
        if left
        else ""
    )
    return Table("By given class", ("class", *kinds), tuple(lines), caption)


def fate(judgement: Judgement, other: Judgement) -> str:
    """What a version made of a row, in words; and what it suggested, where that is all that differs."""
    if judgement.action is None:
        return f"{'issue' if judgement.is_issue else 'no issue'}, suggested {judgement.suggested}"
    said = judgement.action if judgement.label is None else f"{judgement.action}: {judgement.label}"
    if (judgement.action, judgement.label) != (other.action, other.label):
        return said
    return said if judgement.suggested == other.suggested else f"{said} (suggested {judgement.suggested})"


def probabilities(row: ChangedRow) -> str:
    """The probabilities of the classes in question in both versions, in percent; of others none of 0.0."""
    said = {label for each in (row.old, row.new) for label in (each.given, each.suggested)}
    parts = []
    for name, pair in row.probs.items():
        if name not in said and max(value or 0 for value in pair) < _SMALLEST_SHOWN:
            continue
        old, new = (_DASH if value is None else f"{100 * value:.1f}" for value in pair)
        parts.append(f"{name}: {old}" if old == new else f"{name}: {old} → {new}")
    return ", ".join(parts)


def most_changed_table(section: Section) -> Table | None:
    """The most changed rows as a table of words."""
    if not section.most_changed:
        return None
    rows = section.most_changed
    with_text = any(row.content is not None and row.content.text for row in rows)
    with_truth = any(row.true is not None for row in rows)
    lines = []
    for row in rows:
        cells = [
            row.key,
            row.old.given if row.old.given == row.new.given else f"{row.old.given} → {row.new.given}",
        ]
        cells += [row.true or _DASH] if with_truth else []
        cells += [fate(row.old, row.new), fate(row.new, row.old), probabilities(row)]
        cells += [((row.content.text if row.content else "") or "")[:80]] if with_text else []
        tones: list[Tone] = [""] * len(cells)
        if row.true is not None:
            for place, judgement in ((3, row.old), (4, row.new)):
                tones[place] = (
                    "" if judgement.label is None else "good" if judgement.label == row.true else "bad"
                )
        lines.append(tuple(Cell(text, tone) for text, tone in zip(cells, tones, strict=True)))
    heading = [
        "id",
        "given",
        *(["true"] if with_truth else []),
        section.base,
        section.version,
        "probabilities, %",
    ]
    heading += ["text"] if with_text else []
    return Table(
        section.heading,
        tuple(heading),
        tuple(lines),
        section.order,
        words=True,
    )


def details(comparison: Comparison) -> Table | None:
    """The metrics of single classes, of which tables elsewhere say only that they differ."""
    names = [version.name for version in comparison.versions]
    found = [metric for metric in comparison.metrics if metric.is_detail and metric.differs]
    rows = [
        (Cell(in_words(metric.name)), *(_value(metric, name, False) for name in names)) for metric in found
    ]
    return Table("Metrics of single classes", ("metric", *names), tuple(rows)) if rows else None
