"""The decisions as a running page knows them: what reviews/decisions.csv holds, followed as it changes."""

import hashlib
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

from review.suspect_rows import Suspects
from tasks import ArtifactError
from tasks.decisions.apply import known_by, why_refused
from tasks.decisions.log import HEADER_LINE, Decision, outcomes, parse_decisions, read_whole
from tasks.label_quality.audit import UNKNOWN


class Ledger:
    """Follows the file; whoever uses it from several threads holds a lock.

    Attributes:
        version: counts the changes seen.
        decided: (N,) bool by position in the suspects, True where a decision stands and fits its row.
        disagreed: (N,) bool, True where reviewers' latest decisions differ.
        known: (N,) what the decisions that stand say of the labels (`label_quality.audit`).
    """

    def __init__(self, path: Path, suspects: Suspects) -> None:
        self.path = path
        self.version = 0
        self._content = b""
        self._waiting_after: dict[str, int | None] = {}
        self._stat: tuple[int, ...] = ()
        self._lines: dict[int, list[Decision]] = {}
        self.rebase(suspects)

    def rebase(self, suspects: Suspects) -> None:
        """Apply what was decided to other rows."""
        self.suspects = suspects
        self.version += 1
        self.decided = np.zeros(len(suspects.example_id), dtype=bool)
        self.disagreed = np.zeros(len(suspects.example_id), dtype=bool)
        self.known = np.full(len(suspects.example_id), UNKNOWN, dtype=np.int8)
        for example_id in self._lines:
            self._mark(example_id)

    def follow(self) -> None:
        """Take in what changed in the file since the last time.

        Raises:
            ArtifactError: a line is broken; what was known stays.
        """
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            self.take(b"")
            # A file that is moved away and back has the size and times that were seen last.
            self._stat = ()
            return
        except OSError:
            read_whole(self.path)  # says what is so
            raise
        now = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        if now != self._stat:
            self.take(read_whole(self.path))
            self._stat = now

    def take(self, content: bytes) -> None:
        """Take in `content` as what the file holds.

        Raises:
            ArtifactError: see `follow`.
        """
        if content == self._content:
            return
        appended = self._content.endswith(b"\n") and content.startswith(self._content)
        if appended:
            try:
                new = parse_decisions(HEADER_LINE + content[len(self._content) :], self.path)
            except ArtifactError:
                parse_decisions(content, self.path)  # says which line of the file it is
                raise
            for decision in new:
                self._lines.setdefault(decision.example_id, []).append(decision)
            for example_id in {decision.example_id for decision in new}:
                self._mark(example_id)
            self.version += 1
        else:
            lines: dict[int, list[Decision]] = {}
            for decision in parse_decisions(content, self.path):
                lines.setdefault(decision.example_id, []).append(decision)
            self._lines = lines
            self.rebase(self.suspects)
        self._content = content
        self._waiting_after = {}

    def stands(self, example_id: int) -> Decision | None:
        """The decision that stands on an example."""
        lines = self._lines.get(example_id, [])
        for decision, outcome in zip(lines, outcomes(lines), strict=True):
            if outcome == "stands":
                return decision
        return None

    def state(self, example_id: int) -> dict[str, object]:
        """What the page shows of an example's decisions.

        `key` names the decision that stands, `problem` says why it is not applied, and `said` lists the
        latest decision of each reviewer that was not withdrawn.
        """
        stands = self.stands(example_id)
        return {
            "decision": stands.decision if stands else None,
            "label": stands.label if stands else "",
            "reviewer": stands.reviewer if stands else "",
            "key": stands.name if stands else "",
            "problem": self._problem(stands),
            "said": [
                {"reviewer": each.reviewer, "decision": each.decision, "label": each.label, "time": each.time}
                for each in self._latest(example_id)
            ],
            "disagreed": len({(each.decision, each.label) for each in self._latest(example_id)}) > 1,
        }

    def progress(self, rows: npt.NDArray[np.bool_]) -> dict[str, int]:
        """How many of the chosen rows, (N,) bool, there are, and how many are decided."""
        return {"rows": int(rows.sum()), "decided": int((rows & self.decided).sum())}

    def n_waiting(self, root: Path) -> int | None:
        """Lines that the last repair of the labels did not know; None where it knew other lines than these.

        The repair says which file it knew by its digest, and that file is the start of this one.
        """
        try:
            metrics = json.loads((root / "metrics" / "training_set.json").read_text("utf-8"))
            known = str(metrics["decisions"]["md5"])
        except (OSError, ValueError, LookupError, TypeError):
            return None
        if known not in self._waiting_after:
            self._waiting_after = {known: _lines_after(self._content, known)}
        return self._waiting_after[known]

    def _latest(self, example_id: int) -> list[Decision]:
        lines = self._lines.get(example_id, [])
        kept = [
            line
            for line, outcome in zip(lines, outcomes(lines), strict=True)
            if outcome in ("stands", "replaced")
        ]
        return list({line.reviewer: line for line in kept}.values())

    def _problem(self, decision: Decision | None) -> str:
        if decision is None:
            return ""
        position = self.suspects.position(decision.example_id)
        names = self.suspects.facts.class_names
        given_label = None if position is None else names[self.suspects.given[position]]
        return why_refused(decision, given_label, names)

    def _mark(self, example_id: int) -> None:
        position = self.suspects.position(example_id)
        if position is not None:
            stands = self.stands(example_id)
            latest = {(each.decision, each.label) for each in self._latest(example_id)}
            is_applied = stands is not None and not self._problem(stands)
            self.decided[position] = is_applied
            self.known[position] = known_by(stands if is_applied else None)
            self.disagreed[position] = len(latest) > 1


def _lines_after(content: bytes, md5: str) -> int | None:
    """Lines after the start of `content` that has this digest; None where no start has it."""
    lines = content.splitlines(keepends=True)
    digest = hashlib.md5(usedforsecurity=False)
    found = 0 if digest.hexdigest() == md5 else None
    for place, line in enumerate(lines, start=1):
        digest.update(line)
        if digest.hexdigest() == md5:
            found = place
    # The header is no decision.
    return None if found is None else max(len(lines) - max(found, 1), 0)
