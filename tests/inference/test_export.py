"""Every format computes what the model computes, on synthetic and on real people."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from hevitpose import data
from hevitpose.cost.latency import randomise_norms_
from hevitpose.data.loader import PoseDataset, normalise
from hevitpose.errors import HEViTPoseError, UsageError
from hevitpose.inference.export import Request, example_crops, export, picture_crops
from hevitpose.models import create_model
from hevitpose.models.exported import FORMATS, OPSET, load_exported

SIZE = (64, 96)  # (W, H): a swap would show


@pytest.fixture(scope="module")
def nano():
    return randomise_norms_(create_model("nano", num_keypoints=5, seed=0), SIZE)


# torch.export takes several seconds: only the harder case of it.
@pytest.mark.parametrize(
    ("to", "dynamic"),
    [
        ("onnx", False),
        ("onnx", True),
        ("torchscript", False),
        ("torchscript", True),
        pytest.param("torch.export", True, marks=pytest.mark.slow),
    ],
)
def test_export_runs_and_agrees(nano, tmp_path, to, dynamic):
    if to == "onnx":
        pytest.importorskip("onnxruntime")
    path = tmp_path / f"model{FORMATS[to]}"
    report = export(nano, path, Request(to, input_size=SIZE, dynamic_batch=dynamic))
    assert report.parity <= 1e-4
    assert report.bytes == path.stat().st_size > 100_000
    assert report.batch == (None if dynamic else 1)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    run = load_exported(path, to, threads=1)
    images = torch.randn(3 if dynamic else 1, 3, 96, 64)
    with torch.inference_mode():
        torch.testing.assert_close(run(images), nano(images), rtol=1e-3, atol=1e-4)


def test_the_fused_form_is_exported_with_fewer_operations(nano, tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    nodes = {}
    for fuse in (False, True):
        report = export(
            nano, tmp_path / "m.onnx", Request(input_size=SIZE, dynamic_batch=True, fuse=fuse)
        )
        assert report.fused is fuse
        nodes[fuse] = len(onnx.load(tmp_path / "m.onnx").graph.node)
    assert nodes[True] < nodes[False]


def test_onnx_states_its_opset_and_names(nano, tmp_path):
    onnx = pytest.importorskip("onnx")
    path = tmp_path / "model.onnx"
    report = export(nano, path, Request(input_size=SIZE, dynamic_batch=True))
    model = onnx.load(path)
    assert [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")] == [OPSET]
    assert report.opset == OPSET
    assert f"onnx opset {OPSET}, 96x64, any batch" in str(report)
    assert [i.name for i in model.graph.input] == ["images"]
    assert [o.name for o in model.graph.output] == ["heatmaps"]
    dims = model.graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_param or d.dim_value for d in dims] == ["N", 3, 96, 64]


def test_the_fused_onnx_file_is_what_its_runtime_is_fast_at(nano, tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    path = tmp_path / "model.onnx"
    report = export(nano, path, Request(input_size=SIZE, dynamic_batch=True, fuse=True))
    model = onnx.load(path)
    used = [node.op_type for node in model.graph.node]
    assert used.count("Attention") == sum(g * d for g, d in zip((2, 2, 2), (1, 1, 1), strict=True))
    assert not {"ConvTranspose", "BatchNormalization", "Softmax", "Pad"} & set(used)
    # Standard operators alone, of the opset that is stated.
    assert [(o.domain, o.version) for o in model.opset_import] == [("", report.opset)] == [("", 23)]


def test_onnx_of_any_size_and_in_half_precision(nano, tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    path = tmp_path / "model.onnx"
    report = export(nano, path, Request(input_size=SIZE, dynamic_batch=True, dynamic_size=True))
    assert report.dynamic_size and "96x64 or other multiples of 32" in str(report)
    dims = onnx.load(path).graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_param or d.dim_value for d in dims] == ["N", 3, "H", "W"]
    run = load_exported(path, "onnx", threads=1)
    for height, width in ((64, 64), (256, 192), (96, 160)):
        images = torch.randn(2, 3, height, width)
        with torch.inference_mode():
            torch.testing.assert_close(run(images), nano(images), rtol=1e-3, atol=1e-4)
    full = report.bytes
    for fuse in (False, True):
        report = export(nano, path, Request(input_size=SIZE, half=True, fuse=fuse))
        assert report.half and "fp16" in str(report) and report.bytes < 0.7 * full
        images = torch.randn(1, 3, 96, 64)
        with torch.inference_mode():
            found, wanted = load_exported(path, "onnx", threads=1)(images), nano(images)
        assert found.dtype == torch.float32
        assert float((found - wanted).abs().max() / wanted.abs().max()) < 0.02


def test_other_sizes_are_multiples_of_the_networks(tmp_path):
    network = create_model("nano", 5, seed=0, reductions=(16, 2, 1)).eval()
    request = Request(input_size=(64, 64), dynamic_size=True)
    report = export(network, tmp_path / "m.onnx", request)
    assert "64x64 or other multiples of 64" in str(report)


def test_sizes_and_precisions_refused(nano, tmp_path):
    for options, says in (
        ({"to": "torchscript", "half": True}, "half: torchscript has no such option"),
        ({"to": "torch.export", "dynamic_size": True}, "dynamic_size: torch.export has no"),
        ({"dynamic_size": True, "fuse": True}, "the fused form has one size"),
    ):
        with pytest.raises(UsageError, match=says):
            export(nano, tmp_path / "m.onnx", Request(input_size=SIZE, **options))
    pytest.importorskip("onnxruntime")
    model = randomise_norms_(create_model("rtmpose_s", seed=0, input_size=SIZE), SIZE)
    with pytest.raises(HEViTPoseError, match=r"dynamic_size: not at 160x64"):
        export(model, tmp_path / "m.onnx", Request(input_size=SIZE, dynamic_size=True))
    assert not list(tmp_path.iterdir())


def test_the_report_says_how_fast_the_file_is(nano, tmp_path):
    report = export(nano, tmp_path / "m.pt", Request("torchscript", input_size=SIZE, batch=2))
    assert 1 <= report.calls <= 20
    assert (report.timed_batch, report.threads) == (2, torch.get_num_threads())
    assert 0.1 < report.latency_ms < 5000
    text = str(report)
    assert f"latency: {report.latency_ms:.1f} ms for a batch of 2 (median of" in text
    assert report.machine in text and "on 2 crops" in text
    assert report.to_dict()["latency_ms"] == report.latency_ms


def test_simcc_has_two_outputs(tmp_path):
    pytest.importorskip("onnxruntime")
    model = randomise_norms_(create_model("rtmpose_s", seed=0, input_size=SIZE), SIZE)
    export(model, tmp_path / "r.onnx", Request(input_size=SIZE))
    x, y = load_exported(tmp_path / "r.onnx", "onnx")(torch.randn(1, 3, 96, 64))
    assert (x.shape, y.shape) == ((1, 17, 128), (1, 17, 192))


def test_example_crops_are_people_not_noise():
    crops = example_crops(3, SIZE)
    assert crops.shape == (3, 3, 96, 64)
    assert torch.equal(crops, example_crops(3, SIZE))
    assert not torch.equal(crops[0], crops[1])
    neighbours = np.corrcoef(crops[..., 1:].flatten(), crops[..., :-1].flatten())[0, 1]
    assert neighbours > 0.7


def test_parity_on_real_crops(nano, tmp_path, samples):
    table = data.load("coco", samples, "val", input_size=SIZE, present_only=True)
    people = PoseDataset(table, SIZE)
    crops = normalise(torch.from_numpy(np.stack([people[i]["image"] for i in range(4)])))
    report = export(
        nano, tmp_path / "m.pt", Request("torchscript", input_size=SIZE, batch=4), crops=crops
    )
    assert (report.crops, report.batch) == (4, 4)


def test_every_picture_is_compared(nano, tmp_path):
    crops = example_crops(5, SIZE)
    request = Request("torchscript", input_size=SIZE, batch=2)
    report = export(nano, tmp_path / "m.pt", request, crops=crops)
    assert report.crops == 5 and math.isfinite(report.keypoints_px)
    broken = crops.clone()
    broken[4] = math.nan  # the last picture alone: nothing is finite there
    with pytest.raises(HEViTPoseError, match="differs from the model"):
        export(nano, tmp_path / "n.pt", request, crops=broken)
    assert not (tmp_path / "n.pt").exists()


def test_crops_of_pictures(samples):
    paths = sorted((samples / "coco" / "images" / "val2017").glob("*.jpg"))[:2]
    crops = picture_crops(paths, SIZE)
    assert crops.shape == (2, 3, 96, 64)
    assert not torch.equal(crops[0], crops[1])
    # Wider than the crop: the whole picture is inside, so above and below it is padding.
    black = normalise(torch.zeros(1, 96, 64, 3, dtype=torch.uint8))[0, :, 0, 0]
    assert torch.equal(crops[0, :, 0, 32], black)
    assert not torch.equal(crops[0, :, 48, 32], black)


class Moody(nn.Module):
    """Computes something else when traced: what a comparison is for."""

    name = "moody"

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 4, stride=4)

    def forward(self, images):
        return self.conv(images) * (2 if torch.jit.is_tracing() else 1)


def test_a_file_that_computes_something_else_is_not_written(tmp_path):
    path = tmp_path / "m.pt"
    path.write_text("what was there")
    with pytest.raises(HEViTPoseError, match="differs from the model by"):
        export(Moody(), path, Request("torchscript", input_size=SIZE))
    assert path.read_text() == "what was there"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"input_size": (64, 9_999_999)}, "input size 9999999x64: expected two sides from 1 to"),
        ({"input_size": (0, 64)}, "input size 64x0"),
        ({"input_size": (64,)}, "input size 64: expected two sides"),
        ({"input_size": 256}, "input size 256: expected two sides"),
        ({"input_size": ("a", "b")}, "input size bxa: expected two sides"),
        ({"batch": 1.5}, "batch: 1.5, expected a positive integer"),
        ({"batch": 10**9}, "batch: 1000000000, expected at most 4096 images of 256x256"),
    ],
)
def test_sizes_that_nobody_has_the_memory_for(asked, says):
    """What a file is compared on is rendered before the network sees it."""
    with pytest.raises(UsageError, match=says):
        Request(**asked)


def test_bad_input(nano, tmp_path):
    with pytest.raises(UsageError, match="unknown export format 'onxx'; did you mean 'onnx'"):
        export(nano, tmp_path / "m", Request("onxx"))
    with pytest.raises(UsageError, match="multiples of 32"):
        export(nano, tmp_path / "m.onnx", Request(input_size=(100, 64)))
    with pytest.raises(UsageError, match="crops: 1 given, expected at least 2"):
        request = Request(input_size=SIZE, batch=2)
        export(nano, tmp_path / "m.onnx", request, crops=torch.zeros(1, 3, 96, 64))
    with pytest.raises(UsageError, match=r"m\.onnx: expected a file name that ends in \.pt2"):
        export(nano, tmp_path / "m.onnx", Request("torch.export", input_size=SIZE))
    assert not list(tmp_path.iterdir())


def test_the_model_is_left_as_it_was(nano, tmp_path):
    model = create_model("nano", num_keypoints=5, seed=0).train()
    export(model, tmp_path / "m.pt", Request("torchscript", input_size=SIZE))
    assert model.training
    assert all(p.requires_grad for p in model.parameters())


def test_a_full_disk_is_one_line(tmp_path):
    """In a process of its own: torch's writers used to end the interpreter."""
    code = (
        "import resource, sys, torch\n"
        "from hevitpose.errors import HEViTPoseError\n"
        "from hevitpose.inference.export import Request, export\n"
        "network = torch.nn.Conv2d(3, 99, 4, stride=4).eval()\n"
        "network.name = 'convolution'\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "for out, to in zip(sys.argv[1::2], sys.argv[2::2]):\n"
        "    try: export(network, out, Request(to, input_size=(64, 64)))\n"
        "    except HEViTPoseError as error: print(to, error, flush=True)\n"
    )
    words = [sys.executable, "-c", code]
    for to, suffix in FORMATS.items():
        words += [str(tmp_path / f"x{suffix}"), to]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(FORMATS)
    for line, suffix in zip(lines, FORMATS.values(), strict=True):
        assert f"x{suffix}: cannot be written (File too" in line, lines
    assert not list(tmp_path.iterdir())
