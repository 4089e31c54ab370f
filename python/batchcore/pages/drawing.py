"""Figures of matplotlib as SVG that takes colours and font from its page."""

from __future__ import annotations

import io
import re
import warnings
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes

ROLES: Final = (
    *("ink", "muted", "line", "card", "accent", "second", "gain", "loss"),
    *("fresh", "lookback", "stale", "unpriced", "skipped", "failed"),
)
"""The roles of colours, which the style sheet defines for light, dark and print."""

COLOURS: Final = {role: f"#f0000{number:x}" for number, role in enumerate(ROLES, start=1)}
"""The colours that matplotlib draws with: each becomes `var(--role)`."""

WIDE: Final = 880
NARROW: Final = 340
"""Widths in pixels. A narrow screen gets a separate drawing, in which texts keep their size."""

_POINTS: Final = 72
_SVG: Final = "{http://www.w3.org/2000/svg}"
_HREF: Final = "{http://www.w3.org/1999/xlink}href"
_NUMBER: Final = re.compile(r"-?\d+\.\d{3,}")
_FONT: Final = re.compile(r"font:\s*((?:\S+\s+)*?[\d.]+px)[^;]*")
_ROLE_OF: Final = {colour: role for role, colour in COLOURS.items()}
_COLOUR: Final = re.compile("|".join(COLOURS.values()))

_SETTINGS: Final[dict[str, Any]] = {
    "axes.axisbelow": True,
    "axes.edgecolor": COLOURS["line"],
    "axes.facecolor": "none",
    "axes.labelcolor": COLOURS["muted"],
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.dpi": _POINTS,
    "figure.facecolor": "none",
    "font.family": "DejaVu Sans",  # comes with matplotlib, and is wider than fonts of browsers
    "grid.color": COLOURS["line"],
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.6,
    "svg.fonttype": "none",
    "text.color": COLOURS["ink"],
    "text.parse_math": False,  # a symbol may have dollar signs
    "xtick.color": COLOURS["line"],
    "xtick.labelcolor": COLOURS["muted"],
    "xtick.major.size": 3,
    "ytick.color": COLOURS["line"],
    "ytick.labelcolor": COLOURS["muted"],
    "ytick.major.size": 0,
}


@dataclass(frozen=True, slots=True)
class Canvas:
    """The axes of an empty figure, and whether it is for a narrow screen."""

    axes: Axes
    is_narrow: bool


def drawn(
    name: str, paint: Callable[[Canvas], None], heights: tuple[int, int]
) -> tuple[Markup, Markup]:
    """Return a figure as SVG, for wide and for narrow screens, with ``heights`` in pixels.

    Its name keeps its ids distinct from those of other figures of a page.
    """
    return _svg(name, paint, WIDE, heights[0]), _svg(name, paint, NARROW, heights[1])


def _svg(name: str, paint: Callable[[Canvas], None], width: int, height: int) -> Markup:
    """Draw with the settings of pages, and restore those of the host."""
    is_narrow, written = width == NARROW, io.BytesIO()
    with warnings.catch_warnings(), mpl.rc_context():
        # A browser has other fonts, and a few dates more or less do no harm.
        for message in (r"Glyph \d+ ", "AutoDateLocator was unable"):
            warnings.filterwarnings("ignore", message, UserWarning)
        mpl.rcdefaults()
        own = {"svg.hashsalt": f"{name}-{width}", "font.size": 10 if is_narrow else 11}
        mpl.rcParams.update({**_SETTINGS, **own})
        figure = Figure(figsize=(width / _POINTS, height / _POINTS), layout="constrained")
        figure.get_layout_engine().set(w_pad=2 / _POINTS, h_pad=2 / _POINTS)
        paint(Canvas(figure.subplots(), is_narrow))
        figure.savefig(written, format="svg", transparent=True)
    return _inline(written.getvalue(), "narrow" if is_narrow else "wide")


def _inline(document: bytes, variant: str) -> Markup:
    """Return the drawing as a part of a page, without unused ids and without its own style."""
    root = ET.fromstring(document)  # noqa: S314  # what matplotlib has just written
    used = {
        word
        for element in root.iter()
        for value in element.attrib.values()
        for word in re.findall(r"#([\w-]+)", value)
    }
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in {f"{_SVG}metadata", f"{_SVG}style"}:
                parent.remove(child)
        attributes = parent.attrib
        if attributes.get("id") not in used:
            attributes.pop("id", None)
        if (target := attributes.pop(_HREF, None)) is not None:
            attributes["href"] = target
        for key, value in attributes.items():
            attributes[key] = _themed(value)
        parent.text = (parent.text or "").strip() or None
        parent.tail = None
        parent.tag = parent.tag.removeprefix(_SVG)
    box = root.attrib["viewBox"]
    root.attrib.clear()
    root.attrib.update({"class": variant, "viewBox": box, "aria-hidden": "true"})
    # matplotlib has escaped its texts
    return Markup(ET.tostring(root, encoding="unicode"))  # noqa: S704  # as above


def _themed(value: str) -> str:
    value = _COLOUR.sub(lambda found: f"var(--{_ROLE_OF[found[0]]})", value)
    value = _FONT.sub(r"font: \1 var(--font)", value)
    value = _NUMBER.sub(lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), value)
    return value.replace("\n", "").replace("-0 ", "0 ")
