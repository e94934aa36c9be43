"""Published files in: every network, both formats, what is refused, what travels along."""

from __future__ import annotations

import collections
import json
import pickle
import re
import sys
import types
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import timm
import torch
from generated import KNOWN, TOLERANCE, filled, images, peer_of, their_weights, worst
from torch import nn

import hevitpose
from hevitpose.cli import execute
from hevitpose.cli.weights import _stored_size
from hevitpose.config import load_config, parse_config
from hevitpose.data.keypoints import COCO, CROWDPOSE, MPII
from hevitpose.errors import DataError, HEViTPoseError, Notice, UsageError, notice_once
from hevitpose.evaluation.predict import codec_of
from hevitpose.inference.export import Request, export
from hevitpose.inference.predictor import PosePredictor
from hevitpose.inference.pretrained import model_card
from hevitpose.models.build import create_for_input
from hevitpose.models.checkpoint import read_checkpoint, save_checkpoint
from hevitpose.models.checkpoint_config import checkpoint_config
from hevitpose.models.forms import optimize
from hevitpose.models.keypoints import KeypointLayout
from hevitpose.models.keytables import KEY_MAPS
from hevitpose.models.parity import relative_error
from hevitpose.models.published import BACKBONES, load_imagenet, start_from
from hevitpose.models.torchfile import read_content
from hevitpose.records.identity import DataInputs, training_run
from hevitpose.records.schema import Record

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = "pose_mobilenetv2"
FAMILIES = [
    *("pose_resnet50", "pose_resnest50", "pose_hrnet_w32", SMALL, "pose_shufflenetv2"),
    *("pose_swin_t", "pose_pvtv2_b2", "vitpose_s", "hrformer_s", "rtmpose_s"),
]


class HistoryBuffer:
    """As mmengine's is pickled: arrays, and its own methods by name."""

    def __init__(self) -> None:
        self._log_history = np.array([1.0, 0.5])
        self._count_history = np.array([1, 1], np.int64)
        self._statistics_methods = {"mean": HistoryBuffer.mean}

    def mean(self) -> float:
        return float(self._log_history.mean())

    def __setstate__(self, state: Any) -> None:
        raise AssertionError("the class of the file ran")


@pytest.fixture
def mmengine(monkeypatch):
    """A module of that name while files are written; reading must do without it."""
    module = types.ModuleType("mmengine.logging.history_buffer")
    monkeypatch.setattr(HistoryBuffer, "__module__", module.__name__)
    monkeypatch.setattr(HistoryBuffer.mean, "__module__", module.__name__)
    module.HistoryBuffer = HistoryBuffer
    for name in ("mmengine", "mmengine.logging"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)


def write(path: Path, state: dict[str, torch.Tensor], older: bool = False, **extra: Any) -> Path:
    """As MMPose's tools do; `older`: the format before torch 1.6, as for publishing."""
    data = {
        "meta": {"epoch": 210, "dataset_meta": {"sigmas": np.ones(17, np.float32)}},
        "state_dict": collections.OrderedDict(state),
        **extra,
    }
    torch.save(data, path, _use_new_zipfile_serialization=not older)
    return path


def as_published(network: str) -> dict[str, torch.Tensor]:
    """With what real files hold besides: 0.x's head prefix, unused norms, integer buffers."""
    state = their_weights(network)
    if network.startswith("pose_swin"):
        state = {k.replace("head.", "keypoint_head.", 1): x for k, x in state.items()}
        for i, channels in enumerate((96, 192, 384)):
            state[f"backbone.norm{i}.weight"] = state[f"backbone.norm{i}.bias"] = torch.ones(
                channels
            )
        state["backbone.stages.0.blocks.0.attn.w_msa.relative_position_index"] = torch.zeros(
            49, 49, dtype=torch.long
        )
    if network.endswith("_original"):
        state["backbone.cls_token"] = torch.zeros(1, 1, 384)
    return state


# ------------------------------------------------------------------------------ every network


@pytest.mark.slow
@pytest.mark.parametrize("network", KNOWN)
def test_a_published_file_gives_the_originals_outputs(network, tmp_path):
    file = write(tmp_path / "w.pth", as_published(network))
    assert worst(hevitpose.from_published(peer_of(network), file), network) < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("network", ["pose_swin_t", SMALL, "vitpose_s_original", "rtmpose_s"])
def test_what_was_read_is_written_and_read_again(network, tmp_path):
    """One of each origin: both formats of torch, the command, a folder, the fused form."""
    name, state = peer_of(network), as_published(network)
    files = [write(tmp_path / f"{older}.pth", state, older) for older in (True, False)]
    models = [hevitpose.from_published(name, file) for file in files]
    expected = models[0].state_dict()

    out = tmp_path / "w.safetensors"
    assert execute(["import-weights", str(files[1]), "--model", name, "--out", str(out)]) == 0
    imported = hevitpose.from_pretrained(out)
    folder = hevitpose.save_pretrained(models[1], tmp_path / "saved")
    saved = hevitpose.from_pretrained(folder)
    for again in (models[1], imported, saved):
        assert not again.training
        assert again.state_dict().keys() == expected.keys()
        assert all(torch.equal(expected[key], x) for key, x in again.state_dict().items())
        assert again.pretrained_from.config == models[0].pretrained_from.config
        assert again.pretrained_from.layout.name == "coco"

    x = images(1, 256, 192)
    with torch.inference_mode():
        reference = imported(x)
        assert relative_error(optimize(imported, mode="fused")(x), reference) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "fuse"), [*((network, True) for network in FAMILIES), (SMALL, False)]
)
def test_onnx_computes_the_same(network, fuse, tmp_path):
    pytest.importorskip("onnxruntime")
    report = export(
        filled(network),
        tmp_path / "m.onnx",
        Request(input_size=(192, 256), fuse=fuse),
        crops=images(1, 256, 192),
    )
    assert report.parity < 1e-4


@pytest.mark.slow
def test_positions_are_resized_to_the_input(tmp_path):
    """192 rows; 193 of the authors, the first added to all; 193 of mmpretrain, the first unused."""
    for network in ("vitpose_s", "vitpose_s_original"):
        file = write(tmp_path / "w.pth", as_published(network))
        wide = hevitpose.from_published("vitpose_s", file, input_size=(256, 256))
        assert wide.backbone.net.pos_embed.shape == (1, 256, 384)
        x = images(1, 256, 256)
        with torch.inference_mode():
            torch.testing.assert_close(wide(x), hevitpose.from_published("vitpose_s", file)(x))
    state = as_published("vitpose_s")
    plain = hevitpose.from_published("vitpose_s", write(tmp_path / "a.pth", state))
    state["backbone.pos_embed"] = torch.cat(
        (torch.ones(1, 1, 384), state["backbone.pos_embed"]), dim=1
    )
    dropped = hevitpose.from_published("vitpose_s", write(tmp_path / "b.pth", state))
    assert torch.equal(dropped.backbone.net.pos_embed, plain.backbone.net.pos_embed)


def test_wrappers_and_averages(tmp_path):
    """``module.`` of data parallelism; mmcv's and mmengine's copies beside the averages."""
    state = as_published(SMALL)
    plain = hevitpose.from_published(SMALL, write(tmp_path / "a.pth", state)).state_dict()
    wrapped = {f"module.{key}": x for key, x in state.items()}
    wrapped["ema_backbone_conv1_conv_weight"] = torch.zeros(3)
    file = write(tmp_path / "b.pth", wrapped, ema_state_dict={"module.x": torch.zeros(1)})
    again = hevitpose.from_published(SMALL, file).state_dict()
    assert all(torch.equal(plain[key], x) for key, x in again.items())
    bare = tmp_path / "c.pth"
    torch.save({k: x for k, x in state.items() if "num_batches" not in k}, bare)
    again = hevitpose.from_published(SMALL, bare).state_dict()
    assert all(torch.equal(plain[key], x) for key, x in again.items())


# ------------------------------------------------------------------------------ what is refused


def test_another_number_of_keypoints_only_when_asked(tmp_path):
    file = write(tmp_path / "w.pth", their_weights(SMALL))
    model = hevitpose.from_published(SMALL, file, num_keypoints=14)
    assert model.head.final.weight.shape[0] == 14 == model.num_keypoints
    assert model.pretrained_from.source["reset"] == ["head.final.weight", "head.final.bias"]
    plain = hevitpose.from_published(SMALL, file)
    assert plain.num_keypoints == 17
    assert torch.equal(model.head.up3.deconv.weight, plain.head.up3.deconv.weight)
    assert model.head.final.weight.std() < 0.01  # started anew
    state = their_weights(SMALL)
    for part in ("weight", "bias"):
        key = f"head.final_layer.{part}"
        state[key] = state[key][:16]
    mpii = hevitpose.from_published(SMALL, write(tmp_path / "m.pth", state))
    assert (mpii.num_keypoints, mpii.pretrained_from.layout.name) == (16, "mpii")


@pytest.mark.parametrize(
    ("network", "into", "message"),
    [
        (
            "pose_resnet50",
            "pose_resnext50",
            r"176 keys differ: backbone.layer1.0.conv1.weight is 64x64x1x1, not 128",
        ),
        ("pose_resnet50", "pose_hrnet_w32", r"\d+ keys differ: .*; .*; .*"),
        (
            "vitpose_s",
            "vitpose_b",
            r"150 keys differ: backbone.pos_embed is 1x192x384, not 1x192x768",
        ),
        ("rtmpose_s", "rtmpose_m", r"294 keys differ"),
    ],
)
def test_another_network_is_refused_with_three_keys(network, into, message, tmp_path):
    file = write(tmp_path / "w.pth", their_weights(network))
    with pytest.raises(DataError, match=f"does not fit {into}, {message}") as caught:
        hevitpose.from_published(into, file)
    assert str(caught.value).count(";") == 2 and "\n" not in str(caught.value)


def test_vitpose_plus_is_refused(tmp_path):
    state = their_weights("vitpose_s_original")
    for block in range(12):
        state[f"backbone.blocks.{block}.mlp.experts.0.weight"] = torch.zeros(96, 1536)
    with pytest.raises(
        DataError, match=r"ViTPose\+, another network\), 12 keys.*experts.0.weight is"
    ):
        hevitpose.from_published("vitpose_s", write(tmp_path / "w.pth", state))


def test_missing_keys_and_wrong_sizes_are_named(tmp_path):
    state = their_weights("rtmpose_s")
    file = write(tmp_path / "w.pth", state)
    with pytest.raises(DataError, match=r"head.mlp.1.weight is 256x48, not 256x64"):
        hevitpose.from_published("rtmpose_s", file, input_size=(256, 256))
    del state["backbone.stem.0.conv.weight"]
    with pytest.raises(DataError, match=r"1 keys differ: backbone.stem.0.conv.weight is missing"):
        hevitpose.from_published("rtmpose_s", write(file, state))
    with pytest.raises(UsageError, match="unknown published network 'pose_efficientvit_m4'"):
        hevitpose.from_published("pose_efficientvit_m4", file)
    with pytest.raises(DataError, match=r"not a pose network of MMPose or ViTPose.*it has a, b"):
        hevitpose.from_published(SMALL, write(file, {"a": torch.ones(1), "b": torch.ones(1)}))


# ------------------------------------------------------------------------------ which keypoints


def declaring(path: Path, dataset: str, names: Any, count: int = 17) -> Path:
    """A file of MMPose 1.x with its dataset's keypoints as ``parse_pose_metainfo`` writes them."""
    state = their_weights(SMALL)
    for part in ("weight", "bias"):
        state[f"head.final_layer.{part}"] = state[f"head.final_layer.{part}"][:count]
    listed = dict(enumerate(names)) if isinstance(names, tuple) else names
    meta = {"dataset_name": dataset, "num_keypoints": count, "keypoint_id2name": listed}
    return write(path, state, meta={"dataset_meta": meta})


AP10K = ("L_Eye", "R_Eye", "Nose", "Neck", "Root of tail", *(f"leg {i}" for i in range(12)))


def test_a_file_says_what_its_keypoints_are(tmp_path, recwarn):
    notice_once.cache_clear()
    file = declaring(tmp_path / "coco.pth", "coco", COCO.names)
    assert hevitpose.from_published(SMALL, file).pretrained_from.layout == COCO
    same = declaring(tmp_path / "ochuman.pth", "ochuman", COCO.names)
    assert hevitpose.from_published(SMALL, same).pretrained_from.layout == COCO
    theirs = (*CROWDPOSE.names[:12], "top_head", "neck")  # MMPose's word for the head
    crowd = declaring(tmp_path / "crowd.pth", "crowdpose", theirs, 14)
    model = hevitpose.from_published(SMALL, crowd)
    assert model.pretrained_from.layout == CROWDPOSE
    assert model.pretrained_from.config["data"]["dataset"] == "crowdpose"
    assert not [w for w in recwarn if issubclass(w.category, Notice)]


@pytest.mark.parametrize(
    ("dataset", "names", "kind", "message"),
    [
        ("ap10k", AP10K, UsageError, "17 keypoints of ap10k .*L_Eye.* expected those of coco"),
        ("aic", tuple(f"joint {i}" for i in range(14)), UsageError, "14 keypoints of aic"),
        ("coco", (*COCO.names[:15], *COCO.names[:14:-1]), DataError, "are in another order"),
        ("coco", COCO.names[:16], DataError, r"names 16 keypoints \(coco\), its head predicts 17"),
        ("coco", {1: "nose"}, DataError, "keypoint_id2name: expected the names"),
        ("coco", {0: 1}, DataError, "keypoint_id2name: expected the names"),
        ("coco", ["nose"], DataError, "keypoint_id2name: expected the names"),
    ],
)
def test_keypoints_of_others_are_not_taken_for_people(dataset, names, kind, message, tmp_path):
    file = declaring(tmp_path / "w.pth", dataset, names, 14 if dataset == "aic" else 17)
    with pytest.raises(kind, match=message):
        hevitpose.from_published(SMALL, file)


def test_keypoints_that_nobody_could_mistake_have_no_layout(tmp_path):
    state = their_weights(SMALL)
    for key in ("head.final_layer.weight", "head.final_layer.bias"):
        state[key] = torch.cat((state[key], state[key]))[:26]
    names = {i: f"joint {i}" for i in range(26)}
    meta = {"dataset_meta": {"dataset_name": "halpe26", "keypoint_id2name": names}}
    model = hevitpose.from_published(SMALL, write(tmp_path / "h.pth", state, meta=meta))
    assert (model.num_keypoints, model.pretrained_from.layout) == (26, None)


def test_a_layout_of_the_callers(tmp_path):
    animal = KeypointLayout("ap10k", AP10K, ((0, 1),), sigmas=(0.05,) * 17)
    file = declaring(tmp_path / "w.pth", "ap10k", AP10K)
    model = hevitpose.from_published(SMALL, file, layout=animal)
    assert model.pretrained_from.layout == animal
    assert "dataset" not in model.pretrained_from.config["data"]  # none of ours
    assert PosePredictor(model).layout == animal
    with pytest.raises(UsageError, match=r"layout: mpii has 16 keypoints, w.pth predicts 17"):
        hevitpose.from_published(SMALL, file, layout=MPII)


def test_a_file_that_does_not_say_is_taken_by_number_and_that_is_said(tmp_path):
    notice_once.cache_clear()  # each line is said once in a process
    file = write(tmp_path / "mute.pth", their_weights(SMALL))
    with pytest.warns(Notice, match=r"mute.pth does not say .* taken as coco's, by their number"):
        model = hevitpose.from_published(SMALL, file)
    assert model.pretrained_from.layout == COCO
    named = declaring(tmp_path / "new.pth", "coco", COCO.names)
    with pytest.warns(Notice, match=r"new.pth with a new head does not say .* crowdpose's"):
        hevitpose.from_published(SMALL, named, num_keypoints=14)
    bare = hevitpose.create_model("nano", num_keypoints=16)
    with pytest.warns(Notice, match=r"hevitpose_nano does not say .* mpii's"):
        assert PosePredictor(bare).layout == MPII


# ------------------------------------------------------------------------------ never code


@pytest.mark.parametrize("older", [False, True])
def test_what_mmengine_pickles_is_read_as_nothing(older, tmp_path, mmengine, monkeypatch):
    histories = {"log_scalars": collections.OrderedDict({"train/loss": HistoryBuffer()})}
    runtime = {"iter": np.int64(3), "lr": np.float64(0.1), "flag": np.bool_(True), "raw": b"\xff"}
    file = tmp_path / "w.pth"
    write(file, {"a": torch.arange(3.0)}, older, message_hub={**histories, "runtime_info": runtime})
    content = file.read_bytes()
    assert b"HistoryBuffer" in content and b"getattr" in content
    for name in ("mmengine", "mmengine.logging", "mmengine.logging.history_buffer"):
        monkeypatch.delitem(sys.modules, name)
    assert torch.equal(read_content(file).state["a"], torch.arange(3.0))
    assert "mmengine" not in sys.modules
    with pytest.raises(pickle.UnpicklingError):  # the allowance ends with the reading
        torch.load(file, weights_only=True)


class Planted:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


class PlantedByGetattr:
    """``getattr`` is read as nothing: it reaches no function."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (self.path.touch, ())


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("kind", [Planted, PlantedByGetattr])
def test_a_planted_callable_does_not_run(kind, older, tmp_path):
    planted = tmp_path / "planted"
    file = write(tmp_path / "w.pth", {"a": torch.ones(1)}, older, message_hub=kind(planted))
    with pytest.raises(DataError, match="not a readable file of weights"):
        hevitpose.from_published(SMALL, file)
    assert not planted.exists()
    torch.load(file, weights_only=False)  # it would have
    assert planted.exists()


def test_a_tensor_by_another_name_is_refused(tmp_path):
    file = write(tmp_path / "w.pth", {"a": np.float64(1)})
    with pytest.raises(DataError, match="'a' is a Inert, expected a tensor"):
        read_content(file)
    for content in (b"", b"PK\x03\x04", b"\x80\x02]q\x00."):
        file.write_bytes(content)
        with pytest.raises(DataError, match=r"w\.pth: "):
            read_content(file)
    with pytest.raises(DataError, match="no such file"):
        read_content(tmp_path / "absent.pth")


# ------------------------------------------------------------------------------ what travels along


@pytest.mark.parametrize(
    ("network", "prefix", "encode", "decode"),
    [
        (SMALL, "head.", "standard", "default-1x"),
        (SMALL, "keypoint_head.", "standard", "default"),
        ("vitpose_s", "head.", "udp", "udp-1x"),
        ("vitpose_s_original", "keypoint_head.", "udp", "udp"),
    ],
)
def test_codec_and_decoder_are_the_publishers(network, prefix, encode, decode, tmp_path):
    state = {
        key.replace("keypoint_head.", "head.").replace("head.", prefix): x
        for key, x in their_weights(network).items()
    }
    file, out = write(tmp_path / "w.pth", state), tmp_path / "w.safetensors"
    command = ["import-weights", str(file), "--model", peer_of(network), "--out", str(out)]
    assert execute(command) == 0
    stored = read_checkpoint(out)
    config = parse_config(stored.config, "file")
    assert (config.codec.method, config.codec.decoder) == (encode, decode)
    assert config.data.input_size == (192, 256) and config.evaluation.flip_test
    assert (
        stored.source["origin"]
        == {
            "head.": "MMPose 1.x",
            "keypoint_head.": "ViTPose" if "original" in network else "MMPose 0.x",
        }[prefix]
    )
    evaluated, notes = checkpoint_config(load_config("coco", {"model.checkpoint": str(out)}))
    assert evaluated.codec == config.codec and evaluated.data.input_size == (192, 256)
    assert evaluated.model.name == peer_of(network) and notes == ()
    predictor = PosePredictor(out)
    assert predictor.config.codec == config.codec and predictor.layout.name == "coco"
    assert predictor.codec.udp is (encode == "udp")
    maps = torch.rand(1, 17, 64, 48)
    shifted = predictor.codec.flip_back(maps, predictor.layout.flip_pairs)
    plain = predictor.codec.flip_back(maps, predictor.layout.flip_pairs, shift=False)
    assert torch.equal(shifted, plain) is (encode == "udp")


def test_simcc_settings_travel(tmp_path):
    file = write(tmp_path / "w.pth", their_weights("rtmpose_s"))
    model = hevitpose.from_published("rtmpose_s", file)
    config = parse_config(model.pretrained_from.config, "file")
    codec = codec_of(model, config)
    assert (codec.name, codec.split_ratio, codec.sigma) == ("simcc", 2.0, (4.9, 5.66))
    assert codec.bins == (384, 512) and not codec.udp
    x, y = model(images(1, 256, 192))
    assert (x.shape, y.shape) == ((1, 17, 384), (1, 17, 512))


def test_normalisation_is_in_the_file_and_checked(tmp_path):
    from hevitpose.models.checkpoint import INPUT, METADATA, save_checkpoint

    assert INPUT["channels"] == "RGB"  # MMPose's, times 255
    assert [round(255 * v, 3) for v in INPUT["mean"]] == [123.675, 116.28, 103.53]
    assert [round(255 * v, 3) for v in INPUT["std"]] == [58.395, 57.12, 57.375]
    path = save_checkpoint(hevitpose.create_model("nano"), tmp_path / "m.safetensors")
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    with safe_open(path, framework="pt") as opened:
        described = json.loads(opened.metadata()[METADATA])
    assert described["input"] == INPUT
    described["input"] = {**INPUT, "channels": "BGR"}
    save_file(load_file(path), path, {METADATA: json.dumps(described)})
    with pytest.raises(DataError, match=r"is for inputs of .*BGR"):
        read_checkpoint(path)


# ------------------------------------------------------------------------------ folders, cards


def record(**changes: Any) -> Record:
    fields: dict[str, Any] = {
        "id": "0123456789abcdef0123",
        "kind": "evaluation",
        "model": SMALL,
        "metrics": {"AP": 0.5},
        "intervals": {"AP": {"low": 0.45, "high": 0.55, "method": "bootstrap", "n": 491}},
        "dataset": {
            "name": "coco",
            "split": "val",
            "fingerprint": "sha256:0",
            "boxes": "gt",
            "counts": {"people": 1422},
        },
        "flip_test": True,
        "decoder": "default",
        "started_at": "2026-01-01T00:00:00Z",
    }
    return Record.of(fields | changes)


def test_a_model_card_is_filled_by_records(tmp_path):
    file = write(tmp_path / "w.pth", their_weights(SMALL))
    model = hevitpose.from_published(SMALL, file)
    folder = hevitpose.save_pretrained(model, tmp_path / "mine", records=[record()])
    card = (folder / "README.md").read_text()
    assert "license: apache-2.0" in card and "pipeline_tag: keypoint-detection" in card
    assert "| parameters | 9.57M |" in card
    assert "| GFLOPs (mmcv) | 1.59 |" in card and "| GFLOPs (torch) |" in card
    assert f"`w.pth` of MMPose 1.x, sha256 `{model.pretrained_from.source['sha256']}`" in card
    assert "decoder default-1x" in card
    assert "| training data | as its publisher says |" in card  # 17 keypoints are not its images
    assert (
        "| coco val | ground truth | 1422 | yes | default | AP | 0.500 [0.450, 0.550], n = 491 |"
    ) in card
    with pytest.raises(UsageError, match="is of pose_hrnet_w32, expected records of pose_mobile"):
        hevitpose.save_pretrained(model, tmp_path / "no", records=[record(model="pose_hrnet_w32")])
    empty = hevitpose.save_pretrained(model, tmp_path / "other") / "README.md"
    assert "None recorded." in empty.read_text()


def test_a_card_shows_foreign_text_as_it_is(tmp_path):
    """What stands in a file's header is nobody's markup, and another kind of value is refused."""
    nano = hevitpose.create_model("nano", num_keypoints=17, seed=1).eval()
    evil = "a|b`<img src=x onerror=alert(1)>\n# x"
    source = {"origin": f"MMPose {evil}", "file": evil, "sha256": "0", "reset": [evil]}
    folder = tmp_path / "w<b>"
    file = save_checkpoint(nano, folder / "model.safetensors", {}, None, source)
    card = hevitpose.save_pretrained(hevitpose.from_pretrained(file), folder) / "README.md"
    (row,) = [line for line in card.read_text().splitlines() if "weights from" in line]
    row = row.replace("\\`", "")  # an escaped one begins nothing
    assert "<" not in re.sub(r"`[^`]*`", "", row) and row.count("`") == 6
    assert len(re.findall(r"(?<!\\)\|", row)) == 3
    assert "# w&lt;b&gt;" in card.read_text()
    for wrong in ({"origin": ""}, {"origin": 3}, {"file": ["x"]}, {"sha256": None}):
        (key,) = wrong
        file = save_checkpoint(nano, tmp_path / "wrong.safetensors", {}, None, source | wrong)
        with pytest.raises(DataError, match=f"source.{key} is .*, expected text"):
            hevitpose.from_pretrained(file)
    file = save_checkpoint(nano, tmp_path / "less.safetensors", {}, None, {"file": "x"})
    card = hevitpose.save_pretrained(hevitpose.from_pretrained(file), tmp_path / "less")
    assert "`x` of not said, sha256 `not said`" in (card / "README.md").read_text()


def test_weights_without_a_config_say_so_everywhere(tmp_path):
    nano = hevitpose.create_model("nano", num_keypoints=17, seed=1).eval()
    folder = hevitpose.save_pretrained(nano, tmp_path / "bare")
    card = (folder / "README.md").read_text()
    for row in ("weights from | not said", "training data | not said", "(not said; counted at)"):
        assert row in card
    with pytest.warns(Notice, match="bare.* says nothing of its codec and input: .* 256x256"):
        PosePredictor(folder)
    with pytest.warns(Notice, match="says no input size: 256x256 is taken .--input"):
        assert _stored_size(folder / "model.safetensors") == (256, 256)


def test_weights_of_a_recorded_training_say_which(tmp_path):
    nano = hevitpose.create_model("nano", num_keypoints=17, seed=1).eval()
    digest = "ab" * 32
    training = record(
        kind="training", model="hevitpose_nano", metrics={}, intervals={}, weights=digest,
        config={"training": {"start_from": "standard:synthetic", "optimizer": "muon",
                             "schedule": "cosine"}},
        train={"steps": 2000, "epochs": 7.1, "total_batch": 16, "people": 4505, "lr": 0.008},
        artifacts={"model": {"path": "model.safetensors", "sha256": digest}},
    )  # fmt: skip
    folder = hevitpose.save_pretrained(
        nano, tmp_path / "n", records=[training], notes="Not a product."
    )
    stated = f"training {training.id}"
    source = {"origin": stated, "file": "model.safetensors", "sha256": digest}
    assert read_checkpoint(folder).source == source
    card = (folder / "README.md").read_text()
    assert f"`model.safetensors` of {stated}, sha256 `{digest}`" in card
    assert "from standard:synthetic; 2000 steps of 16 people, 7.1 passes over 4505; muon" in card
    assert card.index("Not a product.") < card.index("| input (H x W)")
    for start, said in (
        ("standard:synthetic", "synthetic (rendered by this package, no terms of others)"),
        ("imagenet", "ImageNet"),
        ("mine/w.pth", "what `w.pth` was trained on"),
        ("ab" * 10, "coco ([page](https://cocodataset.org/#download); annotations CC BY 4.0;"),
        ("cd" * 10, f"what `{'cd' * 10}` was trained on"),
    ):
        config = {"training": training.config["training"] | {"start_from": start}}
        started = msgspec.structs.replace(training, config=config)
        known = [started, record(id="ab" * 10, model="hevitpose_nano")]
        written = model_card(nano, "n", {"data": {"dataset": "mpii"}}, source, known)
        (row,) = [line for line in written.splitlines() if line.startswith("| training data")]
        assert row.startswith("| training data | mpii (") and f"; before it {said}" in row


def test_a_name_that_ships(tmp_path, monkeypatch):
    monkeypatch.setattr("hevitpose.models.shipped.SHIPPED", tmp_path)
    nano = hevitpose.create_model("nano", seed=1).eval()
    hevitpose.save_pretrained(nano, tmp_path / "hevitpose_nano_test")
    again = hevitpose.from_pretrained("hevitpose_nano_test")
    assert torch.equal(again.head.final.weight, nano.head.final.weight)
    with pytest.raises(DataError, match=r"nano_tset: no such.* ships: hevitpose_nano_test\)"):
        hevitpose.from_pretrained("hevitpose_nano_tset")
    config, _ = checkpoint_config(
        load_config("synthetic", {"model.checkpoint": "hevitpose_nano_test"})
    )
    assert config.model.checkpoint == tmp_path / "hevitpose_nano_test" / "model.safetensors"


def test_half_weights_are_half_the_size_and_float32_once_loaded(tmp_path):
    nano = hevitpose.create_model("nano", seed=1).eval()
    whole = hevitpose.save_pretrained(nano, tmp_path / "whole") / "model.safetensors"
    half = hevitpose.save_pretrained(nano, tmp_path / "half", half=True) / "model.safetensors"
    assert half.stat().st_size < 0.55 * whole.stat().st_size
    again = hevitpose.from_pretrained(half)
    for key, value in nano.state_dict().items():
        loaded = again.state_dict()[key]
        assert loaded.dtype == value.dtype
        assert torch.equal(loaded, value.half().float() if value.is_floating_point() else value)
    with torch.no_grad():
        nano.head.final.bias[0] = 1e5
    with pytest.raises(UsageError, match=r"head.final.bias: a weight of 1e\+05 does not fit fl"):
        hevitpose.save_pretrained(nano, tmp_path / "large", half=True)
    assert not (tmp_path / "large" / "model.safetensors").exists()


# ------------------------------------------------------------------------------ ImageNet


@pytest.mark.parametrize("name", BACKBONES)
def test_imagenet_weights_fit(name, monkeypatch):
    """Without the network: timm's own networks of those names, with fresh weights."""
    create, made = timm.create_model, []

    def fresh(source: str, pretrained: bool = False, **options: Any) -> nn.Module:
        assert pretrained
        made.append(create(source, pretrained=False, **options))
        return made[-1]

    model = hevitpose.create_model(name, input_size=(192, 256))
    head = model.head.final.weight.clone()
    monkeypatch.setattr(timm, "create_model", fresh)
    start_from(model, "imagenet")
    theirs = made[0].state_dict()
    own = model.get_submodule(BACKBONES[name][1]).state_dict()
    different = [key for key in own if not torch.equal(own[key], theirs.get(key, torch.empty(0)))]
    assert different == (["pos_embed"] if name.startswith("vitpose") else [])
    assert torch.equal(model.head.final.weight, head)


def test_imagenet_without_a_network_is_one_line(monkeypatch):
    def unreachable(*args: Any, **options: Any) -> nn.Module:
        raise OSError("no route\nto host")

    model, other = hevitpose.create_model(SMALL), hevitpose.create_model("vitpose_s")
    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(HEViTPoseError, match="could not be fetched") as caught:
        load_imagenet(model)
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="timm has no weights for vitpose_s"):
        load_imagenet(other)


def test_a_training_from_imagenet_has_an_id_without_a_file():
    config = load_config(None, {"model.name": "pose_resnet50", "training.start_from": "imagenet"})
    data = DataInputs(num_keypoints=16, train={}, val={})
    run = training_run(config, data, "cpu")
    assert run.inputs["pretrained"] == "imagenet"
    assert (
        run.id != training_run(load_config(None, {"model.name": "pose_resnet50"}), data, "cpu").id
    )


def test_keypoints_that_no_layout_has_are_said_at_once(tmp_path):
    network = create_for_input("rtmpose_s", 26, (192, 256))
    state = KEY_MAPS["rtmpose_s"][0].to_theirs(network.state_dict())
    names = {number: f"point {number}" for number in range(26)}
    said = {"dataset_name": "halpe26", "keypoint_id2name": names}
    path = tmp_path / "halpe.pth"
    torch.save({"state_dict": state, "meta": {"dataset_meta": said}}, path)
    with pytest.warns(Notice, match="26 keypoints of halpe26, which no known layout has"):
        model = hevitpose.from_published("rtmpose_s", path, input_size=(192, 256), num_keypoints=26)
    with pytest.raises(UsageError, match="predicts 26 keypoints, and no known layout has"):
        PosePredictor(model)
