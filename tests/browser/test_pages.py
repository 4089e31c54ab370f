"""Pages in a real browser: at two widths, in light and in the dark, and in print."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from batchcore.pages import render
from support import pages

pytestmark = pytest.mark.browser

WIDTHS = (1280, 400)
PAPER = 718
"""Pixels between the margins of A4."""

OVERFLOWING = """
() => [...document.querySelectorAll('body *')]
    .filter(one => one.checkVisibility() && !one.closest('svg'))
    .filter(one => one.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5
        || one.scrollWidth > one.clientWidth + 1 && getComputedStyle(one).display != 'inline')
    .map(one => `${one.tagName} ${one.id} ${one.className} ${one.textContent.slice(0, 60)}`)
"""
OPEN_DETAILS = """
are_open => document.querySelectorAll('details').forEach(one => one.open = are_open)
"""
FIGURES = """
() => [...document.querySelectorAll('figure')].map(figure => ({
    name: figure.id,
    drawings: [...figure.querySelectorAll('svg')].map(svg => svg.getBoundingClientRect())
        .filter(box => box.width > 0).map(box => [box.width, box.height]),
    outside: [...figure.querySelectorAll('svg')].filter(svg => svg.checkVisibility())
        .flatMap(svg => [...svg.querySelectorAll('text')].filter(text => {
            const own = text.getBoundingClientRect();
            const box = svg.getBoundingClientRect();
            return own.left < box.left - 1 || own.right > box.right + 1
                || own.top < box.top - 1 || own.bottom > box.bottom + 1;
        }).map(text => text.textContent)),
}))
"""
BROKEN_NUMBERS = """
() => [...document.querySelectorAll('section > table td.number')]
    .filter(one => one.checkVisibility() && one.getClientRects().length)
    .filter(one => {
        const range = document.createRange();
        range.selectNodeContents(one);
        return new Set([...range.getClientRects()].map(box => Math.round(box.top))).size > 1;
    }).map(one => one.textContent)
"""
CONTRASTS = """
() => {
    const level = colour => {
        const parts = colour.match(/\\d+(\\.\\d+)?/g).slice(0, 3).map(part => part / 255)
            .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
    };
    const probe = document.body.appendChild(document.createElement('i'));
    const shown = role => {
        probe.style.color = `var(--${role})`;
        return level(getComputedStyle(probe).color);
    };
    const found = {};
    const least = {ink: 7, muted: 4.5, accent: 4.5, gain: 4.5, loss: 4.5, good: 4.5, warning: 4.5,
        bad: 4.5, unpriced: 3, stale: 2.5, lookback: 2.5, second: 3};
    for (const role in least) {
        const [low, high] = [shown(role), shown('card')].sort((a, b) => a - b);
        const contrast = (high + 0.05) / (low + 0.05);
        if (contrast < least[role]) found[role] = contrast;
    }
    probe.remove();
    return found;
}
"""

Open = Callable[..., Any]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The pages as files."""
    folder = tmp_path_factory.mktemp("pages")
    sources = {
        "night": render.night_page(pages.night(10_000, 500)),
        "portfolio": render.portfolio_page(pages.portfolio(700)),
    }
    found = {}
    for name, source in sources.items():
        found[name] = folder / f"{name}.html"
        found[name].write_text(source, encoding="utf-8")
    return found


@pytest.fixture
def open_page(browser: Any, files: dict[str, Path]) -> Iterator[Open]:
    """A function that opens a page; in the end nothing may have been said or asked for."""
    contexts, said, asked = [], [], []

    def opened(name: str, *, width: int, scheme: str = "light", media: str = "screen") -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page, url = context.new_page(), files[name].as_uri()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.emulate_media(media=media)
        page.goto(url)
        asked.remove(url)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == []


@pytest.mark.parametrize("name", ["night", "portfolio"])
@pytest.mark.parametrize(
    ("width", "scheme", "media"),
    [
        *((width, scheme, "screen") for width in WIDTHS for scheme in ("light", "dark")),
        (PAPER, "light", "print"),
        (PAPER, "dark", "print"),
    ],
)
def test_a_page_fits_and_every_figure_has_a_size(
    open_page: Open, name: str, width: int, scheme: str, media: str
) -> None:
    page = open_page(name, width=width, scheme=scheme, media=media)
    for are_open in (False, True):
        page.evaluate(OPEN_DETAILS, are_open)
        assert page.evaluate(OVERFLOWING) == []
        root = "document.documentElement"
        assert page.evaluate(f"{root}.scrollWidth - {root}.clientWidth") == 0
    assert page.evaluate(BROKEN_NUMBERS) == []
    figures = page.evaluate(FIGURES)
    assert len(figures) >= 7
    for figure in figures:
        ((across, down),) = figure["drawings"]
        assert across > 300, figure
        assert down > 60, figure
        assert figure["outside"] == [], figure
    assert page.evaluate(CONTRASTS) == {}


def test_a_page_becomes_a_document(open_page: Open) -> None:
    page = open_page("night", width=1280)
    assert page.pdf(format="A4").startswith(b"%PDF-")


def test_numbers_open_without_a_script(open_page: Open) -> None:
    page = open_page("night", width=1280)
    details = page.locator("#figure-coverage details")
    assert not details.locator("table").is_visible()
    details.locator("summary").click()
    assert details.locator("table").is_visible()


def test_names_are_shown_as_they_are(open_page: Open) -> None:
    page = open_page("night", width=1280)
    page.on("dialog", lambda dialog: pytest.fail(f"a script said {dialog.message}"))
    assert page.get_by_text(pages.HOSTILE[:20]).count() > 0
    assert page.locator("main script").count() == 0
