"""The review page in a real browser: keys, clicks, two tabs, reloads, and the file that all ends in."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from page_here import review_here
from playwright.sync_api import Browser, Locator, Page, Route, expect

from benchmarks.review import review_page, write_suspects
from tasks.decisions.log import PATH, Decision, append_decisions, read_decisions


class Tab:
    """The page in a tab of its own, and the file of decisions."""

    def __init__(self, browser: Browser, url: str, folder: Path, **options: object) -> None:
        self.path = folder / PATH
        self.page: Page = browser.new_page(**options)  # type: ignore[arg-type]
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(url)
        self.settle()
        expect(self.rows.first).to_be_visible()

    @property
    def rows(self) -> Locator:
        return self.page.locator("#rows li")

    def row(self, example_id: int) -> Locator:
        return self.page.locator(f"#rows li[data-id='{example_id}']")

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def choose(self, name: str, value: str) -> None:
        self.page.select_option(f"[name={name}]", value)
        self.settle()

    def settle(self) -> None:
        """Wait for the rows that were asked for."""
        expect(self.page.locator("#rows[aria-busy=false]")).to_be_attached()

    def reload(self) -> None:
        self.page.reload()
        self.settle()

    def ids(self) -> list[int]:
        return [int(row.get_attribute("data-id") or -1) for row in self.rows.all()]

    def expect_saved(self, *decided: tuple[int, str]) -> None:
        for example_id, words in decided:
            row = self.row(example_id)
            expect(row).to_have_attribute("data-saved", "true")
            expect(row.locator(".badge")).to_have_text(words)

    def lines(self) -> list[tuple[int, str, str]]:
        """What was decided; the label of an undo, the line that it withdraws, is left out."""
        return [
            (line.example_id, line.decision, "" if line.decision == "undo" else line.label)
            for line in read_decisions(self.path)
        ]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of a page over 1,000 pictures of 12 classes, 100 of them suspects, and its workspace."""
    folder = tmp_path_factory.mktemp("review")
    write_suspects(folder, 1_000, n_classes=12, test_share=0.2)
    with review_here(folder) as url:
        yield url, folder


@pytest.fixture
def tab(browser: Browser, place: tuple[str, Path]) -> Iterator[Tab]:
    url, folder = place
    (folder / PATH).unlink(missing_ok=True)
    tab = Tab(browser, url, folder)
    yield tab
    tab.page.close()
    assert tab.errors == []


def test_one_key_decides_and_goes_on_and_a_reload_shows_what_the_file_holds(tab: Tab) -> None:
    assert tab.ids()[:6] == [9900, 9800, 9700, 9600, 9500, 9400]
    tab.press("k", "a", "d", "s")
    # More than ten classes: by name.
    tab.press("c")
    tab.page.keyboard.type("class 1")
    expect(tab.page.locator("#classes button").first).to_have_text("class 1")
    tab.page.keyboard.type("1")
    tab.press("Enter")
    suggested = f"class {(980 + 1) % 12}"
    said = [(9900, "keep"), (9800, f"accept {suggested}"), (9700, "drop"), (9600, "not sure")]
    tab.expect_saved(*said, (9500, "choose class 11"))
    expect(tab.row(9400)).to_be_focused()
    expected = [
        (9900, "keep", ""), (9800, "accept", suggested), (9700, "drop", ""), (9600, "unsure", ""),
        (9500, "choose", "class 11"),
    ]  # fmt: skip
    assert tab.lines() == expected
    expect(tab.page.locator("#counts")).to_contain_text("5 of 100 decided")
    first = read_decisions(tab.path)[0]
    assert (first.given_label, first.reviewer) == (f"class {990 % 12}", "anna")
    tab.reload()
    expect(tab.rows.first).to_have_attribute("data-id", "9400")
    tab.choose("decided", "any")
    tab.expect_saved(*said, (9500, "choose class 11"))
    assert tab.lines() == expected


def test_undo_goes_back_step_by_step_also_after_a_reload(tab: Tab) -> None:
    tab.choose("decided", "any")
    tab.press("k", "d")
    tab.expect_saved((9900, "keep"), (9800, "drop"))
    tab.press("u")
    expect(tab.row(9800).locator(".badge")).to_have_count(0)
    expect(tab.row(9800)).to_be_focused()
    tab.reload()
    tab.expect_saved((9900, "keep"))
    tab.press("u")
    expect(tab.row(9900).locator(".badge")).to_have_count(0)
    assert [decision for _, decision, _ in tab.lines()] == ["keep", "drop", "undo", "undo"]
    tab.press("u")
    expect(tab.page.locator("#message")).to_contain_text("nothing of yours to undo")
    assert len(tab.lines()) == 4


def test_a_selection_is_decided_in_one_step_and_undone_in_one(tab: Tab) -> None:
    tab.rows.nth(1).click()
    tab.rows.nth(4).click(modifiers=["Shift"])
    tab.rows.nth(6).click(modifiers=["Control"])
    tab.rows.nth(2).get_by_role("checkbox").click()
    expect(tab.page.locator("#rows li[aria-selected=true]")).to_have_count(4)
    expect(tab.page.locator("#counts")).to_contain_text("4 selected")
    tab.press("d")
    ids = [9800, 9600, 9500, 9300]
    tab.expect_saved(*((example_id, "drop") for example_id in ids))
    assert tab.lines() == [(example_id, "drop", "") for example_id in ids]
    expect(tab.page.locator("#rows li[aria-selected=true]")).to_have_count(0)
    tab.press("u")
    expect(tab.page.locator("#rows .badge")).to_have_count(0)
    assert tab.lines()[4:] == [(example_id, "undo", "") for example_id in ids]
    # By keys alone.
    tab.rows.first.click()
    tab.press("Space", "ArrowRight", "Shift+ArrowRight", "Shift+ArrowRight", "k")
    tab.expect_saved((9800, "keep"), (9700, "keep"), (9600, "keep"))
    assert len(tab.lines()) == 11
    tab.rows.nth(2).click()
    tab.press("x")
    expect(tab.row(9700).locator(".badge")).to_have_count(0)
    assert tab.lines()[11:] == [(9700, "undo", "")]


def test_two_tabs_and_another_reviewer_see_each_other(
    tab: Tab, browser: Browser, place: tuple[str, Path]
) -> None:
    second = Tab(browser, place[0], place[1])
    tab.press("k")
    tab.expect_saved((9900, "keep"))
    expect(second.row(9900).locator(".badge")).to_have_text("keep")
    second.press("ArrowRight", "d")
    second.expect_saved((9800, "drop"))
    expect(tab.row(9800).locator(".badge")).to_have_text("drop")
    given = read_decisions(tab.path)[0].given_label
    append_decisions(
        tab.path, [Decision("9900", "drop", "", given, "<i>ben</i>", "2026-01-31T12:00:00Z", "none")]
    )
    expect(tab.row(9900).locator(".badge")).to_have_text("drop")
    expect(tab.row(9900)).to_contain_text("drop by <i>ben</i>")
    expect(tab.row(9900)).to_contain_text("you: keep")
    expect(tab.row(9900)).to_contain_text("reviewers disagree")
    # What this tab did is not what stands now: it takes back nothing of another's.
    tab.press("u")
    expect(tab.page.locator("#message")).to_contain_text("decided on example 9900 since")
    assert [decision for _, decision, _ in tab.lines()] == ["keep", "drop", "drop"]
    tab.choose("decided", "disagree")
    expect(tab.rows).to_have_count(1)
    second.page.close()


def test_filters_choose_rows_and_stay_in_the_address(tab: Tab) -> None:
    tab.choose("given", "4")
    expect(tab.rows).to_have_count(16)
    assert all(example_id // 10 % 12 == 4 for example_id in tab.ids())
    tab.choose("split", "test")
    expect(tab.rows).not_to_have_count(16)
    some = tab.ids()
    assert 0 < len(some) < 16
    expect(tab.page.locator("#counts")).to_contain_text(f"{len(some)} of {len(some)}; 0 of")
    expect(tab.rows.filter(has_text="(test)")).to_have_count(len(some))
    tab.choose("split", "train")
    expect(tab.rows.filter(has_text="(train)")).to_have_count(16 - len(some))
    assert not set(tab.ids()) & set(some)
    tab.choose("split", "test")
    expect(tab.rows.filter(has_text="(test)")).to_have_count(len(some))
    tab.reload()
    expect(tab.rows).to_have_count(len(some))
    assert tab.ids() == some
    tab.press("d")  # a key decides right after a filter
    tab.expect_saved((some[0], "drop"))
    tab.page.get_by_role("button", name="Reset").click()
    expect(tab.rows).to_have_count(50)
    tab.page.fill("[name=prob_low]", "97")
    tab.press("Tab")
    expect(tab.page.locator("#counts")).not_to_contain_text("of 99;")
    tab.settle()
    shown = tab.ids()
    tab.page.fill("[name=prob_low]", "200")
    tab.press("Tab")
    message = tab.page.locator("#message")
    expect(message).to_have_text("probability: expected per cent from 0 to 100, found 200.")
    assert tab.ids() == shown
    tab.page.fill("[name=prob_low]", "80")
    tab.page.fill("[name=prob_high]", "20.5")
    tab.press("Tab")
    expect(message).to_have_text("probability: the lowest, 80 %, is above the highest, 20.5 %.")
    tab.page.fill("[name=prob_high]", "")
    tab.press("Tab")
    expect(message).to_be_hidden()
    tab.page.get_by_role("button", name="Reset").click()
    tab.choose("issues", "false")
    tab.page.fill("[name=importance_high]", "10")
    tab.press("Tab")
    expect(tab.page.locator("#counts")).to_contain_text("of 100;")


def test_rows_that_come_while_a_person_types_into_the_next_filter_take_no_key(tab: Tab) -> None:
    held: list[Route] = []
    tab.page.route("**/api/rows?*", lambda route: route.continue_() if held else held.append(route))
    tab.page.fill("[name=prob_low]", "80")
    tab.press("Tab")
    tab.page.keyboard.type("9")
    expect(tab.page.locator("#rows[aria-busy=true]")).to_be_attached()
    while not held:
        tab.page.wait_for_timeout(10)
    held[0].continue_()
    tab.settle()
    tab.page.keyboard.type("5")
    expect(tab.page.locator("[name=prob_high]")).to_have_value("95")
    expect(tab.page.locator("[name=prob_high]")).to_be_focused()
    tab.press("Enter")
    tab.settle()
    assert tab.lines() == []
    # The filters are left: keys decide again.
    decided = tab.ids()[0]
    tab.press("d")
    tab.expect_saved((decided, "drop"))


def test_pages_turn_by_keys_and_at_the_last_row(tab: Tab) -> None:
    tab.press("n")
    expect(tab.rows.first).to_have_attribute("data-id", "4900")
    tab.press("p")
    expect(tab.rows.first).to_have_attribute("data-id", "9900")
    tab.rows.last.click()
    tab.press("k")
    expect(tab.rows.first).to_have_attribute("data-id", "4900")
    assert tab.lines() == [(5000, "keep", "")]
    # What the page that was fetched ahead did not know yet.
    expect(tab.page.locator("#counts")).to_contain_text("99 of 99; 1 of 100 decided")
    # At the end come those that were left out.
    tab.press("Control+a", "a")
    expect(tab.rows.first).to_have_attribute("data-id", "9900")
    expect(tab.page.locator("#message")).to_contain_text("49 not decided yet")
    assert len(tab.lines()) == 51
    tab.press("n")
    tab.settle()
    expect(tab.rows).to_have_count(49)
    tab.press("Control+a", "s")
    expect(tab.page.locator("#nothing")).to_have_text("All of these are decided.")
    tab.press("p")
    tab.settle()
    expect(tab.page.locator("#nothing")).to_be_visible()
    # Rows that come back are found from the empty page.
    tab.press("u")
    expect(tab.page.locator("#counts")).to_contain_text("51 of 100 decided")
    tab.press("p")
    expect(tab.rows).to_have_count(49)


def test_the_last_page_of_all_rows_is_the_last(tab: Tab) -> None:
    tab.choose("decided", "any")
    tab.press("n")
    expect(tab.rows.first).to_have_attribute("data-id", "4900")
    tab.press("n")
    expect(tab.page.locator("#message")).to_contain_text("last page; 100 of all these rows")
    tab.rows.last.click()
    tab.press("k")
    tab.expect_saved((0, "keep"))
    expect(tab.row(0)).to_be_focused()
    expect(tab.page.locator("#message")).to_contain_text("last page; 99 of all these rows")


def test_undo_pressed_twice_at_once_takes_back_two(tab: Tab) -> None:
    tab.choose("decided", "any")
    tab.press("k", "d", "s", "u", "u")
    tab.expect_saved((9900, "keep"))
    expect(tab.page.locator("#rows .badge")).to_have_count(1)
    expect(tab.page.locator("#message")).to_contain_text("Taken back: drop of 9800")
    assert tab.lines()[3:] == [(9700, "undo", ""), (9800, "undo", "")]
    tab.rows.first.click()
    tab.press("x", "x")
    expect(tab.page.locator("#rows .badge")).to_have_count(0)
    expect(tab.page.locator("#message")).to_contain_text("Taken back")
    assert len(tab.lines()) == 6


def test_a_key_held_down_decides_once_and_caps_lock_is_no_other_key(tab: Tab) -> None:
    for _ in range(4):
        tab.page.keyboard.down("k")
    tab.page.keyboard.up("k")
    tab.press("D")
    tab.expect_saved((9900, "keep"), (9800, "drop"))
    assert len(tab.lines()) == 2


def test_what_could_not_be_saved_is_not_shown_as_saved(tab: Tab) -> None:
    tab.path.parent.mkdir(exist_ok=True)
    with tab.path.open("a") as file:
        file.write("example_id,decision\n")
    tab.press("k")
    expect(tab.page.locator("#message")).to_contain_text("decisions.csv, line 1: expected the header")
    # What was not saved is said until the next decision, unless the page has seen the file broken and mended.
    with tab.page.expect_response(lambda response: "/api/states" in response.url):
        pass
    expect(tab.row(9900).locator(".badge")).to_have_count(0)
    assert tab.path.read_text() == "example_id,decision\n"
    tab.path.unlink()
    expect(tab.page.locator("#message")).to_be_hidden()
    tab.press("ArrowLeft", "k")
    tab.expect_saved((9900, "keep"))


def test_what_the_page_showed_as_saved_outlives_kill_9_and_what_it_did_not_is_said(
    browser: Browser, tmp_path: Path
) -> None:
    write_suspects(tmp_path, 300, content="features", n_classes=3)
    with review_page(tmp_path) as (url, process):
        tab = Tab(browser, url, tmp_path)
        tab.press("k", "a", "d")
        tab.expect_saved((2900, "keep"), (2700, "drop"))
        process.kill()
        tab.press("k")
        expect(tab.page.locator("#message")).to_contain_text("does not answer")
        expect(tab.row(2600).locator(".badge")).to_have_count(0)
        assert [decision for _, decision, _ in tab.lines()] == ["keep", "accept", "drop"]
        tab.page.close()


def test_issues_computed_anew_are_shown_and_a_decision_on_the_old_ones_is_not_taken(
    browser: Browser, tmp_path: Path
) -> None:
    write_suspects(tmp_path, 300, content="features", n_classes=3)
    with review_here(tmp_path) as url:
        tab = Tab(browser, url, tmp_path)
        expect(tab.rows).to_have_count(30)
        write_suspects(tmp_path, 100, content="features", n_classes=3)
        tab.press("k")
        expect(tab.rows).to_have_count(10)
        expect(tab.page.locator("#message")).to_contain_text("computed anew")
        assert tab.lines() == []
        tab.page.close()


def test_help_and_buttons_do_what_the_keys_do(tab: Tab) -> None:
    tab.press("?")
    keys = tab.page.get_by_role("dialog", name="keys")
    expect(keys).to_contain_text("not to be trained on")
    assert keys.evaluate("(dialog) => dialog.scrollWidth <= dialog.clientWidth")
    tab.press("d", "Escape")  # no key decides behind a dialog
    tab.page.get_by_role("button", name="Choose").click()
    tab.page.get_by_role("button", name="class 7").click()
    tab.page.get_by_role("button", name="Keep").click()
    tab.expect_saved((9900, "choose class 7"), (9800, "keep"))
    tab.page.get_by_role("button", name="Undo").click()
    expect(tab.row(9800).locator(".badge")).to_have_count(0)
    assert [decision for _, decision, _ in tab.lines()] == ["choose", "keep", "undo"]


def test_a_phone_has_no_sideways_scroll_and_the_dark_has_dark_paper(
    browser: Browser, place: tuple[str, Path], tab: Tab
) -> None:
    phone = Tab(browser, *place, viewport={"width": 360, "height": 640}, color_scheme="dark", has_touch=True)
    assert phone.page.evaluate("document.documentElement.scrollWidth") <= 360
    assert phone.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 24, 30)"
    assert tab.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    picture = phone.rows.first.locator("img")
    assert picture.evaluate("(image) => image.decode().then(() => image.naturalWidth)") == 28
    phone.rows.nth(1).tap()
    phone.page.get_by_role("button", name="Drop").tap()
    phone.expect_saved((9800, "drop"))
    phone.page.close()


def test_texts_are_text_and_ten_classes_have_a_digit_each(browser: Browser, tmp_path: Path) -> None:
    write_suspects(tmp_path, 100, content="text", n_classes=10)
    with review_here(tmp_path) as url:
        tab = Tab(browser, url, tmp_path)
        expect(tab.rows.first.locator(".text")).to_contain_text("<b>Text</b> of row 90: it's")
        tab.press("c", "7")
        tab.expect_saved((900, "choose class 7"))
        tab.page.close()
        assert tab.errors == []
    assert tab.lines() == [(900, "choose", "class 7")]


def test_z_shows_the_picture_with_the_frame_in_its_own_size(browser: Browser, tmp_path: Path) -> None:
    write_suspects(tmp_path, 30, n_classes=3, side=200)
    with review_here(tmp_path) as url:
        tab = Tab(browser, url, tmp_path)
        width = "(image) => image.naturalWidth"
        assert tab.rows.first.locator("img").evaluate(width) == 128
        tab.press("z", "ArrowRight")
        for row in (0, 1):
            expect(tab.rows.nth(row).locator("img")).to_have_attribute("src", re.compile(r"/picture/\d+$"))
            assert tab.rows.nth(row).locator("img").evaluate(width) == 200
        assert tab.rows.nth(2).locator("img").evaluate(width) == 128
        answer = tab.page.request.get(f"{url}/picture/200")
        assert (answer.status, answer.headers["content-type"]) == (200, "image/png")
        assert answer.headers["x-content-type-options"] == "nosniff"
        for other, status in (("5", 404), ("x", 422), ("9" * 30, 422), ("..%2Fserver.py", 404)):
            assert tab.page.request.get(f"{url}/picture/{other}").status == status
        tab.page.close()
        assert tab.errors == []


def test_o_shows_one_row_large_with_what_is_known_of_it(browser: Browser, tmp_path: Path) -> None:
    write_suspects(tmp_path, 300, n_classes=3, side=200)
    with review_here(tmp_path) as url:
        tab = Tab(browser, url, tmp_path)
        one = tab.page.locator("#one")
        expect(one).to_be_hidden()
        tab.press("o")
        expect(one).to_be_visible()
        expect(one.locator("img").first).to_have_attribute("src", re.compile(r"/picture/\d+$"))
        first = tab.ids()[0]
        expect(one.locator("dl")).to_contain_text(str(first))
        assert one.locator(".bars > div").count() >= 2
        tab.press("ArrowRight")
        expect(one.locator("dl")).to_contain_text("2 of")
        tab.press("k")
        tab.expect_saved((tab.ids()[1], "keep"))
        expect(one.locator("dl")).to_contain_text("3 of")
        tab.press("o")
        expect(one).to_be_hidden()
        tab.page.close()
        assert tab.errors == []


def test_a_digit_chooses_its_class_at_once_and_one_too_high_is_said(browser: Browser, tmp_path: Path) -> None:
    write_suspects(tmp_path, 100, n_classes=10)
    with review_here(tmp_path) as url:
        tab = Tab(browser, url, tmp_path)
        first = tab.ids()[0]
        tab.press("7")
        tab.expect_saved((first, "choose class 7"))
        tab.page.close()
    write_suspects(tmp_path, 100, n_classes=3)
    (tmp_path / PATH).unlink()
    with review_here(tmp_path) as url:
        tab = Tab(browser, url, tmp_path)
        tab.press("7")
        expect(tab.page.locator("#message")).to_contain_text("no class 7")
        tab.page.close()
    assert tab.lines() == []


def test_rows_are_searched_by_name_and_sorted(tab: Tab) -> None:
    tab.press("/")
    tab.page.keyboard.type("99")
    tab.press("Tab")
    tab.settle()
    expect(tab.rows).to_have_count(1)
    assert tab.ids() == [9900]
    tab.page.get_by_role("button", name="Reset").click()
    expect(tab.rows).to_have_count(50)
    before = tab.ids()
    tab.choose("sort", "random")
    expect(tab.rows.first).not_to_have_attribute("data-id", str(before[0]))
    shuffled = tab.ids()
    tab.press("n")
    expect(tab.rows.first).not_to_have_attribute("data-id", str(shuffled[0]))
    assert not set(tab.ids()) & set(shuffled)
    tab.press("p")
    expect(tab.rows.first).to_have_attribute("data-id", str(shuffled[0]))
    tab.reload()
    assert tab.ids() == shuffled


def test_one_of_a_thousand_classes_is_found_by_its_name(browser: Browser, tmp_path: Path) -> None:
    write_suspects(tmp_path, 3_000, content="text", n_classes=1_000)
    with review_here(tmp_path) as url:
        tab = Tab(browser, url, tmp_path)
        first = tab.ids()[0]
        tab.press("7")  # no digit is a class among so many
        tab.press("c")
        wanted = tab.page.locator("#wanted")
        expect(wanted).to_be_focused()
        assert tab.page.locator("#classes button").count() == 200
        tab.page.keyboard.type("CLASS 98")
        expect(tab.page.locator("#classes button")).to_have_count(11)  # 98 and 980 to 989
        tab.press("ArrowDown", "ArrowDown", "Enter")
        tab.expect_saved((first, "choose class 980"))
        tab.press("c")
        tab.page.keyboard.type("no such")
        tab.press("Enter")
        expect(wanted).to_be_visible()
        tab.press("Escape")
        tab.choose("given", "990")
        assert all(example_id // 10 % 1_000 == 990 for example_id in tab.ids())
        tab.page.close()
        assert tab.errors == []
    assert tab.lines() == [(first, "choose", "class 980")]


def test_what_the_page_says_moves_no_row(tab: Tab) -> None:
    tab.press("k")
    tab.expect_saved((9900, "keep"))
    before = tab.rows.nth(1).bounding_box()
    tab.press("u")
    expect(tab.page.locator("#message")).to_contain_text("Taken back")
    assert tab.rows.nth(1).bounding_box() == before


def test_ids_beyond_the_numbers_of_a_browser_are_decided_and_shown(browser: Browser, tmp_path: Path) -> None:
    # Keys that are texts have ids of 63 bits.
    write_suspects(tmp_path, 100, n_classes=3, side=200, first_id=2**62 + 1)
    with review_here(tmp_path) as url:
        tab = Tab(browser, url, tmp_path)
        first = tab.ids()[0]
        assert first == 2**62 + 1 + 900
        tab.press("o")
        expect(tab.page.locator("#one img").first).to_have_attribute("src", re.compile(rf"/picture/{first}$"))
        tab.press("k")
        tab.expect_saved((first, "keep"))
        tab.press("u")
        expect(tab.page.locator("#message")).to_contain_text("Taken back")
        tab.page.close()
        assert tab.errors == []
    assert tab.lines() == [(first, "keep", ""), (first, "undo", "")]
