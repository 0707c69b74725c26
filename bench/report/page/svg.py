"""A matplotlib figure as inline SVG that takes its colours from the page and can be filtered."""

from __future__ import annotations

import io
import re
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal
from xml.etree import ElementTree

import matplotlib
from markupsafe import Markup
from matplotlib.artist import Artist
from matplotlib.figure import Figure

# Stand-ins: colours that nobody sees, replaced by the page's variables when the SVG is written, so
# that one drawing serves both colour schemes.
INK, MUTED, GRID, PAPER = "#010101", "#010102", "#010103", "#010104"
SERIES = tuple(f"#0102{i:02x}" for i in range(8))
RARE, MEDIUM, COMMON = "#010301", "#010302", "#010303"
_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--grid",
    PAPER: "--paper",
    RARE: "--rare",
    MEDIUM: "--medium",
    COMMON: "--common",
    **{colour: f"--s{i}" for i, colour in enumerate(SERIES)},
}
DASHES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 9,
    # A $ in the title of a row is a $.
    "text.parse_math": False,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
}
WIDTH = 11.0
_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"


def series(place: int) -> tuple[str, str, str]:
    """Colour, dash and marker of the row at a place; no two of the first 32 are the same."""
    turn, colour = divmod(place, len(SERIES))
    return SERIES[colour], DASHES[turn % len(DASHES)], MARKERS[(colour + turn) % len(MARKERS)]


def style() -> AbstractContextManager[None]:
    """Within it figures are made and written in the page's type and stand-in colours."""
    return matplotlib.rc_context(_STYLE | {"svg.hashsalt": "page"})


@dataclass
class Drawing:
    """A figure and what of it belongs to which row and class; to be drawn within `style`."""

    key: str
    """Unique in the page: the start of the ids in the SVG."""
    height: float
    """Inches; an inch is 96 pixels of the page."""
    layout: Literal["constrained"] | None = "constrained"
    figure: Figure = field(init=False)
    _tags: dict[str, dict[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.figure = Figure(figsize=(WIDTH, self.height), layout=self.layout)
        self.figure.patch.set_visible(False)

    def tag(self, artist: Artist, *, row: str = "", of_class: str = "", title: str = "") -> None:
        """Says whose an artist is, so that the page can hide it, and what a pointer on it says."""
        name = f"tag-{len(self._tags)}"
        artist.set_gid(name)
        self._tags[name] = {"data-row": row, "data-class": of_class, "title": title}

    def svg(self, title: str, alt: str) -> Markup:
        """The SVG element, an image with a name and a description for those who do not see it.

        A drawing may be written several times, under another `key` each time.
        """
        written = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        self.figure.savefig(written, format="svg", metadata=nothing)
        root = ElementTree.fromstring(written.getvalue())
        self._settle(root)
        width, height = (round(96 * inches) for inches in (WIDTH, self.height))
        for name in ("width", "height", "version"):
            root.attrib.pop(name, None)
        name, description = f"{self.key}-title", f"{self.key}-alt"
        root.attrib |= {
            "role": "img",
            "aria-labelledby": name,
            "aria-describedby": description,
            "style": f"width:{width}px;aspect-ratio:{width}/{height}",
        }
        for place, (tag, key, text) in enumerate(
            (("title", name, title), ("desc", description, alt))
        ):
            element = ElementTree.Element(f"{{{_SVG}}}{tag}", {"id": key})
            element.text = text
            root.insert(place, element)
        ElementTree.register_namespace("", _SVG)
        return Markup(_compact(ElementTree.tostring(root, encoding="unicode")))

    def _settle(self, root: ElementTree.Element) -> None:
        """Ids unique in the page, tags as attributes, and nothing but the drawing."""
        for element in list(root):
            if element.tag.endswith("metadata") or element.find(f"{{{_SVG}}}style") is not None:
                root.remove(element)  # a style in an SVG would be one of the whole page
        used = set(re.findall(r"url\(#([^)]+)\)", ElementTree.tostring(root, encoding="unicode")))
        link = f"{{{_XLINK}}}href"
        used |= {e.attrib[link][1:] for e in root.iter() if link in e.attrib}
        for element in root.iter():
            name = element.attrib.pop("id", None)
            if name in used:
                element.set("id", f"{self.key}-{name}")
            tag = self._tags.get(name or "")
            if tag is not None:
                told = dict(tag)
                text = told.pop("title")
                element.attrib |= {key: value for key, value in told.items() if value}
                if text:
                    tip = ElementTree.Element(f"{{{_SVG}}}title")
                    tip.text = text
                    element.insert(0, tip)
            if link in element.attrib:
                element.set("href", f"#{self.key}-{element.attrib.pop(link)[1:]}")
            for key, value in element.attrib.items():
                if "url(#" in value:
                    element.set(key, value.replace("url(#", f"url(#{self.key}-"))


def _compact(svg: str) -> str:
    """Two decimals are enough for a hundredth of a point; the page's font; its colours."""
    svg = re.sub(r'(?<= )(?:d|x|y|transform|points)="[^"]*"', _rounded, svg)
    svg = re.sub(r"font(?:-family)?: ([\d.]+px )?'[^;\"]*;?", _size_only, svg)
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r">\s+<", "><", svg)
    return re.sub(r"#01010[1-4]|#01020[0-7]|#01030[1-3]", lambda m: f"var({_VARIABLES[m[0]]})", svg)


def _rounded(match: re.Match[str]) -> str:
    return re.sub(r"(\.\d\d)\d+", r"\1", match[0]).replace("\n", "").replace("  ", " ")


def _size_only(match: re.Match[str]) -> str:
    return f"font-size: {match[1].strip()};" if match[1] else ""
