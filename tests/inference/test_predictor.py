"""Prediction: the same numbers as evaluation, files that people and programs can use."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
import torch

from hevitpose import PosePredictor, create_model, from_pretrained
from hevitpose.cli import execute
from hevitpose.config import load_config
from hevitpose.data import load
from hevitpose.data.keypoints import COCO, MPII
from hevitpose.data.loader import PoseDataset
from hevitpose.errors import DataError, DivergedError, UsageError
from hevitpose.evaluation.predict import codec_of, predict_batch
from hevitpose.inference.arrays import as_rgb
from hevitpose.inference.detectors import Found
from hevitpose.inference.people import checked_found
from hevitpose.inference.pictures import Pictures, find_images, match_boxes, name_images
from hevitpose.inference.predict import Options, predict_files
from hevitpose.inference.predictor import Pose
from hevitpose.inference.visualize import draw_poses, heatmap_panel
from hevitpose.models.checkpoint import save_checkpoint


@pytest.fixture(scope="module")
def model():
    network = create_model("nano", num_keypoints=16, seed=0).eval()
    torch.nn.init.normal_(network.head.final.weight, std=0.5, generator=torch.Generator())
    return network


@pytest.fixture(scope="module")
def checkpoint(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "model.safetensors"
    config = load_config("synthetic", {"data.input_size": [64, 64]})
    return save_checkpoint(model, path, config.dump(), MPII)


@pytest.fixture(scope="module")
def predictor(checkpoint):
    return PosePredictor(checkpoint)


def test_predictor_agrees_with_evaluation(predictor, model, synthetic_root):
    table = load("synthetic", synthetic_root, "val", input_size=(64, 64))
    dataset = PoseDataset(table, (64, 64))
    for row in range(3):
        item = {k: torch.as_tensor(v)[None] for k, v in dataset[row].items()}
        config = predictor.config
        wanted, scores = predict_batch(model, item, codec_of(model, config), MPII.flip_pairs)
        pose = predictor(table.image_path(row), [table.bboxes[row][None]])[0]
        np.testing.assert_allclose(pose.keypoints, wanted, atol=2e-3)
        np.testing.assert_allclose(pose.scores, scores, rtol=2e-3, atol=1e-5)


def test_a_network_keeps_what_came_with_its_weights(checkpoint):
    of_file, of_network = PosePredictor(), PosePredictor(from_pretrained("hevitpose_nano"))
    assert of_network.config == of_file.config
    assert of_network.config.codec.decoder == "udp" and of_network.layout == COCO
    picture = np.random.default_rng(0).integers(0, 256, (90, 70, 3), np.uint8)
    np.testing.assert_array_equal(of_network(picture)[0].keypoints, of_file(picture)[0].keypoints)
    given = load_config("synthetic", {"data.input_size": [96, 96]})
    assert PosePredictor(from_pretrained(checkpoint), config=given).config is given


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_networks_of_any_precision(dtype):
    given = from_pretrained("hevitpose_nano").to(dtype)
    picture = np.random.default_rng(0).integers(0, 256, (90, 70, 3), np.uint8)
    assert np.isfinite(PosePredictor(given)(picture)[0].keypoints).all()
    assert next(given.parameters()).dtype == dtype


def test_heatmaps_are_those_of_the_scores():
    predictor = PosePredictor()
    assert predictor.config.evaluation.flip_test
    picture = np.random.default_rng(0).integers(0, 256, (90, 70, 3), np.uint8)
    pose = predictor(picture, heatmaps=True)[0]
    np.testing.assert_array_equal(pose.heatmaps.max((2, 3)), pose.scores)


def test_images_of_any_kind_and_none(predictor, tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (80, 120, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), image[..., ::-1])
    whole = predictor([tmp_path / "a.png", image])
    np.testing.assert_array_equal(whole[0].keypoints, whole[1].keypoints)
    assert whole[0].boxes.tolist() == [[0, 0, 120, 80]]
    assert predictor(image, [[]])[0].keypoints.shape == (0, 16, 2)
    with pytest.raises(UsageError, match="uint8"):
        predictor(image.astype(np.float32))
    with pytest.raises(UsageError, match="w, h > 0"):
        predictor(image, [[[0, 0, 0, 5]]])
    with pytest.raises(UsageError, match="one per image"):
        predictor(image, [[[0, 0, 5, 5]], [[0, 0, 5, 5]]])


def test_pictures_of_any_form(checkpoint, tmp_path):
    predictor = PosePredictor(checkpoint)
    image = np.random.default_rng(0).integers(0, 255, (80, 120, 3), np.uint8)
    wanted = predictor(image)[0]
    tensor = torch.from_numpy(image.transpose(2, 0, 1).copy())
    cv2.imwrite(str(tmp_path / "a.tiff"), image[..., ::-1])
    same = [PIL.Image.fromarray(image), tensor, tensor.float() / 255, str(tmp_path / "a.tiff")]
    for form in same:
        np.testing.assert_array_equal(predictor(form)[0].keypoints, wanted.keypoints)
    for swapped in (image[..., ::-1], tensor.flip(0)):
        found = predictor(swapped, colour="bgr")[0]
        np.testing.assert_array_equal(found.scores, wanted.scores)
    # A file knows its own order.
    np.testing.assert_array_equal(predictor(same[3], colour="bgr")[0].scores, wanted.scores)
    assert not np.array_equal(predictor(image, colour="bgr")[0].scores, wanted.scores)
    for batch in (np.stack([image, image]), torch.stack([tensor, tensor]), (image, same[0])):
        assert len(predictor(batch)) == 2
    for none in ([], (), np.zeros((0, 8, 8, 3), np.uint8)):
        assert predictor(none) == [] == predictor(none, [])
    grey = np.full((40, 60), 90, np.uint8)
    three = predictor(np.repeat(grey[..., None], 3, axis=2))[0]
    for form in (grey, PIL.Image.fromarray(grey), torch.from_numpy(grey)[None]):
        np.testing.assert_array_equal(predictor(form)[0].scores, three.scores)


@pytest.mark.parametrize(
    ("picture", "says"),
    [
        (np.zeros((8, 8, 4), np.uint8), r"uint8 of shape \(8, 8, 4\), expected uint8"),
        (np.zeros((8, 8, 3)), r"float64 of shape \(8, 8, 3\)"),
        (np.zeros((0, 8, 3), np.uint8), "expected uint8"),
        (torch.zeros(8, 8, 3), r"a tensor of shape \(8, 8, 3\), expected \(3, H, W\)"),
        (torch.full((3, 8, 8), 90.0), "floats outside of 0..1"),
        (torch.full((3, 8, 8), float("nan")), "floats outside of 0..1"),
        (torch.zeros(3, 8, 8, dtype=torch.int64), "int64"),
        ([3], "image: int, expected a path"),
        ([None], "image: NoneType"),
        (None, "image: NoneType, expected a path"),
        (5, "image: int, expected a path"),
        (torch.zeros(3, 8, 8, device="meta"), "on meta, expected a dense one"),
        (torch.zeros(2, 3, 8, 8, device="meta"), "on meta, expected a dense one"),
        (torch.zeros(3, 8, 8).to_sparse(), "sparse_coo, on cpu, expected a dense one"),
        (torch.full((3, 8, 8), 90.0).to(torch.float8_e5m2), "floats outside of 0..1"),
        (torch.zeros(3, 8, 8, dtype=torch.complex64), "complex64"),
        (PIL.Image.new("I", (8, 8)), "a PIL image of mode I, expected 8 bits"),
        (PIL.Image.new("F", (8, 8)), "a PIL image of mode F"),
        (PIL.Image.new("RGB", (0, 8)), "a PIL image of 0x8 pixels"),
    ],
)
def test_pictures_refused(predictor, picture, says):
    with pytest.raises(UsageError, match=says):
        predictor(picture)


@pytest.mark.parametrize(
    ("boxes", "says"),
    [
        ([[1, 2, float("nan"), 4]], r"boxes of image 1: row 0 is \[1.0, 2.0, nan, 4.0\], .*finite"),
        ([[1, 2, 3, 4], [1, float("inf"), 3, 4]], "boxes of image 1: row 1"),
        ([[1, 2, 3]], r"shape \(1, 3\), expected \(P, 4\)"),
        ([1, 2, 3, 4], r"shape \(4,\), expected \(P, 4\)"),
        ([[1, 2, -3, 4]], "w, h > 0"),
        ([[1, 2, 3e-5, 4]], r"w, h > 0, at least 0\.001"),
        ([[0, 0, 3e38, 3e38]], r"boxes of image 1: row 0 .* at most 1e\+07 pixels"),
        ([[0, 0, 10**400, 1]], "rows of numbers"),
        (torch.zeros(1, 4, device="meta"), "rows of numbers"),
        ([[1, 2, "x", 4]], "rows of numbers"),
        ([[1, 2, 3, 4], [1]], "rows of numbers"),
    ],
)
def test_boxes_refused(predictor, boxes, says):
    image = np.zeros((40, 40, 3), np.uint8)
    with pytest.raises(UsageError, match=says):
        predictor([image, image], [[[0, 0, 9, 9]], boxes])
    with pytest.raises(UsageError, match="unknown colour 'grb'"):
        predictor(image, colour="grb")


def test_pil_images_are_read_as_their_files(predictor, tmp_path):
    """16 bits by their upper 8, turned as EXIF says; PIL's own conversion clips to white."""
    deep = np.random.default_rng(0).integers(0, 65536, (80, 120), np.uint16)
    colours = np.random.default_rng(1).integers(0, 256, (80, 120, 3), np.uint8)
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    cv2.imwrite(str(tmp_path / "deep.png"), deep)
    cv2.imwrite(str(tmp_path / "deep.tif"), deep)
    PIL.Image.fromarray(colours).save(tmp_path / "turned.jpg", exif=exif)
    PIL.Image.fromarray(colours).quantize(16).save(tmp_path / "palette.png")
    for name in ("deep.png", "deep.tif", "turned.jpg", "palette.png"):
        with PIL.Image.open(tmp_path / name) as image:
            found, wanted = as_rgb(image, "rgb"), as_rgb(tmp_path / name, "rgb")
            np.testing.assert_array_equal(found, wanted, err_msg=name)
    assert found.std() > 10 and as_rgb(tmp_path / "turned.jpg", "rgb").shape == (120, 80, 3)
    big = PIL.Image.frombytes("I;16B", (120, 80), deep.astype(">u2").tobytes())
    np.testing.assert_array_equal(as_rgb(big, "rgb")[..., 0], deep >> 8)


def test_what_cannot_be_read_is_one_error(predictor, tmp_path):
    class Named:
        def __fspath__(self):
            return str(tmp_path / "a.png")

    image = np.random.default_rng(0).integers(0, 255, (80, 120, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    for form in (Named(), [Named()]):
        assert predictor(form)[0].boxes.tolist() == [[0, 0, 120, 80]]
    assert len(predictor(image, (box for box in [[[0, 0, 9, 9]]]))[0].boxes) == 1
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:2000])
    closed = PIL.Image.open(tmp_path / "a.png")
    closed.close()
    for picture in (PIL.Image.open(tmp_path / "cut.png"), closed):
        with pytest.raises(DataError, match="a PIL image that cannot be read"):
            predictor(picture)
    with pytest.raises(DataError, match="null byte"):
        predictor("a\0b.png")
    with pytest.raises(UsageError, match="boxes: int, expected one entry per image"):
        predictor(image, 5)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        *(({"batch_size": value}, "batch_size: ") for value in (0, -1, 1.5, None, True)),
        ({"config": {"data": {}}}, "config: dict, expected a Config"),
        ({"layout": "mpii"}, "layout: str, expected a KeypointLayout"),
        ({"layout": MPII}, "layout: mpii has 16 keypoints, hevitpose_nano predicts 17"),
        ({"model": None}, "model: NoneType, expected a file"),
        ({"model": torch.nn.Linear(1, 1)}, "model: Linear has no num_keypoints"),
        ({"device": None}, "device 'None': "),
    ],
)
def test_arguments_refused(given, says):
    with pytest.raises(UsageError, match=says):
        PosePredictor(**given)


def test_weights_without_numbers_are_named(tmp_path):
    network = create_model("nano", num_keypoints=16, seed=0)
    torch.nn.init.constant_(network.head.final.weight, float("nan"))
    path = save_checkpoint(network, tmp_path / "nan.safetensors", None, MPII)
    with pytest.raises(DivergedError, match=r"nan\.safetensors: outputs are not finite"):
        PosePredictor(path)(np.zeros((64, 64, 3), np.uint8))


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (None, "the detector returned NoneType, expected Found"),
        (([[0, 0, 5, 5]], [1.0]), "the detector returned tuple, expected Found"),
        (Found(None, [1.0]), "the detector returned Found"),
        (Found([[0, 0, 5, 5, 1]], [1.0]), r"boxes of the detector have shape \(1, 5\)"),
        (Found([[0, 0, 5, 5]] * 2, [1.0]), r"scores of shape \(1,\) for 2 boxes"),
        (Found([[0, 0, 5, 5]], [1.0, 0.5]), r"scores of shape \(2,\) for 1 boxes"),
        (Found([[0, 0, 5, 5]], [float("nan")]), "scores of the detector: nan of box 0"),
        (Found([[0, 0, 5, 5]], [float("inf")]), "scores of the detector: inf of box 0"),
        (Found([[0, 0, 5, 5]], [90.0]), r"scores of the detector: 90\.0 of box 0, expected 0\.\.1"),
        (Found([[0, 0, 5, 5]], [-0.5]), r"scores of the detector: -0\.5 of box 0"),
        (Found([[0, 0, 5, 5]], ["x"]), "scores of the detector: expected numbers"),
        (Found([[0, 0, float("inf"), 5]], [1.0]), "boxes of the detector: row 0"),
    ],
)
def test_what_a_detector_of_ones_own_returns(checkpoint, tmp_path, found, says):
    grey(tmp_path / "a.png")
    options = Options(detector=lambda pixels: found)
    with pytest.raises(UsageError, match=says):
        predict_files([str(tmp_path / "a.png")], checkpoint, tmp_path / "out", options)
    good = Found(torch.tensor([[0.0, 0, 5, 5]]), torch.tensor([0.9]))
    assert checked_found(good).boxes.tolist() == [[0, 0, 5, 5]]


@pytest.mark.parametrize("end", [ZeroDivisionError, KeyboardInterrupt])
def test_what_was_predicted_is_written_whatever_ends_it(checkpoint, tmp_path, end):
    names = [f"{letter}.png" for letter in "abc"]
    for name in names:
        grey(tmp_path / name)
    seen = []

    def detect(pixels):
        seen.append(pixels)
        if len(seen) == len(names):
            raise end
        return Found(np.array([[0, 0, 5, 5]]), np.array([0.9]))

    with pytest.raises(end):
        predict_files([str(tmp_path)], checkpoint, tmp_path / "out", Options(detector=detect))
    for listed in ("keypoints.json", "detections.json"):
        entries = json.loads((tmp_path / "out" / listed).read_text())
        assert [entry["file_name"] for entry in entries] == names[:2]


def test_what_ends_before_the_first_image_leaves_what_was_there(checkpoint, tmp_path):
    grey(tmp_path / "a.png")
    out = tmp_path / "out"
    predict_files([str(tmp_path / "a.png")], checkpoint, out)
    before = (out / "keypoints.json").read_bytes()

    def detect(pixels):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_files([str(tmp_path / "a.png")], checkpoint, out, Options(detector=detect))
    assert (out / "keypoints.json").read_bytes() == before and before != b"[]"


def test_a_picture_that_is_no_jpg(checkpoint, tmp_path):
    """A JPEG has at most 65,535 pixels a side."""
    for name, width in (("a", 30), ("b", 66000), ("c", 30)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.zeros((20, width, 3), np.uint8))
    out = tmp_path / "out"
    with pytest.raises(DataError, match=r"b\.jpg: 66000x20 pixels cannot .* 2 other images"):
        predict_files([str(tmp_path)], checkpoint, out)
    assert len(json.loads((out / "keypoints.json").read_text())) == 3
    assert sorted(path.name for path in out.glob("*.jpg")) == ["a.jpg", "c.jpg"]


def test_files(checkpoint, tmp_path):
    image = np.full((60, 80, 3), 128, np.uint8)
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("000000000007.jpg", "other.jpg"):
        cv2.imwrite(str(folder / name), image)
    (folder / "broken.jpg").write_bytes((folder / "other.jpg").read_bytes()[:200])
    ids = annotations(
        tmp_path / "ids.json",
        {"000000000007.jpg": 7, "in/other.jpg": 12, "broken.jpg": 3, "absent.jpg": 4},
    )
    boxes = tmp_path / "boxes.json"
    boxes.write_text(
        json.dumps(
            [
                {"image_id": 7, "category_id": 1, "bbox": [1, 2, 30, 40], "score": 0.9},
                {"image_id": 7, "category_id": 1, "bbox": [1, 2, 30, 40], "score": 0.1},
                {"file_name": "other.jpg", "bbox": [5, 5, 20, 20], "score": 0.8},
            ]
        )
    )
    out = tmp_path / "out"
    with pytest.raises(DataError, match=r"broken\.jpg"):
        predict_files([str(folder)], checkpoint, out, Options(ids=ids, boxes=boxes))
    written = predict_files(
        [str(folder)],
        checkpoint,
        out,
        Options(ids=ids, boxes=boxes, box_threshold=0.5, heatmaps=True, skip_bad=True),
    )
    assert (written.images, written.people, len(written.skipped)) == (2, 2, 1)
    entries = json.loads(written.results.read_text())
    assert {e["image_id"]: e["file_name"] for e in entries} == {
        7: "000000000007.jpg",
        12: "other.jpg",
    }
    assert all(len(e["keypoints"]) == 48 and e["category_id"] == 1 for e in entries)
    boxes.write_text(boxes.read_text().replace('"category_id": 1', '"category_id": 7'))
    boxes.write_text(boxes.read_text().replace('"file_name"', '"category_id": 7, "file_name"'))
    options = {"ids": ids, "boxes": boxes, "skip_bad": True}
    with pytest.raises(DataError, match=r"no box of category 1, it has \[7\]; --category names"):
        predict_files([str(folder)], checkpoint, out, Options(**options))
    written = predict_files([str(folder)], checkpoint, out, Options(category_id=7, **options))
    assert {e["category_id"] for e in json.loads(written.results.read_text())} == {7}
    assert (out / "000000000007.jpg").exists()
    assert (out / "other_person0_heatmaps.jpg").exists()


def annotations(path, ids):
    """A file in COCO's format with these images."""
    images = [{"id": number, "file_name": name} for name, number in ids.items()]
    path.write_text(json.dumps({"images": images, "annotations": []}))
    return path


def grey(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((40, 40, 3), 128, np.uint8))


def test_equal_names_are_different_images(checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a/val/1.png", "a/val/x.png", "b/val/1.png", "b/val/1.jpg", "b/val/y.png"):
        grey(tmp_path / name)
    written = predict_files(["a/val", "b/val", "./a/val/1.png"], checkpoint, Path("out"))
    entries = json.loads(written.results.read_text())
    assert [(e["image_id"], e["file_name"]) for e in entries] == [
        (1, "a/val/1.png"),
        (2, "a/val/x.png"),
        (3, "b/val/1.jpg"),
        (4, "b/val/1.png"),
        (5, "b/val/y.png"),
    ]
    pictures = {p.relative_to("out").as_posix() for p in Path("out").rglob("*.jpg")}
    drawn = {e["file_name"].replace(".png", ".jpg") for e in entries}
    assert pictures == drawn | {"b/val/1.png.jpg"}  # beside 1.jpg in one folder
    predict_files(["a/val", "b/val/y.png"], checkpoint, Path("short"))
    assert Path("short/a/val/x.jpg").exists()
    assert Path("short/b/val/y.jpg").exists()
    predict_files(["a/val"], checkpoint, Path("flat"))
    assert Path("flat/x.jpg").exists()
    with pytest.raises(UsageError, match=r"b/val/1\.jpg is an image to predict"):
        predict_files(["b/val/1.jpg"], checkpoint, Path("b/val"))


def test_ids_are_those_of_the_annotations(checkpoint, tmp_path):
    for name in ("a/val/x.png", "b/val/x.png"):
        grey(tmp_path / name)
    sources = [str(tmp_path / "a" / "val"), str(tmp_path / "b" / "val")]
    out = tmp_path / "out"
    ids = annotations(tmp_path / "ids.json", {"b/val/x.png": 900, "a/val/x.png": 31, "c.png": 1})
    written = predict_files(sources, checkpoint, out, Options(ids=ids))
    assert [e["image_id"] for e in json.loads(written.results.read_text())] == [31, 900]
    for content, says in (
        ({"x.png": 1}, r"x\.png is both a/val/x\.png and b/val/x\.png"),
        ({"a/val/x.png": 1}, r"no image b/val/x\.png, its first are a/val/x\.png"),
        ({"a/val/x.png": 1, "b/val/x.png": 1}, "the same id"),
    ):
        with pytest.raises(DataError, match=says):
            predict_files(sources, checkpoint, out, Options(ids=annotations(ids, content)))


@pytest.mark.parametrize(
    ("box", "with_ids", "says"),
    [
        ({"image_id": 5}, True, "no detection is of any image: detections of 5, images 70, 71"),
        ({"file_name": "z.png"}, True, r"detections of z\.png, images 7\.png, 8\.png"),
        ({"file_name": "z.png"}, False, r"detections of z\.png, images 7\.png, 8\.png"),
        ({"image_id": 7}, False, r"image_id 7, the first image is 7\.png; --ids FILE"),
    ],
)
def test_detections_of_other_images(checkpoint, tmp_path, box, with_ids, says, capsys):
    for name in ("7.png", "8.png"):
        grey(tmp_path / "in" / name)
    ids = annotations(tmp_path / "ids.json", {"7.png": 70, "8.png": 71})
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps([{"bbox": [1, 2, 20, 20], "score": 0.9, **box}]))
    words = ["predict", str(tmp_path / "in"), "--checkpoint", str(checkpoint)]
    words += ["--out", str(tmp_path / "out"), "--boxes", str(boxes)]
    assert execute([*words, "--ids", str(ids)] if with_ids else words) == 1
    assert re.search(says, capsys.readouterr().err)


def test_few_detections_are_fine(checkpoint, tmp_path):
    """Nobody detected, or nobody sure enough, is an answer; so are boxes of many more images."""
    for name in ("7.png", "8.png"):
        grey(tmp_path / "in" / name)
    boxes = tmp_path / "boxes.json"
    found = {"bbox": [1, 2, 20, 20], "score": 0.2}
    for entries, people in (
        ([], 0),
        ([found | {"file_name": "7.png"}], 0),
        ([found | {"file_name": "in/7.png", "score": 1}, found | {"file_name": "9.png"}], 1),
    ):
        boxes.write_text(json.dumps(entries))
        sources, out = [str(tmp_path / "in")], tmp_path / "out"
        written = predict_files(sources, checkpoint, out, Options(boxes=boxes, box_threshold=0.5))
        assert written.people == people


def test_heatmaps_of_a_network_without(tmp_path):
    network = create_model("rtmpose_s", num_keypoints=17, seed=0, input_size=(192, 256))
    config = load_config("coco", {"model.name": "rtmpose_s", "data.input_size": [192, 256]})
    path = save_checkpoint(network, tmp_path / "simcc.safetensors", config.dump(), COCO)
    grey(tmp_path / "1.png")
    words = ["predict", str(tmp_path / "1.png"), "--checkpoint", str(path), "--detector", "none"]
    words += ["--out", str(tmp_path / "out")]
    assert execute([*words, "--heatmaps"]) == 2
    assert not (tmp_path / "out").exists()
    assert execute(words) == 0
    with pytest.raises(UsageError, match="rtmpose_s predicts each coordinate by itself"):
        PosePredictor(path)(tmp_path / "1.png", heatmaps=True)


def test_the_callers_network_stays_theirs():
    network = create_model("nano", num_keypoints=16, seed=0)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    predictor = PosePredictor(network, layout=MPII)
    assert predictor.model is not network
    assert all(module.training for module in network.modules())
    assert {p.device.type for p in network.parameters()} == {"cpu"}
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_sources_without_images(tmp_path):
    for source in (str(tmp_path), str(tmp_path / "*.jpg")):
        with pytest.raises(DataError, match="no image there"):
            find_images([source])
    with pytest.raises(DataError, match=r"nowhere\.jpg: no such file or folder"):
        find_images(["nowhere.jpg"])


def test_macos_keeps_files_beside_pictures(tmp_path):
    for name in ("._a.jpg", "a.jpg", ".b.jpg"):
        (tmp_path / name).touch()
    assert [path.name for path in find_images([str(tmp_path)])] == [".b.jpg", "a.jpg"]


def test_a_threshold_that_no_detector_reaches():
    nothing = Pictures((), (), ())
    with pytest.raises(UsageError, match="--box-threshold 2: expected a detector's score, 0 to 1"):
        Options(box_threshold=2).check(nothing)
    Options(box_threshold=2, boxes=Path("scores-of-any-range.json")).check(nothing)


@pytest.mark.parametrize(
    "content", ["{", "{}", "[1]", '[{"bbox": [1, 2, 3]}]', '[{"bbox": [1,2,0,4], "image_id": 1}]']
)
def test_bad_boxes(checkpoint, tmp_path, content):
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((50, 50, 3), np.uint8))
    (tmp_path / "boxes.json").write_text(content)
    with pytest.raises(DataError, match=r"boxes\.json"):
        predict_files(
            [str(tmp_path / "1.png")],
            checkpoint,
            tmp_path / "out",
            Options(boxes=tmp_path / "boxes.json"),
        )


def test_boxes_are_read_as_valid_reads_them(tmp_path):
    """Texts as ids, file names in their place; bad entries are named, or left out and listed."""
    for name in ("000000000007.png", "b.png"):
        grey(tmp_path / name)
    ids = annotations(tmp_path / "ids.json", {"000000000007.png": 7, "b.png": 8})
    images = name_images(find_images([str(tmp_path)]), ids)
    boxes = tmp_path / "boxes.json"
    entries = [
        {"image_id": value, "bbox": [1, 2, 3, 4 + number], "score": 0.5}
        for number, value in enumerate((7, "7", 7.0, "000000000007.png"))
    ]
    boxes.write_text(json.dumps([*entries, {"file_name": "b.png", "bbox": [0, 0, 1, 1]}]))
    found, skipped = match_boxes(boxes, images, 0.1)
    assert [box[3] for box, _ in found[0]] == [4, 5, 6, 7] and not skipped
    assert found[1] == [([0, 0, 1, 1], 1.0)]
    entries[1]["bbox"] = [1, 2, 0, 4]
    entries[2]["image_id"] = [7]
    boxes.write_text(json.dumps(entries))
    with pytest.raises(DataError, match=r"box \[1\]: bbox is .*; box \[2\]: image_id is"):
        match_boxes(boxes, images, 0.1)
    found, skipped = match_boxes(boxes, images, 0.1, skip_bad=True)
    assert len(found[0]) == 2 and len(skipped) == 2 and "box [1]" in skipped[0]


def test_left_and_right_are_drawn_apart():
    keypoints = np.zeros((1, 17, 2), np.float32) - 50
    left, right = COCO.names.index("left_wrist"), COCO.names.index("right_wrist")
    keypoints[0, left], keypoints[0, right] = (20, 50), (80, 50)
    pose = Pose(keypoints, np.ones((1, 17), np.float32), np.array([[0, 0, 99, 99]], np.float32))
    picture = draw_poses(np.zeros((100, 100, 3), np.uint8), pose, COCO, boxes=False)
    assert picture[50, 20, 2] > 150 > picture[50, 20, 0]  # blue
    assert picture[50, 80, 0] > 150 > picture[50, 80, 2]  # orange


def test_unsure_joints_are_not_drawn():
    wrist, elbow = COCO.names.index("left_wrist"), COCO.names.index("left_elbow")
    keypoints = np.zeros((1, 17, 2), np.float32) - 50
    keypoints[0, wrist], keypoints[0, elbow] = (20, 50), (80, 50)
    scores = np.zeros((1, 17), np.float32)
    scores[0, wrist], scores[0, elbow] = 0.19, 0.9
    pose = Pose(keypoints, scores, np.array([[0, 0, 99, 99]], np.float32))
    black = np.zeros((100, 100, 3), np.uint8)
    picture = draw_poses(black, pose, COCO, boxes=False)
    assert picture[50, 20].any() and picture[50, 50].any()
    picture = draw_poses(black, pose, COCO, boxes=False, min_score=0.2)
    assert picture[50, 80].any() and not picture[:, :70].any()  # neither the joint nor its limb
    assert pose.scores[0, wrist] == np.float32(0.19)


def test_boxes_have_the_colours_of_their_tracks():
    box = np.array([[10, 30, 60, 60]], np.float32)
    pose = Pose(np.zeros((1, 17, 2), np.float32), np.zeros((1, 17), np.float32), box)
    black = np.zeros((100, 100, 3), np.uint8)
    edges = [draw_poses(black, pose, COCO, tracks=[n])[90, 40].tolist() for n in (1, 2, 1)]
    assert edges[0] == edges[2] != edges[1]
    white = draw_poses(black, pose, COCO)[90, 40]
    assert white.min() > 200 and np.ptp(white) == 0


def test_nobody_found_and_numbers_that_are_none(checkpoint, tmp_path, capsys):
    for name in ("a.png", "b.png"):
        grey(tmp_path / name)
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps([{"file_name": "a.png", "bbox": [1, 2, 20, 20]}]))
    words = ["predict", str(tmp_path), "--checkpoint", str(checkpoint), "--boxes", str(boxes)]
    words += ["--out", str(tmp_path / "out")]
    assert execute(words) == 0
    assert "nobody found in 1 of 2 images: b.png" in capsys.readouterr().out
    assert (tmp_path / "out" / "b.jpg").exists()
    for option in ("--min-score", "--box-threshold"):
        assert execute([*words, option, "nan"]) == 2
        assert option in capsys.readouterr().err


def test_what_a_detector_found_is_read_again(checkpoint, tmp_path):
    """``detections.json`` in place of the detector: the same people, scores and keypoints."""

    def detector(pixels):
        boxes = np.array([[1, 2, 20, 20], [3.25, 0, 9, 30], [0, 0, 5, 5]])
        return Found(
            boxes[: pixels.shape[1] // 20], np.array([0.9, 0.7, 0.1])[: pixels.shape[1] // 20]
        )

    for name, width in (("a.png", 60), ("b.png", 10), ("c.png", 20)):
        cv2.imwrite(str(tmp_path / name), np.full((40, width, 3), 128, np.uint8))
    sources = [str(tmp_path / "*.png")]
    first = predict_files(sources, checkpoint, tmp_path / "1", Options(detector=detector))
    found = tmp_path / "1" / "detections.json"
    assert [(e["image_id"], e["score"]) for e in json.loads(found.read_text())] == [
        (1, 0.9), (1, 0.7), (3, 0.9),
    ]  # fmt: skip
    again = predict_files(sources, checkpoint, tmp_path / "2", Options(boxes=found))
    assert json.loads(first.results.read_text()) == json.loads(again.results.read_text())
    assert not (tmp_path / "2" / "detections.json").exists()


def test_heatmap_panel_needs_heatmaps(checkpoint):
    predictor = PosePredictor(checkpoint)
    image = np.zeros((64, 64, 3), np.uint8)
    pose = predictor(image, heatmaps=True)[0]
    assert pose.heatmaps.shape == (1, 16, 16, 16)
    assert heatmap_panel(pose, 0, MPII).shape == (3 * 64, 6 * 64, 3)
    with pytest.raises(ValueError, match="without heatmaps"):
        heatmap_panel(predictor(image)[0], 0, MPII)


@pytest.mark.parametrize(
    "device", ["gpu", "cuda:x", "cuda", "mps", "meta", "xpu", "vulkan", "hip", ""]
)
def test_a_device_that_is_not_there(device):
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has one")
    with pytest.raises(UsageError, match=f"device '{device}': "):
        PosePredictor(device=device)
