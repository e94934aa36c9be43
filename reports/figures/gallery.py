"""The gallery: people as a recorded network sees them (``results/gallery``).

``bench/gallery.py`` makes it from a run's weights: ``people.jpg`` holds the crops and, below each,
the sum of its heatmaps; ``gallery.json`` the joints and the id of the record. A gallery that is
damaged, or of a run that has no record here, is named and left out.
"""

from __future__ import annotations

import base64
import hashlib
import io
import textwrap
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hevitpose import json_file
from hevitpose.data.registry import is_rendered
from hevitpose.errors import DataError
from hevitpose.files import content
from hevitpose.markdown import plain
from hevitpose.records import Problem
from reports.figures import style
from reports.invalid import one_line
from reports.load import Measured, metric
from reports.tables.accuracy import DISPLAY

#: Of both files together: they are committed.
LIMIT = 150_000
#: A joint within half a head size counts as found (PCKh@0.5).
FOUND = 0.5
_SIDES = {"left": (style.BLUE, "-"), "right": (style.RED, "--"), "middle": (style.YELLOW, ":")}

_Number = Annotated[float, Field(allow_inf_nan=False)]
_Point = tuple[_Number, _Number]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Person(_Strict):
    """One crop's joints, in its pixels."""

    predicted: tuple[_Point, ...]
    true: tuple[_Point, ...]
    labelled: tuple[bool, ...]
    scores: tuple[_Number, ...]
    errors: tuple[_Number, ...]  # in head sizes, as PCKh measures them


class Gallery(_Strict):
    """What ``gallery.json`` says.

    Raises:
        pydantic.ValidationError: not such a file, or lists of different lengths.
    """

    record: str
    size: tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]]  # (W, H) of a crop
    names: tuple[str, ...]
    skeleton: tuple[tuple[int, int], ...]
    sheet: str  # sha256 of people.jpg
    people: Annotated[tuple[Person, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _one_of_each(self) -> Gallery:
        count = len(self.names)
        for number, person in enumerate(self.people):
            for name, value in person:
                if len(value) != count:
                    raise ValueError(f"person {number}: {len(value)} {name}, expected {count}")
        if any(not 0 <= joint < count for limb in self.skeleton for joint in limb):
            raise ValueError(f"skeleton: a joint outside 0 to {count - 1}")
        return self


def load(folder: Path, measured: Measured) -> tuple[dict[str, Any] | None, list[Problem]]:
    """A gallery as plain data, or why there is none.

    Args:
        folder: that may hold one.
        measured: where its record must be.

    Returns:
        (data of :func:`draw_gallery`, problems); (None, []) where there is no gallery.
    """
    path, sheet = folder / "gallery.json", folder / "people.jpg"
    if not folder.is_dir():
        return None, []
    try:
        picture = content(sheet, LIMIT, "a picture")
        gallery = Gallery.model_validate(json_file.read(path, "gallery"))
    except DataError as error:
        name, _, reason = str(error).removeprefix(f"{folder}/").partition(": ")
        return None, [_problem(folder, name, reason)]
    except ValidationError as error:
        return None, [_problem(folder, path.name, one_line(error))]
    record = next((r for r in measured.of("evaluation") if r.id == gallery.record), None)
    reason = ""
    if record is None:
        reason = f"of record {gallery.record}, which is not here"
    elif record.dataset is None or not is_rendered(record.dataset.name):
        reason = "of real photographs, expected synthetic people"
    elif hashlib.sha256(picture).hexdigest() != gallery.sheet:
        reason = f"{sheet.name} is not the picture that it names"
    if reason or record is None:
        return None, [_problem(folder, path.name, reason)]
    mean = metric(record, "Mean")
    score = "" if mean is None else f"; PCKh@0.5 over all of val {mean:.1f}"
    title = f"{DISPLAY.get(record.model, plain(record.model))} on synthetic people{score}"
    steps = f", {record.train.steps} steps" if record.train and record.train.steps else ""
    facts = {
        "title": title,
        "note": f"People at equal distances in val, not chosen by hand; record {record.id}{steps}.",
    }
    data = gallery.model_dump(mode="json") | facts
    return data | {"picture": base64.b64encode(picture).decode()}, []


def _problem(folder: Path, name: str, reason: str) -> Problem:
    return Problem(f"{folder.name}/{name}", reason)


def draw_gallery(data: Any) -> Any:
    """Three rows, a column a person: the truth, the prediction, the sum of the heatmaps."""
    import numpy as np
    from PIL import Image

    people = data["people"]
    width, height = data["size"]
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(data["picture"]))).convert("RGB"))
    crops = [sheet[:height, i * width : (i + 1) * width] for i in range(len(people))]
    maps = [sheet[height:, i * width : (i + 1) * width, 0] / 255 for i in range(len(people))]
    tall = 1.55 * height / width
    figure, grid = style.new_figure(1.55 * len(people) + 0.3, 3 * tall + 0.8, 3, len(people))
    grid = grid.reshape(3, len(people))
    for i, person in enumerate(people):
        _show(grid[0, i], crops[i])
        _skeleton(grid[0, i], data, person["true"], person["labelled"])
        _show(grid[1, i], crops[i])
        _skeleton(grid[1, i], data, person["predicted"], [True] * len(data["names"]))
        _tips(grid[1, i], data["names"], person)
        grey = crops[i].mean(axis=2, keepdims=True) * 0.45
        warm = maps[i][..., None] * np.array([255, 210, 90])
        _show(grid[2, i], np.clip(grey + warm, 0, 255).astype(np.uint8))
        counted = [
            e for e, known in zip(person["errors"], person["labelled"], strict=True) if known
        ]
        hits = sum(error <= FOUND for error in counted)
        grid[1, i].set_xlabel(f"{hits} of {len(counted)} joints found", fontsize=7.5, labelpad=2)
    for row, name in zip(grid, ("truth", "prediction", "heatmaps, summed"), strict=True):
        row[0].set_ylabel(name, fontsize=8.5)
    figure.suptitle(data["title"], x=0.01, ha="left", fontsize=10)
    note = (
        "solid blue: the person's left   dashed orange: right   dotted yellow: middle   "
        "found (filled): within half a head size of the truth"
    )
    lines = textwrap.wrap(f"{note}   {data['note']}", int(26 * len(people)) or 60)
    figure.supxlabel("\n".join(lines), fontsize=7, color=style.GREY)
    return figure


def _show(axes: Any, picture: Any) -> None:
    # Without interpolation the picture enters an SVG at its own size.
    axes.imshow(picture, interpolation="none")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.set_xlim(-0.5, picture.shape[1] - 0.5)
    axes.set_ylim(picture.shape[0] - 0.5, -0.5)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _side(name: str) -> str:
    return next((side for side in ("left", "right") if name.startswith(side)), "middle")


def _skeleton(axes: Any, data: Any, points: Any, shown: Any) -> None:
    for a, b in data["skeleton"]:
        if not (shown[a] and shown[b]):
            continue
        sides = {_side(data["names"][a]), _side(data["names"][b])} - {"middle"}
        color, line = _SIDES[sides.pop() if len(sides) == 1 else "middle"]
        xs, ys = zip(points[a], points[b], strict=True)
        axes.plot(xs, ys, color="#141414", lw=2.8, solid_capstyle="round")
        axes.plot(xs, ys, color=color, lw=1.5, ls=line, solid_capstyle="round")


def _tips(axes: Any, names: Any, person: Any) -> None:
    facts = (person["predicted"], person["scores"], person["errors"], person["labelled"])
    for name, (x, y), score, error, known in zip(names, *facts, strict=True):
        color, _ = _SIDES[_side(name)]
        off = f"{error:.2f} head sizes from the truth" if known else "not labelled"
        tip = f"{name.replace('_', ' ')}: {off}, score {score:.2f}"
        face = color if known and error <= FOUND else "white"
        look = {"ms": 3.4, "color": "#141414", "mfc": face, "mew": 0.7}
        style.point(axes, x, y, tip, **look)
