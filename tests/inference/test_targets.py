"""Files of a prediction: none replaces another, and one bad picture takes nothing with it."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest

from hevitpose.cli import execute
from hevitpose.data.images import look
from hevitpose.errors import DataError, Notice, UsageError, notice_once
from hevitpose.inference.pictures import Pictures, find_images, look_at, name_images
from hevitpose.inference.predict import Options, predict_files
from hevitpose.inference.targets import plan_targets
from hevitpose.inference.video import find_media
from tests.inference.figures import film


def grey(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((40, 40, 3), 128, np.uint8))
    return path


def frame(number: int) -> np.ndarray:
    return np.full((48, 64, 3), 3 * number, np.uint8)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("sources", "options", "says"),
    [
        (["p/a.png", "keypoints.mp4"], {}, r"o/keypoints\.json would be of the images and of key"),
        (["p/a.png", "detections.mp4"], {}, r"o/detections\.json would be of the images and of"),
        (["p/a.png", "p/a_person0_heatmaps.png"], {"heatmaps": True}, r"the heatmaps of a\.jpg"),
        (["q/a.png", "q/a.jpg/b.png"], {}, "would be a file of .* and a folder of"),
        (["p/a.png"], {"ids": Path("o/keypoints.json")}, "is a file that is read"),
    ],
)
def test_nothing_replaces_another_file(here, sources, options, says):
    for name in ("p/a.png", "p/a_person0_heatmaps.png", "q/a.png", "q/a.jpg/b.png"):
        grey(here / name)
    (here / "o").mkdir()
    images = [{"id": 1, "file_name": "a.png"}]
    (here / "o" / "keypoints.json").write_text(json.dumps({"images": images, "annotations": []}))
    for name in ("keypoints.mp4", "detections.mp4"):
        film(here / name, 2, frame)
    before = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match=says):
        predict_files(sources, None, Path("o"), Options(**options))
    assert {path: path.read_bytes() for path in here.rglob("*") if path.is_file()} == before


def test_names_that_only_look_alike(here):
    """Without maps nothing is called as a panel is; a video alone has no list of images."""
    for name in ("a.png", "a_person0_heatmaps.png"):
        grey(here / "p" / name)
    film(here / "keypoints.mp4", 2, frame)
    assert predict_files(["p"], None, Path("o")).images == 2
    assert predict_files(["keypoints.mp4"], None, Path("v")).videos[0].results.exists()


@pytest.mark.parametrize(
    "names",
    [
        {"photo.jpg": "photo.jpg", "rot6.jpg": "rot6.jpg", "rot6.png": "rot6.png.jpg"},
        {
            "a.jpg": "a.jpg",
            "a.png": "a.png.jpg",
            "a.png.jpg": "a.png.jpg.jpg",
            "b.png": "b.jpg",
        },
        {"x/a.jpg": "x/a.jpg", "y/a.png": "y/a.jpg"},
        {"a.webp": "a.webp.jpg", "a.png": "a.png.jpg", "a.JPG": "a.JPG.jpg"},
    ],
)
def test_only_those_that_collide_are_renamed(names):
    for order in itertools.permutations(names):
        paths = tuple(Path("in", name) for name in order)
        images, none = Pictures(paths, order, tuple(range(len(order)))), Pictures((), (), ())
        found = plan_targets(images, none, Path("o")).drawn
        assert found == [Path("o", names[name]) for name in order]


def test_files_are_looked_at_first(here, capsys):
    for name in ("a.png", "b.png"):
        grey(here / "p" / name)
    for name in ("c.png", "d.jpg", "e.png", "f.png"):
        (here / "p" / name).touch()
    assert execute(["predict", "p", "--out", "o", "--detector", "none"]) == 1
    said = capsys.readouterr().err
    assert "p/c.png: zero bytes, expected a whole image; p/d.jpg" in said
    assert "and 1 more; nothing is predicted (--skip-bad" in said and not Path("o").exists()
    assert execute(["predict", "p", "--out", "o", "--detector", "none", "--skip-bad"]) == 0
    assert len(json.loads(Path("o/keypoints.json").read_text())) == 2


@pytest.mark.parametrize(
    ("folder", "file", "says"),
    [
        ("o/keypoints.json", "o/note", "keypoints.json: is a folder, expected a file"),
        ("o/s/a.jpg", "o/note", "a.jpg: is a folder, expected a file"),
        ("o", "o/s", "s is not a folder that can be written"),
    ],
)
def test_what_cannot_be_written_is_said_before(here, monkeypatch, folder, file, says):
    monkeypatch.setattr("hevitpose.inference.predict.PosePredictor", lambda *_: pytest.fail("made"))
    for name in ("p/s/a.png", "p/b.png"):
        grey(here / name)
    Path(folder).mkdir(parents=True)
    Path(file).touch()
    with pytest.raises(UsageError, match=f"--out .*{says}"):
        predict_files(["p/s", "p"], None, Path("o"))


def test_the_device_is_looked_at_before_the_files(here, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("hevitpose.inference.predict._plan", lambda *_: pytest.fail("looked at"))
    with pytest.raises(UsageError, match="no usable CUDA device"):
        predict_files(["p"], None, Path("o"), Options(device="cuda"))


def test_damaged_pixels_take_nothing_with_them(here, capsys):
    for name in ("a.png", "c.png"):
        grey(here / "p" / name)
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
    content = bytearray(cv2.imencode(".png", noise)[1].tobytes())
    content[20] = 0xFF  # the header's width, which only a decoder reads
    bad = here / "p" / "b.png"
    bad.write_bytes(content)
    assert look(bad).fault is None
    words = ["predict", "p", "--out", "o", "--detector", "none"]
    assert execute(words) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: p/b.png: ") and said.count("\n") == 1
    assert "2 other images and 0 videos are predicted, in o" in said
    names = [entry["file_name"] for entry in json.loads(Path("o/keypoints.json").read_text())]
    assert names == ["a.png", "c.png"] and Path("o/c.jpg").exists()
    assert Path("o/detections.json").exists()
    assert execute([*words, "--skip-bad"]) == 0


def test_several_images_in_a_file_are_said(here):
    pages = [PIL.Image.new("RGB", (20, 20), (value, 0, 0)) for value in (0, 90, 200)]
    for name in ("a.gif", "b.webp", "c.tif"):
        pages[0].save(name, save_all=True, append_images=pages[1:])
        notice_once.cache_clear()
        with pytest.warns(Notice, match=f"{name}: 3 images in one file, the first is predicted"):
            look_at(name_images([Path(name)]), False)
    pages[0].save("one.tif")
    look_at(name_images([Path("one.tif")]), False)  # warnings are errors here


def test_sources_that_are_none(here, capsys):
    for name in ("loop.jpg", "loop"):
        Path(name).symlink_to(name)
        with pytest.raises(DataError, match=f"{name}: Too many levels of symbolic links"):
            predict_files([name], None, Path("o"))
    assert find_media(["loop"]) == ([Path("loop")], [])
    with pytest.raises(UsageError, match=r"^a path is empty, expected a file, a folder or a glob$"):
        find_images([""])
    grey(here / "a.png")
    assert execute(["predict", "a.png", "--detector", ""]) == 2
    assert "unknown detector ''" in capsys.readouterr().err
    raw = os.fsdecode(b"\xff.png")
    grey(here / "a.png").rename(raw)
    with pytest.raises(DataError, match="a file name that is not UTF-8"):
        predict_files([raw], None, Path("o"))
    assert not Path("o").exists()
