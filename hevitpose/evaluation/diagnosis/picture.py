"""Pictures of a diagnosis: errors per joint, what they cost, and the worst people."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from hevitpose.data.images import read_image
from hevitpose.data.registry import labels_of
from hevitpose.data.skeleton import draw_skeleton
from hevitpose.errors import DataError, UsageError
from hevitpose.evaluation.diagnosis.labels import LETTERS, TYPES
from hevitpose.evaluation.diagnosis.report import STEP_NAMES
from hevitpose.evaluation.diagnosis.result import Diagnosis, Person
from hevitpose.files import is_file, write_atomically
from hevitpose.models.keypoints import KeypointLayout

#: By type; Okabe and Ito's palette, also for people who see colours differently.
COLOURS = {
    "good": "#d9d9d9",
    "jitter": "#e69f00",
    "inversion": "#56b4e9",
    "swap": "#cc79a7",
    "miss": "#d55e00",
}
_STEP_COLOURS = {"baseline": "#595959", "score": "#009e73", "false_neg": "#0072b2"}
_TILE = (288, 288)  # W, H of a person, without the caption
_CAPTION = 40


def draw_errors(found: Diagnosis, path: Path) -> Path:
    """Write bars of labels per joint, the metric after each correction, reliability, as png.

    Raises:
        HEViTPoseError: the file cannot be written.
    """
    from matplotlib.figure import Figure

    curve = found.calibration is not None and found.calibration.error is not None
    widths = (1.25, 1, 0.75) if curve else (1.25, 1)
    figure = Figure(figsize=(7.2 * sum(widths) / 1.25, 5.2), layout="constrained")
    axes = figure.subplots(1, len(widths), width_ratios=widths)
    _bars(axes[0], found)
    _waterfall(axes[1], found)
    if curve:
        _reliability(axes[2], found)
    title = (
        f"{found.dataset}: {found.keypoints} labelled joints of {found.matched} matched people "
        f"(rules: {found.rules})"
    )
    figure.suptitle("\n".join([title, *labels_of(found.dataset)]))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return write_atomically(path, buffer.getvalue())


def _bars(axes: Any, found: Diagnosis) -> None:
    totals = np.maximum(found.joint_counts.sum(0), 1)
    shares = 100 * found.joint_counts / totals
    place = np.arange(len(found.layout))
    bottom = np.zeros(len(place))
    for number, name in enumerate(TYPES[1:], 1):
        axes.bar(place, shares[number], bottom=bottom, color=COLOURS[name], label=name, width=0.8)
        bottom += shares[number]
    top = max(5.0, 1.15 * float(bottom.max(initial=0)))
    for x, (y, good) in enumerate(zip(bottom, shares[0], strict=True)):
        text = f"{good:.0f}" if found.joint_counts[:, x].sum() else "none"
        axes.text(x, y + 0.01 * top, text, ha="center", va="bottom", fontsize=8, color="#595959")
    names = [name.replace("_", " ") for name in found.layout.names]
    axes.set_xticks(place, names, rotation=55, ha="right", rotation_mode="anchor")
    axes.set_ylim(0, min(108.0, top * 1.05))
    axes.set_ylabel("% of labelled joints wrong (numbers: % good)")
    axes.legend(frameon=False, ncols=4, loc="upper left", bbox_to_anchor=(0, 1.09))
    axes.spines[["top", "right"]].set_visible(False)


def _waterfall(axes: Any, found: Diagnosis) -> None:
    scale = 100 if found.metric == "AP" else 1
    steps = [step for step in found.steps if step.value > -1]
    for place, step in enumerate(steps):
        value, cost = scale * step.value, scale * (step.cost or 0)
        colour = COLOURS.get(step.name) or _STEP_COLOURS.get(step.name, "#999999")
        base = 0 if step.cost is None else value - cost
        axes.barh(place, value - base, left=base, color=colour, height=0.72)
        text = f"{value:.1f}" if step.cost is None else f"{cost:+.1f} = {value:.1f}"
        where = max(base, value)
        inside = where > 72
        axes.text(
            min(base, value) - 1 if inside and step.cost is not None else where + 1,
            place,
            text,
            va="center",
            ha="right" if inside and step.cost is not None else "left",
            fontsize=9,
        )
    axes.set_yticks(range(len(steps)), [STEP_NAMES[step.name] for step in steps])
    axes.invert_yaxis()
    axes.set_xlim(0, 104)
    axes.set_xlabel(f"{found.metric}, corrected one after another")
    if not steps:
        axes.text(0.5, 0.5, "nobody counts", ha="center", transform=axes.transAxes)
    axes.spines[["top", "right"]].set_visible(False)


def _reliability(axes: Any, found: Diagnosis) -> None:
    assert found.calibration is not None
    bins = [b for b in found.calibration.bins if b.count]
    axes.plot([0, 1], [0, 1], color="#bbbbbb", linestyle="--", linewidth=1)
    axes.plot([b.score for b in bins], [b.oks for b in bins], color="#0072b2", marker="o")
    for b in bins:
        axes.annotate(
            f"{b.count}",
            (b.score, b.oks),
            xytext=(5, -11),
            textcoords="offset points",
            fontsize=8,
            color="#595959",
        )
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.set_xlabel("mean score (beside a point: detections)")
    axes.set_ylabel("mean OKS")
    axes.set_title(f"calibration error {found.calibration.error:.3f}", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)


def draw_worst(
    found: Diagnosis, count: int, folders: Sequence[Path], path: Path
) -> tuple[Path, int]:
    """Write a sheet of the worst people: their truth in white, the prediction in colour.

    Wrong joints have a ring in the colour of their type and a line to where they belong.

    Args:
        found: whose people are drawn, the worst first.
        count: how many at most.
        folders: where images may be.
        path: of the png.

    Returns:
        The path, and how many people had no image and are drawn on grey.

    Raises:
        DataError: nobody is there to draw, or an image is not as annotated.
        UsageError: several folders have a file of an image's name.
        HEViTPoseError: the file cannot be written.
    """
    people = found.worst[:count]
    if not people:
        raise DataError("worst: no person was matched or missed, expected people to draw")
    images = [_image(person, folders, found.stored_pixels) for person in people]
    tiles = [_tile(person, image, found) for person, image in zip(people, images, strict=True)]
    columns = min(6, len(tiles))
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]
    sheet = np.vstack(rows)
    encoded = cv2.imencode(".png", sheet[..., ::-1])[1]
    return write_atomically(path, encoded.tobytes()), sum(image is None for image in images)


def image_folders(ground_truth: Path) -> list[Path]:
    """Where the images of an annotation file lie in the authors' layout."""
    images = ground_truth.parent.parent / "images"
    below = sorted(path for path in images.glob("*") if path.is_dir())
    return [ground_truth.parent, images, *below]


def _image(person: Person, folders: Sequence[Path], stored: bool) -> np.ndarray | None:
    """RGB, turned as it is for training and scoring; None where no folder has it."""
    found: dict[str, Path] = {}  # by where it lies: a folder may be a link to another
    for folder in folders:
        if is_file(folder / person.image):
            found.setdefault(os.path.realpath(folder / person.image), folder)
    if len(found) > 1:
        both = " and ".join(str(folder) for folder in list(found.values())[:2])
        raise UsageError(
            f"--worst: {person.image} is in {both}; --images FOLDER says which is this split's"
        )
    if not found:
        return None
    return read_image(Path(next(iter(found))), person.image_size, stored)[..., ::-1]


def _tile(person: Person, image: np.ndarray | None, found: Diagnosis) -> np.ndarray:
    """One person, cut out and enlarged, with a caption."""
    points = person.truth[person.labelled]
    if person.predicted is not None:
        points = np.concatenate((points, person.predicted[person.labelled]))
    low, high = points.min(0), points.max(0)
    side = max(32.0, 1.25 * float((high - low).max()))
    corner = (low + high) / 2 - side / 2
    scale = _TILE[0] / side
    matrix = np.array([[scale, 0, -scale * corner[0]], [0, scale, -scale * corner[1]]])
    canvas = np.full((_TILE[1], _TILE[0], 3), 120, np.uint8)
    if image is not None:  # darker, so that lines stand out
        cut = cv2.warpAffine(image, matrix, _TILE, borderValue=(120, 120, 120))
        canvas[:] = cut * 0.72
    truth = (person.truth - corner) * scale
    _draw_truth(canvas, truth, person.labelled, found.layout)
    if person.predicted is not None:
        predicted = (person.predicted - corner) * scale
        draw_skeleton(canvas, predicted, person.labelled.astype(float), found.layout, 1)
        _ring_errors(canvas, predicted, truth, person.letters)
    return np.vstack((canvas, _caption(person, found)))


def _draw_truth(
    canvas: np.ndarray, truth: np.ndarray, labelled: np.ndarray, layout: KeypointLayout
) -> None:
    for a, b in layout.skeleton:
        if labelled[a] and labelled[b]:
            cv2.line(canvas, _at(truth[a]), _at(truth[b]), (255, 255, 255), 1, cv2.LINE_AA)
    for point in truth[labelled]:
        cv2.circle(canvas, _at(point), 3, (255, 255, 255), 1, cv2.LINE_AA)


def _ring_errors(
    canvas: np.ndarray, predicted: np.ndarray, truth: np.ndarray, letters: str
) -> None:
    for point, goal, letter in zip(predicted, truth, letters, strict=True):
        code = LETTERS.index(letter)
        if code > 1:
            colour = _rgb(TYPES[code - 1])
            cv2.line(canvas, _at(point), _at(goal), colour, 1, cv2.LINE_AA)
            cv2.circle(canvas, _at(point), 7, colour, 2, cv2.LINE_AA)


def _caption(person: Person, found: Diagnosis) -> np.ndarray:
    strip = np.full((_CAPTION, _TILE[0], 3), 255, np.uint8)
    if person.predicted is None:
        first = "nobody matched"
    elif found.metric == "AP":
        first = f"OKS {person.quality:.2f}"
    else:
        first = f"mean error {person.quality:.2f} heads"
    _write(strip, f"{first}, person {person.id}, image {person.image_id}", (4, 15))
    x = 4
    for letter, name in zip(LETTERS[2:], TYPES[1:], strict=True):
        if letter in person.letters:  # in the colour of its rings
            cv2.circle(strip, (x + 4, 29), 4, _rgb(name), -1, cv2.LINE_AA)
            x = _write(strip, f"{person.letters.count(letter)} {name}", (x + 11, 33)) + 10
    return strip


def _write(strip: np.ndarray, text: str, place: tuple[int, int]) -> int:
    """Black text; where it ends."""
    cv2.putText(strip, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    return place[0] + cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.4, 1)[0][0]


def _rgb(name: str) -> tuple[int, ...]:
    return tuple(int(COLOURS[name][i : i + 2], 16) for i in (1, 3, 5))


def _at(point: np.ndarray) -> tuple[int, int]:
    x, y = np.clip(point, -1e4, 1e4)
    return round(float(x)), round(float(y))
