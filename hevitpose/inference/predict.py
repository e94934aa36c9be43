"""Files in, files out: keypoints of images and videos as COCO-style json, and drawn skeletons."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np

from hevitpose.data.images import read_image
from hevitpose.errors import DataError, UsageError
from hevitpose.evaluation.prediction_files import write_results
from hevitpose.files import write_atomically
from hevitpose.inference.defaults import BOX_THRESHOLD, MIN_SCORE
from hevitpose.inference.detectors import Detector, Found, create_detector
from hevitpose.inference.people import People
from hevitpose.inference.pictures import Detection, Pictures, match_boxes, name_images
from hevitpose.inference.predictor import Pose, PosePredictor
from hevitpose.inference.tracking import Tracker
from hevitpose.inference.video import Video, find_media, open_video, read_frames, writing
from hevitpose.inference.visualize import heatmap_panel
from hevitpose.models.checkpoint import DEFAULT_WEIGHTS
from hevitpose.progress import Progress, silent


@dataclass(frozen=True)
class WrittenVideo:
    """What :func:`predict_files` left of a video."""

    path: Path  # the mp4
    results: Path  # the json beside it
    frames: int
    people: int  # tracks
    empty: int  # frames without people
    seconds: float  # from the first frame to the files


@dataclass(frozen=True)
class Written:
    """What :func:`predict_files` left."""

    results: Path | None  # keypoints.json; None where there was no image
    pictures: Path  # folder
    images: int
    people: int  # in the images
    empty: tuple[str, ...]  # images without people
    skipped: tuple[str, ...]  # files and boxes that could not be read, and why
    videos: tuple[WrittenVideo, ...]


def predict_files(
    sources: Sequence[str],
    checkpoint: Path | None,
    out: Path,
    *,
    ids: Path | None = None,
    boxes: Path | None = None,
    detector: str | Detector = "none",
    detector_weights: Path | None = None,
    box_threshold: float | None = None,
    min_score: float = MIN_SCORE,
    category_id: int = 1,
    heatmaps: bool = False,
    device: str = "cpu",
    skip_bad: bool = False,
    progress: Progress = silent,
    counting: Progress = silent,
) -> Written:
    """Predict images and videos.

    Images give ``keypoints.json``, drawn pictures and, of a detector, ``detections.json``, which
    ``boxes`` and ``valid --boxes`` read; each video a drawn mp4 and a json whose
    entries have a frame (``image_id``, from 1) and a ``track_id``.

    Args:
        sources: images, videos, folders, globs.
        checkpoint: the network; None for the nano that ships.
        out: folder for what is written; a picture lies there as its image lies in the folder that
            holds all images, a video as it lies in the folder that holds all videos.
        ids: annotations in COCO's format that say the images' ids; without them, the images are
            numbered from 1 in order.
        boxes: detections to take in place of the detector's, of images only.
        detector: finds the people: a name for
            :func:`~hevitpose.inference.detectors.create_detector`, or a detector.
        detector_weights: a file for a detector that has weights.
        box_threshold: detections scored lower are dropped; by default 0 of ``boxes``, 0.5 of a
            detector.
        min_score: joints scored lower are not drawn; the json has them all.
        category_id: of people, in ``boxes`` and in what is written.
        heatmaps: also a picture of every map per person, of images only.
        device: ``cpu``, ``cuda``, ``cuda:1``.
        skip_bad: leave out images, videos and boxes that cannot be read, and list them.
        progress: told the images and frames done.
        counting: told the frames of a video counted, before anything is predicted.

    Raises:
        DataError: a source, the ids, the boxes, the checkpoint, an image or a video cannot be
            read, or the boxes are of other images.
        UsageError: the device is not there, no such detector, the network has no heatmaps, boxes
            or heatmaps of a video, or something written would replace a source.
        UnavailableError: the detector cannot run here.
    """
    images, clips = _named(sources, ids)
    if clips.paths and (boxes is not None or heatmaps):
        option = "--heatmaps" if boxes is None else f"--boxes {boxes}"
        raise UsageError(f"{option}: of images only, {clips.paths[0]} is a video")
    threshold = box_threshold if box_threshold is not None else 0.0 if boxes else BOX_THRESHOLD
    _require_finite(("--box-threshold", threshold), ("--min-score", min_score))
    skipped: list[str] = []
    given: list[list[Detection]] | None = None
    if boxes is not None:
        given, bad = match_boxes(boxes, images, threshold, category_id, skip_bad)
        skipped += bad
    drawn = _targets(images, out, ".jpg", clips)
    films = _targets(clips, out, ".mp4", images)
    videos = _opened(clips, skip_bad, skipped, counting)
    predictor = PosePredictor(checkpoint or DEFAULT_WEIGHTS, device=device)
    if heatmaps:
        predictor.require_heatmaps()
    find = _detector(detector, detector_weights, device)
    people = People(predictor, find, threshold, min_score, category_id)
    total = len(images.paths) + sum(video.frames for video in videos.values())
    results, detections, empty, read = [], [], [], 0
    for place, path in enumerate(images.paths):
        pixels = _rgb(path, skip_bad, skipped)
        if pixels is None:
            continue
        read += 1
        found = people.find(pixels) if given is None else _found(given[place])
        detections += people.detections(found, images.ids[place], images.names[place])
        pose, scores = people.of(pixels, found, heatmaps=heatmaps)
        results += people.entries(pose, scores, images.ids[place], images.names[place])
        empty += [] if len(scores) else [images.names[place]]
        _draw(people, pixels, pose, drawn[place])
        progress(place + 1, total)
    if images.paths and given is None:
        write_results(detections, out / "detections.json")
    written = write_results(results, out / "keypoints.json") if images.paths else None
    left, done = [], len(images.paths)
    for place, video in videos.items():
        report = partial(_report, progress, done, total)
        left.append(_predict_video(people, video, clips.names[place], films[place], report))
        done += video.frames
    return Written(written, out, read, len(results), tuple(empty), tuple(skipped), tuple(left))


def _predict_video(
    people: People, video: Video, name: str, target: Path, progress: Callable[[int], None]
) -> WrittenVideo:
    start, empty = time.monotonic(), 0
    tracker = Tracker(max_missed=max(1, round(video.fps / 2)))
    results: list[dict[str, Any]] = []
    with writing(target, video.fps) as film:
        for number, pixels in enumerate(read_frames(video), start=1):
            pose, scores = people.of(pixels, people.find(pixels))
            tracks = tracker.update(pose.boxes)
            results += people.entries(pose, scores, number, name, tracks)
            empty += not tracks
            film.write(people.draw(pixels, pose, tracks))
            progress(number)
    listed = write_results(results, target.with_suffix(".json"))
    seconds = time.monotonic() - start
    return WrittenVideo(target, listed, video.frames, tracker.count, empty, seconds)


def _require_finite(*options: tuple[str, float]) -> None:
    for option, value in options:
        if not math.isfinite(value):
            raise UsageError(f"{option} {value}: expected a finite number")


def _report(progress: Progress, before: int, total: int, done: int) -> None:
    progress(before + done, total)


def _named(sources: Sequence[str], ids: Path | None) -> tuple[Pictures, Pictures]:
    """Images, with their ids, and videos; one of them may be none."""
    images, clips = find_media(sources)
    none = Pictures((), (), ())
    return name_images(images, ids) if images else none, name_images(clips) if clips else none


def _opened(
    clips: Pictures, skip_bad: bool, skipped: list[str], progress: Progress
) -> dict[int, Video]:
    """The videos that can be read, by their place."""
    videos = {}
    for place, path in enumerate(clips.paths):
        with _skipping(skip_bad, skipped):
            videos[place] = open_video(path, progress)
    return videos


def _detector(detector: str | Detector, weights: Path | None, device: str) -> Detector:
    if isinstance(detector, str):
        return create_detector(detector, weights=weights, device=device)
    return detector


def _rgb(path: Path, skip_bad: bool, skipped: list[str]) -> np.ndarray | None:
    """(H, W, 3) uint8; None where it is skipped."""
    with _skipping(skip_bad, skipped):
        return np.ascontiguousarray(read_image(path)[..., ::-1])
    return None


@contextlib.contextmanager
def _skipping(skip_bad: bool, skipped: list[str]) -> Iterator[None]:
    """With ``skip_bad``, a file that cannot be read goes into a list and is no error."""
    try:
        yield
    except DataError as error:
        if not skip_bad:
            raise
        skipped.append(str(error))


def _found(detections: Sequence[Detection]) -> Found:
    boxes = np.array([box for box, _ in detections], np.float32).reshape(-1, 4)
    return Found(boxes, np.array([score for _, score in detections]))


def _draw(people: People, pixels: np.ndarray, pose: Pose, target: Path) -> None:
    """Write the picture, and a panel of each person whose heatmaps there are."""
    _write_picture(target, people.draw(pixels, pose))
    for person in range(0 if pose.heatmaps is None else len(pose.boxes)):
        panel = heatmap_panel(pose, person, people.predictor.layout)
        _write_picture(target.with_name(f"{target.stem}_person{person}_heatmaps.jpg"), panel)


def _targets(sources: Pictures, out: Path, suffix: str, others: Pictures) -> list[Path]:
    """A file per source below ``out``: ``a/x.png`` becomes ``a/x.jpg``, or ``a/x.png.jpg`` where an
    ``a/x.webp`` is predicted too.

    Raises:
        UsageError: one of them is a file that is to be predicted.
    """
    names = [PurePosixPath(name) for name in sources.names]
    short = [name.with_suffix(suffix) for name in names]
    if len(set(short)) < len(short):
        short = [name.with_name(f"{name.name}{suffix}") for name in names]
    found = [out / name for name in short]
    originals = {path.resolve() for path in (*sources.paths, *others.paths)}
    for target in found:
        if target.resolve() in originals:
            kind = "an image" if suffix == ".jpg" else "a video"
            raise UsageError(f"--out {out}: {target} is {kind} to predict, expected another folder")
    return found


def _write_picture(path: Path, picture: np.ndarray) -> None:
    ok, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
    if not ok:
        raise UsageError(f"{path}: the picture could not be encoded")
    write_atomically(path, data.tobytes())
