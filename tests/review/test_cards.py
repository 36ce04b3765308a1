"""What a card of the review page shows, in a real browser: labels, and a bar for each of the top classes."""

from pathlib import Path

import pytest
from page_here import review_here
from playwright.sync_api import Browser, Page, expect
from small_runs import write_params

from benchmarks.review import write_suspects


def height(page: Page, place: int) -> float:
    box = page.locator("#rows li").nth(place).bounding_box()
    assert box is not None
    return box["height"]


# In one step: what was saved is drawn anew at any moment.
GAP = """() => {
  const place = (found) => document.querySelector(`#rows li ${found}`).getBoundingClientRect();
  return place(".badge").top - place(".bars > div:last-child").bottom;
}"""


def test_each_card_has_bars_of_the_top_classes_once_they_may_be_seen(
    browser: Browser, tmp_path: Path
) -> None:
    write_suspects(tmp_path, 300, n_classes=12)
    write_params(tmp_path)  # asks for rows drawn at random, as the default
    with review_here(tmp_path) as url:
        page = browser.new_page()
        page.goto(url)
        cards = page.locator("#rows li")
        expect(cards.first).to_be_visible()
        # In the queue nobody sees probabilities before deciding; then they come, and nothing moves.
        expect(page.locator("#rows .bars > div")).to_have_count(0)
        before = [height(page, place) for place in range(2)]
        page.keyboard.press("k")
        expect(cards.first.locator(".state")).to_contain_text("keep")
        expect(cards.first.locator(".bars > div")).to_have_count(3)
        expect(cards.nth(1).locator(".bars > div")).to_have_count(0)
        assert page.evaluate(GAP) >= -0.5
        assert [height(page, place) for place in range(2)] == before
        # With a filter there are suspects alone, and all is shown.
        given = cards.nth(1).locator(".labels .given b").inner_text()
        page.select_option("[name=given]", given.removeprefix("class "))
        expect(page.locator("#rows[aria-busy=false]")).to_be_attached()
        expect(cards.first.locator(".bars > div")).to_have_count(3)
        for place in range(cards.count()):
            card = cards.nth(place)
            shares = card.locator(".bars > div span:last-child").all_inner_texts()
            values = [float(share.strip("%\xa0")) for share in shares]
            assert values == sorted(values, reverse=True)
            widths = card.locator(".bars > div").evaluate_all(
                "all => all.map((one) => parseFloat(getComputedStyle(one).backgroundSize))"
            )
            assert widths == pytest.approx(values, abs=0.06)
            suggested = card.locator(".labels .suggested b").inner_text()
            assert card.locator(".bars .suggested span").first.inner_text() == suggested
            assert card.locator(".bars .given span").first.inner_text() == given
        page.close()


def test_a_long_name_breaks_after_an_underscore_and_the_suggestion_stands_right(
    browser: Browser, tmp_path: Path
) -> None:
    write_suspects(tmp_path, 100)
    write_params(tmp_path)
    with review_here(tmp_path) as url:
        page = browser.new_page(viewport={"width": 390, "height": 800})
        page.goto(url)
        card = page.locator("#rows li").first
        expect(card).to_be_visible()
        long = {"given": "garbage_truck", "suggested": "english_springer_spaniel"}
        card.locator(".labels").evaluate("(place, data) => place.replaceWith(labels(data))", long)
        places = card.evaluate(
            """card => [...card.querySelectorAll(".labels b")].map((name) => {
              const range = document.createRange();
              return [...name.childNodes].filter((part) => part.nodeType === 3).map((part) => {
                range.selectNodeContents(part);
                return [part.data, range.getClientRects().length];
              });
            })"""
        )
        assert places == [
            [["garbage_", 1], ["truck", 1]],
            [["english_", 1], ["springer_", 1], ["spaniel", 1]],
        ]
        card.locator(".labels").evaluate(
            "(place, data) => place.replaceWith(labels(data))",
            {"given": "garbage_truck", "suggested": "tench"},
        )
        right = "name => name.getBoundingClientRect().right"
        inside = card.locator(".labels").evaluate(right)
        assert card.locator(".suggested").evaluate(right) == pytest.approx(inside, abs=1)
        page.close()
