"""A comparison as data: what differs between versions."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from tasks.label_quality.changes import ACTIONS, OUTCOMES
from tasks.page import Content

Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Version:
    """A version as the comparison names it; `commit` is None for the workspace."""

    name: str
    commit: str | None
    title: str


@dataclass(frozen=True)
class Param:
    """A parameter that differs. `values` has no entry for a version that does not know it."""

    name: str
    values: Mapping[str, object]


@dataclass(frozen=True)
class Metric:
    """A number of metrics/*.json in each version that has it, and less the base's in the others.

    `better` is None where neither direction is. `margins`: of shares of rows, by how much the version may
    differ from the base by the draw of the rows alone; see `share_margin`. `within_error`: versions that
    differ from the base by no more. `best` are the versions with the best value, and those that differ from
    that by no more; none where these are all. `differs`: not one value, or missing in a version that has
    metrics, or in all but one. `is_detail` marks numbers of single classes or pairs of them.
    """

    name: str
    better: Better | None
    values: Mapping[str, float]
    deltas: Mapping[str, float]
    margins: Mapping[str, float]
    within_error: tuple[str, ...]
    best: tuple[str, ...]
    differs: bool
    is_detail: bool


@dataclass(frozen=True)
class Judgement:
    """What one version says of a row; `action` and `label` are None where it has no training set."""

    given: str
    suggested: str
    suggested_prob: float
    is_issue: bool
    action: str | None
    label: str | None


@dataclass(frozen=True)
class ChangedRow:
    """One of the most changed rows.

    Attributes:
        example_id: its id.
        key: what its owner calls it; in versions without keys the id.
        true: its true class, None where not known.
        distance: total variation between the versions' probabilities, in [0, 1].
        old, new: what the base and the other version say.
        probs: by class the probability in either, None where unknown; the classes in question alone.
        content: its picture or text, where it was asked for and is there.
    """

    example_id: int
    key: str
    true: str | None
    distance: float
    old: Judgement
    new: Judgement
    probs: Mapping[str, tuple[float | None, float | None]]
    content: Content | None = None


@dataclass(frozen=True)
class Truth:
    """Which version was right, over the rows whose truth is known.

    `table[i][j]`: rows that are OUTCOMES[i] in the base and OUTCOMES[j] in the other version. `ids` has the
    rows of each cell off the diagonal, by outcome in the base and in the other version. `p_value` is that of
    McNemar's exact test, on the rows that one version alone has right and neither drops.
    """

    n_rows: int
    table: tuple[tuple[int, ...], ...]
    p_value: float
    ids: Mapping[str, Mapping[str, tuple[int, ...]]]


@dataclass(frozen=True)
class RowChanges:
    """How the labels of a version differ from those of the base, over the rows that both have.

    Attributes:
        base, version: their names.
        n_rows: rows in both; the others are left out.
        n_only_base, n_only_version: rows that one alone has.
        n_issues: label issues of either.
        agreement: Jaccard index of the two sets of issues; None where both are empty.
        changes: ids of the changed rows, by kind of change; see `find_changes`.
        flow: `flow[i][j]` rows from ACTIONS[i] to ACTIONS[j]; None where a version has no training set.
        classes: by class, of the rows given it in the new version (or, no longer flagged, in the base), how
            many changed, by kind.
        truth: None where it is not known.
        n_changed: rows with another fate, judged otherwise, or with other probabilities.
        most_changed: those of them that changed most, the most first; see `most_changed`.
    """

    base: str
    version: str
    n_rows: int
    n_only_base: int
    n_only_version: int
    n_issues: tuple[int, int]
    agreement: float | None
    changes: Mapping[str, tuple[int, ...]]
    flow: tuple[tuple[int, ...], ...] | None
    classes: Mapping[str, Mapping[str, int]]
    truth: Truth | None
    n_changed: int
    most_changed: tuple[ChangedRow, ...]


@dataclass(frozen=True)
class Verdict:
    """Which of a version and the base is better.

    Attributes:
        version: its name.
        word: `better` or `worse` than the base; `mixed`: one by its labels, the other by its classifier;
            `same`: of every row it says the same; `open`: the data do not say.
        said: the verdict and what it stands on, in a sentence.
    """

    version: str
    word: Literal["better", "worse", "mixed", "same", "open"]
    said: str


@dataclass(frozen=True)
class Comparison:
    """Versions beside the first of them, the base.

    `params` are those that differ, `metrics` all, `rows` one for each version that can be compared row by
    row; `notes` are sentences on what cannot be compared, and on results that are not what they seem.
    """

    versions: tuple[Version, ...]
    params: tuple[Param, ...]
    metrics: tuple[Metric, ...]
    rows: tuple[RowChanges, ...]
    notes: tuple[str, ...]
    verdicts: tuple[Verdict, ...] = ()

    def json(self) -> str:
        """The comparison as JSON: without contents, and with null for what is not known."""
        content = asdict(self)
        for rows in content["rows"]:
            for row in rows["most_changed"]:
                text = (row.pop("content") or {}).get("text")
                row |= {} if text is None else {"text": text}
        for param in content["params"]:
            param["values"] = {version: finite(value) for version, value in param["values"].items()}
        content |= {"actions": ACTIONS, "outcomes": OUTCOMES}
        return json.dumps(content, indent=1, allow_nan=False, default=str)


def finite(value: object) -> object:
    """A parameter's value with YAML's names of the numbers that JSON has none for."""
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    if isinstance(value, Mapping):
        return {key: finite(each) for key, each in value.items()}
    return [finite(each) for each in value] if isinstance(value, list | tuple) else value
