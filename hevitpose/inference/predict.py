"""Files in, files out: keypoints of images as a COCO-style json, and pictures of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np

from hevitpose.data.images import read_image
from hevitpose.errors import DataError, UsageError
from hevitpose.evaluation.prediction_files import write_results
from hevitpose.files import write_atomically
from hevitpose.inference.pictures import (
    Detection,
    Pictures,
    find_images,
    match_boxes,
    name_images,
)
from hevitpose.inference.predictor import Pose, PosePredictor
from hevitpose.inference.visualize import draw_poses, heatmap_panel
from hevitpose.metrics.oks import rescore
from hevitpose.models.checkpoint import DEFAULT_WEIGHTS
from hevitpose.progress import Progress, silent


@dataclass(frozen=True)
class Written:
    """What :func:`predict_files` left."""

    results: Path  # keypoints.json
    pictures: Path  # folder
    images: int
    people: int
    skipped: tuple[str, ...]  # images and boxes that could not be read, and why


def predict_files(
    sources: Sequence[str],
    checkpoint: Path | None,
    out: Path,
    *,
    ids: Path | None = None,
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
        checkpoint: the network; None for the nano that ships.
        out: folder for what is written; a picture lies there as its image lies in the folder that
            holds all images.
        ids: annotations in COCO's format that say the images' ids; without them, the images are
            numbered from 1 in order.
        boxes: detections; one box per image, all of it, without them.
        box_threshold: detections scored lower are dropped.
        category_id: of people, in ``boxes`` and in what is written.
        heatmaps: also a picture of every map per person.
        device: ``cpu``, ``cuda``, ``cuda:1``.
        skip_bad: leave out images and boxes that cannot be read, and list them.
        progress: told the images done.

    Raises:
        DataError: a source, the ids, the boxes, the checkpoint or an image cannot be read, or the
            boxes are of other images.
        UsageError: the device is not there, the network has no heatmaps, or a picture would
            replace an image.
    """
    images = name_images(find_images(sources), ids)
    detections: list[list[Detection]] | None = None
    skipped: list[str] = []
    if boxes is not None:
        found = match_boxes(boxes, images, box_threshold, category_id, skip_bad)
        detections, skipped = found[0], list(found[1])
    pictures = _targets(images, out)
    predictor = PosePredictor(checkpoint or DEFAULT_WEIGHTS, device=device)
    if heatmaps:
        predictor.require_heatmaps()
    results: list[dict[str, Any]] = []
    unread = 0
    for number, image in enumerate(images.paths):
        try:
            pixels = np.ascontiguousarray(read_image(image)[..., ::-1])
        except DataError as error:
            if not skip_bad:
                raise
            skipped.append(str(error))
            unread += 1
            continue
        given = None if detections is None else detections[number]
        people = None if given is None else [np.array([b for b, _ in given], np.float32)]
        pose = predictor(pixels, people, heatmaps=heatmaps)[0]
        scores = np.ones(len(pose.boxes)) if given is None else np.array([s for _, s in given])
        results += _entries(pose, scores, images.ids[number], images.names[number], category_id)
        target = pictures[number]
        _write_picture(target, draw_poses(pixels, pose, predictor.layout))
        for person in range(len(pose.boxes) if heatmaps else 0):
            panel = heatmap_panel(pose, person, predictor.layout)
            _write_picture(target.with_name(f"{target.stem}_person{person}_heatmaps.jpg"), panel)
        progress(number + 1, len(images.paths))
    written = write_results(results, out / "keypoints.json")
    return Written(written, out, len(images.paths) - unread, len(results), tuple(skipped))


def _targets(images: Pictures, out: Path) -> list[Path]:
    """A file per image below ``out``: ``a/x.png`` becomes ``a/x.jpg``, or ``a/x.png.jpg`` where an
    ``a/x.webp`` is predicted too.

    Raises:
        UsageError: one of them is an image that is to be predicted.
    """
    names = [PurePosixPath(name) for name in images.names]
    short = [name.with_suffix(".jpg") for name in names]
    if len(set(short)) < len(short):
        short = [name.with_name(f"{name.name}.jpg") for name in names]
    found = [out / name for name in short]
    originals = {path.resolve() for path in images.paths}
    for target in found:
        if target.resolve() in originals:
            raise UsageError(
                f"--out {out}: {target} is an image to predict, expected another folder"
            )
    return found


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
