"""Detectors: people found, boxes that fit, one line where one cannot run."""

from __future__ import annotations

import urllib.error

import cv2
import numpy as np
import pytest
import torch
from torchvision.models import get_model

from hevitpose.errors import DataError, UnavailableError, UsageError
from hevitpose.inference import detectors, torchvision_detector
from hevitpose.inference.boxes import iou, suppress
from hevitpose.inference.detectors import create_detector, register_detector
from tests.inference.figures import figure, needs_hog

SSD = "ssdlite320_mobilenet_v3_large"


@needs_hog
@pytest.mark.parametrize("scale", [0.5, 1, 3])
def test_hog_finds_a_person_where_they_are(scale):
    picture = figure(200)
    picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    found = create_detector("hog")(picture)
    wanted = np.array([[176, 39, 48, 160]]) * scale
    assert iou(found.boxes[:1], wanted)[0, 0] > 0.4
    assert found.scores[0] > 0.9
    assert (np.diff(found.scores) <= 0).all() and found.boxes.shape == (len(found.scores), 4)


@needs_hog
@pytest.mark.parametrize("shape", [(240, 320), (1, 1), (3, 900), (900, 2)])
def test_hog_finds_nobody_in_nothing(shape):
    found = create_detector("hog")(np.full((*shape, 3), 128, np.uint8))
    assert found.boxes.shape == (0, 4) and found.scores.shape == (0,)


def test_hog_of_an_opencv_without(monkeypatch):
    monkeypatch.delattr(cv2, "HOGDescriptor", raising=False)
    with pytest.raises(UnavailableError, match=r"opencv-contrib-python-headless in place of"):
        create_detector("hog")


def test_none_is_the_whole_image():
    found = create_detector("none")(np.zeros((30, 40, 3), np.uint8))
    assert (found.boxes.tolist(), found.scores.tolist()) == ([[0, 0, 40, 30]], [1])


@pytest.mark.parametrize(
    ("name", "weights", "says"),
    [
        ("hgo", None, "unknown detector 'hgo'; did you mean 'hog'"),
        ("none:large", None, "none has no variants"),
        ("hog:", None, "hog has no variants"),
        ("hog", "w.pth", r"--detector-weights w\.pth: hog has no weights"),
        ("torchvision:fasterrcnn_resnet50", None, "did you mean 'fasterrcnn_resnet50_fpn'"),
        ("torchvision:resnet50", None, "unknown torchvision detector 'resnet50'"),
    ],
)
def test_refused(name, weights, says):
    with pytest.raises(UsageError, match=says):
        create_detector(name, weights=weights)


def test_one_of_your_own(monkeypatch):
    monkeypatch.setattr(detectors, "_MAKERS", dict(detectors._MAKERS))
    asked = []

    @register_detector("mine")
    def make(variant, weights, device):
        asked.append((variant, weights, device))
        return detectors.whole_image

    assert create_detector("mine:large", device="cuda:1") is detectors.whole_image
    assert asked == [("large", None, "cuda:1")]
    for name in ("mine", "hog", "a:b"):
        with pytest.raises(UsageError, match="choose another name"):
            register_detector(name)(make)


def test_suppression_keeps_the_better_of_two():
    boxes = [[0, 0, 10, 10], [2, 2, 4, 4], [1, 1, 10, 10], [30, 0, 10, 10]]
    assert suppress(boxes, [0.5, 0.4, 0.9, 0.1], 0.5).tolist() == [2, 3]
    assert suppress(boxes, [0.5, 0.4, 0.9, 0.1], 1.0).tolist() == [2, 0, 1, 3]
    assert suppress([], [], 0.5).tolist() == []
    np.testing.assert_allclose(iou(boxes[:1], boxes), [[1, 0.16, 81 / 119, 0]])


# torchvision ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    network = get_model(SSD, weights=None, weights_backbone=None, num_classes=91)
    path = tmp_path_factory.mktemp("weights") / "ssd.pth"
    torch.save(network.state_dict(), path)
    return path


def test_torchvision_from_a_file(weights, monkeypatch):
    monkeypatch.setattr(torch.hub, "download_url_to_file", None)
    detect = create_detector(f"torchvision:{SSD}", weights=weights)
    answer = {
        "boxes": torch.tensor([[1.0, 2, 11, 32], [0, 0, 9, 9], [5, 5, 5, 9]]),
        "labels": torch.tensor([1, 2, 1]),  # a person, a bicycle, a person without width
        "scores": torch.tensor([0.9, 0.8, 0.7]),
    }
    seen = []
    monkeypatch.setattr(
        detect._network, "forward", lambda images: seen.append(images[0]) or [answer]
    )
    picture = np.zeros((20, 30, 3), np.uint8)
    picture[..., 0] = 255  # red
    found = detect(picture)
    assert found.boxes.tolist() == [[1, 2, 10, 30]]
    assert found.scores.tolist() == pytest.approx([0.9])
    assert seen[0].shape == (3, 20, 30) and seen[0].amax((1, 2)).tolist() == [1, 0, 0]


def test_torchvision_runs(weights):
    found = create_detector(f"torchvision:{SSD}", weights=weights)(figure())
    assert found.boxes.shape == (len(found.scores), 4)


def test_torchvision_without_network(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def download(*_, **__):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    with pytest.raises(UnavailableError) as error:
        create_detector("torchvision")
    text, file = str(error.value), "fasterrcnn_mobilenet_v3_large_fpn-fb6a3cc7.pth"
    assert f"/{file} elsewhere" in text and "http" in text
    assert f"put it at {tmp_path / 'hub' / 'checkpoints' / file}" in text
    assert "Name or service not known" in text and "--detector-weights" in text
    assert "\n" not in text


def test_torchvision_takes_what_is_cached(weights, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", None)
    cached = tmp_path / "hub" / "checkpoints" / f"{SSD}_coco-a79551df.pth"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(weights.read_bytes())
    create_detector(f"torchvision:{SSD}")


def test_torchvision_weights_of_another(weights, tmp_path):
    with pytest.raises(DataError, match=r"ssd\.pth: not weights of torchvision's ssd300_vgg16"):
        create_detector("torchvision:ssd300_vgg16", weights=weights)
    torch.save({"a": torch.nn.Linear(1, 1)}, tmp_path / "code.pth")
    with pytest.raises(DataError, match=r"code\.pth: not a readable file of weights"):
        create_detector(f"torchvision:{SSD}", weights=tmp_path / "code.pth")
    with pytest.raises(DataError, match=r"none\.pth"):
        create_detector(f"torchvision:{SSD}", weights=tmp_path / "none.pth")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fasterrcnn_resnet50_fpn", SSD])
def test_the_network_is_torchvisions(name, tmp_path, monkeypatch):
    """Its builder knows of published weights that some norms are frozen and without eps."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    torch.manual_seed(1)
    network = get_model(name, weights=None, weights_backbone=None, num_classes=91)
    state = network.state_dict()
    for key, value in state.items():
        if key.endswith("running_var"):
            value.uniform_(1e-5, 2e-5)  # eps is as large
            state[key.replace("running_var", "weight")].fill_(4e-3)
    url = torchvision_detector.get_model_weights(name).DEFAULT.url
    cached = tmp_path / "hub" / "checkpoints" / url.rpartition("/")[2]
    cached.parent.mkdir(parents=True)
    if name != SSD:  # as published: saved with frozen norms
        state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    torch.save(state, cached)
    theirs = get_model(name, weights="DEFAULT").eval()
    ours = create_detector(f"torchvision:{name}")._network
    pixels = torch.rand(1, 3, 96, 96)
    with torch.inference_mode():
        wanted, found = theirs.backbone(pixels), ours.backbone(pixels)
    assert list(wanted) == list(found)
    for key, value in wanted.items():
        torch.testing.assert_close(found[key], value, rtol=1e-3, atol=1e-4 * value.abs().max())
