"""Files in, files out: keypoints of images as a COCO-style json, and pictures of them."""

from __future__ import annotations

import glob
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from hevitpose.data.images import read_image
from hevitpose.errors import DataError, UsageError
from hevitpose.files import write_atomically
from hevitpose.inference import Pose, PosePredictor
from hevitpose.metrics.oks import rescore
from hevitpose.predictions import write_results
from hevitpose.progress import Progress, silent
from hevitpose.visualize import draw_poses, heatmap_panel

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")

Detection = tuple[list[float], float]  # box x, y, w, h and score


@dataclass(frozen=True)
class Written:
    """What :func:`predict_files` left."""

    results: Path  # keypoints.json
    pictures: Path  # folder
    images: int
    people: int
    skipped: tuple[str, ...]  # images that could not be read, and why


def find_images(sources: Sequence[str]) -> list[Path]:
    """Files of a list of images, folders and globs, sorted, each once.

    Raises:
        DataError: a source names no image.
    """
    found: dict[Path, None] = {}
    for source in sources:
        path = Path(source)
        if path.is_dir():
            files = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
        elif path.is_file():
            files = [path]
        else:
            files = sorted(map(Path, glob.glob(source, recursive=True)))  # noqa: PTH207
        if not files:
            raise DataError(f"{source}: no image there (expected {', '.join(SUFFIXES)})")
        found |= dict.fromkeys(files)
    return list(found)


def read_boxes(
    path: Path, images: Sequence[Path], threshold: float, category_id: int = 1
) -> list[list[Detection]]:
    """Boxes per image from a list of detections.

    Args:
        path: json, ``[{bbox: [x, y, w, h], score, image_id or file_name}, ...]``; an ``image_id``
            belongs to the image whose name is that number, as COCO's are.
        images: whose boxes are wanted.
        threshold: detections scored lower are dropped.
        category_id: likewise of any other category; an entry without one counts.

    Returns:
        Per image its (box, score) pairs; an image nobody was detected in has none.

    Raises:
        DataError: not such a list, or all of it is of other categories.
    """
    try:
        entries = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}, expected detections") from None
    except ValueError as error:
        raise DataError(f"{path}: not json ({error})") from None
    if not isinstance(entries, list):
        raise DataError(f"{path}: expected a list of detections")
    by_name: dict[str | int, list[Detection]] = {}
    kinds: set[int] = set()
    for number, entry in enumerate(entries):
        try:
            box, score = [float(v) for v in entry["bbox"]], float(entry.get("score", 1.0))
            key = entry["file_name"] if "file_name" in entry else int(entry["image_id"])
            kind = int(entry.get("category_id", category_id))
        except (TypeError, KeyError, ValueError, AttributeError):
            box, score, key, kind = [], 0.0, "", category_id
        if len(box) != 4 or not np.isfinite([*box, score]).all() or min(box[2:]) <= 0:
            raise DataError(
                f"{path}: entry {number}: expected bbox [x, y, w, h] with w, h > 0, a score, and "
                "image_id or file_name"
            )
        kinds.add(kind)
        if kind == category_id and score >= threshold:
            by_name.setdefault(key, []).append((box, score))
    if kinds and category_id not in kinds:
        raise DataError(
            f"{path}: no box of category {category_id}, it has {sorted(kinds)}; "
            "--category names the one of people"
        )
    return [by_name.get(image.name, []) + by_name.get(image_id(image), []) for image in images]


def image_id(image: Path) -> int:
    """The number in an image's name; -1 where the name is none."""
    return int(image.stem) if image.stem.isdecimal() else -1


def predict_files(
    sources: Sequence[str],
    checkpoint: Path,
    out: Path,
    *,
    boxes: Path | None = None,
    box_threshold: float = 0.0,
    category_id: int = 1,
    heatmaps: bool = False,
    device: str = "cpu",
    skip_bad: bool = False,
    progress: Progress = silent,
) -> Written:
    """Predict images and write ``keypoints.json`` and drawn pictures.

    Args:
        sources: images, folders, globs.
        checkpoint: the network.
        out: folder for what is written.
        boxes: detections; one box per image, all of it, without them.
        box_threshold: detections scored lower are dropped.
        category_id: of people, in ``boxes`` and in what is written.
        heatmaps: also a picture of every map per person.
        device: ``cpu``, ``cuda``, ``cuda:1``.
        skip_bad: leave out images that cannot be read, and list them.
        progress: told the images done.

    Raises:
        DataError: a source, the boxes, the checkpoint or an image cannot be read.
        UsageError: the device is not there.
    """
    images = find_images(sources)
    detections = None if boxes is None else read_boxes(boxes, images, box_threshold, category_id)
    predictor = PosePredictor(checkpoint, device=device)
    names = _names(images)
    results: list[dict[str, Any]] = []
    skipped: list[str] = []
    for number, image in enumerate(images):
        try:
            pixels = np.ascontiguousarray(read_image(image)[..., ::-1])
        except DataError as error:
            if not skip_bad:
                raise
            skipped.append(str(error))
            continue
        given = None if detections is None else detections[number]
        found = None if given is None else [np.array([b for b, _ in given], np.float32)]
        pose = predictor(pixels, found, heatmaps=heatmaps)[0]
        scores = np.ones(len(pose.boxes)) if given is None else np.array([s for _, s in given])
        key = image_id(image) if image_id(image) >= 0 else number + 1
        results += _entries(pose, scores, key, image.name, category_id)
        _write_picture(out / f"{names[number]}.jpg", draw_poses(pixels, pose, predictor.layout))
        for person in range(len(pose.boxes) if heatmaps and pose.heatmaps is not None else 0):
            panel = heatmap_panel(pose, person, predictor.layout)
            _write_picture(out / f"{names[number]}_person{person}_heatmaps.jpg", panel)
        progress(number + 1, len(images))
    written = write_results(results, out / "keypoints.json")
    return Written(written, out, len(images) - len(skipped), len(results), tuple(skipped))


def _names(images: Sequence[Path]) -> list[str]:
    """A file name per image; those of the same name in different folders get their folder's too."""
    stems = [image.stem for image in images]
    return [
        stem if stems.count(stem) == 1 else f"{image.parent.name}_{image.name.replace('.', '_')}"
        for image, stem in zip(images, stems, strict=True)
    ]


def _entries(
    pose: Pose, box_scores: np.ndarray, key: int, name: str, category_id: int
) -> list[dict[str, Any]]:
    if not len(pose.boxes):
        return []
    person_scores = rescore(box_scores, pose.scores)
    triples = np.concatenate((pose.keypoints, pose.scores[..., None]), axis=-1).astype(float)
    return [
        {
            "image_id": key,
            "file_name": name,
            "category_id": category_id,
            "keypoints": [round(v, 3) for v in triple.reshape(-1).tolist()],
            "score": float(score),
            "bbox": [round(float(v), 3) for v in box],
        }
        for triple, score, box in zip(triples, person_scores, pose.boxes, strict=True)
    ]


def _write_picture(path: Path, picture: np.ndarray) -> None:
    ok, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
    if not ok:
        raise UsageError(f"{path}: the picture could not be encoded")
    write_atomically(path, data.tobytes())
