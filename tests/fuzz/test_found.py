"""Inputs that the fuzzers found, made by hand: each was a stray exception, a hang, or worse."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch

from ablations.grid import load_grids
from ablations.match import Costs
from hevitpose.config import load_config
from hevitpose.data import images
from hevitpose.data.readers import coco_format
from hevitpose.data.registry import ROWS
from hevitpose.data.synthetic import seal
from hevitpose.errors import HEViTPoseError
from hevitpose.evaluation.prediction_files import read_arrays, read_image_list
from hevitpose.inference.pictures import name_images
from hevitpose.leases import Leases
from hevitpose.models import gate
from hevitpose.models.checkpoint import read_checkpoint
from hevitpose.records import RecordStore
from reports import grid_files, published
from reports.figures import gallery
from reports.load import check
from tests.data import annotation_files as files
from tests.data.feeding_back import ap, custom, read
from tests.fuzz.campaign import cli
from tests.reports.conftest import Factory, _write_gallery


def one_line(read) -> str:
    with pytest.raises(HEViTPoseError) as caught:
        read()
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def coco(path: Path):
    return coco_format.read(
        path, path.parent, ROWS["coco"], split="val", input_size=(64, 64), skip_bad=False
    )


def test_an_integer_of_more_digits_than_python_reads(tmp_path):
    """The search for keys that are there twice made every number of a record."""
    text = json.dumps(files.coco()).replace('"area": 321.5', f'"area": {"9" * 5000}, "x": {{}}', 1)
    assert "digits" in one_line(lambda: coco(files.write(tmp_path / "a.json", text)))


def test_a_crowd_index_beyond_floats(tmp_path):
    content = files.crowdpose()
    content["images"][0]["crowdIndex"] = 10**309
    files.root(tmp_path, crowdpose=content)
    cli("data", "check", "--root", tmp_path)


def test_names_with_line_breaks(tmp_path):
    paths = [files.image(tmp_path / "b.jpg")]
    ids = files.write(tmp_path / "i.json", {"images": [{"id": 1, "file_name": "a\nb"}]})
    assert "a\\nb" in one_line(lambda: name_images(paths, ids))
    (tmp_path / "a.lease").write_text('{"host": "x\\ny", "pid": 1, "since": "z"}')
    assert "x\\ny" in Leases(tmp_path).holder("a")


def test_a_truth_that_is_a_link_to_itself(tmp_path):
    path = custom(tmp_path, files.coco())
    (tmp_path / "loop.json").symlink_to(tmp_path / "loop.json")
    files.write(tmp_path / "r.json", [])
    words = ["evaluate-predictions", "--dataset", path, "--predictions", tmp_path / "r.json"]
    one_line(lambda: cli(*words, "--ground-truth", tmp_path / "loop.json"))


def pipe(path: Path) -> None:
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(5 * 2**30)


READERS = {
    "p.npy": lambda path: read_arrays(path, 2),
    "p.mat": lambda path: read_arrays(path, 2),
    "list.txt": read_image_list,
    "grid.yaml": lambda path: load_grids([str(path)], load_config(None, preset="quick")),
    "config.yaml": load_config,
    "photo.jpg": images.read_image,
    "photo.png": images.size_of,
    seal.SEAL: lambda path: seal.check(path.parent),
}


def test_a_seal_of_a_name_that_no_file_can_have(tmp_path):
    (tmp_path / seal.SEAL).write_text(f"{'0' * 64}  a\0b\n")
    assert "expected the file that was rendered" in one_line(lambda: seal.check(tmp_path))


@pytest.mark.parametrize("make", [pipe, endless, huge])
@pytest.mark.parametrize("name", READERS)
def test_what_is_no_file_or_too_large(tmp_path, name, make):
    if make is huge and name in ("p.npy", "photo.png"):
        return  # mapped, and only the header read
    make(tmp_path / name)
    assert name in one_line(lambda: READERS[name](tmp_path / name))
    if name == "photo.jpg":
        assert images.look(tmp_path / name, (64, 48)).fault


def test_a_gallery_of_a_record_of_two_lines(tmp_path):
    record = Factory().evaluation()
    _write_gallery(tmp_path / "gallery", record)
    path = tmp_path / "gallery/gallery.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"record": "a\n\nb"}))
    _, (problem,) = gallery.load(tmp_path / "gallery", check([("a", record)]))
    assert str(problem).endswith(r"of record a\n\nb, which is not here")


def test_a_gallery_that_is_a_pipe(tmp_path):
    record = Factory().evaluation()
    _write_gallery(tmp_path / "gallery", record)
    (tmp_path / "gallery/people.jpg").unlink()
    os.mkfifo(tmp_path / "gallery/people.jpg")
    found, (problem,) = gallery.load(tmp_path / "gallery", check([("a", record)]))
    assert found is None and "people.jpg: is a pipe" in str(problem)


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000, 16, 2), }",
        "[" * 100_000,  # numpy's message has three lines
        "{'descr': '|O', 'fortran_order': False, 'shape': (2, 16, 2), }",
        "{'descr': '|V0', 'fortran_order': False, 'shape': (1000000000000, 16, 2), }",
    ],
)
def test_headers_of_arrays(tmp_path, header):
    data = b"\x93NUMPY\x02\x00" + len(header).to_bytes(4, "little") + header.encode()
    (tmp_path / "p.npy").write_bytes(data + bytes(512))
    assert "p.npy" in one_line(lambda: read_arrays(tmp_path / "p.npy", 2))


def test_a_header_longer_than_its_array(tmp_path):
    (tmp_path / "p.npy").write_bytes(b"\x93NUMPY\x02\x00" + b"\xff\xff\xff\x7f{'descr': '<f8'")
    with mock.patch("numpy.load") as load:
        why = one_line(lambda: read_arrays(tmp_path / "p.npy", 2))
    assert "a header of 2147483647 bytes" in why and not load.called


def test_a_pickle_that_says_much_in_few_bytes(tmp_path):
    said: list = [1]
    for _ in range(40):
        said = [said, said]
    torch.save(
        {"hevitpose": {"config": said}, "state_dict": {"model.a": torch.zeros(1)}},
        tmp_path / "x.ckpt",
    )
    assert (tmp_path / "x.ckpt").stat().st_size < 10_000
    assert "more than 100000 values" in one_line(lambda: read_checkpoint(tmp_path / "x.ckpt"))


def test_sections_that_are_none(tmp_path):
    files.write(tmp_path / "c.yaml", "preset: quick\ntraining: 7\n")
    assert "training" in one_line(lambda: load_config(tmp_path / "c.yaml"))
    files.write(tmp_path / "g.yaml", "question: !!timestamp x\n")
    with pytest.raises(HEViTPoseError, match=r"g\.yaml:1: not a yaml value"):
        load_grids([str(tmp_path / "g.yaml")], load_config(None, preset="quick"))
    files.write(tmp_path / "costs.json", "[1]")
    assert Costs(tmp_path).known == {}


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ({"config": {"data": 7}}, "config.data: 7, expected a section"),
        ({"config": {"data": {"input_size": ["a", "b"]}}}, "an input of ..a., .b.., expected two"),
        ({"config": {"evaluation": {"condition": [1]}}}, "condition: .1., expected a text"),
    ],
)
def test_records_whose_config_is_none(part, says, tmp_path):
    record = Factory().evaluation(**part)
    files.write(tmp_path / f"{record.id}.json", record.to_dict())
    store = RecordStore(tmp_path)
    assert store.load() == []
    (problem,) = store.problems
    assert problem.file == f"{record.id}.json" and re.search(says, problem.reason)
    words = ["records", "promote", record.id, "--store", tmp_path, "--to", tmp_path / "to"]
    assert record.id in one_line(lambda: cli(*words))


@pytest.mark.parametrize("key", ["codec.sigma", "training.lr", "model.drop_path_rate"])
@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan"])
def test_numbers_that_are_not_finite(tmp_path, key, value):
    """An infinite sigma was a cell until its id was made."""
    texts = dict.fromkeys(("question", "command", "expected", "finding"), "x")
    text = json.dumps(texts | {"primary": {"other": "Mean"}})[:-1]
    text += f", cells: {{wide: {{{key}: {value}}}}}}}"
    files.write(tmp_path / "g.yaml", text)
    says = one_line(lambda: load_grids([str(tmp_path / "g.yaml")], load_config("synthetic")))
    assert key in says and "finite" in says


def test_columns_with_line_breaks(tmp_path):
    for name in ("sources.yaml", "cautions.yaml", "numbers.csv"):
        shutil.copy(published.ROOT / name, tmp_path / name)
    text = (tmp_path / "numbers.csv").read_text()
    (tmp_path / "numbers.csv").write_text(text.replace("source", "a\x85b", 1), encoding="utf-8")
    assert "numbers.csv" in one_line(lambda: published.load(tmp_path))


def test_flags_of_text_in_an_original(tmp_path):
    content = files.crowdpose()
    content["annotations"][0]["keypoints"][2] = "2"
    for split in ("train", "val", "test"):
        files.write(tmp_path / f"crowdpose_{split}.json", content)
    words = ["data", "prepare", "crowdpose", "--source", tmp_path, "--root", tmp_path / "data"]
    assert "expected numbers" in one_line(lambda: cli(*words))


def test_a_release_whose_joints_are_of_nobody(tmp_path):
    from scipy.io import savemat

    point = [{"id": float(j), "x": 5.0 + j, "y": 9.0} for j in range(16)]
    person = {"scale": 1.0, "objpos": {"x": 3.0, "y": 4.0}, "annopoints": {"point": point}}
    image = {"image": {"name": "a.jpg"}, "annorect": person}
    release = {"annolist": [image, image], "img_train": [1, 0], "single_person": [1, 1]}
    savemat(tmp_path / "mpii_human_pose_v1_u12_1.mat", {"RELEASE": release})
    words = ["data", "prepare", "mpii", "--source", tmp_path, "--root", tmp_path / "data"]
    for truth in (
        {"jnt_missing": np.zeros((16, 1)), "pos_gt_src": np.zeros((16, 2, 0))},
        {"jnt_missing": np.zeros((16, 1)), "pos_gt_src": np.full((16, 2, 1), np.inf)},
    ):
        savemat(tmp_path / "mpii_gt_val.mat", truth)
        assert "mpii_gt_val.mat" in one_line(lambda: cli(*words))


@pytest.mark.parametrize("key", ["annotations", "images"])
def test_a_name_that_no_file_can_have(tmp_path, key):
    """Python's own ``is_file`` raises at names of more than 255 bytes."""
    split = {"annotations": "ann.json", "images": "images"} | {key: "a" * 300}
    path = custom(tmp_path, files.coco(), splits={"train": split, "val": split})
    assert "a" * 300 in one_line(lambda: read(path))
    cli("data", "check", path)


def test_a_photograph_whose_name_no_file_can_have(tmp_path):
    content = files.coco()
    content["images"][0]["file_name"] = "a" * 300
    assert "a" * 300 in one_line(lambda: read(custom(tmp_path, content)))


@pytest.mark.parametrize(
    "words",
    [
        ("predict", "NAME"),
        ("data", "synth", "--root", "NAME", "--people", 20),
        ("train", "data.root=NAME"),
        ("export", "hevitpose_nano", "x.onnx", "--int8", "--calibration", "NAME"),
    ],
)
def test_an_argument_that_no_file_can_be_called(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one_line(lambda: cli(*(str(word).replace("NAME", "a" * 300) for word in words)))


def test_a_grid_that_no_file_can_be_called():
    assert grid_files.findings_of("a" * 300) == ()


def test_a_category_without_a_name(tmp_path):
    content = files.coco()
    content["categories"].append({"id": 2, "name": " "})
    path = custom(tmp_path, content, derive=True)
    assert ap(read(path)) == (1.0, 1.0)


def test_what_pillow_logs_is_not_shown(tmp_path):
    """It logs and raises; a log that nobody listens to goes to standard error."""
    tags = [(256, 4, 8), (257, 4, 8), (258, 3, 8), (262, 3, 2), (277, 3, 768)]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    head = b"II*\0" + struct.pack("<IH", 8, len(tags))
    (tmp_path / "a.tif").write_bytes(head + entries + bytes(4))
    code = (
        "import sys, pathlib; from hevitpose.data.images import size_of\n"
        "from hevitpose.errors import DataError\n"
        "try: size_of(pathlib.Path(sys.argv[1]))\n"
        "except DataError: print('refused')"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a.tif")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("refused\n", "")


def test_a_sparse_file_named_safetensors(tmp_path):
    """Gigabytes of nothing were mapped before they were refused."""
    with (tmp_path / "m.safetensors").open("wb") as file:
        file.truncate(5 * 2**30)
    assert "no header" in one_line(lambda: read_checkpoint(tmp_path / "m.safetensors"))
    with mock.patch.object(Path, "open", side_effect=PermissionError(13, "Permission denied")):
        assert "Permission denied" in one_line(lambda: read_checkpoint(tmp_path / "m.safetensors"))
    (tmp_path / "m.safetensors").write_bytes(struct.pack("<Q", 99) + b"{}")
    assert "no header" in one_line(lambda: read_checkpoint(tmp_path / "m.safetensors"))


def test_a_text_longer_than_its_pickle(tmp_path):
    """Two gigabytes were made ready for the text that 61 bytes announce."""
    text = b"X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\xff\xff\xff\x7f\x00a"
    (tmp_path / "m.ckpt").write_bytes(b"\x80\x02(" + text)
    assert "m.ckpt" in one_line(lambda: read_checkpoint(tmp_path / "m.ckpt"))
    with gate._Bounded(io.FileIO(tmp_path / "m.ckpt")) as file:
        size = (tmp_path / "m.ckpt").stat().st_size
        assert (len(file.read(9)), len(file.read(2**62)), len(file.read())) == (9, size - 9, 0)
