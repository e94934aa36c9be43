"""Files in, files out: keypoints of images and videos as COCO-style json, and drawn skeletons."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from hevitpose.data.images import read_image
from hevitpose.errors import DataError, HEViTPoseError, UsageError
from hevitpose.evaluation.prediction_files import write_results
from hevitpose.files import write_atomically
from hevitpose.inference.defaults import BOX_THRESHOLD, MIN_SCORE
from hevitpose.inference.detectors import Detector, Found, create_detector
from hevitpose.inference.people import People
from hevitpose.inference.pictures import (
    Detection,
    Pictures,
    few,
    look_at,
    match_boxes,
    name_images,
)
from hevitpose.inference.predictor import Pose, PosePredictor, usable_device
from hevitpose.inference.targets import DETECTIONS, KEYPOINTS, panel_of, plan_targets
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


@dataclass(frozen=True)
class Options:
    """How images and videos are predicted."""

    #: Annotations in COCO's format that say the images' ids; without them, the images are numbered
    #: from 1 in order.
    ids: Path | None = None
    #: Detections to take in place of the detector's; images only.
    boxes: Path | None = None
    #: Finds the people: a name for :func:`~hevitpose.inference.detectors.create_detector`, or a
    #: detector.
    detector: str | Detector = "none"
    detector_weights: Path | None = None
    #: Detections scored lower are dropped; by default 0 of ``boxes``, 0.5 of a detector.
    box_threshold: float | None = None
    #: Joints scored lower are not drawn; the json has them all.
    min_score: float = MIN_SCORE
    #: Of people, in ``boxes`` and in what is written.
    category_id: int = 1
    #: Also a picture of every map per person; images only.
    heatmaps: bool = False
    #: ``cpu``, ``cuda``, ``cuda:1``.
    device: str = "cpu"
    #: Leave out images, videos and boxes that cannot be read, and list them.
    skip_bad: bool = False

    @property
    def threshold(self) -> float:
        """Of detections."""
        if self.box_threshold is not None:
            return self.box_threshold
        return 0.0 if self.boxes else BOX_THRESHOLD

    def check(self, clips: Pictures) -> None:
        """Refuse what cannot be.

        Raises:
            UsageError: boxes or heatmaps of a video, or a score that nothing can have.
        """
        if clips.paths and (self.boxes is not None or self.heatmaps):
            option = "--heatmaps" if self.boxes is None else f"--boxes {self.boxes}"
            raise UsageError(f"{option}: applies to images only, {clips.paths[0]} is a video")
        for option, value in (("--box-threshold", self.threshold), ("--min-score", self.min_score)):
            if not math.isfinite(value):
                raise UsageError(f"{option} {value}: expected a finite number")
        if self.boxes is None and not 0 <= self.threshold <= 1:
            raise UsageError(
                f"--box-threshold {self.threshold}: expected a detector's score, 0 to 1"
            )

    def find(self) -> Detector:
        """What finds the people."""
        if isinstance(self.detector, str):
            return create_detector(self.detector, weights=self.detector_weights, device=self.device)
        return self.detector


def predict_files(
    sources: Sequence[str],
    checkpoint: Path | None,
    out: Path,
    options: Options = Options(),
    *,
    progress: Progress = silent,
    counting: Progress = silent,
) -> Written:
    """Predict images and videos.

    Images give ``keypoints.json``, drawn pictures and, of a detector, ``detections.json``, which
    ``boxes`` and ``valid --boxes`` read; each video a drawn mp4 and a json whose
    entries have a frame (``image_id``, from 1) and a ``track_id``. Whatever ends it, the lists of
    what was predicted until then are written.

    Args:
        sources: images, videos, folders, globs.
        checkpoint: the network; None for the nano that ships.
        out: folder for what is written; a picture lies there as its image lies in the folder that
            holds all images, a video as it lies in the folder that holds all videos.
        options: how.
        progress: told the images and frames done.
        counting: told the frames of a video counted, before anything is predicted.

    Raises:
        DataError: a source, the ids, the boxes, the checkpoint, an image or a video cannot be
            read, or the boxes are of other images. Files are looked at first; of one that turns out
            to be damaged only once it is decoded, the error comes last, with the others written.
        UsageError: the device is not there, no such detector, the network has no heatmaps, boxes
            or heatmaps of a video, or something written would replace what is read or written.
        UnavailableError: the detector cannot run here.
    """
    usable_device(options.device)  # a video's frames are counted for minutes
    plan = _plan(sources, checkpoint, out, options, counting)
    predictor = PosePredictor(checkpoint or DEFAULT_WEIGHTS, device=options.device)
    if options.heatmaps:
        predictor.require_heatmaps()
    scores = options.threshold, options.min_score
    people = People(predictor, options.find(), *scores, options.category_id)
    done, left = len(plan.images.paths), []
    total = done + sum(video.frames for video in plan.videos.values())
    found = _Found()
    if plan.images.paths:
        with _written(lambda: _write_lists(found, plan, out), lambda: found.read):
            _predict_images(people, plan, options, lambda n: progress(n, total), found)
    listed = out / KEYPOINTS if plan.images.paths else None
    for place, video in plan.videos.items():
        report = partial(_report, progress, done, total)
        with _collecting(plan.unreadable):
            left.append(
                _predict_video(people, video, plan.clips.names[place], plan.films[place], report)
            )
        done += video.frames
    if plan.unreadable and not options.skip_bad:
        raise DataError(
            f"{few(plan.unreadable)}; {found.read} other images and {len(left)} videos are "
            f"predicted, in {out} (--skip-bad leaves out what cannot be read)"
        )
    skipped = (*plan.skipped, *plan.unreadable)
    empty, count = tuple(found.empty), len(found.results)
    return Written(listed, out, found.read, count, empty, skipped, tuple(left))


@dataclass(frozen=True)
class _Plan:
    """What will be predicted and where it will be written."""

    images: Pictures
    given: list[list[Detection]] | None  # per image; None: a detector's
    drawn: list[Path]  # per image
    clips: Pictures
    videos: dict[int, Video]  # those that can be read, by their place
    films: list[Path]  # per clip
    skipped: list[str]  # what --skip-bad leaves out from the start, and why
    unreadable: list[str] = field(default_factory=list)  # what shows only once it is decoded


def _plan(
    sources: Sequence[str],
    checkpoint: Path | None,
    out: Path,
    options: Options,
    counting: Progress,
) -> _Plan:
    images, clips = _named(sources, options.ids)
    options.check(clips)
    skipped: list[str] = []
    given: list[list[Detection]] | None = None
    if options.boxes is not None:
        about = options.threshold, options.category_id, options.skip_bad
        given, bad = match_boxes(options.boxes, images, *about)
        skipped += bad
    named = checkpoint, options.ids, options.boxes, options.detector_weights
    targets = plan_targets(
        images, clips, out, read=named, detector=given is None, heatmaps=options.heatmaps
    )
    look_at(images, options.skip_bad)
    videos = _opened(clips, options.skip_bad, skipped, counting)
    return _Plan(images, given, targets.drawn, clips, videos, targets.films, skipped)


@dataclass
class _Found:
    """What was found in the images."""

    results: list[dict[str, Any]] = field(default_factory=list)
    detections: list[dict[str, Any]] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)  # names of images without people
    read: int = 0  # images, drawn as well


def _write_lists(found: _Found, plan: _Plan, out: Path) -> None:
    write_results(found.results, out / KEYPOINTS)
    if plan.given is None:
        write_results(found.detections, out / DETECTIONS)


@contextlib.contextmanager
def _written(write: Callable[[], object], any_done: Callable[[], object]) -> Iterator[None]:
    """Write after the block, also of one that fails or is interrupted: it may have taken hours.

    One that fails before anything is done leaves what lies there from earlier.
    """
    try:
        yield
    except BaseException:
        if any_done():
            with contextlib.suppress(HEViTPoseError):  # a full disk, too; the first error is told
                write()
        raise
    write()


def _predict_images(
    people: People,
    plan: _Plan,
    options: Options,
    progress: Callable[[int], None],
    all_found: _Found,
) -> None:
    images = plan.images
    for place, path in enumerate(images.paths):
        pixels = _rgb(path, plan.unreadable)
        if pixels is None:
            continue
        named = images.ids[place], images.names[place]
        found = people.find(pixels) if plan.given is None else _boxes(plan.given[place])
        pose, scores = people.of(pixels, found, heatmaps=options.heatmaps)
        all_found.detections += people.detections(found, *named)
        all_found.results += people.entries(pose, scores, *named)
        all_found.empty += [] if len(scores) else [images.names[place]]
        with _collecting(plan.unreadable):
            _draw(people, pixels, pose, plan.drawn[place])
            all_found.read += 1
        progress(place + 1)


def _predict_video(
    people: People, video: Video, name: str, target: Path, progress: Callable[[int], None]
) -> WrittenVideo:
    start, empty = time.monotonic(), 0
    tracker = Tracker(max_missed=max(1, round(video.fps / 2)))
    results: list[dict[str, Any]] = []
    listed = target.with_suffix(".json")
    with (
        _written(lambda: write_results(results, listed), lambda: results),
        writing(target, video.fps) as film,
    ):
        for number, pixels in enumerate(read_frames(video), start=1):
            pose, scores = people.of(pixels, people.find(pixels))
            tracks = tracker.update(pose.boxes)
            results += people.entries(pose, scores, number, name, tracks)
            empty += not tracks
            film.write(people.draw(pixels, pose, tracks))
            progress(number)
    seconds = time.monotonic() - start
    return WrittenVideo(target, listed, video.frames, tracker.count, empty, seconds)


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
    videos: dict[int, Video] = {}
    bad: list[str] = []
    for place, path in enumerate(clips.paths):
        with _collecting(bad):
            videos[place] = open_video(path, progress)
    if bad and not skip_bad:
        raise DataError(f"{few(bad)}; nothing is predicted (--skip-bad leaves these out)")
    skipped += bad
    return videos


def _rgb(path: Path, unreadable: list[str]) -> np.ndarray | None:
    """(H, W, 3) uint8; None where it cannot be read, and why in a list."""
    with _collecting(unreadable):
        return np.ascontiguousarray(read_image(path)[..., ::-1])
    return None


@contextlib.contextmanager
def _collecting(unreadable: list[str]) -> Iterator[None]:
    """A file that cannot be read goes into a list."""
    try:
        yield
    except DataError as error:
        unreadable.append(str(error))


def _boxes(detections: Sequence[Detection]) -> Found:
    boxes = np.array([box for box, _ in detections], np.float32).reshape(-1, 4)
    return Found(boxes, np.array([score for _, score in detections]))


def _draw(people: People, pixels: np.ndarray, pose: Pose, target: Path) -> None:
    """Write the picture, and a panel of each person whose heatmaps there are."""
    _write_picture(target, people.draw(pixels, pose))
    for person in range(0 if pose.heatmaps is None else len(pose.boxes)):
        panel = heatmap_panel(pose, person, people.predictor.layout)
        _write_picture(panel_of(target, person), panel)


def _write_picture(path: Path, picture: np.ndarray) -> None:
    try:
        ok, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
    except cv2.error:
        ok = False
    if not ok:
        height, width = picture.shape[:2]
        raise DataError(f"{path}: {width}x{height} pixels cannot be a jpg; keypoints are written")
    write_atomically(path, data.tobytes())
