"""One look for all figures: sheets of small images, and plots, sized in inches for a page."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mmvae_jax.run_files import write_atomically

DPI = 200
COLOURS = ("#3b6fb6", "#d1603d", "#4c9a6a", "#8a63a8", "#b08d3c", "#5aa5b8", "#b3557f", "#777777")
SETTINGS = {
    "font.family": "sans-serif",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.titleweight": "regular",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.prop_cycle": matplotlib.cycler(color=COLOURS),
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.2,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.framealpha": 0.8,  # over lines it can still be read
    "legend.edgecolor": "none",
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "text.color": "#222222",
    "axes.labelcolor": "#222222",
    "pdf.fonttype": 42,  # TrueType: publishers refuse the other kind
}
PAGE = 7.5  # inches: what is no wider is printed at its own size, letters and all
_CELL = 0.28  # inches: an image
_GAP = 0.22  # between panels, and the outer margin
_LINE = 0.17  # a line of text
_LETTER = 0.062  # the width of one letter


@dataclasses.dataclass(frozen=True, eq=False)
class Panel:
    """A grid of images [rows, columns, H, W, 3], float in [0, 1], NaN where a cell is empty.

    Attributes:
      images: the grid.
      title: what one sees, above it.
      row_labels: one per row, or none.
      row_texts: one per row, at its right, of up to three lines, or none.
      column_labels: one per column, or none; upright where they are wider than an image.
      below: one per column, under the grid, or none.
      below_label: what these are, as a row label.
      rules: rows after which a little space is left, to group them.
      header: whether the first column stands apart from the others.
    """

    images: np.ndarray
    title: str = ""
    row_labels: Sequence[str] = ()
    row_texts: Sequence[str] = ()
    column_labels: Sequence[str] = ()
    below: Sequence[str] = ()
    below_label: str = ""
    rules: Sequence[int] = ()
    header: bool = False

    @property
    def cell(self) -> float:
        """Inches across an image."""
        return _CELL * self.images.shape[3] / self.images.shape[2]

    @property
    def left(self) -> float:
        """Inches that the row labels take."""
        return _LETTER * max(map(len, (*self.row_labels, self.below_label)), default=0) + 0.06

    @property
    def right(self) -> float:
        """Inches that the texts at the right take."""
        lines = (line for text in self.row_texts for line in text.split("\n"))
        return _LETTER * max(map(len, lines), default=0)

    @property
    def top(self) -> float:
        """Inches that title and column labels take."""
        return _LINE * bool(self.title) + self.height_of(self.column_labels) + 0.05

    @property
    def bottom(self) -> float:
        """Inches that the text under the grid takes."""
        return self.height_of(self.below)

    def upright(self, labels: Sequence[str]) -> bool:
        """Whether labels of columns stand upright, since one is wider than its room."""
        rooms = rooms_of(labels)
        return any(
            len(label) * _LETTER > 1.25 * room * self.cell
            for label, room in zip(labels, rooms, strict=True)
        )

    def height_of(self, labels: Sequence[str]) -> float:
        """Inches that labels of columns take."""
        longest = max(map(len, labels), default=0)
        return _LETTER * longest + 0.04 if self.upright(labels) else _LINE * bool(labels)

    @property
    def size(self) -> tuple[float, float]:
        """(width, height) in inches, labels included."""
        rows, columns = self.images.shape[:2]
        across = self.left + (columns + self.header / 8) * self.cell + self.right
        across = max(across, self.left + _LETTER * len(self.title))
        grid = rows * _CELL + len(self.rules) * _CELL / 8
        return across, self.top + grid + self.bottom


def rooms_of(labels: Sequence[str]) -> list[int]:
    """How many columns each label has to itself: those behind it without a label are its own."""
    ends = [*(place for place, label in enumerate(labels) if label), len(labels)]
    rooms = dict(zip(ends, np.diff(ends).tolist(), strict=False))
    return [rooms.get(place, 1) for place in range(len(labels))]


def plain(text: str) -> str:
    """Text from data as it is: no mathematics between dollar signs, no line breaks, not long."""
    text = " ".join(str(text).split())
    return (text if len(text) <= 40 else text[:39] + "…").replace("$", r"\$")


def short(text: str, letters: int) -> str:
    """`plain` text of so many letters at most."""
    text = plain(text)
    return text if len(text) <= letters else text[: letters - 1].rstrip() + "…"


def as_rgb(images: np.ndarray) -> np.ndarray:
    """Images [..., H, W] or [..., H, W, 1 or 3] as [..., H, W, 3], clipped to [0, 1]."""
    images = np.asarray(images, np.float32)
    if images.shape[-1] not in (1, 3):
        images = images[..., None]
    return np.clip(np.broadcast_to(images, (*images.shape[:-1], 3)), 0.0, 1.0)


def mosaic(panel: Panel, space: int = 1) -> np.ndarray:
    """The panel's images side by side, ``space`` white pixels between them."""
    rows, columns, height, width, _ = panel.images.shape
    extra, apart = max(1, round(height / 8)), panel.header * max(1, round(width / 8))
    total = rows * (height + space) + len(panel.rules) * extra - space
    canvas = np.ones((total, columns * (width + space) + apart - space, 3), np.float32)
    top = 0
    for row in range(rows):
        for column in range(columns):
            image = panel.images[row, column]
            left = column * (width + space) + apart * (column > 0)
            canvas[top : top + height, left : left + width] = np.where(np.isnan(image), 1.0, image)
        top += height + space + (extra if row in panel.rules else 0)
    return canvas


def in_lines(panels: Sequence[Panel]) -> list[list[Panel]]:
    """Panels in lines, as many side by side as a page holds."""
    lines: list[list[Panel]] = []
    free = 0.0
    for panel in panels:
        needed = panel.size[0] + _GAP
        if needed > free:
            lines.append([])
            free = PAGE - _GAP
        lines[-1].append(panel)
        free -= needed
    return lines


def in_parts(count: int, most: int) -> list[slice]:
    """So many things in as few equal parts as hold no more than ``most`` each."""
    parts = -(-count // most)
    ends = [round(part * count / parts) for part in range(parts + 1)] if count else []
    return [slice(start, end) for start, end in itertools.pairwise(ends)]


def sheet(title: str, panels: Sequence[Sequence[Panel]], note: str = "") -> Figure:
    """Lines of panels under one title; ``note`` stands in small letters at the bottom."""
    widths = [sum(p.size[0] + _GAP for p in line) + _GAP for line in panels]
    heights = [max(p.size[1] for p in line) for line in panels]
    width = max([*widths, _LETTER * 1.4 * len(title) + 2 * _GAP])
    head, foot = 2 * _LINE + 0.1, _LINE + 0.08 if note else 0.0
    height = head + sum(heights) + _GAP * len(panels) + foot
    figure = new_figure(width, height)
    figure.text(_GAP / width, 1 - _LINE / height, title, fontsize=10, va="top", weight="bold")
    top = head
    for line, line_height in zip(panels, heights, strict=True):
        left = _GAP
        for panel in line:
            _draw(figure, panel, left, top, width, height)
            left += panel.size[0] + _GAP
        top += line_height + _GAP
    if note:
        figure.text(_GAP / width, 0.08 / height, note, fontsize=7, color="#666666")
    return figure


def _draw(
    figure: Figure, panel: Panel, left: float, top: float, width: float, height: float
) -> None:
    canvas = mosaic(panel)
    down = panel.size[1] - panel.top - panel.bottom
    across = down * canvas.shape[1] / canvas.shape[0]
    bottom = height - top - panel.top - down
    axes = figure.add_axes(
        ((left + panel.left) / width, bottom / height, across / width, down / height)
    )
    # "none": a PDF gets the very pixels, which it scales; elsewhere it means the nearest pixel.
    axes.imshow(canvas, interpolation="none", aspect="auto", vmin=0, vmax=1)
    axes.set_axis_off()
    tall, wide = panel.images.shape[2:4]
    # Centres of rows in the canvas, with the extra space of the rules above them.
    extra = max(1, round(tall / 8))
    for row, label in enumerate(panel.row_labels):
        y = row * (tall + 1) + tall / 2 + extra * sum(rule < row for rule in panel.rules)
        axes.text(-wide * 0.15, y - 0.5, label, ha="right", va="center", fontsize=7)
    for row, text in enumerate(panel.row_texts):
        y = row * (tall + 1) + tall / 2 + extra * sum(rule < row for rule in panel.rules)
        axes.text(canvas.shape[1] + wide * 0.1, y - 0.5, text, va="center", fontsize=7)
    under = canvas.shape[0] + tall * 0.12
    above = -tall * 0.12
    for labels, y, side in ((panel.column_labels, above, "bottom"), (panel.below, under, "top")):
        turned = 90 if panel.upright(labels) else 0
        for column, (label, room) in enumerate(zip(labels, rooms_of(labels), strict=True)):
            over_all = room > 1 and not turned
            x = column * (wide + 1) + (0 if over_all else wide / 2) - 0.5
            across = "left" if over_all else "center"
            axes.text(x, y, label, ha=across, va=side, fontsize=7, rotation=turned)
    if panel.below:
        axes.text(-wide * 0.15, under, panel.below_label, ha="right", va="top", fontsize=7)
    if panel.title:
        y = (height - top - 0.02) / height
        figure.text((left + panel.left) / width, y, panel.title, fontsize=8, va="top")


def new_figure(width: float, height: float) -> Figure:
    """A figure of that many inches that no window system knows of."""
    figure = Figure(figsize=(width, height), dpi=DPI)
    FigureCanvasAgg(figure)
    return figure


def some(shown: int, total: int, what: str) -> str:
    """What a figure says that leaves some out; nothing where it shows all."""
    return f"the first {shown} of {total} {what}" if shown < total else ""


def plots(title: str, count: int, columns: int = 0, note: str = "") -> tuple[Figure, list[Axes]]:
    """``count`` plots under one title, so many ``columns`` side by side (0: all), and a note."""
    columns = min(columns or count, count)
    rows = -(-count // columns)
    figure = new_figure(min(3.2 * columns, PAGE), 2.4 * rows + 0.3)
    figure.set_layout_engine("constrained")
    figure.suptitle(title, fontsize=10, weight="bold", x=0.01, ha="left")
    if note:
        figure.supxlabel(note, fontsize=7, color="#666666", x=0.01, ha="left")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for unused in axes[count:]:
        unused.remove()
    return figure, axes[:count]


def save(figure: Figure, path: Path) -> Path:
    """Writes a PNG, or what else the name ends in, in one move."""
    kind = path.suffix.lower().removeprefix(".")
    # Without a date the same figure gives the same file.
    about = {"CreationDate": None} if kind == "pdf" else None
    write_atomically(path, lambda file: figure.savefig(file, format=kind, dpi=DPI, metadata=about))
    return path
