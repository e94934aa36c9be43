"""The picture of the network: what the spec says, and every word where a reader sees it whole."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import pytest
from PIL import ImageFont

from hevitpose.models.spec import VARIANTS, resolve
from reports.figures.network import network_svg

#: The widest of the fonts that a reader may have for it.
FONT = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
SVG = "{http://www.w3.org/2000/svg}"
SPECS = {
    **VARIANTS,
    "mhsa": resolve("t", attention="mhsa", downsampling="patch-merging", ffns_per_block=1),
    "window": resolve("b", attention="window", dwconv=False, ffn="gated", upsampler="bilinear"),
    "none": resolve("nano", attention="none", downsampling="non-overlapping"),
    "parts": resolve("s", cascade=False, reduction_mode="avg-pool", per_head_conv=False),
    "mine": resolve("s", attention="linear-sra", upsampler="pixel-shuffle"),
}


def size_of(style: str) -> int:
    return next(
        (n for name, n in (("title", 17), ("small", 12), ("index", 9)) if name in style), 13
    )


def width_of(words: str | None, style: str) -> float:
    bold = "strong" in style or "title" in style
    text = (words or "").replace("\u200b", "")
    return ImageFont.truetype(str(FONT), size_of(style)).getlength(text) * (1.12 if bold else 1)


def texts(svg: str) -> list[tuple[str, float, float, float, float]]:
    """(text, left, right, baseline, size) of every line."""
    found = []
    for node in ElementTree.fromstring(svg).iter(f"{SVG}text"):
        words, style = "".join(node.itertext()), node.get("class", "")
        size = size_of(style)
        width = width_of(node.text, style)
        for part in node:
            width += float(part.get("dx", 0)) + width_of(part.text, part.get("class", style))
            width += width_of(part.tail, style)
        x, y = float(node.get("x")), float(node.get("y"))
        left = x - width / 2 if "middle" in style else x - width if "end" in style else x
        found.append((words, left, left + width, y, size))
    return found


@pytest.mark.parametrize("name", SPECS)
def test_no_word_is_cut_or_covers_another(name):
    svg = network_svg(SPECS[name], name)
    width, height = map(float, re.search(r'viewBox="0 0 (\d+) (\d+)"', svg).groups())
    lines = texts(svg)
    for words, left, right, y, size in lines:
        assert left >= 4 and right <= width - 4 and size < y < height - 4, words
    for i, (one, a, b, y, size) in enumerate(lines):
        for other, c, d, z, _ in lines[i + 1 :]:
            apart = b <= c or d <= a or abs(y - z) >= size
            assert apart, (one, other)


@pytest.mark.parametrize("name", SPECS)
def test_words_fit_into_their_boxes(name):
    svg = network_svg(SPECS[name], name)
    boxes = [
        tuple(float(node.get(key)) for key in ("x", "y", "width", "height"))
        for node in ElementTree.fromstring(svg).iter(f"{SVG}rect")
        if node.get("class") in ("box", "key", "panel")
    ]
    assert len(boxes) > 7
    for words, left, right, y, size in texts(svg):
        for x, top, width, height in boxes:
            if left < x + width and right > x and top < y - size / 2 < top + height:
                assert x <= left and right <= x + width, words


def test_it_says_what_the_spec_says():
    svg = network_svg(VARIANTS["hevitpose_s"], "HEViTPose-S")
    said = [line[0] for line in texts(svg)]
    for words in ("128 × 64 × 64", "160 × 32 × 32", "256 × 16 × 16", "16 × 64 × 64"):
        assert words in said
    assert said.count("3 blocks") == 2 and "1 block" in said
    assert {"2 groups, reduction 8", "4 groups, reduction 2", "192, 96 channels"} <= set(said)
    assert any("fitted by us" in line for line in said)


def test_parts_that_are_left_out_are_not_drawn():
    plain = [line[0] for line in texts(network_svg(SPECS["parts"], "parts"))]
    assert "head 1×1" not in plain and "Average pool R×R" in plain
    assert not any(line.startswith("Y") and "i−1" in line for line in plain)
    none = [line[0] for line in texts(network_svg(SPECS["none"], "none"))]
    assert not any("MHA" in line or "group" in line for line in none)
    assert [line[0] for line in texts(network_svg(SPECS["window"], "w"))].count("DWConv 3×3") == 0


def test_hostile_titles_are_text():
    svg = network_svg(VARIANTS["hevitpose_t"], '<b>&"*_{')
    ElementTree.fromstring(svg)


def test_it_follows_the_readers_scheme():
    svg = network_svg(VARIANTS["hevitpose_t"], "T")
    dark = svg.partition("prefers-color-scheme: dark")[2]
    for style in re.findall(r'class="(\w+)', svg):
        assert f".{style} " in svg or style in ("title", "small", "strong", "index")
    assert all(f".{style} " in dark for style in ("paper", "panel", "box", "key", "fitted"))
