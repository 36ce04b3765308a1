"""Rows drawn at random come among the suspects, and nobody can tell them apart before deciding."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from page_here import review_here
from small_runs import ROOT

from benchmarks.review import write_suspects
from review.__main__ import main
from review.queue import is_blind, is_queue, mix, queue_of, reasons_of
from review.server import Decide, Page, Review
from review.suspect_rows import Wanted, read_suspects
from tasks.decisions.log import PATH, Decision, append_decisions, read_decisions
from tasks.label_quality.audit import bound_wrong
from tasks.params import Audit

SHARE = 0.3


@pytest.fixture
def review(tmp_path: Path) -> Review:
    """1,000 rows, 100 of them suspects, of which row i is called 10 i."""
    write_suspects(tmp_path, 1_000, content="features", n_classes=3)
    return Review(tmp_path, "anna", Audit(share=SHARE, seed=1))


def everything(review: Review, **wanted: Any) -> list[dict[str, Any]]:
    found = review.rows(Page(count=500, **wanted))
    assert found["matching"] == len(found["rows"])
    return found["rows"]


def is_flagged(row: dict[str, Any]) -> bool:
    return int(row["example_id"]) // 10 % 10 == 0


@given(st.integers(0, 60), st.integers(0, 60), st.floats(0, 0.9), st.integers(0, 5))
def test_suspects_and_drawn_rows_each_keep_their_order(
    n: int, n_others: int, share: float, seed: int
) -> None:
    flagged, others = np.arange(n), 1_000 + np.arange(n_others)
    queue = mix(flagged, others, share, seed)
    assert queue[queue < 1_000].tolist() == flagged.tolist()
    drawn = queue[queue >= 1_000]
    assert drawn.tolist() == others[: len(drawn)].tolist()
    assert queue.tolist() == mix(flagged, others, share, seed).tolist()
    if share == 0:
        assert not len(drawn)


def test_of_the_rows_shown_the_share_is_drawn_and_no_place_tells_which() -> None:
    shares, first = [], []
    for seed in range(300):
        queue = mix(np.arange(200), 1_000 + np.arange(1_000), SHARE, seed)
        shares.append((queue >= 1_000).mean())
        first.append(queue[:20] >= 1_000)
    assert np.mean(shares) == pytest.approx(SHARE, abs=0.01)
    # 300 draws of 20 places: each about as often.
    assert np.abs(np.mean(first, axis=0) - SHARE).max() < 4.5 * np.sqrt(SHARE * (1 - SHARE) / 300)


def test_nothing_that_is_sent_tells_a_drawn_row_from_a_suspect_before_it_is_decided(review: Review) -> None:
    rows = everything(review)
    drawn = [row for row in rows if not is_flagged(row)]
    assert 20 < len(drawn) < 70
    assert len(rows) - len(drawn) == 100
    # What a row says of itself is what is asked about, in the same form, and nothing of the model's.
    forms = {json.dumps(_form(row), sort_keys=True) for row in rows}
    assert len(forms) == 1
    assert set(rows[0]) == {
        *("position", "example_id", "key", "given", "suggested", "split", "picture", "has_original", "text"),
        "state",
    }
    assert all(row["state"]["told"] is None for row in rows)
    assert all(row["given"] != row["suggested"] for row in rows)
    # Nor does asking again, or for their neighbours.
    ids = [int(row["example_id"]) for row in rows]
    states = review.states(ids, Wanted())["states"]
    assert all(state["told"] is None for state in states.values())
    assert [row["position"] for row in rows] == list(range(len(rows)))


def _form(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _form(each) for name, each in value.items()}
    return type(value).__name__


def test_a_decided_row_tells_what_the_model_says_and_why_it_was_shown_is_written(review: Review) -> None:
    rows = everything(review)
    ids = [int(row["example_id"]) for row in rows]
    asked = Decide(example_ids=ids[:40], decision="accept", signature=review.suspects.signature)
    states = review.decide(asked)["states"]
    for row in rows[:40]:
        told = states[int(row["example_id"])]["told"]
        assert told["is_issue"] == is_flagged(row)
        assert told["suggested_prob"] < 0.5 or is_flagged(row)
    lines = read_decisions(review.root / PATH)
    assert [line.reason for line in lines] == ["suspect" if is_flagged(row) else "audit" for row in rows[:40]]
    # Accepted was what was shown.
    assert [line.label for line in lines] == [row["suggested"] for row in rows[:40]]
    left = everything(review)
    assert [row["example_id"] for row in left] == [row["example_id"] for row in rows[40:]]
    assert [row["example_id"] for row in everything(review, decided="yes")] == [
        row["example_id"] for row in rows[:40]
    ]
    undo = [states[example_id]["key"] for example_id in ids[:40]]
    asked = Decide(example_ids=ids[:40], decision="undo", keys=undo, signature=review.suspects.signature)
    review.decide(asked)
    assert everything(review) == rows


def test_the_queue_is_the_same_each_time_and_another_seed_draws_others(tmp_path: Path) -> None:
    write_suspects(tmp_path, 1_000, content="features", n_classes=3)
    found = [
        [row["key"] for row in everything(Review(tmp_path, "anna", Audit(share=SHARE, seed=seed)))]
        for seed in (0, 0, 1)
    ]
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_rows_stand_in_the_order_of_the_draw_wherever_they_are_shown_at_random(review: Review) -> None:
    suspects = review.suspects
    drawn = [int(row["example_id"]) for row in everything(review) if not is_flagged(row)]
    in_order = suspects.example_id[suspects.drawn]
    flagged = suspects.is_issue[suspects.drawn]
    assert drawn == in_order[~flagged][: len(drawn)].tolist()
    at_random = [row["example_id"] for row in everything(review, sort="random")]
    assert at_random == [str(each) for each in in_order[flagged]]
    shown = review.rows(Page(count=500, sort="random", issues=False))["rows"]
    assert [row["example_id"] for row in shown] == [str(each) for each in in_order[:500]]
    assert all(row["state"]["told"] is None for row in shown)


def test_other_views_show_no_drawn_rows_and_hide_nothing(review: Review) -> None:
    for wanted in ({"given": 0}, {"prob_low": 0.5}, {"search": "0"}, {"sort": "random"}):
        rows = everything(review, **wanted)
        assert rows
        assert all(is_flagged(row) and row["state"]["told"] for row in rows)
        assert not is_queue(Wanted(**wanted))
    assert is_queue(Wanted(sort="error_prob", decided="any"))
    assert is_blind(Wanted(sort="random", issues=False), 0.1)
    assert not is_blind(Wanted(), 0)
    suspects = review.suspects
    flagged, other = np.flatnonzero(suspects.is_issue)[0], np.flatnonzero(~suspects.is_issue)[-1]
    rows = np.array([flagged, other, queue_of(suspects, Wanted())[-1]])
    assert reasons_of(suspects, rows[:2], Wanted(issues=False)) == ["suspect", ""]
    assert reasons_of(suspects, rows[:2], Wanted(issues=False, sort="random")) == ["audit", "audit"]
    assert reasons_of(suspects, rows[:2], Wanted(given=0)) == ["suspect", ""]


def test_what_is_left_is_bounded_by_the_rows_that_were_drawn(review: Review) -> None:
    suspects = review.suspects
    assert "nothing known yet" in review.rows(Page())["outlook"]["line"]
    others = suspects.drawn[~suspects.is_issue[suspects.drawn]]
    view = Wanted(sort="random", issues=False)

    def decide(rows: np.ndarray, decision: str) -> dict[str, Any]:
        ids = suspects.example_id[rows].tolist()
        asked = Decide(example_ids=ids, decision=decision, signature=suspects.signature, view=view)
        return review.decide(asked)

    # Rows that were looked up say nothing of the others.
    decide(others[-50:], "keep")
    assert "nothing known yet" in review.rows(Page())["outlook"]["line"]
    found = decide(others[:200], "keep")["outlook"]
    share = bound_wrong(900, 200, 0).high / 650
    assert f"at most {np.ceil(1000 * share) / 10:g} % wrong" in found["line"]
    assert any("Of 200 rows drawn at random" in sentence for sentence in found["sentences"])
    # One that was not sure counts as wrong; another reviewer's latest word stands.
    found = decide(others[10:11], "unsure")["outlook"]
    share = bound_wrong(900, 200, 0, 1).high / 651
    assert f"at most {np.ceil(1000 * share) / 10:g} % wrong" in found["line"]
    row = int(others[11])
    given_label = suspects.facts.class_names[suspects.given[row]]
    line = Decision(
        suspects.key[row].as_py(), "drop", "", given_label, "ben", "2026-01-31T12:00:00Z", "none", "audit"
    )
    append_decisions(review.root / PATH, [line])
    sentences = review.rows(Page())["outlook"]["sentences"]
    assert any("1 have a wrong label, and of 1 nobody is sure" in sentence for sentence in sentences)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of a page in a workspace with the parameters that are shipped."""
    folder = tmp_path_factory.mktemp("queue")
    write_suspects(folder, 3_000, n_classes=12)
    params = (ROOT / "params.yaml").read_text()
    assert "share: 0.1 " in params
    (folder / "params.yaml").write_text(params.replace("share: 0.1 ", f"share: {SHARE} "))
    with review_here(folder) as url:
        yield url, folder


def test_a_fault_in_params_yaml_is_said_and_no_page_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_suspects(tmp_path, 100, content="features", n_classes=3)
    params = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(params.replace("share: 0.1 ", "share: 1.5 "))
    monkeypatch.chdir(tmp_path)
    assert main(["--no-browser", "--port", "0"]) == 1
    assert "pseudo_label.audit.share" in capsys.readouterr().err


def test_params_yaml_says_how_many_are_drawn(place: tuple[str, Path]) -> None:
    url, folder = place
    suspects = read_suspects(folder / "data", Audit(share=SHARE))
    found = subprocess.run(["curl", "-s", f"{url}/api/rows?count=200"], capture_output=True, check=True)
    shown = [int(row["example_id"]) for row in json.loads(found.stdout)["rows"]]
    assert shown == suspects.example_id[queue_of(suspects, Wanted())[:200]].tolist()


def test_cards_of_drawn_rows_look_like_any_other_until_they_are_decided(
    place: tuple[str, Path], browser
) -> None:
    url, folder = place
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(url)
    cards = page.locator("#rows li")
    cards.nth(49).wait_for()
    suspects = read_suspects(folder / "data", Audit(share=SHARE))
    queue = queue_of(suspects, Wanted())[:50]
    assert (~suspects.is_issue[queue]).any()
    assert [int(card.get_attribute("data-id") or 0) for card in cards.all()] == suspects.example_id[
        queue
    ].tolist()
    # But for name, picture and classes the markup of all cards is the same.
    row_of = (
        "(card) => { const copy = card.cloneNode(true); copy.className = ''; copy.tabIndex = -1; "
        "for (const each of copy.querySelectorAll('img, b, .key, input')) each.replaceWith('x'); "
        "delete copy.dataset.id; return copy.outerHTML; }"
    )
    assert len({card.evaluate(row_of) for card in cards.all()}) == 1
    assert "%" not in page.locator("#rows").inner_text()
    page.keyboard.press("o")
    one = page.locator("#one")
    one.get_by_text("shown after your decision").wait_for()
    assert "%" not in one.inner_text()
    assert "flagged" not in one.inner_text()
    page.keyboard.press("o")
    place_of = "(card) => [card.offsetLeft, card.offsetTop, card.offsetHeight]"
    before = cards.nth(7).evaluate(place_of)
    line = page.locator("#outlook")
    assert "nothing known yet" in line.inner_text()
    for _ in range(20):
        page.keyboard.press("k")
    page.locator("#rows li[data-saved=true][data-decision]").nth(19).wait_for()
    # What the model says is there now, and nothing has moved.
    assert all("%" in card.inner_text() for card in cards.all()[:20])
    assert cards.nth(7).evaluate(place_of) == before
    line.get_by_text("at most").wait_for()
    line.click()
    said = page.get_by_role("dialog", name="when may I stop?")
    n_drawn = int((~suspects.is_issue[queue[:20]]).sum())
    said.get_by_text(
        f"Of {n_drawn} rows drawn at random among those not flagged, 0 have a wrong label"
    ).wait_for()
    page.close()
    assert errors == []
    reasons = [line.reason for line in read_decisions(folder / PATH)]
    assert reasons == ["suspect" if flag else "audit" for flag in suspects.is_issue[queue[:20]]]
