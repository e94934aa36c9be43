"""What a training starts from: told by the looks of a value, and made of the config alone."""

from __future__ import annotations

import pytest

from hevitpose.config import load_config, start_config
from hevitpose.config.start import start_kind
from hevitpose.errors import UsageError

ID = "0" * 19 + "e"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("imagenet", "imagenet"),
        ("runs/model.safetensors", "weights"),
        ("last.ckpt", "weights"),
        ("runs/train/mine", "weights"),
        ("mine/", "weights"),
        ("of:mine/saved", "preset"),
        ("/data/of:mine/saved", "weights"),
        ("hevitpose_nano", "weights"),  # ships
        (ID, "training"),
        ("12345678901234567890", "training"),
        ("12e45678901234567890", "training"),
        ("standard:synthetic", "preset"),
        ("quick:own/people.yaml", "preset"),
    ],
)
def test_the_form_is_told_by_the_looks(text, kind):
    config = load_config("coco_small", [f"training.start_from={text}"])
    assert config.training.start_from == text and start_kind(text) == kind


@pytest.mark.parametrize(
    "text", ["standard", "deadbeef", "w.onnx", "mine/w.onnx", ":synthetic", "hevitpose_s"]
)
def test_no_form_is_one_line(text):
    with pytest.raises(UsageError, match=r"training\.start_from: .*PRESET:DATASET") as caught:
        load_config("coco_small", [f"training.start_from={text}"])
    assert "\n" not in str(caught.value)


def test_the_first_name_is_still_read():
    old = load_config("coco", {"model.name": "pose_resnet50", "model.pretrained": "imagenet"})
    assert old.training.start_from == "imagenet"
    assert load_config("coco", ["MODEL.PRETRAINED", "w.pth"]).training.start_from == "w.pth"


def test_a_start_is_the_same_network_under_another_recipe():
    config = load_config(
        "coco_small",
        {
            "training.start_from": "standard:synthetic",
            "model.attention": "mhsa",
            "model.widths": [32, 48, 64],
            "data.root": "elsewhere",
            "data.people": 50,
            "codec.sigma": 3.0,
            "seed": 4,
        },
    )
    start = start_config(config)
    assert start.model.spec() == config.model.spec() and start.training.start_from is None
    assert (start.seed, start.codec.sigma, start.data.people) == (0, 1.0, 50)
    assert str(start.data.folder) == "data/synthetic"
    standard = load_config(None, {"model.attention": "mhsa"}, preset="standard")
    threads = {"threads": config.training.threads}  # of the machine's use, not of the recipe
    assert start.training == standard.training.model_copy(update=threads)
    same = config.with_overrides({"seed": 1, "codec.sigma": 1.0, "training.lr": 1e-3})
    assert start_config(same) == start  # shared by all that start from it


def test_other_datasets_lie_below_the_same_root():
    config = load_config(
        "synthetic", {"training.start_from": "quick:coco_small", "data.root": "people"}
    )
    assert str(start_config(config).data.root) == "people"
    config = config.with_overrides({"training.start_from": "standard:synthetic"})
    assert str(start_config(config).data.root) == "people"


@pytest.mark.parametrize("form", [None, "imagenet", "w.pth", ID])
def test_other_forms_are_made_by_nobody(form):
    assert start_config(load_config("coco_small").with_overrides(
        {"training.start_from": form}
    )) is None  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("qick:synthetic", "unknown preset 'qick'"),
        ("quick:synthetik", "unknown dataset 'synthetik'"),
    ],
)
def test_an_unknown_preset_or_dataset_is_one_line(text, message):
    with pytest.raises(UsageError, match=message) as caught:
        start_config(load_config("coco_small", [f"training.start_from={text}"]))
    assert "start_from" in str(caught.value) and "\n" not in str(caught.value)
