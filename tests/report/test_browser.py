"""The page in a real Chromium: it asks for nothing, complains of nothing, and clicks and keys do what they say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from browser import Watched, chromium
from scheduler.report.page import render_page
from scheduler.report.report import read_report
from scheduler.stores.history_reader import HistoryReader
from stores import at
from year_store import Nights, build

DAYS = 60


@pytest.fixture(scope="module")
def context() -> Iterator[Any]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Nights:
    return build(tmp_path_factory.mktemp("nights") / "store", DAYS)


@pytest.fixture(scope="module")
def url(nights: Nights, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "report.html"
    now = at(f"{nights.date(DAYS - 1)}T12:00").timestamp()
    path.write_text(render_page(read_report(HistoryReader(nights.builder.store, "e", "UTC", now))), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def watched(context: Any, url: str) -> Iterator[Watched]:
    watched = Watched(context)
    watched.page.goto(url)
    yield watched
    assert watched.requests == [url] and watched.problems == []
    watched.page.close()


@pytest.mark.parametrize("width", [390, 900, 1600])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_every_screen_and_can_be_read(context: Any, url: str, width: int, scheme: str) -> None:
    watched = Watched(context, width, scheme)
    watched.page.goto(url)
    assert watched.page.evaluate("document.documentElement.scrollWidth") <= width
    # WCAG 2.2, 1.4.3: text against the colour behind it.
    poor = watched.page.evaluate(CONTRASTS)
    assert poor == []
    assert watched.requests == [url] and watched.problems == []
    watched.page.close()


CONTRASTS = """() => {
  const parse = (text) => { const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number); return [r, g, b, a]; };
  const over = (top, under) => [0, 1, 2].map((n) => top[n] * top[3] + under[n] * (1 - top[3])).concat(1);
  const luminance = (c) => {
    const [r, g, b] = c.map((v) => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (node) => {
    const own = parse(getComputedStyle(node).backgroundColor);
    return own[3] === 1 ? own : over(own, node.parentElement ? behind(node.parentElement) : [255, 255, 255, 1]);
  };
  const poor = new Set();
  for (const node of document.body.querySelectorAll("*")) {
    if (![...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim())) continue;
    if (!node.checkVisibility() || node.closest("script,style,noscript")) continue;
    const style = getComputedStyle(node);
    const colour = parse(node.closest("svg") ? style.fill : style.color);
    const [a, b] = [luminance(colour), luminance(behind(node.closest("svg") || node))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) poor.add(`${node.tagName}.${node.getAttribute("class")} ${ratio.toFixed(2)}`);
  }
  return [...poor];
}"""


def test_every_control_has_a_name_and_every_picture_a_description(watched: Watched) -> None:
    nameless = watched.page.evaluate(
        """() => [...document.querySelectorAll("button,select,a,svg,[role=img],[role=region],dialog,figure")]
        .filter((node) => !(node.getAttribute("aria-label") || node.getAttribute("aria-labelledby") || node.textContent.trim()))
        .map((node) => node.outerHTML.slice(0, 80))"""
    )
    assert nameless == []
    assert watched.page.evaluate("document.documentElement.lang") == "en"
    levels = watched.page.evaluate("[...document.querySelectorAll('main h2')].map((node) => node.textContent)")
    assert levels == ["Now", "Calendar", "Trend", "Predictions of one date", "Two dates side by side"]


def test_a_click_on_a_cell_opens_the_slots_story(nights: Nights, watched: Watched) -> None:
    day = nights.date(49)  # the 9n+4th night: `b2` failed
    watched.page.get_by_role("button", name=f"train-b2, {day}: failed").click()
    story = watched.page.get_by_role("dialog")
    assert "ran out of memory" in story.inner_text() and "0 1 * * * UTC, set by me@here on host:here" in story.inner_text()
    assert "Killed" in story.inner_text() or "Try 1" in story.inner_text()
    watched.page.keyboard.press("Escape")
    assert not story.is_visible()
    # The focus is where it was.
    assert watched.page.evaluate("document.activeElement.title") == f"train-b2, {day}: failed"


def test_the_keyboard_reaches_every_cell_of_a_month(nights: Nights, watched: Watched) -> None:
    first = watched.page.locator(".cal button[tabindex='0']").first
    first.focus()
    before = watched.page.evaluate("document.activeElement.title")
    watched.page.keyboard.press("ArrowRight")
    watched.page.keyboard.press("ArrowDown")
    after = watched.page.evaluate("document.activeElement.title")
    assert (
        after.split(",")[0] != before.split(",")[0] and after.split(":")[0].split(", ")[1] > before.split(":")[0].split(", ")[1]
    )
    watched.page.keyboard.press("Enter")
    assert watched.page.get_by_role("dialog").is_visible()


def test_an_ensembles_story_leads_to_its_predictions(nights: Nights, watched: Watched) -> None:
    day = nights.date(DAYS - 2)
    watched.page.get_by_role("button", name=f"ensemble, {day}: ").first.click()
    story = watched.page.get_by_role("dialog")
    assert "weight" in story.inner_text() and "accuracy here" in story.inner_text()
    story.get_by_role("button", name="Its predictions").click()
    assert watched.page.locator("article.date:visible").get_attribute("aria-label") == f"Ensemble of {day} 06:00"


def test_the_finding_leads_to_the_night_before_and_the_newest(nights: Nights, watched: Watched) -> None:
    watched.page.get_by_role("button", name="the ensemble before").first.click()
    label = watched.page.locator("article.date:visible").get_attribute("aria-label")
    assert label == f"Ensemble of {nights.date(DAYS * 9 // 10 - 1)} 06:00"
    watched.page.get_by_label("Date", exact=True).select_option(index=0)
    label = watched.page.locator("article.date:visible").get_attribute("aria-label")
    assert label == f"Ensemble of {nights.date(DAYS - 1)} 06:00"


def test_the_finding_leads_to_both_nights_side_by_side(nights: Nights, watched: Watched) -> None:
    watched.page.get_by_role("button", name="both nights side by side").click()
    bad = DAYS * 9 // 10
    label = watched.page.locator("article.pair:visible").get_attribute("aria-label")
    assert label == f"{nights.date(bad - 1)} 06:00 and {nights.date(bad)} 06:00"
    watched.page.get_by_label("Dates", exact=True).select_option(index=0)
    label = watched.page.locator("article.pair:visible").get_attribute("aria-label")
    assert label == f"{nights.date(DAYS - 2)} 06:00 and {nights.date(DAYS - 1)} 06:00"


def test_predictions_are_filtered_and_sorted(watched: Watched) -> None:
    article = watched.page.locator("article.date:visible")
    rows = article.locator(".items tbody tr:visible")
    total = rows.count()
    article.get_by_role("button", name="disputed", exact=True).click()
    disputed = rows.count()
    assert 0 < disputed < total
    assert all("x" in row.locator("td").evaluate_all("cells => cells.map((cell) => cell.className)") for row in rows.all()[:5])
    article.get_by_role("button", name=f"all {total} shown").click()
    numbers = article.locator(".items thead th.n").all_inner_texts()
    assert numbers == ["probability", "entropy", "disagreeing"]
    for place, name in enumerate(numbers):
        for is_descending in (False, True):
            article.get_by_role("button", name=name, exact=True).click()
            cells = article.locator(".items tbody tr td.n").all_inner_texts()
            values = [float(text) for text in cells[place :: len(numbers)]]
            assert len(values) == total and values == sorted(values, reverse=is_descending)
        assert article.locator(".items th[aria-sort=descending]").count() == 1


def test_a_chart_is_read_by_keys_and_by_the_pointer(nights: Nights, watched: Watched) -> None:
    figure = watched.page.locator("[data-figure=accuracy]")
    figure.focus()
    watched.page.keyboard.press("End")
    readout = figure.locator(".readout")
    assert readout.inner_text().startswith(f"{nights.date(DAYS - 1)} 06:00: ")
    assert "ensemble 0." in readout.inner_text() or "ensemble 1" in readout.inner_text()
    watched.page.keyboard.press("Home")
    assert readout.inner_text().startswith(f"{nights.date(0)} 06:00: ")
    box = figure.locator("svg.wide").bounding_box()
    assert box is not None
    watched.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert nights.date(20) < readout.inner_text()[:10] < nights.date(45)
    watched.page.keyboard.press("End")
    watched.page.keyboard.press("Enter")
    label = watched.page.locator("article.date:visible").get_attribute("aria-label")
    assert label == f"Ensemble of {nights.date(DAYS - 1)} 06:00"


def test_it_can_be_printed(watched: Watched) -> None:
    pdf = watched.page.pdf()
    assert pdf.startswith(b"%PDF") and len(pdf) > 50_000


def test_without_scripts_all_but_the_stories_is_shown(context: Any, url: str) -> None:
    page = context.browser.new_context(java_script_enabled=False).new_page() if context.browser else None
    if page is None:
        pytest.fail("the browser is not reached")
    page.goto(url)
    assert page.locator("article.date:visible").count() == 1 and page.locator(".cal button").count() > 200
    assert "is worse since" in page.locator(".findings").first.inner_text()
    page.context.close()
