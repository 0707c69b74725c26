"""The page of a study in a real browser: as it is looked at, sorted, filtered, read and printed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bench.report.options import Options
from bench.report.page.write import write_page
from tests.report.page_study import CLASSES, page_study

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

FIGURES = ("differences", "ranks", "frequency", "heatmap-figure", "learning", "mixture")
Opened = Callable[..., "Page"]

# Contrast of every text with what is painted behind it, by WCAG 2.
CONTRAST = """
() => {
  document.querySelectorAll("details").forEach((details) => (details.open = true));
  const parts = (colour) => (colour.match(/[\\d.]+/g) ?? []).map(Number);
  const channel = (c) => ((c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const colour = parts(getComputedStyle(one).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.getClientRects().length) continue;
    if (element.closest("script, title, desc")) continue;
    const look = getComputedStyle(element);
    const ink = parts(element.closest("svg") ? look.fill : look.color);
    const [a, b] = [light(ink), light(behind(element))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    found.push([contrast, walker.currentNode.data.trim().slice(0, 40)]);
  }
  return found;
}
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("results")
    return write_page(results, page_study(results), Options())


@pytest.fixture
def opened(browser: Browser, file: Path) -> Iterator[Opened]:
    """Opens the page; afterwards nothing was asked from outside and nothing complained."""
    heard: list[str] = []
    contexts = []

    def open_page(**context: Any) -> Page:
        here = browser.new_context(**context)
        contexts.append(here)
        page = here.new_page()
        page.on("console", lambda message: heard.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: heard.append(f"error: {error}"))
        page.on("request", lambda request: heard.append(f"request: {request.url}"))
        page.goto(file.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert set(heard) <= {f"request: {file.as_uri()}"}


def column(page: Page, table: str, place: int) -> list[str]:
    cells = page.locator(f"#{table} tbody tr").evaluate_all(
        "(lines, place) => lines.map((line) => line.cells[place].textContent.trim())", place
    )
    return list(cells)


def test_a_click_sorts_a_table_by_its_numbers_and_says_so(opened: Opened) -> None:
    page = opened()
    before = column(page, "heatmap", 0)
    head = page.locator("#heatmap thead th").nth(5)
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    down = column(page, "heatmap", 5)
    assert down[-1] == "undefined"
    assert down[:-1] == sorted(down[:-1], key=float, reverse=True)
    head.get_by_role("button").press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    up = column(page, "heatmap", 5)
    assert up[-1] == "undefined"
    assert up[:-1] == sorted(up[:-1], key=float)
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") is None
    assert column(page, "heatmap", 0) == before


def test_sorting_goes_by_exact_values_not_by_what_is_printed(opened: Opened) -> None:
    page = opened()
    page.locator("#table2-paper thead th").nth(1).get_by_role("button").click()
    assert column(page, "table2-paper", 0) == ["cxrcml", "CheXzero (baseline)", "medclip"]


def test_a_method_can_be_hidden_everywhere(opened: Opened) -> None:
    page = opened()
    page.get_by_role("checkbox", name="medclip").uncheck()
    hidden = page.locator("[data-row='medclip-default']").evaluate_all(
        "(all) => all.filter((one) => one.getClientRects().length).length"
    )
    assert hidden == 0
    assert page.locator("#table2-paper tbody tr:visible").count() == 2
    assert "2 of 3 methods" in page.locator("#counted").inner_text()
    page.get_by_role("button", name="Show all").click()
    # The page may be drawn again a moment after the click.
    page.wait_for_function(
        "() => [...document.querySelectorAll('#table2-paper tbody tr')]"
        ".filter((one) => one.getClientRects().length).length === 3"
    )


def test_classes_can_be_chosen_by_group_and_by_name(opened: Opened) -> None:
    page = opened()
    page.get_by_label("Classes", exact=True).select_option("rare")
    assert page.locator("#heatmap tbody tr:visible").count() == 4
    assert page.locator("details.curve:visible").count() == 3  # one has too few patients
    page.get_by_label("Classes", exact=True).select_option("")
    page.get_by_label("Class name contains").fill("frac")
    shown = page.locator("#heatmap tbody tr:visible th").all_inner_texts()
    assert shown == ["Clavicle Fracture"]


def test_every_figure_is_there_with_its_name_description_and_numbers(opened: Opened) -> None:
    page = opened()
    for key in FIGURES:
        assert page.locator(f"#{key}").is_visible(), key
    images = page.get_by_role("img")
    assert images.count() == len(FIGURES) - 1  # the heatmap is a table; curves are closed
    for place in range(images.count()):
        told = images.nth(place).evaluate(
            "(svg) => ['labelledby', 'describedby'].map((kind) =>"
            " document.getElementById(svg.getAttribute(`aria-${kind}`)).textContent)"
        )
        assert len(told[0]) > 10
        assert len(told[1]) > 40
    numbers = page.locator("figure details.numbers table tbody")
    assert numbers.count() == len(FIGURES) - 1 + len(CLASSES) - 1
    assert all(
        lines > 0 for lines in numbers.evaluate_all("(all) => all.map((b) => b.rows.length)")
    )


def test_a_curve_is_drawn_when_its_class_is_opened(opened: Opened) -> None:
    page = opened()
    curve = page.locator("details.curve[data-class='Hernia']")
    assert not curve.locator("svg").is_visible()
    curve.locator("summary").first.click()
    assert curve.locator("svg").is_visible()
    assert curve.locator("svg [data-row]").count() == 2 * 3


def test_a_number_tells_its_origin_to_pointer_and_keyboard(opened: Opened) -> None:
    page = opened()
    about = page.get_by_role("tooltip")
    number = page.locator("#table2-paper tbody tr").nth(1).locator("a.n").first
    number.hover()
    assert "trials/chexzero-default/run-*_fold-*/record.json (4 finished)" in about.inner_text()
    assert "bench run --method chexzero" in about.inner_text()
    page.mouse.move(0, 0)
    about.wait_for(state="hidden")
    first = page.locator("#table2-paper a.n").first
    first.focus()
    page.keyboard.press("ArrowDown")
    assert "CheXzero (baseline), Total AUC" in about.inner_text()
    assert number.get_attribute("aria-describedby") == "about"
    page.keyboard.press("ArrowRight")
    assert "CheXzero (baseline), Base AUC" in about.inner_text()
    page.keyboard.press("Escape")
    assert about.is_hidden()
    page.keyboard.press("Enter")
    assert page.url.endswith("#row-chexzero-default")


def test_a_table_is_one_stop_of_the_tab_key(opened: Opened) -> None:
    page = opened()
    stops = page.locator("#heatmap a.n").evaluate_all(
        "(all) => all.filter((one) => one.tabIndex === 0).length"
    )
    assert stops == 1


def test_tables_are_named_and_their_heads_have_a_scope(opened: Opened) -> None:
    page = opened()
    assert page.locator("table:not(:has(caption))").count() == 0
    assert page.locator("th:not([scope])").count() == 0
    unnamed = page.locator("a, button, input, select, summary").evaluate_all(
        "(all) => all.filter((one) => !(one.textContent.trim() || one.labels?.length)).length"
    )
    assert unnamed == 0
    levels = page.locator("h1, h2, h3, h4").evaluate_all("(all) => all.map((h) => +h.tagName[1])")
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_told_from_its_ground(opened: Opened, scheme: str) -> None:
    found = opened(color_scheme=scheme).evaluate(CONTRAST)
    assert len(found) > 500
    assert [(text, round(contrast, 2)) for contrast, text in found if contrast < 4.5] == []


def test_the_two_schemes_differ_and_the_figures_follow(opened: Opened) -> None:
    inks = []
    for scheme in ("light", "dark"):
        page = opened(color_scheme=scheme)
        inks.append(
            page.evaluate(
                "[getComputedStyle(document.body).backgroundColor,"
                " getComputedStyle(document.querySelector('#frequency svg text')).fill]"
            )
        )
    assert inks[0][0] == "rgb(255, 255, 255)"
    assert inks[0][0] != inks[1][0]
    assert inks[0][1] != inks[1][1]


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_the_page_itself_never_scrolls_sideways(opened: Opened, width: int) -> None:
    page = opened(viewport={"width": width, "height": 740})
    page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_without_scripts_tables_and_figures_are_still_there(opened: Opened) -> None:
    page = opened(java_script_enabled=False)
    assert page.locator("#table2-paper tbody tr").count() == 3
    assert page.locator("#frequency svg").is_visible()
    assert page.locator("#filter").is_hidden()
    assert "Records:" in (page.locator("#table2-paper a.n").first.get_attribute("title") or "")


def test_paper_is_light_and_has_the_notes_but_no_controls(opened: Opened) -> None:
    page = opened(color_scheme="dark")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.locator("#filter").is_hidden()
    assert page.locator(".notes li").first.is_visible()
    ink = page.evaluate("getComputedStyle(document.querySelector('h2')).color")
    assert ink == "rgb(27, 32, 38)"
    assert len(page.pdf(format="A4")) > 20_000


def test_an_undefined_cell_is_hatched(opened: Opened) -> None:
    page = opened()
    image = page.locator("#heatmap td.undefined").first.evaluate(
        "(cell) => getComputedStyle(cell).backgroundImage"
    )
    assert image.startswith("repeating-linear-gradient")
