"""Which layers go into lower precision, the files that come of it, and who they are judged on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from hevitpose.cli import execute
from hevitpose.config import load_config
from hevitpose.cost.latency import randomise_norms_
from hevitpose.data.minival import split_minival
from hevitpose.errors import DataError, HEViTPoseError, UsageError
from hevitpose.inference import calibration, lower_precision
from hevitpose.inference.defaults import MOST_LOST
from hevitpose.inference.export_request import Request, about_file
from hevitpose.inference.lower_precision import Kind, LowerPrecision, People, lower
from hevitpose.models import create_model, onnx_file, quantize, runtimes
from hevitpose.models.checkpoint import from_pretrained, read_checkpoint, save_checkpoint
from hevitpose.models.exported import write_file
from hevitpose.models.forms import optimize
from hevitpose.records import RecordStore
from hevitpose.training.loaders import load_split

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

SIZE = (64, 96)  # (W, H): a swap would show


@pytest.fixture(scope="module")
def nano():
    return randomise_norms_(create_model("nano", num_keypoints=5, seed=0), SIZE)


@pytest.fixture(scope="module")
def whole(nano, tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "whole.onnx"
    write_file(nano, path, "onnx", SIZE, 1)
    return path


# Files -----------------------------------------------------------------------------------------


def test_int8_is_of_the_layers_asked_for_and_repeats(whole, tmp_path):
    crops = list(torch.randn(3, 1, 3, 96, 64, generator=torch.Generator().manual_seed(0)))
    for name in "ab":
        quantize.write_int8(whole, tmp_path / name, crops, [quantize.DEPTHWISE])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    kinds = quantize.layer_kinds(whole)
    graph = onnx.load(tmp_path / "a").graph
    made = {output: node for node in graph.node for output in node.output}
    low = [
        node.name
        for node in graph.node
        if node.op_type == "Conv" and made.get(node.input[1], node).op_type == "DequantizeLinear"
    ]
    assert sorted(low) == sorted(kinds[quantize.DEPTHWISE])
    scales = {t.name: t.dims for t in graph.initializer if t.name.endswith("_scale")}
    per_channel = [dims for dims in scales.values() if list(dims) not in ([], [1])]
    assert per_channel  # one scale for each output channel
    run = runtimes.load_onnx(tmp_path / "a", "onnxruntime", "int8", 1)
    expected = runtimes.load_onnx(whole, threads=1)(crops[0])
    error = float((run(crops[0]) - expected).abs().max() / expected.abs().max())
    assert 1e-4 < error < 0.3


def test_a_layer_with_a_relu_is_rounded_once(nano, tmp_path):
    write_file(optimize(nano, "fused"), tmp_path / "whole", "onnx", SIZE, 1, precision="int8")
    crops = list(torch.randn(2, 1, 3, 96, 64, generator=torch.Generator().manual_seed(0)))
    quantize.write_int8(tmp_path / "whole", tmp_path / "int8", crops)

    def before_relus(name):
        nodes = onnx.load(tmp_path / name).graph.node
        made = {output: node.op_type for node in nodes for output in node.output}
        return [made[node.input[0]] for node in nodes if node.op_type == "Relu"]

    assert before_relus("whole").count("Conv") > 10
    assert set(before_relus("int8")) == {"Gemm"}  # of squeeze-excite, which stays in floats
    run = runtimes.load_onnx(tmp_path / "int8", "onnxruntime", "int8", 1)
    with torch.no_grad():
        expected = nano(crops[0])
    assert float((run(crops[0]) - expected).abs().max() / expected.abs().max()) < 0.3


def test_small_products_of_a_transformer_stay_in_floats(whole, tmp_path):
    kinds = quantize.layer_kinds(whole)
    assert set(kinds) <= {quantize.POINTWISE, quantize.SPATIAL, quantize.DEPTHWISE}
    fused = tmp_path / "linear.onnx"
    linear = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 1), torch.nn.Flatten(2))
    wide = torch.nn.Sequential(linear, torch.nn.Linear(96 * 64, 128), torch.nn.Linear(128, 16))
    write_file(wide.eval(), fused, "onnx", SIZE, 1)
    found = quantize.layer_kinds(fused)
    assert len(found[quantize.LINEAR]) == 1  # of 6144 to 128, not of 128 to 16


def test_a_bfloat16_file_has_half_the_bytes(whole, tmp_path):
    pytest.importorskip("openvino")
    path = tmp_path / "low.onnx"
    quantize.write_bfloat16(whole, path)
    assert path.stat().st_size < 0.7 * whole.stat().st_size
    images = torch.randn(1, 3, 96, 64, generator=torch.Generator().manual_seed(0))
    # In float32 arithmetic the rounded weights alone differ.
    low, full = (runtimes.load_onnx(p, "openvino", "fp32", 1)(images) for p in (path, whole))
    assert 1e-4 < float((low - full).abs().max() / full.abs().max()) < 0.1


# The choice ------------------------------------------------------------------------------------


@pytest.fixture
def choose(monkeypatch, tmp_path):
    """Runs the choice on kinds that each lose so many points; what runs is the kinds in int8."""

    def make(losses, **options):
        written = {}

        def write(path, out, batches, kinds):
            written[out] = frozenset(kinds)

        monkeypatch.setattr(lower_precision, "write_int8", write)
        monkeypatch.setattr(lower_precision, "layer_kinds", lambda path: dict.fromkeys(losses, "x"))
        monkeypatch.setattr(
            lower_precision, "load_onnx", lambda path, *a, **k: written.get(path, frozenset())
        )
        monkeypatch.setattr(lower_precision, "processor_ms", lambda run, images: 10 - len(run))

        def judge(kinds):
            return 60 - sum(losses[kind] for kind in kinds)

        people = People(torch.zeros(2, 3, 4, 4), {}, "AP", judge, judge, "few")
        out = tmp_path / "out"
        found = lower(tmp_path / "in", out, "int8", "onnxruntime", people, 1, **options)
        return found, written[out]

    return make


def test_everybody_who_is_named_is_calibrated_on():
    crops = torch.arange(10.0).reshape(10, 1, 1, 1).expand(10, 3, 4, 4)
    found = lower_precision.whole_batches(crops, 8)
    assert [len(part) for part in found] == [8, 8]
    assert torch.cat(found)[:, 0, 0, 0].tolist() == [*range(10), *range(6)]
    (few,) = lower_precision.whole_batches(crops[:3], 8)
    assert few[:, 0, 0, 0].tolist() == [0, 1, 2, 0, 1, 2, 0, 1]


def test_the_file_says_what_stayed_in_float32(nano):
    kinds = (Kind("a", 3, 1.0, 0.1, True), Kind("b", 2, 1.0, 0.9, False))
    found = LowerPrecision("int8", "onnxruntime", "AP", "x", 60.0, 59.9, kinds)
    people = People(torch.zeros(1, 3, 4, 4), {"dataset": "x"}, "AP", len, len, "few")
    said = about_file(nano, Request(precision="int8"), 20, found, people, {})["exported"]
    assert (said["int8"], said["float32"]) == (["a"], ["b"])


def test_all_kinds_where_they_lose_little_together(choose):
    found, written = choose({"a": 0.2, "b": 0.3})
    assert written == {"a", "b"} and found.lost == pytest.approx(MOST_LOST)
    assert [(kind.name, kind.saved_ms, round(kind.lost, 6)) for kind in found.kinds] == [
        ("a", 1, 0.2),
        ("b", 1, 0.3),
    ]


def test_the_kind_that_loses_most_goes_back_to_floats(choose):
    found, written = choose({"a": 0.3, "b": 2.0, "c": 0.1})
    assert written == {"a", "c"}
    assert [kind.int8 for kind in found.kinds] == [True, False, True]
    table = "\n".join(found.lines())
    assert "0.40 points lost" in table and table.splitlines()[4].split()[-1] == "fp32"


def test_what_loses_too_much_is_an_error_unless_accepted(choose):
    with pytest.raises(HEViTPoseError, match=r"(?s)layer kind.*loses 0\.90 points of AP") as error:
        choose({"a": 0.9, "b": 2.0})
    assert error.value.exit_code == 1 and "--accept-loss" in str(error.value)
    found, written = choose({"a": 0.9, "b": 2.0}, accept_loss=True)
    assert written == {"a", "b"} and found.lost == pytest.approx(2.9)


def test_people_are_spread_over_a_table():
    assert calibration._spread(10, 3).tolist() == [0, 4, 9]
    assert calibration._spread(2, 5).tolist() == [0, 1]
    with pytest.raises(DataError, match="calibration: no people"):
        calibration._spread(0, 5)


# The commands ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Three pictures of noise."""
    import cv2

    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.png", "c.png"):
        cv2.imwrite(str(folder / name), rng.integers(0, 256, (96, 64, 3), dtype=np.uint8))
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Untrained weights for 16 keypoints, which rendered people have, of a network that is soon
    quantised: without attention, which no kind of layer is of.
    """
    options = {"attention": "none", "ffns_per_block": 1}
    model = randomise_norms_(create_model("nano", num_keypoints=16, seed=0, **options), SIZE)
    path = tmp_path_factory.mktemp("weights") / "nano.safetensors"
    config = {"model": {"name": "hevitpose_nano", **options}, "data": {"input_size": list(SIZE)}}
    return save_checkpoint(model, path, config)


def test_calibration_folders(tmp_path, monkeypatch):
    (tmp_path / "pictures").mkdir()
    monkeypatch.chdir(tmp_path)
    assert calibration.parse_calibration("pictures:3") == (Path("pictures"), 3)
    for wrong in ("pictures:\u00b2", ":3", "pictures:-1", "pictures:" + "9" * 5000, ""):
        with pytest.raises(UsageError, match="no such folder"):
            calibration.parse_calibration(wrong)


def test_a_linked_dataset_is_that_of_the_link(tmp_path, monkeypatch):
    """The folder that a link names, not another one beside what it points to."""
    for name in ("real/coco_small", "elsewhere/other", "elsewhere/coco_small"):
        (tmp_path / name / "annotations").mkdir(parents=True)
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "coco_small").symlink_to(tmp_path / "elsewhere" / "other")
    for folder, root in (("links/coco_small", "links"), ("real/coco_small", "real")):
        found = calibration._dataset(tmp_path / folder)
        assert found == {"dataset": "coco_small", "root": str(tmp_path / root)}
    monkeypatch.chdir(tmp_path / "real" / "coco_small")
    assert calibration._dataset(Path())["root"] == str(tmp_path / "real")


def test_an_int8_file_is_exported_described_and_evaluated(
    weights, pictures, synthetic_root, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "low.onnx"
    arguments = ["export", str(weights), str(path), "--int8", "--calibration", f"{pictures}:2"]
    assert execute([*arguments, "--accept-loss"]) == 0
    out = capsys.readouterr().out
    assert "ms saved" in out and "depthwise convolution" in out and "key points by" in out
    said = read_checkpoint(path).exported
    assert said["precision"] == "int8" and said["batch"] == 1
    assert said["people"]["pictures"] == ["a.png", "c.png"]
    valid = ["valid", "--cfg", "synthetic", f"data.root={synthetic_root}", "data.people=60"]
    valid += ["data.image_size=128", "--weights"]
    assert execute([*valid, str(path)]) == 0
    assert execute([*valid, str(path)]) == 0
    assert "recorded before" in capsys.readouterr().out
    (record,) = [r for r in RecordStore(tmp_path / "runs" / "records").load()]
    assert (record.kind, record.model, record.precision) == ("evaluation", "hevitpose_nano", "int8")
    runtime = record.inputs["runtime"]
    assert (runtime["name"], runtime["precision"]) == ("onnxruntime", "int8")
    assert runtime["exported"]["people"]["pictures"] == ["a.png", "c.png"]
    assert record.versions["onnxruntime"]
    for wrong, code, says in (
        ([*valid, str(weights), "--runtime", "openvino"], 2, "has weights, which run in torch"),
        ([*valid, str(path), "--runtime", "onnx"], 2, "unknown runtime 'onnx'"),
        ([*valid, str(path), "data.input_size=[64,64]"], 2, "takes 96x64 (H x W)"),
        (["export", str(path), "x.onnx"], 1, "an exported file"),
        ([*arguments[:3], "--int8"], 2, "--calibration FOLDER[:n] goes with --int8"),
        ([*arguments, "--bf16"], 2, "expected one of the two"),
        (
            [*arguments[:2], "low.pt", *arguments[3:], "--to", "torchscript"],
            2,
            "int8: torchscript has no such option",
        ),
        ([*arguments[:-1], "nowhere:4"], 2, "nowhere: no such folder"),
        ([*arguments[:-1], f"{pictures}:0"], 2, "expected at least 1 person"),
    ):
        assert execute(wrong) == code, wrong
        assert says in " ".join(capsys.readouterr().err.split()), wrong
    # Quantised again and again for nothing: the file that is there loses as much.
    monkeypatch.setattr(lower_precision, "write_int8", lambda _, out, *a: shutil.copy(path, out))
    assert execute([*arguments[:2], "other.onnx", *arguments[3:]]) == 1
    assert "expected at most 0.5; not written" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "other.onnx").exists()


@pytest.mark.parametrize("root", ["", "mpii"])
def test_a_dataset_calibrates_and_judges_on_its_training_people(weights, synthetic_root, root):
    model = from_pretrained(weights)
    folder = f"{synthetic_root / root}:4"
    people = calibration.people_of(folder, weights, model, SIZE, 1)
    assert people.metric == "PCK by 5% of the box" and len(people.crops) == 4
    assert people.named["dataset"] == (root or "synthetic")
    assert (people.named["split"], people.named["judged on"]) == ("train", "minival")
    config = load_config("synthetic", {"data.root": synthetic_root, "data.people": 60})
    config = config.with_overrides({"data.image_size": 128})
    rest, held = split_minival(load_split(config, "train", training=True), config.data.minival)
    assert set(people.named["people"]) <= set(rest.person_ids.tolist())
    seen = []

    def run(images):
        seen.append(len(images))
        return torch.zeros(len(images), 16, SIZE[1] // 4, SIZE[0] // 4)

    people.all(run)
    assert len(held) <= sum(seen) <= 2 * len(held)  # with the flip test, twice each


def test_the_last_batch_is_filled_up():
    seen = []

    def run(images):
        seen.append(len(images))
        return 2 * images

    network = onnx_file.RuntimeNetwork(run, 4, "heatmap", 3, "nano")
    images = torch.randn(6, 3, 2, 2)
    assert torch.equal(network(images), 2 * images) and seen == [4, 4]
    with pytest.raises(DataError, match="gives 4 x 2 x 2 x 2 for 4 images, expected 3 keypoints"):
        network(images[:, :2])


def test_files_that_say_nothing_or_nonsense(whole, tmp_path):
    with pytest.raises(DataError, match="not exported by this project"):
        read_checkpoint(whole)
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"no protobuf" * 9)
    with pytest.raises(DataError, match="not a readable ONNX file"):
        read_checkpoint(bad)
    for said in ({}, {"exported": {"precision": "int8"}}, {"exported": [1]}):
        bad.write_bytes(whole.read_bytes())
        onnx_file.write_description(bad, said)
        with pytest.raises(DataError, match="does not say how it was exported"):
            read_checkpoint(bad)
    model = onnx.load(bad)
    model.metadata_props[0].value = json.dumps({"exported": 1})[:-1]
    onnx.save(model, str(bad))
    with pytest.raises(DataError, match="its description is damaged"):
        from_pretrained(bad)


def test_a_runtime_without_the_files_precision_is_refused(tmp_path):
    exported = {"precision": "bf16", "input_size": [64, 96], "batch": 1}
    with pytest.raises(UsageError, match="onnxruntime does not run bf16; use --runtime openvino"):
        onnx_file.runtime_network(tmp_path / "m.onnx", {}, exported, "onnxruntime")


def test_tensors_in_other_files_are_refused(whole, tmp_path):
    """A file may name any other one of the machine as the place of its weights."""
    model = onnx.load(str(whole))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    constant = onnx.helper.make_node("Constant", [], ["c"], value=tensor)
    inner = onnx.helper.make_graph([constant], "g", [], [])
    branch = onnx.helper.make_node("If", ["a"], ["b"], then_branch=inner, else_branch=inner)
    for node in (None, constant, branch):
        if node is not None:
            model = onnx.load(str(whole))
            model.graph.node.append(node)
        (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
        with pytest.raises(DataError, match=r"m\.onnx: has tensors in other files"):
            onnx_file.read_description(tmp_path / "m.onnx")


def test_a_graph_is_what_its_description_says(whole, tmp_path):
    exported = {"precision": "fp32", "input_size": [64, 96], "batch": 1, "outputs": 1}

    def refusal(change=lambda graph: None, **said):
        model = onnx.load(str(whole))
        change(model.graph)
        (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
        onnx_file.write_description(tmp_path / "m.onnx", {"exported": exported | said})
        with pytest.raises(DataError) as error:
            onnx_file.read_description(tmp_path / "m.onnx")
        return str(error.value)

    assert "takes images of 1 x 3 x 96 x 64, its description says 1 x 3 x 64 x 96" in refusal(
        input_size=[96, 64]
    )
    assert "its description says any x 3 x 96 x 64" in refusal(batch=None)
    assert "its description says 4 x 3 x 96 x 64" in refusal(batch=4)
    assert "has 1 outputs, its description says 2" in refusal(outputs=2)
    assert "not one input 'images'" in refusal(lambda g: setattr(g.input[0], "name", "x"))
    double = onnx.TensorProto.DOUBLE
    of_double = refusal(lambda g: setattr(g.output[0].type.tensor_type, "elem_type", double))
    assert "other numbers than float32" in of_double


def test_a_file_of_gigabytes_is_not_read(tmp_path):
    with (tmp_path / "m.onnx").open("wb") as file:
        file.truncate(2**33)
    with pytest.raises(DataError, match="8589934592 bytes, expected at most"):
        onnx_file.read_description(tmp_path / "m.onnx")


def test_a_description_without_a_network_is_refused(tmp_path):
    exported = {"precision": "fp32", "batch": 1, "outputs": 1}
    with pytest.raises(DataError, match="does not say which network"):
        onnx_file.runtime_network(
            tmp_path / "m.onnx", {"num_keypoints": 17}, exported, "onnxruntime"
        )
