"""The page's server: JSON for one page of rows at a time, and one small request a decision."""

import threading
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from time import time_ns as clock
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
from fastapi import FastAPI, Query, Request
from fastapi import Path as Place
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, ConfigDict, Field

from review.alike import nearest_trusted
from review.guard import policy_of, refusal_of, size_refusal_of
from review.ledger import Ledger
from review.queue import is_blind, is_queue, queue_of, reasons_of
from review.suspect_rows import NO_AUDIT, Contents, Wanted, read_suspects, signature_of
from tasks import RelabelError
from tasks.decisions.log import PATH, RELABELLING, Decision, append_decisions
from tasks.decisions.provenance import current_revision
from tasks.dvc_lock import wait_until_unread
from tasks.label_quality.stopping import describe_outlook, describe_shortly, look_out
from tasks.own_files.names import shown
from tasks.page import environment
from tasks.params import Audit
from tasks.tables.catalog import PRED_PROBS

_HERE = Path(__file__).parent
_ROWS = 50
# Trusted rows of a class that are shown beside one in question.
_LIKE = 4
# Pictures up to this side are shown pixel by pixel, larger ones smoothly.
_SMALL_SIDE = 64
# Seconds that a decision waits for a stage that reads decisions. Until then the page shows it as not saved.
_WAIT_SECONDS = 30.0


class ReviewError(RelabelError):
    """A decision that cannot be taken as it was asked for."""


class Page(Wanted):
    """One page of rows: those after, or before, a position in the order of review."""

    after: int = -1
    before: int | None = None
    count: int = Field(default=_ROWS, ge=1, le=500)


class Shown(Wanted):
    """The rows that a page shows: `ids` with commas between."""

    ids: str = Field(default="", max_length=20_000, pattern=r"^(-?[0-9]{1,19}(,-?[0-9]{1,19})*)?$")


class Decide(BaseModel):
    """What a person decided about some rows, as they were shown.

    `keys` are, for `undo`, those of the decisions that it is to withdraw, one an example. `view` says among
    which rows they were shown.
    """

    model_config = ConfigDict(extra="forbid")

    example_ids: Annotated[list[int], Field(min_length=1, max_length=500)]
    decision: Literal["keep", "accept", "choose", "drop", "unsure", "undo"]
    label: str = ""
    signature: str
    keys: list[str] = []
    view: Wanted = Wanted()


class Review:
    """A workspace under review: its suspects and the decisions on them, kept up to date.

    Args:
        root: of the workspace.
        reviewer: who decides here.
        audit: which rows are drawn at random, and how many are shown among the suspects.

    Raises:
        RelabelError: a table or the file of decisions is not what it should be.
    """

    def __init__(self, root: Path, reviewer: str, audit: Audit = NO_AUDIT) -> None:
        self.root = root
        self.reviewer = reviewer
        self.audit = audit
        self.suspects = read_suspects(root / "data", audit)
        self.contents = Contents(root, self.suspects.facts)
        self.ledger = Ledger(root / PATH, self.suspects)
        self.ledger.follow()
        self._lock = threading.RLock()
        # A server that was started again counts from 0, while tabs are still open.
        self._started = clock()
        self._outlook: tuple[str, dict[str, object]] = ("", {})

    def rows(self, page: Page) -> dict[str, object]:
        """The rows of a page, with what was decided on each, and how far the review of these filters is."""
        with self._lock:
            problem = self._refresh()
            suspects = self.suspects
            chosen, order, positions = self._choose(page)
            if page.before is None:
                start = int(np.searchsorted(positions, page.after, side="right"))
                end = start + page.count
            else:
                end = int(np.searchsorted(positions, page.before))
                start = max(end - page.count, 0)
            shown = positions[start:end]
            rows = order[shown]
            suspects.next_classes.read(suspects.example_id[rows])
            states = [self._state(row, page) for row in rows.tolist()]
            contents = self.contents
            found = {
                **self._status(problem),
                "start": start,
                "matching": len(positions),
                "progress": self.ledger.progress(chosen),
            }
        names = suspects.facts.class_names
        shown_contents = contents.show(suspects.example_id[rows], suspects.given[rows])
        found["rows"] = [
            {
                "position": position,
                # As text: a browser's numbers have 53 bits, and these have 63.
                "example_id": str(suspects.example_id[row]),
                "key": suspects.key[row].as_py(),
                "given": names[suspects.given[row]],
                "suggested": names[suspects.suggested[row]],
                # If there is one split only, it is not shown.
                "split": str(suspects.split[row]) if len(suspects.splits) > 1 else None,
                "picture": content.picture,
                "has_original": contents.have_original(suspects.key[row].as_py()),
                "text": content.text,
                "state": state,
            }
            for position, row, content, state in zip(
                shown.tolist(), rows.tolist(), shown_contents, states, strict=True
            )
        ]
        return found

    def _state(self, row: int, wanted: Wanted) -> dict[str, object]:
        """What was decided on a row, and what the model says of it, unless that is to be hidden before."""
        state = self.ledger.state(int(self.suspects.example_id[row]))
        is_hidden = is_blind(wanted, self.suspects.share) and not self.ledger.decided[row]
        return {**state, "told": None if is_hidden else self._tell(row)}

    def _tell(self, row: int) -> dict[str, object]:
        suspects = self.suspects
        return {
            "suggested_prob": float(suspects.suggested_prob[row]),
            "probs": suspects.probabilities(row),
            "error_prob": _number(suspects.error_prob[row]),
            "importance": _number(suspects.importance[row]),
            "is_issue": bool(suspects.is_issue[row]),
        }

    def _states(self, example_ids: list[int], wanted: Wanted) -> dict[int, dict[str, object]]:
        """The states of some rows by their ids; of one that is not there only what was decided."""
        found = {}
        rows = {example_id: self.suspects.position(example_id) for example_id in example_ids}
        # An id that is asked for may be longer than any that is there.
        known = [example_id for example_id, row in rows.items() if row is not None]
        self.suspects.next_classes.read(np.array(known, dtype=np.int64))
        for example_id, row in rows.items():
            found[example_id] = self.ledger.state(example_id) if row is None else self._state(row, wanted)
        return found

    def _choose(
        self, wanted: Wanted
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """The rows of some filters (N,), the order of review (N,), and the places in it of those wanted.

        Wanted are the rows of the filters that are decided, or not, as was asked for.
        """
        suspects = self.suspects
        chosen = suspects.select(wanted)
        if wanted.search:
            by_key = pc.match_substring(suspects.key, wanted.search, ignore_case=True).to_numpy(
                zero_copy_only=False
            )
            chosen &= by_key | np.isin(suspects.example_id, self.contents.search(wanted.search))
        by_decision = {
            "any": np.ones_like(chosen),
            "no": ~self.ledger.decided,
            "yes": self.ledger.decided,
            "disagree": self.ledger.disagreed,
        }
        order = suspects.arrange(wanted.sort)
        if is_queue(wanted):
            queue = queue_of(suspects, wanted)
            chosen[queue] = True
            is_left = np.ones(len(order), dtype=bool)
            is_left[queue] = False
            order = np.concatenate([queue, order[is_left[order]]])
        return chosen, order, np.flatnonzero((chosen & by_decision[wanted.decided])[order])

    def states(self, example_ids: list[int], wanted: Wanted) -> dict[str, object]:
        """What was decided on some rows by now, and where in the order of review the first of them is."""
        with self._lock:
            problem = self._refresh()
            chosen, order, positions = self._choose(wanted)
            row = self.suspects.position(example_ids[0]) if example_ids else None
            first = 0 if row is None else int(np.flatnonzero(order == row)[0])
            return {
                **self._status(problem),
                "start": int(np.searchsorted(positions, first)),
                "matching": len(positions),
                "progress": self.ledger.progress(chosen),
                "states": self._states(example_ids, wanted),
            }

    def like(self, example_id: int) -> dict[str, object]:
        """Of the given and of the suggested class of a row, the nearest rows that nothing speaks against.

        Raises:
            RelabelError: there is no such row, or a table is damaged or missing.
        """
        with self._lock:
            suspects, contents = self.suspects, self.contents
            row = self._row(example_id)
        classes = list(dict.fromkeys([int(suspects.given[row]), int(suspects.suggested[row])]))
        path = PRED_PROBS.at(self.root)
        found = nearest_trusted(path, suspects, row, classes, _LIKE)
        shown = []
        for k, ids in zip(classes, found, strict=True):
            at = suspects.positions(ids)
            pieces = contents.show(ids, suspects.given[at]) if contents.are_there else []
            shown.append(
                {
                    "label": suspects.facts.class_names[k],
                    "rows": [
                        {"key": suspects.key[place].as_py(), "picture": piece.picture, "text": piece.text}
                        for place, piece in zip(at.tolist(), pieces, strict=False)
                    ],
                }
            )
        return {"classes": shown}

    def decide(self, asked: Decide) -> dict[str, object]:
        """Append a decision on each row; it is on the disk when this returns.

        Raises:
            RelabelError: the issues were computed anew since, there is no such row or class, somebody else
                decided since (`undo`), the file has a broken line, DVC is busy with it or its list of locks
                is damaged. Nothing was added.
        """
        if not wait_until_unread(self.root, PATH, _WAIT_SECONDS):
            raise ReviewError(f"DVC runs a stage that reads {PATH}; decide again when it has ended.")
        with self._lock:
            problem = self._refresh()
            if problem:
                raise ReviewError(problem)
            if asked.signature != self.suspects.signature:
                raise ReviewError("The label issues were computed anew since they were shown; look again.")
            self._check_undo(asked)
            keys = dict(zip(asked.example_ids, asked.keys, strict=False))
            time = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
            revision = current_revision(self.root)
            example_ids = list(dict.fromkeys(asked.example_ids))
            rows = [self._row(example_id) for example_id in example_ids]
            reasons = reasons_of(self.suspects, np.array(rows), asked.view)
            lines = [
                self._line(row, asked, keys.get(example_id, ""), time, revision, reason)
                for example_id, row, reason in zip(example_ids, rows, reasons, strict=True)
            ]
            append_decisions(self.ledger.path, lines, lambda content: self._check(content, asked))
            self.ledger.follow()
            return {
                **self._status(""),
                "states": self._states([line.example_id for line in lines], asked.view),
            }

    def _row(self, example_id: int) -> int:
        position = self.suspects.position(example_id)
        if position is None:
            raise ReviewError(f"There is no row with example_id {example_id}.")
        return position

    def _line(self, row: int, asked: Decide, key: str, time: str, revision: str, reason: str) -> Decision:
        suspects, names = self.suspects, self.suspects.facts.class_names
        label = key if asked.decision == "undo" else ""
        if asked.decision in RELABELLING:
            label = asked.label if asked.decision == "choose" else names[suspects.suggested[row]]
            if label not in names:
                raise ReviewError(f"Expected the name of a class, found {shown(label)!r}.")
        given, called = names[suspects.given[row]], suspects.key[row].as_py()
        return Decision(called, asked.decision, label, given, self.reviewer, time, revision, reason)

    def _check(self, content: bytes, asked: Decide) -> None:
        """Nothing is added to a broken file; an undo is of what was shown, not of what was added since."""
        self.ledger.take(content)
        self._check_undo(asked)

    def _check_undo(self, asked: Decide) -> None:
        if asked.decision != "undo":
            return
        if len(asked.keys) != len(asked.example_ids):
            raise ReviewError("Expected the key of one decision for each example.")
        for example_id, key in zip(asked.example_ids, asked.keys, strict=True):
            stands = self.ledger.stands(example_id)
            if stands is None:
                raise ReviewError(f"There is no decision on example {example_id} to take back.")
            if stands.name != key:
                raise ReviewError(
                    f"{stands.reviewer} decided on example {example_id} since ({stands.decision} "
                    f"{stands.label}".rstrip()
                    + "); nothing was taken back."
                )

    def _refresh(self) -> str:
        """Follow the files; what stands in the way is returned, and what was read before stays."""
        try:
            signature = signature_of(self.root / "data")
            if not signature:
                return "The label issues are being computed anew; this page shows the ones before."
            if signature != self.suspects.signature:
                suspects = read_suspects(self.root / "data", self.audit)
                self.contents = Contents(self.root, suspects.facts)
                self.suspects = suspects
                self.ledger.rebase(suspects)
            self.ledger.follow()
        except RelabelError as error:
            return str(error)
        return ""

    def _status(self, problem: str) -> dict[str, object]:
        version = f"{self._started}.{self.ledger.version}"
        if self._outlook[0] != version:
            self._outlook = version, self._look_out()
        waiting = self.ledger.n_waiting(self.root)
        return {
            "version": version,
            "signature": self.suspects.signature,
            "problem": problem,
            "waiting": waiting,
            "outlook": self._outlook[1],
        }

    def _look_out(self) -> dict[str, object]:
        """What the decisions say of what is left: in a line, and in sentences."""
        suspects = self.suspects
        in_review = np.flatnonzero(suspects.is_issue)
        found = look_out(self.ledger.known, suspects.is_issue, suspects.drawn, in_review, suspects.error_prob)
        return {"line": describe_shortly(found), "sentences": list(describe_outlook(found))}


def create_app(review: Review, host_names: tuple[str, ...] = ()) -> FastAPI:
    """The page and its requests; browsers may call it by IP address, `localhost` or one of `host_names`."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    template = environment(_HERE / "templates").get_template("page.html")

    def render() -> str:
        suspects = review.suspects
        return template.render(facts=suspects.facts, splits=suspects.splits, reviewer=review.reviewer)

    policy = policy_of(render())

    @app.middleware("http")
    async def guard(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        refusal = refusal_of(request, host_names)
        if refusal:
            response: Response = JSONResponse({"error": refusal}, 403)
        elif too_large := size_refusal_of(request):
            response = JSONResponse({"error": too_large}, 413)
        else:
            response = await answer(request)
        response.headers.update(
            {
                "Content-Security-Policy": policy,
                "Cross-Origin-Resource-Policy": "same-origin",
                "Referrer-Policy": "no-referrer",
                "X-Content-Type-Options": "nosniff",
                "Cache-Control": "no-store",
            }
        )
        return response

    @app.exception_handler(RelabelError)
    async def say(_request: Request, error: RelabelError) -> Response:
        return JSONResponse({"error": str(error)}, 409)

    @app.exception_handler(RequestValidationError)
    async def refuse(_request: Request, error: RequestValidationError) -> Response:
        faults = [f"{'.'.join(map(str, fault['loc'][1:]))}: {fault['msg']}" for fault in error.errors()]
        return JSONResponse({"error": "; ".join(faults)}, 422)

    @app.get("/")
    def index() -> Response:
        return HTMLResponse(render())

    @app.get("/api/facts")
    def tell_facts() -> dict[str, object]:
        return {
            "class_names": review.suspects.facts.class_names,
            "reviewer": review.reviewer,
            "rows": _ROWS,
            "are_shrunk": review.contents.are_shrunk,
            "are_small": max(review.suspects.facts.shape[:2], default=0) <= _SMALL_SIDE,
        }

    @app.get("/picture/{example_id}")
    def show_picture(example_id: Annotated[int, Place(ge=-(2**63), lt=2**63)]) -> Response:
        row = review.suspects.position(example_id)
        key = None if row is None else review.suspects.key[row].as_py()
        picture = None if key is None else review.contents.picture(example_id, key)
        if picture is None:
            return JSONResponse({"error": f"There is no larger picture of example {example_id}."}, 404)
        content, media_type = picture
        return Response(content, media_type=media_type)

    @app.get("/api/like/{example_id}")
    def show_like(example_id: Annotated[int, Place(ge=-(2**63), lt=2**63)]) -> dict[str, object]:
        return review.like(example_id)

    @app.get("/api/rows")
    def show_rows(page: Annotated[Page, Query()]) -> dict[str, object]:
        return review.rows(page)

    @app.get("/api/states")
    def show_states(shown: Annotated[Shown, Query()]) -> dict[str, object]:
        return review.states([int(text) for text in shown.ids.split(",") if text], shown)

    @app.post("/api/decide")
    def decide(asked: Decide) -> dict[str, object]:
        return review.decide(asked)

    app.mount("/static", StaticFiles(directory=_HERE / "static"))
    return app


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
