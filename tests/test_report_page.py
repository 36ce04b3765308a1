"""The report in a real browser: pictures, keys, filters, tables, two colour schemes, a phone."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hand_made import write_run
from playwright.sync_api import Browser, Page, expect

from tasks.page import picture_uri
from tasks.report import report
from tasks.tables.catalog import LABEL_ISSUES
from tasks.tables.io import read_table

# Contrast (WCAG 2.2, success criterion 1.4.3) of each element that holds words: the colour of the text on all
# the backgrounds behind it.
CONTRAST = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
  const rgba = (css) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = css; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const words = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    const style = getComputedStyle(element);
    const skipped = ["OPTION", "SELECT", "SCRIPT", "STYLE", "title"].includes(element.tagName);
    if (!words || skipped || !element.getClientRects().length) continue;
    const behind = [];
    for (let at = element; at; at = at.parentElement) behind.push(rgba(getComputedStyle(at).backgroundColor));
    const paper = behind.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1]);
    const ink = over(rgba(element instanceof SVGElement ? style.fill : style.color), paper);
    const [a, b] = [light(ink), light(paper)].sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), element.tagName, element.textContent.slice(0, 40)]);
  }
  return found.sort((x, y) => x[0] - y[0]);
}"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a report on coloured pictures."""
    folder = tmp_path_factory.mktemp("report")
    images = np.random.default_rng(1).integers(0, 256, (240, 12, 9, 3), dtype=np.uint8)
    report(write_run(folder, images, sureness=2), folder)
    return folder


@pytest.fixture(scope="module")
def faults() -> list[str]:
    """What no page may do: ask for anything but itself, or complain."""
    return []


@pytest.fixture(scope="module", params=["light", "dark"])
def page(browser: Browser, run: Path, faults: list[str], request: pytest.FixtureRequest) -> Iterator[Page]:
    """The report, opened as a file."""
    address = (run / "report" / "index.html").as_uri()
    page = browser.new_page(color_scheme=request.param)
    page.on("console", lambda message: faults.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: faults.append(str(error)))

    def only_itself(route) -> None:
        url = route.request.url
        if url.split("#")[0] == address or url.startswith("data:"):
            route.continue_()
        else:
            faults.append(url)
            route.abort()

    page.route("**/*", only_itself)
    page.goto(address)
    yield page
    page.close()


def test_every_picture_loads_and_nothing_remote_is_asked_for(page: Page, faults: list[str]) -> None:
    widths = page.eval_on_selector_all("img", "all => all.map((one) => one.complete && one.naturalWidth)")
    assert len(widths) > 50
    assert set(widths) == {9}
    assert faults == []


def test_a_picture_is_enlarged_and_put_back_by_key(page: Page) -> None:
    picture = page.locator("figure .zoom").first
    dialog = page.locator("dialog#zoom")
    assert not dialog.is_visible()
    picture.focus()
    page.keyboard.press("Enter")
    assert dialog.is_visible()
    small, large = picture.locator("img"), dialog.locator("img")
    assert large.get_attribute("src") == small.get_attribute("src")
    assert large.bounding_box()["width"] > 2 * small.bounding_box()["width"]
    assert "given" in dialog.inner_text()
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    picture.click()
    assert dialog.is_visible()
    page.keyboard.press("Enter")  # on the button that closes it
    assert not dialog.is_visible()


def test_the_pickers_show_one_pair_of_classes(page: Page, run: Path) -> None:
    issues = read_table(run / "data" / "label_issues.parquet", LABEL_ISSUES).to_pandas()
    issues = issues[issues.is_issue]
    names = np.array(["cat", "dog", "horse"])
    pairs = list(zip(names[issues.given_label], names[issues.suggested_label], strict=True))
    given, suggested = pairs[0]
    figures = page.locator("#gallery figure:visible")
    assert figures.count() == 15 < len(pairs)
    assert page.locator("#picked").inner_text() == f"15 of {len(pairs)} shown"
    page.locator("#more").click()
    assert figures.count() == len(pairs)
    assert not page.locator("#more").is_visible()
    page.select_option("#pick-given", given)
    assert figures.count() == sum(pair[0] == given for pair in pairs) < len(pairs)
    page.select_option("#pick-suggested", suggested)
    expected = pairs.count((given, suggested))
    assert figures.count() == expected
    assert page.locator("#picked").inner_text() == f"{expected} shown"
    assert set(figures.evaluate_all("all => all.map((one) => one.dataset.given)")) == {given}
    page.select_option("#pick-given", "")
    page.select_option("#pick-suggested", "")
    assert figures.count() == len(pairs)
    page.select_option("#pick-kind", "confident")
    places = figures.evaluate_all(
        "all => all.map((one) => [one.style.order, one.dataset.confident].map(Number))"
    )
    assert len(places) == 25
    assert all(order == place for order, place in places)
    page.select_option("#pick-kind", "")


def test_a_table_sorts_by_numbers_and_by_words(page: Page) -> None:
    table = page.locator("#filters + .scroll table")
    head = table.locator("th").nth(1)
    cells = table.locator("tbody td:nth-child(2)")
    before = cells.all_inner_texts()
    assert len(set(before)) > 3
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert cells.all_inner_texts() == sorted(before, key=int, reverse=True)
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert cells.all_inner_texts() == sorted(before, key=int)
    names = table.locator("tbody td:nth-child(1)")
    table.locator("th").first.locator("button").click()
    assert names.all_inner_texts() == sorted(names.all_inner_texts(), reverse=True)
    assert head.get_attribute("aria-sort") is None


def test_names_stand_left_and_numbers_right(page: Page) -> None:
    cells = page.locator("#pairs + .scroll tbody tr").first.locator("td")
    sides = [cell.evaluate("cell => getComputedStyle(cell).textAlign") for cell in cells.all()[:3]]
    assert sides == ["left", "left", "right"]


def test_small_pictures_show_their_pixels_and_photographs_do_not(page: Page) -> None:
    rendering = "picture => getComputedStyle(picture).imageRendering"
    assert page.locator("#gallery img").first.evaluate(rendering) == "pixelated"
    photo = picture_uri(np.zeros((200, 200, 3), dtype=np.uint8))
    place = page.locator("dialog > div")
    place.evaluate("(place, uri) => { place.innerHTML = `<img src='${uri}'>`; }", photo)
    assert place.locator("img").evaluate(rendering) == "auto"


def test_a_phone_shows_the_whole_width(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    smallest = page.eval_on_selector_all(
        "svg text", "all => Math.min(...all.map((one) => one.getBoundingClientRect().height))"
    )
    assert smallest >= 9
    # A suspect is on the first screen.
    assert page.locator("figure img, figure .text").first.bounding_box()["y"] < 800
    page.set_viewport_size({"width": 1280, "height": 800})


def test_a_table_that_is_cut_off_fades_and_keeps_its_first_column(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    boxes = page.locator(".scroll").all()
    cut = [box for box in boxes if box.evaluate("(box) => box.scrollWidth > box.clientWidth + 1")]
    assert 3 <= len(cut) < len(boxes)
    mask = "(box) => getComputedStyle(box).maskImage"
    beside = "(box) => getComputedStyle(box.querySelector('td'), '::after').backgroundImage"
    first = (
        "(box) => [...box.querySelectorAll('tr > :first-child')].map((one) => one.getBoundingClientRect().x)"
    )
    behind = "(box) => getComputedStyle(box.querySelector('tr > :first-child')).backgroundColor"
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    for box in boxes:
        assert ("gradient" in box.evaluate(mask)) == (box in cut)
    for box in cut:
        before = box.evaluate(first)
        assert (box.evaluate(behind), box.evaluate(beside)) == (paper, "none")
        box.evaluate("(box) => { box.scrollLeft = box.scrollWidth; }")
        expect(box).not_to_have_class(re.compile("more"))
        assert box.evaluate(mask) == "none"
        assert box.evaluate(first) == before
        assert "gradient" in box.evaluate(beside)
    page.set_viewport_size({"width": 1280, "height": 800})
    for box in cut:
        expect(box).not_to_have_class(re.compile("more"))


def test_all_text_stands_out_from_its_background(page: Page) -> None:
    found = page.evaluate(CONTRAST)
    assert len(found) > 300
    assert found[0][0] >= 4.5, found[:5]


def test_bins_are_drawn_with_their_intervals_and_sparse_ones_are_counted(page: Page, run: Path) -> None:
    with (run / "plots" / "reliability" / "out_of_fold.csv").open(newline="") as file:
        bins = [row for row in csv.DictReader(file) if row["labels"] == "given"]
    full = [row for row in bins if int(row["rows"]) >= 10]
    sparse = [int(row["rows"]) for row in bins if int(row["rows"]) < 10]
    assert full
    assert sparse
    chart = page.locator("figure.chart", has_text="perfectly calibrated").last
    intervals = [
        title
        for title in chart.locator("polyline title").all_text_contents()
        if title.startswith("given labels: ")
    ]
    assert len(intervals) == len(full)
    for title, row in zip(intervals, full, strict=True):
        assert f"{float(row['accuracy']):.1%} of {int(row['rows']):,} rows" in title
        low, high = (float(end.strip(" %")) / 100 for end in title.rsplit("rows, ", 1)[1].split("to"))
        assert low <= float(row["accuracy"]) + 0.001
        assert high >= float(row["accuracy"]) - 0.001
        assert high - low > 0.02
    left_out = page.locator("p", has_text="Left out, with fewer than 10 rows each").last.inner_text()
    n_bins, n_rows = len(sparse), sum(sparse)
    assert (
        f"given labels {n_bins} bin{'s' if n_bins > 1 else ''} of {n_rows} row{'s' if n_rows > 1 else ''}"
        in left_out
    )
    # The legend names each colour once.
    legend = chart.locator(".legend li").all_inner_texts()
    assert len(set(legend)) == len(legend) == 3


def test_what_the_colours_of_cards_say_is_written_above_them(page: Page) -> None:
    colours = {
        "good": page.locator("figcaption b.good").first.evaluate("(one) => getComputedStyle(one).color"),
        "bad": page.locator("figcaption b.bad").first.evaluate("(one) => getComputedStyle(one).color"),
    }
    assert colours["good"] != colours["bad"]
    said = page.locator("p", has_text="The true class is green").first
    first = page.locator("figure").first
    assert said.bounding_box()["y"] < first.bounding_box()["y"]


def test_a_report_on_photographs_takes_less_than_three_megabytes(tmp_path: Path) -> None:
    """As hard to compress as photographs are: shapes with shades, and noise of a camera."""
    rng = np.random.default_rng(2)
    down, across = np.mgrid[:160, :160]
    images = np.empty((400, 160, 160, 3), dtype=np.uint8)
    for image in images:
        waves = [np.sin(down / rng.uniform(3, 30) + across / rng.uniform(3, 30)) for _ in range(3)]
        image[:] = np.clip(128 + 90 * np.stack(waves, axis=2) + rng.normal(0, 12, (160, 160, 3)), 0, 255)
    report(write_run(tmp_path, images, sureness=2, noise=0.3), tmp_path)
    page = tmp_path / "report" / "index.html"
    assert page.read_text().count("data:image/jpeg") > 100
    assert page.stat().st_size < 3 * 2**20
