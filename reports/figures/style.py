"""One look for every plot: colours, markers, fonts, and the digest that stands for a picture.

Colours are Okabe and Ito's, told apart by colour-blind readers; series also differ in marker and
line, so that a grey print says the same.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hevitpose.evaluation.statistics import BETTER, WORSE
from hevitpose.files import replacing, write_atomically
from hevitpose.markdown import plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Raised when the look of all plots changes: it is part of each picture's digest.
STYLE_VERSION = 4
BLUE, ORANGE, GREEN, RED, PURPLE, SKY, YELLOW, BLACK = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#000000",
)  # fmt: skip
GREY = "#767676"
SERIES = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, BLACK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
#: Colour and marker of what is judged; "reference" is the default itself.
VERDICTS = {BETTER: (GREEN, "^"), WORSE: (RED, "v"), "reference": (BLACK, "D")}
_Sides = tuple[float, float, float, float]  # left, bottom, right, top
#: Where a label may stand, as seen from its point.
_AROUND = ((1, 0), (-1, 0), (0, 1), (0, -1), (0.8, 0.7), (-0.8, 0.7), (0.8, -0.7), (-0.8, -0.7))
LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))

RC: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.dpi": 100,
    "savefig.dpi": 160,
    "svg.fonttype": "path",  # glyphs travel with the file
    "svg.hashsalt": "hevitpose",
    "text.parse_math": False,  # names from records are text, whatever they hold
}


def digest(data: Any) -> str:
    """What a picture shows, as a hash: its data to ten digits, and the style's version."""
    text = json.dumps([STYLE_VERSION, _rounded(data)], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def _rounded(data: Any) -> Any:
    """Plain data without the last digits, in which processors' linear algebra differs."""
    if isinstance(data, Mapping):
        return {key: _rounded(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_rounded(value) for value in data]
    return float(f"{round(data, 12):.10g}") if isinstance(data, float) else data


def point(axes: Any, x: float, y: float, tip: str, **kwargs: Any) -> None:
    """A marker that says its values when the mouse or the keyboard is on it.

    Args:
        axes: to draw on.
        x: in data units.
        y: in data units.
        tip: what to say.
        kwargs: of ``axes.plot``.
    """
    tips = axes.figure.__dict__.setdefault("hover_tips", [])
    kwargs = {"ls": "none", "marker": "o"} | kwargs
    axes.plot([x], [y], gid=f"point-{len(tips)}", **kwargs)
    tips.append(tip)


def verdict_bar(
    axes: Any, y: float, gap: Any, verdict: Any, tip: str, lw: float = 1.6, mew: float = 1.4
) -> None:
    """A point (value, low, high) on its interval, if it has one, that looks like its verdict."""
    value, low, high = gap
    color, marker = VERDICTS.get(verdict, (BLUE, "o"))
    if low is not None and high is not None:
        axes.plot([low, high], [y, y], color=color, lw=lw, solid_capstyle="butt")
    face = color if verdict in VERDICTS else "white"
    point(axes, value, y, tip, marker=marker, ms=6, color=color, mfc=face, mew=mew)


def _with_tips(svg: str, tips: Sequence[str]) -> str:
    """Titles for the points of a picture: browsers show them on hover."""

    def name(match: re.Match[str]) -> str:
        tip = html.escape(plain(tips[int(match[1])]), quote=True)
        return (
            f'<g id="point-{match[1]}" class="point" tabindex="0" role="img" aria-label="{tip}">'
            f"<title>{tip}</title>"
        )

    return re.sub(r'<g id="point-(\d+)">', name, svg)


def _smaller_pictures(svg: str) -> str:
    """Pictures inside an SVG as JPEG: as PNG, photographs would be five times as large."""
    from PIL import Image

    def encode(match: re.Match[str]) -> str:
        buffer = io.BytesIO()
        with Image.open(io.BytesIO(base64.b64decode(match[1]))) as picture:
            picture.convert("RGB").save(buffer, "JPEG", quality=88)
        return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"

    svg = re.sub(r"data:image/png;base64,\s*([A-Za-z0-9+/=\s]+)", encode, svg)
    # Named by content: a picture that is shown twice would have one id twice.
    return re.sub(r' id="image[0-9a-f]+"', "", svg)


def settle(figure: Any) -> None:
    """Finds the layout once, for labels that look for room and for every format."""
    if figure.get_layout_engine() is not None:
        figure.draw_without_rendering()
        figure.set_layout_engine(None)


def save(figure: Figure, paths: Iterable[Path], shown: str) -> None:
    """Writes a picture, each file with the digest of its data instead of a date.

    Args:
        figure: finished.
        paths: ``.svg`` and ``.png`` files; folders are made if absent.
        shown: the digest of everything that the picture shows.
    """
    mark = f"data-digest:{shown}"
    settle(figure)
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".svg":
            buffer = io.StringIO()
            metadata = {"Date": None, "Creator": None, "Description": mark}
            figure.savefig(buffer, format="svg", metadata=metadata)
            text = _with_tips(buffer.getvalue(), figure.__dict__.get("hover_tips", []))
            lines = (line.rstrip() for line in _smaller_pictures(text).splitlines())
            write_atomically(path, "\n".join(lines) + "\n")
        else:
            metadata = {"Software": None, "Description": mark}
            with replacing(path) as file:
                figure.savefig(file, format="png", metadata=metadata)


def read_digest(path: Path) -> str | None:
    """The digest inside a picture; None when there is none."""
    try:
        head = path.read_bytes()[:20_000]
    except OSError:
        return None
    start = head.find(b"data-digest:")
    if start < 0:
        return None
    return head[start + 12 : start + 32].decode("ascii", "replace")


def new_figure(
    width: float = 6.4,
    height: float = 4.2,
    rows: int = 1,
    columns: int = 1,
    widths: Sequence[float] | None = None,
) -> Any:
    """A figure and its axes in the project's look, without touching global state.

    Args:
        width: inches.
        height: inches.
        rows: of axes.
        columns: of axes.
        widths: of the columns, relative to each other; equal when None.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    plt.rcdefaults()
    plt.rcParams.update(RC)
    figure, axes = plt.subplots(
        rows, columns, figsize=(width, height), layout="constrained", width_ratios=widths
    )
    return figure, axes


def close(figure: Figure) -> None:
    """Frees a figure."""
    from matplotlib import pyplot as plt

    plt.close(figure)


def plain_log_ticks(axis: Any) -> None:
    """Numbers at a logarithmic axis as they are (20, 500), not as powers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def place_labels(
    axes: Any,
    points: Sequence[tuple[float, float, str]],
    size: float = 7.5,
    radii: Sequence[float] | None = None,
) -> None:
    """Writes a label beside each point so that labels overlap neither each other nor points.

    Tries positions around the point at growing distance and takes the first free one; a label that
    had to move far gets a thin line to its point.

    Args:
        axes: finished but for these: what is added later would move them.
        points: x, y in data units, and text.
        size: of the font.
        radii: of the points' markers, in typographic points, to stay clear of.
    """
    figure = axes.figure
    settle(figure)
    # Paper under a label keeps a line that runs below it apart; bubbles would be cut by it.
    box = {"boxstyle": "square,pad=0.05", "fc": "white", "ec": "none", "alpha": 0.9}
    paper = None if radii else box
    pixels = figure.dpi / 72  # of a typographic point
    clear = [r * pixels for r in radii] if radii else [3.0 * pixels] * len(points)
    reach = [(r or 3.0) * pixels for r in radii] if radii else [5.0] * len(points)
    renderer = figure.canvas.get_renderer()
    spots = [axes.transData.transform((x, y)) for x, y, _ in points]
    frame = _sides(axes.get_window_extent(renderer))
    taken: list[Any] = []
    for i in sorted(range(len(points)), key=lambda i: -spots[i][1]):
        x, y, text = points[i]
        label = axes.annotate(
            text, (x, y), xytext=(0, 0), textcoords="offset points", fontsize=size,
            ha="center", va="center", zorder=6, bbox=paper,
        )  # fmt: skip
        extent = label.get_window_extent(renderer)
        others = [
            (sx - r, sy - r, sx + r, sy + r)
            for j, ((sx, sy), r) in enumerate(zip(spots, reach, strict=True))
            if j != i
        ]
        found = _free_place(
            spots[i], (extent.width, extent.height), clear[i], frame, [*taken, *others]
        )
        if found is None:
            above = spots[i][0], spots[i][1] + 12
            found = (0.0, 12.0), 0.0, (*above, *above)
        (dx, dy), distance, sides = found
        label.set_position((dx / pixels, dy / pixels))
        taken.append(sides)
        if distance > clear[i] + 16:
            axes.annotate(
                "", (x, y), xytext=(dx / pixels * 0.72, dy / pixels * 0.72),
                textcoords="offset points",
                arrowprops={"arrowstyle": "-", "color": GREY, "lw": 0.6},
            )  # fmt: skip


def _free_place(
    spot: Sequence[float],
    size: tuple[float, float],
    clear: float,
    frame: _Sides,
    taken: Sequence[_Sides],
) -> tuple[tuple[float, float], float, _Sides] | None:
    """The first place around a point where a label is in the frame and on nothing else.

    Returns:
        Its centre as seen from the point, how far the label is from it, and its sides, in pixels;
        None where every place is taken.
    """
    width, height = size
    for distance in (clear + extra for extra in (4, 8, 14, 22, 32, 44, 60)):
        for right, up in _AROUND:
            dx, dy = right * (distance + width / 2), up * (distance + height / 2)
            x, y = spot[0] + dx, spot[1] + dy
            sides = (x - width / 2 - 1, y - height / 2 - 1, x + width / 2 + 1, y + height / 2 + 1)
            inside = (
                sides[0] >= frame[0] and sides[1] >= frame[1]
                and sides[2] <= frame[2] and sides[3] <= frame[3]
            )  # fmt: skip
            if inside and not any(_overlap(sides, other) for other in taken):
                return (dx, dy), distance, sides
    return None


def _sides(box: Any) -> _Sides:
    return box.x0, box.y0, box.x1, box.y1


def _overlap(a: _Sides, b: _Sides) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
