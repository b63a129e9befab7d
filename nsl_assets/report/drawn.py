"""A drawn figure as the report shows it: PNG, SVG and PDF bytes, and SVG that can stand inside a page."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Record = Mapping[str, Any]
"""One line of a data file, by column."""
CLUTTER: Final = (
    (r"<metadata>.*?</metadata>", ""),
    (r"<style.*?</style>", ""),
    (r"<!--.*?-->", ""),
    (r' transform="rotate\(-?0 [^"]*"', ""),
    (r"<g>\s*</g>", ""),
    (r"\s*\n\s*", "\n"),
)
"""What a page does not need of a file, and what stands there instead."""
FONTS: Final = "'DejaVu Sans', Verdana, sans-serif"


@dataclass(frozen=True)
class Marks:
    """What can be pointed at in a figure: one series, drawn with the `gid` of its key."""

    tips: tuple[str, ...] = ()
    """What is said of each marker, in the order drawn; empty for a line or a band."""
    model: str = ""
    """The model it belongs to; empty where it belongs to none."""


@dataclass(frozen=True, eq=False)
class Drawn:
    """One figure of the report with its words and its numbers."""

    name: str
    """Of its files; letters, digits, hyphens."""
    title: str
    figure: "Figure"
    caption: str
    records: Sequence[Record] = ()
    """What it shows, for the data file; columns end in their units."""
    marks: Mapping[str, Marks] = field(default_factory=dict)
    task: str = ""
    """The only task that it shows; empty where there are more."""
    model: str = ""
    """The only model that it shows; empty where there are more."""

    def png(self) -> bytes:
        """The figure as PNG, 1,280 pixels wide; the same figure gives the same bytes."""
        return _saved(self.figure, "png", {"Software": None})

    def pdf(self) -> bytes:
        """The figure as PDF with text as text."""
        return _saved(self.figure, "pdf", {"CreationDate": None, "Producer": None, "Creator": None})

    def svg(self) -> bytes:
        """The figure as a file of its own, text as text."""
        return _with_fonts(_saved(self.figure, "svg", {"Date": None, "Creator": None}).decode()).encode()


def file_name(*parts: object) -> str:
    """A name for files from any text: lower-case letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", " ".join(map(str, parts)).lower()).strip("-") or "figure"


def _saved(figure: "Figure", kind: Literal["png", "pdf", "svg"], metadata: dict[str, None]) -> bytes:
    import matplotlib as mpl

    buffer = BytesIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "nsl", "pdf.fonttype": 42}):
        _lay_out(figure)
        figure.savefig(buffer, format=kind, metadata=metadata)
    return buffer.getvalue()


def _lay_out(figure: "Figure") -> None:
    """Give everything its room, once."""
    if figure.get_layout_engine() is not None:
        figure.draw_without_rendering()
        figure.set_layout_engine("none")


def _with_fonts(svg: str) -> str:
    """Other fonts where a reader's machine does not have ours."""
    return re.sub(r"'DejaVu Sans'(?!, Verdana)[^;\"]*", FONTS, svg)


class Inliner:
    """Makes SVG files into parts of one page; what they have in common is written once, as style classes."""

    def __init__(self) -> None:
        self._classes: dict[str, str] = {}

    def inline(self, svg: bytes, prefix: str, label: str, gids: Iterable[str]) -> str:
        """SVG without prolog, its size left to the page; ids begin with ``prefix``, those that nothing needs go."""
        from markupsafe import escape

        text = svg.decode()
        view_box = re.search(r'viewBox="[^"]*"', text)
        if view_box is None:
            raise ValueError("the picture has no view box: SVG as matplotlib writes it is expected.")
        body = text[text.index(">", view_box.end()) + 1 :]
        for pattern, replacement in CLUTTER:
            body = re.sub(pattern, replacement, body, flags=re.DOTALL)
        body = re.sub(r'="[^"]*"', lambda found: re.sub(r"(?<=\d)\.(\d{2})\d+", r".\1", found[0]), body)
        needed = {*gids, *re.findall(r'(?:href="|url\()#([^")]+)', body)}
        body = re.sub(r' id="([^"]*)"', lambda found: f' id="{prefix}-{found[1]}"' if found[1] in needed else "", body)
        body = re.sub(r'(href="|url\()#', rf"\g<1>#{prefix}-", body)
        body = re.sub(r'style="([^"]*)"', lambda found: f'class="{self._class(found[1])}"', body)
        opening = f'<svg data-figure="{prefix}" {view_box[0]} role="img" aria-label="{escape(label)}">'
        return f"{opening}{body}"

    def _class(self, style: str) -> str:
        return self._classes.setdefault(style, f"m{len(self._classes)}")

    @property
    def css(self) -> str:
        """The styles of all parts made so far."""
        return "\n".join(f".{name}{{{style}}}" for style, name in self._classes.items())
