"""Pages as HTML, made of values that no database need hold."""

import re
from dataclasses import dataclass, field, replace
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path

import matplotlib as mpl
import pytest

from batchcore.pages import advice, render, texts
from batchcore.pages.contents import FailedPortfolio, Night, PortfolioPage, RunFacts
from batchcore.run.result import ShardResult
from support import pages

VOID = {"meta", "link", "br"}
ISSUES = Path(__file__).parents[3] / "docs" / "semantics.md"


@dataclass
class Element:
    """An element of a page."""

    tag: str
    attributes: dict[str, str | None]
    children: list["Element"] = field(default_factory=list)
    text: str = ""

    def all(self, tag: str) -> list["Element"]:
        """Return the elements of a tag in it."""
        own = [self] if self.tag == tag else []
        return own + [found for child in self.children for found in child.all(tag)]

    def whole_text(self) -> str:
        return self.text + "".join(child.whole_text() for child in self.children)


class Page(HTMLParser):
    """A page, in which each element is closed where it should be."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.root = Element("", {})
        self.open = [self.root]
        self.feed(source)
        self.close()
        assert self.open == [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs))
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].children.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        self.open[-1].text += data


@pytest.fixture(scope="module")
def sources() -> dict[str, str]:
    """The pages of a night of 100,000 portfolios, and of ten years of one."""
    return {
        "night": render.night_page(pages.night()),
        "portfolio": render.portfolio_page(pages.portfolio()),
    }


@pytest.fixture(scope="module", params=["night", "portfolio"])
def source(request: pytest.FixtureRequest, sources: dict[str, str]) -> str:
    return sources[request.param]


def test_a_page_is_at_most_2_mb(source: str) -> None:
    assert len(source.encode()) <= 2_000_000


def test_no_name_becomes_code(source: str) -> None:
    page = Page(source)
    assert page.root.all("script") == []
    # Of the names made up, <b> is the only element.
    assert page.root.all("b") == []
    assert pages.HOSTILE in page.root.whole_text()
    assert "{{ 7 * 7 }}" in page.root.whole_text()
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", source)


def test_a_page_loads_nothing(source: str) -> None:
    page = Page(source)
    assert "url(http" not in source
    assert "@import" not in source
    for element in (
        one for tag in ("a", "link", "use", "image", "img") for one in page.root.all(tag)
    ):
        target = element.attributes.get("href") or element.attributes.get("src") or ""
        assert target.startswith(("#", "data:")), target
    policy = next(one for one in page.root.all("meta") if one.attributes.get("http-equiv"))
    assert (policy.attributes["content"] or "").startswith("default-src 'none';")


def test_every_figure_has_a_title_two_drawings_and_a_table(source: str) -> None:
    figures = Page(source).root.all("figure")
    assert len(figures) >= 7
    for figure in figures:
        assert figure.all("h3")[0].whole_text().strip()
        assert [svg.attributes["class"] for svg in figure.all("svg")] == ["wide", "narrow"]
        (details,) = figure.all("details")
        assert details.all("td")


def test_ids_are_unique_and_each_reference_leads_somewhere(source: str) -> None:
    ids = re.findall(r'\bid="([^"]+)"', source)
    assert len(ids) == len(set(ids))
    references = {*re.findall(r'href="#([^"]+)"', source), *re.findall(r"url\(#([^)]+)\)", source)}
    assert references <= set(ids)


def test_drawings_have_the_colours_of_the_page_alone(source: str) -> None:
    drawings = "".join(re.findall(r"<svg.*?</svg>", source, re.DOTALL))
    assert "#f0000" not in drawings
    assert set(re.findall(r"(?:fill|stroke): ([^;\"]+)", drawings)) <= {
        "none",
        *(f"var(--{role})" for role in render.charts.COLOURS),
    }
    css = source[source.index("<style>") : source.index("</style>")]
    for role in set(re.findall(r"var\(--(\w+)\)", source)) - {"font"}:
        # In light, in the dark, and in print.
        assert css.count(f"--{role}:") == 3, role


def test_a_page_leaves_the_settings_of_matplotlib_as_they_are() -> None:
    before = dict(mpl.rcParams)
    assert render.night_charts.phases(Night(run=pages.run())) is not None
    assert dict(mpl.rcParams) == before


def text_of(source: str) -> str:
    text = Page(source).root.whole_text().replace("\N{NO-BREAK SPACE}", " ")
    return re.sub(r"\s+", " ", text)


def test_a_night_says_what_matters(sources: dict[str, str]) -> None:
    text = text_of(sources["night"])
    assert "Night of Monday, 30 June 2025" in text
    assert "37 portfolios failed; 100,000 snapshots of 100,000 portfolios written in 8.2 s." in text
    assert "\N{MINUS SIGN}1,234,567.89 USD" in text
    assert "Coverage was below the gate on 7 sessions of 60" in text
    assert advice.advice("stale") in text
    assert advice.UNKNOWN in text  # of an issue that nobody has heard of
    assert "Not explained: the lots as they are now miss the stored P&L by +0.01" in text
    assert "Of 30 Jun 2025 alone: 100,000 snapshots recomputed, 3,100,000 cells" in text
    assert "2 differ" in text


def test_a_portfolio_says_what_matters(sources: dict[str, str]) -> None:
    text = text_of(sources["portfolio"])
    assert "2,520 sessions, amounts in USD." in text
    assert "The largest fall was 23.14 %" in text
    assert "Without a snapshot: 4 Mar 2025." in text
    assert f"5Y: no row {pages.HOSTILE}" in text


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "All well: 100,000 snapshots of 100,000 portfolios written in 8.2 s."),
        ({"rows_written": 0}, "There was nothing to write of 100,000 portfolios; it took 8.2 s."),
        (
            {
                "state": "failed",
                "rows_written": 0,
                "portfolios": None,
                "error": "CoverageError: <b>",
            },
            "The run failed after 8.2 s; 0 snapshots written before stay.",
        ),
        ({"state": "stuck"}, "The run is stuck: its lease has expired;"),
        ({"state": "interrupted"}, "The run was interrupted after 8.2 s;"),
        ({"state": "superseded"}, "Another run took over from this one;"),
        ({"state": "running"}, "The run is still running;"),
    ],
)
@pytest.mark.usefixtures("painted")
def test_an_empty_night_says_how_its_run_ended(changes: dict[str, object], sentence: str) -> None:
    run: RunFacts = pages.run(**changes)
    source = render.night_page(Night(run=run))
    text = text_of(source)
    assert sentence in text
    assert "The run noticed nothing." in text
    assert "No complete snapshot of the session is stored." in text
    if run.error:
        assert run.error in text


@pytest.mark.usefixtures("painted")
def test_a_night_of_shards_has_a_row_for_each() -> None:
    ended = ShardResult(
        shard=(1, 3), run_id="one", state="failed", error="DatabaseError: <b>", attempt=2, failed=7
    )
    shards = (ended, replace(ended, shard=(2, 3), state="complete", error=None, rows_written=1234))
    one = FailedPortfolio("id", "", "out_of_range")
    night = Night(run=pages.run(state="failed", failed=37), failed=(one,), shards=shards)
    text = text_of(render.night_page(night))
    for shown in ("1/3", "2/3", "1,234", "DatabaseError: <b>", f"Group {night.run.run_id}, "):
        assert shown in text
    assert f"batchcore status --group {night.run.run_id} names them" in text
    assert "Shards" not in text_of(render.night_page(replace(night, shards=())))
    missing = tuple(ShardResult(shard=(number, 4), state="missing") for number in (2, 3))
    text = text_of(render.night_page(Night(run=pages.run(state="missing"), shards=missing)))
    assert "Shards have not begun: 2/4, 3/4; 100,000 snapshots" in text


def plain_portfolio(sessions: int) -> PortfolioPage:
    """Return a page with what is drawn of snapshots alone."""
    nothing = dict.fromkeys(("periods", "holdings", "sectors", "missing"), ())
    page = pages.portfolio(sessions)
    return replace(page, by_symbol=None, by_sector=None, months={}, **nothing)


@pytest.mark.usefixtures("painted")
def test_a_portfolio_of_a_single_snapshot() -> None:
    page = replace(plain_portfolio(1), drawdown=None)
    text = text_of(render.portfolio_page(page))
    assert "30 Jun 2025, 1 session, amounts in USD." in text
    assert "There is only one snapshot." in text
    assert "Nothing public is held." in text


@pytest.mark.usefixtures("painted")
def test_a_fall_that_is_not_available_is_not_taken_for_none() -> None:
    page, none = plain_portfolio(30), Decimal(0)
    at_peak = {**pages.NO_PERIOD, "max_drawdown": none, "current_drawdown": none}
    text = text_of(render.portfolio_page(replace(page, drawdown=at_peak)))
    assert "It was at its peak on every session" in text
    unknown = replace(page, drawdown=None, no_returns="no time-weighted return: a gap")
    text = text_of(render.portfolio_page(unknown))
    assert "Not available: no time-weighted return: a gap." in text
    assert "at its peak" not in text
    assert "Largest fall" not in text


def test_without_a_gate_none_is_drawn() -> None:
    made = pages.night(50, 10)
    night = Night(run=made.run, session=made.session, coverage=made.coverage)
    text = text_of(render.night_page(night))
    # The least of the shares made up is 0.99 - 0.12.
    assert "Coverage was at least 87.00 % on all 60 sessions; the policy has no gate" in text
    assert "gate 9" not in text
    assert "gate 90.0 %" in text_of(render.night_page(replace(night, gate=made.gate)))


@pytest.mark.usefixtures("painted")
def test_what_a_night_was_asked_for_and_has_not() -> None:
    text = text_of(render.night_page(Night(run=pages.run(), deleted=2, verifies=True)))
    assert "2 portfolios that the run was asked for cannot be found any more" in text
    assert "No complete snapshot of the last session is stored, so there was none" in text
    assert "any more" not in text_of(render.night_page(Night(run=pages.run())))


@pytest.mark.usefixtures("painted")
def test_a_stored_pnl_that_is_no_number_is_named() -> None:
    made = pages.night(50, 10)
    night = Night(run=made.run, session=made.session, totals=made.totals, returns=made.returns)
    page = replace(pages.portfolio(30), by_symbol=None, by_sector=None, holdings=(), sectors=())
    for source in (render.night_page(night), render.portfolio_page(page)):
        text = text_of(source)
        assert "A stored daily_pnl is NULL or not a finite number" in text
        assert "No complete snapshot" not in text
        assert "one snapshot alone" not in text


def test_each_issue_has_something_to_do() -> None:
    rules = ISSUES.read_text().split("## Issues")[1].split("\n## ")[0]
    names = {
        name
        for row in re.findall(r"^\| (`.*?) \|", rules, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    }
    assert len(names) > 20
    assert names <= set(advice.ADVICE)
    assert all(texts.plain(line, 200) == line for line in advice.ADVICE.values())
