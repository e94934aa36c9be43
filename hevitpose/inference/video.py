"""Video files: their frames in, an annotated mp4 out."""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from hevitpose.data.fingerprint import SUFFIXES
from hevitpose.errors import DataError, HEViTPoseError, notice_once
from hevitpose.files import other_kind, require_regular
from hevitpose.inference.pictures import find_images
from hevitpose.progress import Progress, silent

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm")
#: Containers whose header says how many frames there are; of others it is an estimate.
_COUNTED = (".mp4", ".m4v", ".mov", ".avi")
_LEAST = 0.9  # of the stated frames: a file with fewer was cut
_RATE = 25.0  # frames per second where the file states none


@dataclass(frozen=True)
class Video:
    """A video file whose frames were counted."""

    path: Path
    frames: int
    fps: float


def find_media(sources: Sequence[str]) -> tuple[list[Path], list[Path]]:
    """Images and videos of a list of files, folders and globs, each once.

    A file named by itself whose suffix is neither an image's nor a video's is what it holds.

    Raises:
        DataError: a source names neither.
    """
    images: list[Path] = []
    videos: list[Path] = []
    for path in find_images(sources, (*SUFFIXES, *VIDEO_SUFFIXES), "image or video"):
        (videos if _is_video(path) else images).append(path)
    return images, videos


def _is_video(path: Path) -> bool:
    suffix = path.suffix.lower()
    if suffix in (*SUFFIXES, *VIDEO_SUFFIXES):
        return suffix in VIDEO_SUFFIXES
    try:
        kind = other_kind(path.stat().st_mode)
    except OSError:  # a link to nothing or to itself, which is no video
        return False
    if kind or cv2.haveImageReader(str(path)):
        return False
    with _capture(path) as capture:
        return bool(capture.isOpened())


def open_video(path: Path, progress: Progress = silent) -> Video:
    """A video, decoded once to count its frames: the number in its header may be an estimate.

    Args:
        path: the file.
        progress: told the frames counted.

    Raises:
        DataError: no such file, no video, none of its frames can be decoded, or it was cut.

    Warns:
        Notice: a few of its frames cannot be decoded.
    """
    require_regular(path, "a video")
    with _capture(path) as capture:
        if not capture.isOpened():
            raise DataError(f"{path}: not a readable video (empty, damaged, or an unknown format)")
        stated, fps = (capture.get(key) for key in (cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FPS))
        total = max(0, round(stated)) if math.isfinite(stated) else 0
        frames = 0
        while capture.grab():
            frames += 1
            progress(frames, max(total, frames))
    if not frames:
        raise DataError(f"{path}: no frame of this video can be decoded")
    if path.suffix.lower() in _COUNTED and frames < _LEAST * total:
        raise DataError(f"{path}: ends after frame {frames} of {total}, expected a whole video")
    if path.suffix.lower() in _COUNTED and frames < total:
        notice_once(f"{path}: {frames} of {total} frames can be decoded, and are predicted")
    return Video(path, frames, fps if 0 < fps <= 1000 else _RATE)


def read_frames(video: Video) -> Iterator[np.ndarray]:
    """The frames of a video in order, (H, W, 3) uint8 RGB, upright as its orientation says.

    Raises:
        DataError: it changed since it was opened.
    """
    with _capture(video.path) as capture:
        for number in range(video.frames):
            there, frame = capture.read()
            if not there:
                raise DataError(f"{video.path}: frame {number + 1} can no longer be decoded")
            yield np.ascontiguousarray(frame[..., ::-1])


def writable_rate(fps: float) -> float:
    """The nearest frame rate that MPEG-4 part 2 can hold: n / 10^k, n of 16 bits."""
    digits = 3
    while round(fps * 10**digits) > 0xFFFF:
        digits -= 1
    return round(fps, digits)


class VideoWriter:
    """An mp4 file, written frame by frame; see :func:`writing`."""

    def __init__(self, path: Path, fps: float) -> None:
        self.path, self.fps = path, writable_rate(fps)
        self.frames = 0
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)

    def write(self, frame: np.ndarray) -> None:
        """Add a frame, (H, W, 3) uint8 RGB; all are resized to the first one's size."""
        if self._writer is None:
            self._writer = self._open(frame.shape[1], frame.shape[0])
        width, height = self._size
        fits = 0 <= frame.shape[1] - width <= 1 and 0 <= frame.shape[0] - height <= 1
        frame = frame[:height, :width] if fits else cv2.resize(frame, self._size)
        self._writer.write(np.ascontiguousarray(frame[..., ::-1]))
        self.frames += 1

    def _open(self, width: int, height: int) -> cv2.VideoWriter:
        self._size = (max(2, width & ~1), max(2, height & ~1))  # the codec takes even sides only
        code = cv2.VideoWriter.fourcc(*"mp4v")
        writer = cv2.VideoWriter(str(self.path), cv2.CAP_FFMPEG, code, self.fps, self._size)
        if not writer.isOpened():
            what = f"an mp4 of {width}x{height}, {self.fps:g} frames/s"
            raise HEViTPoseError(f"{self.path}: OpenCV cannot write {what}")
        return writer

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.release()


@contextlib.contextmanager
def writing(path: Path, fps: float) -> Iterator[VideoWriter]:
    """An mp4 (MPEG-4 part 2, ``mp4v``) that takes the place of ``path`` when the block ends well.

    Raises:
        HEViTPoseError: it cannot be written.
    """
    with contextlib.ExitStack() as stack:
        with _storing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            folder = stack.enter_context(
                tempfile.TemporaryDirectory(
                    prefix=f".{path.stem}.", dir=path.parent, ignore_cleanup_errors=True
                )
            )
        writer = VideoWriter(Path(folder) / "video.mp4", fps)
        try:
            yield writer
        finally:
            writer.close()
        with _storing(path):
            with _capture(writer.path) as capture:  # OpenCV says nothing of a full disk
                stored = round(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
            if stored != writer.frames:
                raise HEViTPoseError(
                    f"{path}: {stored} of {writer.frames} frames were written; is the disk full?"
                )
            writer.path.replace(path)


@contextlib.contextmanager
def _storing(path: Path) -> Iterator[None]:
    """The steps of the writer itself: what else fails while a video is open is not its fault."""
    try:
        yield
    except OSError as error:
        raise HEViTPoseError(f"{path}: cannot be written ({error.strerror})") from None


@contextlib.contextmanager
def _capture(path: Path) -> Iterator[cv2.VideoCapture]:
    """A video as FFmpeg reads it, which is silent: our errors say what is wrong."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # read once, at the first video
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        capture = cv2.VideoCapture(os.path.abspath(path), cv2.CAP_FFMPEG)  # noqa: PTH100
    finally:
        cv2.utils.logging.setLogLevel(level)
    try:
        yield capture
    finally:
        capture.release()
