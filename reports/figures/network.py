"""The network in one picture, drawn from its spec as an SVG with text in it.

Read on a phone as well, hence two narrow columns: the stages, and what is inside a block. What the
paper draws is upright; numbers that were fitted to its printed counts are in orange italics.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape, quoteattr

from hevitpose.models.spec import HEATMAP_STRIDE, HEViTPoseSpec

_WIDTH, _HEIGHT = 580, 716
_LEFT, _RIGHT = (112, 296), (316, 566)  # the columns' boxes, from x to x
_STRIDES = (4, 8, 16)
_INPUT, _KEYPOINTS = 256, 16  # side of the crop in pixels; heatmaps
_EMPTY = "\u200b"  # carries the way back from an index

#: Okabe and Ito's colours; the second line of each is for dark backgrounds.
_STYLE = """
  text { font: 13px Helvetica, Arial, "Liberation Sans", sans-serif; fill: #1b1b1b; }
  .title { font-size: 17px; font-weight: bold; } .strong { font-weight: bold; }
  .small { font-size: 12px; font-weight: normal; } .soft { fill: #595959; }
  .middle { text-anchor: middle; } .end { text-anchor: end; } .index { font-size: 9px; }
  .fitted { fill: #a84300; font-style: italic; }
  .paper { fill: #ffffff; } .panel { fill: #f4f6f9; stroke: #c3c9d1; }
  .box { fill: #ffffff; stroke: #4a4f57; } .key { fill: #dcebf7; stroke: #0072b2; }
  .front { fill: #dcebf7; stroke: #0072b2; } .side { fill: #a9cdea; stroke: #0072b2; }
  .flow { fill: none; stroke: #4a4f57; stroke-width: 1.3; } .tip { fill: #4a4f57; }
  .cascade { fill: none; stroke: #0072b2; stroke-width: 1.6; stroke-dasharray: 5 3; }
  @media (prefers-color-scheme: dark) {
    text { fill: #ececec; } .soft { fill: #b2b7bf; } .fitted { fill: #f5a860; }
    .paper { fill: #16181c; } .panel { fill: #22262c; stroke: #4a515b; }
    .box { fill: #16181c; stroke: #a8aeb8; } .key { fill: #17405c; stroke: #7cc0f5; }
    .front { fill: #17405c; stroke: #7cc0f5; } .side { fill: #0e2a3e; stroke: #7cc0f5; }
    .flow { stroke: #a8aeb8; } .tip { fill: #a8aeb8; } .cascade { stroke: #7cc0f5; }
  }"""


def network_svg(spec: HEViTPoseSpec, title: str) -> str:
    """Draw a network: stages, channels and maps, the block, and CGSR-MHA where it is used.

    Args:
        spec: the network.
        title: its name.

    Returns:
        One SVG document that follows the reader's light or dark scheme.
    """
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'width="{_WIDTH}" height="{_HEIGHT}" role="img" '
        f"aria-label={quoteattr(f'{title}: network')}>",
        f"<style>{_STYLE}\n</style>",
        _rect(0, 0, _WIDTH, _HEIGHT, "paper", 0),
        _text(16, 30, title, "title"),
        _text(16, 49, "A crop of one person in, one heatmap per keypoint out.", "small soft"),
        *_stages(spec),
        *_block(spec),
        *(_cgsr(spec) if spec.attention == "cgsr" else ()),
        *_legend(),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


# Stages ------------------------------------------------------------------------------------------


def _stages(spec: HEViTPoseSpec) -> Iterator[str]:
    """The left column: crop, three stages, head, heatmaps; beside each the map that comes out."""
    yield from _map(84, 3, 1)
    yield _text(204, 90, "Crop", "strong middle")
    for number in range(3):
        y = 142 + 104 * number
        yield from _arrow(204, y - 24 if number else 98, y)
        yield _rect(_LEFT[0], y, _LEFT[1] - _LEFT[0], 80, "box")
        for line, text in enumerate(_stage_lines(spec, number)):
            yield _text(_LEFT[0] + 10, y + 20 + 17.5 * line, *text)
        width, stride = spec.widths[number], _STRIDES[number]
        yield from _map(y + 36, width, stride, fitted=True)
    y = 454
    yield from _arrow(204, y - 24, y)
    yield _rect(_LEFT[0], y, _LEFT[1] - _LEFT[0], 62, "box")
    channels = ", ".join(map(str, spec.upsampler_channels))
    kind = {"deconv": "transposed conv"}.get(spec.upsampler, spec.upsampler)
    yield _text(_LEFT[0] + 10, y + 20, "Head", "strong")
    yield _text(_LEFT[0] + 10, y + 37.5, f"2 × {kind}", "small")
    yield _text(_LEFT[0] + 10, y + 54, f"{channels} channels", "small fitted")
    yield from _arrow(204, y + 62, y + 90)
    yield _rect(_LEFT[0], y + 90, _LEFT[1] - _LEFT[0], 30, "box")
    yield _text(_LEFT[0] + 10, y + 109.5, "Conv 1×1", "small")
    yield from _arrow(204, y + 120, y + 154)
    yield from _map(y + 162, _KEYPOINTS, HEATMAP_STRIDE)
    yield _text(204, y + 172, "Heatmaps", "strong middle")


def _stage_lines(spec: HEViTPoseSpec, number: int) -> list[tuple[str, str]]:
    """What a stage's box says, with the class of each line."""
    first = (
        (f"OPE {spec.peow + 4}×{spec.peow + 4}, stride 4", "small")
        if number == 0
        else (_DOWNSAMPLINGS.get(spec.downsampling, spec.downsampling) + ", stride 2", "small")
    )
    numbers = []
    if spec.attention in ("cgsr", "cga"):
        numbers.append(f"{spec.groups[number]} groups")
    if spec.attention in ("cgsr", "sra"):
        numbers.append(f"reduction {spec.reductions[number]}")
    if spec.attention in ("mhsa", "sra", "linear-sra", "window"):
        numbers.append(f"{spec.num_heads} heads")
    depth = spec.depths[number]
    return [
        (f"Stage {number + 1}", "strong"),
        first,
        (f"{depth} block{'' if depth == 1 else 's'}", "small fitted"),
        (", ".join(numbers), "small fitted"),
    ]


_DOWNSAMPLINGS = {"subsample-ope": "Subsample & OPE", "ope": "OPE 3×3"}


def _map(y: float, channels: int, stride: int, fitted: bool = False) -> Iterator[str]:
    """A feature map as a slab around y, with its shape below; sides by logarithm."""
    pixels = _INPUT // stride
    width = height = 8.0 * max(1.0, math.log2(pixels) - 1.5)
    depth = 2 + 20 * min(1.0, channels / 400)
    x, top = 54 - width / 2 - depth / 2, y - height / 2 + depth / 4
    d, e = depth, depth / 2
    yield (
        f'<path class="side" d="M{x:.1f} {top:.1f}l{d:.1f} {-e:.1f}h{width:.1f}v{height:.1f}'
        f'l{-d:.1f} {e:.1f}v{-height:.1f}z"/>'
    )
    yield (
        f'<path class="flow" d="M{x + width:.1f} {top:.1f}l{d:.1f} {-e:.1f}" '
        'style="stroke-width:1"/>'
    )
    yield _rect(round(x, 1), round(top, 1), round(width, 1), round(height, 1), "front", 0)
    shape = f"{channels} × {pixels} × {pixels}"
    yield _text(54, y + height / 2 + 20, shape, "small middle" + (" fitted" if fitted else ""))


# Inside a block ----------------------------------------------------------------------------------


def _block(spec: HEViTPoseSpec) -> Iterator[str]:
    """The five lines of a block with their shortcuts."""
    left, right = _RIGHT
    dwconv = ["DWConv 3×3"] if spec.dwconv else []
    ffn = f"FFN, {spec.ffn_ratio} × C" if spec.ffn == "standard" else f"FFN: {spec.ffn}"
    attention = {"cgsr": ["CGSR-MHA"], "none": []}.get(spec.attention, [spec.attention])
    rows = [*dwconv, ffn, *attention, *dwconv, *([ffn] if spec.ffns_per_block == 2 else [])]
    yield _rect(left, 64, right - left, 48 + 43 * len(rows), "panel")
    yield _text(left + 12, 84, "Block ~each line with its shortcut~", "strong")
    middle, y = left + 112, 98
    for row in rows:
        special = row in attention
        yield _line(f"M{middle} {y}v8")
        yield _rect(left + 42, y + 8, 140, 22, "key" if special else "box")
        yield _text(middle, y + 23.5, row, "small middle")
        yield _line(f"M{middle} {y + 2}H{right - 44}V{y + 37}H{middle + 6}")
        yield from _plus(middle, y + 37)
        y += 43
    yield from _arrow(middle, y, y + 10)


def _cgsr(spec: HEViTPoseSpec) -> Iterator[str]:
    """CGSR-MHA: one group, and how groups follow one another."""
    left, right = _RIGHT
    yield _rect(left, 336, right - left, 308, "panel")
    yield _text(left + 12, 356, "CGSR-MHA ~one group after another~", "strong")
    q, k, v = left + 44, left + 125, left + 206
    yield _text(k - 10, 380, "X_{i}", "small end")
    yield from _arrow(k, 364, 381)
    yield from _plus(k, 387)
    if spec.cascade:
        yield _line(f"M{right - 44} 387H{k + 7}", "cascade")
        yield _text(right - 40, 391, "Y_{i−1}", "small")
    yield _line(f"M{k} 393v8M{q} 401H{(k + v) / 2}M{q} 401V462M{(k + v) / 2} 401v6")
    reduce = "Conv R×R, stride R" if spec.reduction_mode == "conv" else "Average pool R×R"
    yield from _boxes([((k + v) / 2, 152)], 407, [reduce])
    yield _line(f"M{k} 431v8M{v} 431v8")
    yield from _boxes([(k, 68), (v, 68)], 439, ["K 1×1", "V 1×1"])
    yield _line(f"M{k} 463v8M{v} 463v8M{q} 462v9")
    columns = [(q, 68), (k, 68), (v, 68)]
    y = 471
    steps = [["LN"] * 3, *([["head 1×1"] * 3] if spec.per_head_conv else [])]
    for labels in steps:
        yield from _boxes(columns, y, labels)
        yield _line("".join(f"M{x} {y + 24}v8" for x, _ in columns))
        y += 32
    yield _line("".join(f"M{x} {y}v10" for x, _ in columns))
    y += 8
    for name, (x, _) in zip("qkv", columns, strict=True):
        yield _text(x + 6, y - 3, name, "small soft")
    linear = "Linear, LN" if spec.group_linear else "LN"
    for label in (
        f"softmax(q kᵀ / √d) v, *{spec.num_heads} heads*",
        f"heads together, {linear}: Y_{{i}}",
    ):
        yield from _boxes([(k, 230)], y + 2, [label], strong=label[:4] == "soft")
        yield _line(f"M{k} {y + 26}v8")
        y += 32
    if spec.cascade:  # to the next group
        yield _line(f"M{right - 10} {y - 18}h4V387h-4", "cascade")
    yield from _boxes([(k, 230)], y + 2, ["Y_{1} … Y_{G} together, Conv 1×1, BN"])


def _legend() -> Iterator[str]:
    lines = (
        "Upright: drawn in the paper. *Italic: fitted by us to its printed parameters and GFLOPs.*",
        "Layers inside DWConv, FFN, OPE and Subsample & OPE are fitted as well.",
    )
    for number, line in enumerate(lines):
        yield _text(16, 680 + 17 * number, line, "small soft")


# Shapes ------------------------------------------------------------------------------------------


def _text(x: float, y: float, text: str, style: str = "") -> str:
    """A line of text: ``_{i}`` is an index, ``*...*`` was fitted, ``~...~`` is said softly."""
    marked = re.sub(
        r"_\{(.*?)\}", rf'<tspan class="index" dy="3">\1</tspan><tspan dy="-3">{_EMPTY}</tspan>',
        escape(text),
    )  # fmt: skip
    marked = re.sub(r"\*(.*?)\*", r'<tspan class="fitted">\1</tspan>', marked)
    marked = re.sub(r"~(.*?)~", r'<tspan class="small soft" dx="6">\1</tspan>', marked)
    return f'<text x="{x:g}" y="{y:g}" class="{style}">{marked}</text>'


def _rect(x: float, y: float, width: float, height: float, style: str, radius: int = 5) -> str:
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{radius}" '
        f'class="{style}"/>'
    )


def _boxes(
    places: Sequence[tuple[float, float]], y: float, labels: Sequence[str], strong: bool = False
) -> Iterator[str]:
    """Boxes of 24 around (x, width), each with its label."""
    for (x, width), label in zip(places, labels, strict=True):
        yield _rect(x - width / 2, y, width, 24, "key" if strong else "box")
        yield _text(x, y + 16.5, label, "small middle")


def _line(path: str, style: str = "flow") -> str:
    return f'<path class="{style}" d="{path}"/>'


def _arrow(x: float, start: float, end: float) -> Iterator[str]:
    yield _line(f"M{x:g} {start:g}V{end - 5:g}")
    yield f'<path class="tip" d="M{x:g} {end:g}l-4 -7h8z"/>'


def _plus(x: float, y: float) -> Iterator[str]:
    yield f'<circle class="box" cx="{x:g}" cy="{y:g}" r="6"/>'
    yield _line(f"M{x - 3:g} {y:g}h6M{x:g} {y - 3:g}v6")
