"""Videos: frames in and out, people who keep their numbers, damaged files named in one line."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import warnings

import cv2
import numpy as np
import pytest

from hevitpose.cli import execute
from hevitpose.data.readers.results import read_results
from hevitpose.errors import DataError, HEViTPoseError, Notice, UsageError
from hevitpose.inference import video
from hevitpose.inference.detectors import Found
from hevitpose.inference.predict import Options, predict_files
from hevitpose.inference.video import Video, find_media, open_video, read_frames, writing
from tests.inference.figures import figure, film, needs_hog


def walk(number: int) -> np.ndarray:
    """Two people, one of whom goes to the right."""
    return figure(60 + 2 * number, 240, width=300)


def marked(number: int) -> np.ndarray:
    return np.full((48, 64, 3), 3 * number, np.uint8)


def decoded(path) -> list[np.ndarray]:
    return list(read_frames(open_video(path)))


# Files ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "code"),
    [(".mp4", "mp4v"), (".avi", "MJPG"), (".mov", "mp4v"), (".mkv", "mp4v"), (".webm", "VP80")],
)
def test_containers(tmp_path, suffix, code):
    path = film(tmp_path / f"clip{suffix}", 20, marked, fps=12.5, code=code)
    assert open_video(path) == Video(path, 20, 12.5)
    for number, frame in enumerate(decoded(path)):
        assert frame.shape == (48, 64, 3)
        assert abs(frame.mean() - 3 * number) < 5
    other = path.rename(tmp_path / "clip")  # what it holds decides
    (tmp_path / "photo").write_bytes(cv2.imencode(".png", marked(0))[1].tobytes())
    (tmp_path / "text").write_text("no picture")
    names = [str(tmp_path / name) for name in ("clip", "photo", "text")]
    assert find_media(names) == ([tmp_path / "photo", tmp_path / "text"], [other])


def test_what_a_folder_has_besides_is_said(tmp_path):
    for name in ("a.png", "clip.mpg", "p.heic", "notes.txt", "._b.png", "x.json"):
        (tmp_path / name).write_bytes(b"")
    with pytest.warns(Notice, match=r"left out by their suffix: clip\.mpg, p\.heic \(give"):
        assert find_media([str(tmp_path)]) == ([tmp_path / "a.png"], [])


@pytest.mark.parametrize("fps", [1000 / 15, 1000 / 14, 65.5361, 119.8801, 239.7602, 987.654, 0.3])
def test_any_rate_that_is_read_can_be_written(tmp_path, fps):
    with writing(tmp_path / "clip.mp4", fps) as film:
        for number in range(3):
            film.write(marked(number))
    found = open_video(tmp_path / "clip.mp4")
    assert found.frames == 3 and found.fps == pytest.approx(fps, rel=1e-3)


def test_folders_of_both(tmp_path):
    for name in ("a.jpg", "b.MP4", "c.txt", "d.webm"):
        (tmp_path / name).touch()
    images, videos = find_media([str(tmp_path), str(tmp_path / "a.jpg")])
    assert [p.name for p in images + videos] == ["a.jpg", "b.MP4", "d.webm"]
    with pytest.raises(DataError, match=r"no image or video there \(expected .*\.png.*\.mp4"):
        find_media([str(tmp_path / "*.txt2")])


def test_damaged_videos_are_one_line(tmp_path):
    good = film(tmp_path / "good.mp4", 40, walk).read_bytes()
    for name, content, says in (
        ("empty.mp4", b"", "not a readable video"),
        ("noise.webm", bytes(range(256)) * 9, "not a readable video"),
        ("cut.mp4", good[: len(good) // 2], "not a readable video"),  # the index is at the end
        ("text.mov", b"hello", "not a readable video"),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(DataError, match=f"{name}: {says}"):
            open_video(path)
    avi = film(tmp_path / "whole.avi", 40, walk, code="MJPG").read_bytes()
    (tmp_path / "cut.avi").write_bytes(avi[: len(avi) // 2])
    with pytest.raises(DataError, match=r"cut\.avi: ends after frame \d+ of 40|not a readable"):
        open_video(tmp_path / "cut.avi")
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(DataError, match=r"pipe\.mp4: is a pipe"):
        open_video(tmp_path / "pipe.mp4")
    with pytest.raises(DataError, match=r"none\.mp4: No such file"):
        open_video(tmp_path / "none.mp4")


def test_a_few_lost_frames_are_told(tmp_path, monkeypatch):
    class Lossy:
        left = 94

        def isOpened(self):  # noqa: N802 (OpenCV's)
            return True

        def get(self, key):
            return 100.0 if key == cv2.CAP_PROP_FRAME_COUNT else 25.0

        def grab(self):
            self.left -= 1
            return self.left >= 0

    monkeypatch.setattr(video, "_capture", lambda path: contextlib.nullcontext(Lossy()))
    for name in ("a.mp4", "a.mkv"):
        (tmp_path / name).touch()
    with pytest.warns(Notice, match=r"a\.mp4: 94 of 100 frames can be decoded"):
        assert open_video(tmp_path / "a.mp4").frames == 94
    with warnings.catch_warnings():  # whose header is an estimate
        warnings.simplefilter("error")
        assert open_video(tmp_path / "a.mkv").frames == 94


def test_the_command_says_it_in_one_line(tmp_path, capsys):
    path = tmp_path / "bad.mp4"
    path.write_bytes(b"\0\0\0\x18ftypmp42" + bytes(900))
    assert execute(["predict", str(path), "--out", str(tmp_path / "o")]) == 1
    line = f"error: {path}: not a readable video"
    errors = capsys.readouterr().err
    assert errors.startswith(line) and errors.count("\n") == 1
    # FFmpeg and OpenCV are silent, which they learn once in a process: in a fresh one too.
    code = (
        "import pathlib, sys\n"
        "from hevitpose.inference.video import open_video\n"
        "try: open_video(pathlib.Path(sys.argv[1]))\n"
        "except Exception as error: sys.exit(f'error: {error}')\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert ended.returncode == 1
    assert ended.stderr.startswith(line) and ended.stderr.count("\n") == 1


def test_a_playlist_opens_no_address(tmp_path):
    """FFmpeg takes files only from a list that is a file."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/a.ts"
        playlist = tmp_path / "list.m3u8"
        lines = ("#EXTM3U", "#EXT-X-TARGETDURATION:1", "#EXTINF:1,", address, "#EXT-X-ENDLIST")
        playlist.write_text("\n".join(lines))
        with pytest.raises(DataError, match=r"list\.m3u8: not a readable video"):
            open_video(playlist)
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.mark.parametrize("shape", [(48, 64), (47, 63), (1, 1), (5, 300)])
def test_an_mp4_of_any_size(tmp_path, shape):
    with writing(tmp_path / "new" / "out.mp4", 30) as writer:
        for _ in range(7):
            writer.write(np.full((*shape, 3), (200, 30, 30), np.uint8))
    frames = decoded(tmp_path / "new" / "out.mp4")
    assert len(frames) == 7
    height, width = frames[0].shape[:2]
    assert (height, width) == tuple(max(2, side // 2 * 2) for side in shape)
    assert frames[3][..., 0].mean() > 150 > frames[3][..., 2].mean()  # red, not blue


def test_an_mp4_takes_its_place_only_when_whole(tmp_path, monkeypatch):
    target = tmp_path / "out.mp4"
    target.write_bytes(b"before")
    with pytest.raises(ZeroDivisionError), writing(target, 25) as writer:
        writer.write(marked(0))
        raise ZeroDivisionError
    with pytest.raises(HEViTPoseError, match="1 of 2 frames were written"):
        with writing(target, 25) as writer:
            writer.write(marked(0))
            writer.frames += 1
    with pytest.raises(FileNotFoundError), writing(target, 25):
        raise FileNotFoundError("of a detector, which is not the mp4's fault")
    assert target.read_bytes() == b"before"
    assert [p.name for p in tmp_path.iterdir()] == ["out.mp4"]


# Prediction -------------------------------------------------------------------------------------


class Boxes:
    """A detector that knows where the people of :func:`walk` are, but for some frames."""

    def __init__(self, missed=()):
        self.missed, self.frame = missed, 0

    def __call__(self, image):
        self.frame += 1
        left = [36 + 2 * (self.frame - 1), 216]
        people = left[1:] if self.frame in self.missed else left[:: 1 if self.frame % 2 else -1]
        boxes = [[x, 39, 48, 160] for x in people]
        return Found(np.array([*boxes, [0, 0, 9, 9]]), np.array([*[0.9] * len(boxes), 0.1]))


def test_tracks_and_files(tmp_path):
    clip = film(tmp_path / "clip.mp4", 30, walk)
    seen = []
    written = predict_files(
        [str(clip)],
        None,
        tmp_path / "out",
        Options(detector=Boxes(missed=(7, 8, 20))),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert (written.results, written.images) == (None, 0)
    (video,) = written.videos
    assert (video.frames, video.people, video.empty) == (30, 2, 0)
    assert seen == [(number, 30) for number in range(1, 31)]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["clip.json", "clip.mp4"]
    entries = json.loads(video.results.read_text())
    assert len(read_results(video.results, 17)) == len(entries) == 57
    who = {}
    for entry in entries:
        assert entry["file_name"] == "clip.mp4" and 1 <= entry["image_id"] <= 30
        side = "stays" if entry["bbox"][0] == 216 else "goes"
        who.setdefault(side, set()).add(entry["track_id"])
    assert sorted(who.values(), key=min) == [{1}, {2}]
    frames = decoded(video.path)
    assert len(frames) == 30 and frames[0].shape == (240, 300, 3)
    original = decoded(clip)
    assert all(np.abs(a.astype(int) - b).max() > 60 for a, b in zip(frames, original, strict=True))


def test_frames_are_listed_whatever_ends_it(tmp_path):
    clip, boxes = film(tmp_path / "clip.mp4", 4, walk), Boxes()

    def detect(image):
        if boxes.frame == 2:
            raise KeyboardInterrupt
        return boxes(image)

    with pytest.raises(KeyboardInterrupt):
        predict_files([str(clip)], None, tmp_path / "out", Options(detector=detect))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["clip.json"]
    assert {e["image_id"] for e in json.loads((tmp_path / "out/clip.json").read_text())} == {1, 2}


def test_frames_without_people(tmp_path):
    clip = film(tmp_path / "clip.avi", 5, marked, code="MJPG")
    none = Found(np.zeros((0, 4)), np.zeros(0))
    written = predict_files(
        [str(clip)], None, tmp_path / "out", Options(detector=lambda image: none)
    )
    (video,) = written.videos
    assert (video.people, video.empty, json.loads(video.results.read_text())) == (0, 5, [])
    assert len(decoded(video.path)) == 5


def test_images_and_videos_of_one_call(tmp_path, capsys):
    folder = tmp_path / "in"
    film(folder / "a" / "clip.mp4", 4, marked)
    film(folder / "b" / "clip.avi", 3, marked, code="MJPG")
    film(folder / "b" / "clip.mkv", 2, marked)
    (folder / "b" / "bad.mp4").write_bytes(b"")
    cv2.imwrite(str(folder / "b" / "photo.png"), marked(9))
    words = ["predict", str(folder / "a"), str(folder / "b"), "--out", str(tmp_path / "out")]
    words += ["--detector", "none"]
    assert execute(words) == 1
    assert not (tmp_path / "out").exists()  # the damaged one is found first
    assert execute([*words, "--skip-bad"]) == 0
    shown = capsys.readouterr().out
    assert "bad.mp4: not a readable video" in shown and "clip.avi.mp4: 3 frames, 1 tracks" in shown
    made = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.*")}
    clips = {f"{name}{end}" for name in ("a/clip", "b/clip.avi", "b/clip.mkv")
             for end in (".mp4", ".json")}  # fmt: skip
    assert made == clips | {"photo.jpg", "keypoints.json", "detections.json"}
    with pytest.raises(UsageError, match=r"clip\.mp4 is a video to predict"):
        predict_files([str(folder / "a")], None, folder / "a")
    images_only = r"--heatmaps: applies to images only, .*clip\.mp4 is a video"
    with pytest.raises(UsageError, match=images_only):
        predict_files([str(folder / "a")], None, tmp_path / "x", Options(heatmaps=True))
    with pytest.raises(UsageError, match=r"--boxes b\.json: applies to images only"):
        predict_files([str(folder / "a")], None, tmp_path / "x", Options(boxes="b.json"))


@needs_hog
def test_a_folder_of_pictures_and_a_video_by_the_default_detector(tmp_path, capsys):
    """Three pictures, and a film of them; the last shows nobody."""
    folder = tmp_path / "in"
    pictures = [figure(100), figure(160, 260), np.full((240, 320, 3), 128, np.uint8)]
    film(folder / "clip.mp4", 12, lambda number: pictures[number // 4], fps=10)
    for name, picture in zip("abc", pictures, strict=True):
        cv2.imwrite(str(folder / f"{name}.png"), picture[..., ::-1])
    out = tmp_path / "out"
    assert execute(["predict", str(folder), "--out", str(out), "--detector", "hog"]) == 0
    shown = capsys.readouterr().out
    assert "nobody found in 1 of 3 images: c.png" in shown
    assert "nobody found in 4 of 12 frames of clip.mp4" in shown
    entries = json.loads((out / "keypoints.json").read_text())
    assert len(read_results(out / "keypoints.json", 17)) == len(entries)
    middles = {"a.png": [100], "b.png": [160, 260]}
    for name, wanted in middles.items():
        found = [e["bbox"][0] + e["bbox"][2] / 2 for e in entries if e["file_name"] == name]
        assert all(min(abs(x - middle) for x in found) < 12 for middle in wanted)
    people = read_results(out / "clip.json", 17)
    tracks = json.loads((out / "clip.json").read_text())
    assert len(people) == len(tracks)
    assert {e["image_id"] for e in tracks} == set(range(1, 9))
    first = [e["track_id"] for e in tracks if abs(e["bbox"][0] + e["bbox"][2] / 2 - 100) < 12]
    assert first == [1] * 4
    assert len(decoded(out / "clip.mp4")) == 12


@needs_hog
@pytest.mark.slow
def test_photographs_and_a_film_of_them(samples, tmp_path):
    names = ["000000094614.jpg", "000000396200.jpg", "000000521717.jpg"]
    photographs = [cv2.imread(str(samples / "coco_small" / "images" / name)) for name in names]
    folder = tmp_path / "in"
    folder.mkdir()
    for name in names:
        shutil.copy(samples / "coco_small" / "images" / name, folder)

    def frame(number: int) -> np.ndarray:
        picture = photographs[number // 12][..., ::-1]
        zoom = 1 + 0.008 * (number % 12)
        across = np.array([[zoom, 0, -2.0 * (number % 12)], [0, zoom, 0]])
        return cv2.warpAffine(np.ascontiguousarray(picture), across, (640, 420))

    film(folder / "clip.mp4", 36, frame)
    out = tmp_path / "out"
    written = predict_files([str(folder)], None, out, Options(detector="hog"))
    assert (written.images, written.empty) == (3, ())
    (video,) = written.videos
    assert (video.frames, video.empty) == (36, 0)
    assert len(decoded(video.path)) == 36
    entries = json.loads(video.results.read_text())
    assert len(read_results(video.results, 17)) == len(entries)
    of_skier = [e["track_id"] for e in entries if e["image_id"] <= 12]
    assert of_skier.count(1) == 12
