"""MACs, bytes and fractions by hand on tiny networks."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bench import roofline
from bench.operations import Operation, Peaks, at_depth, grouped, record
from hevitpose.cost.latency import Conditions, forms, randomise_norms_
from hevitpose.models import create_model

PEAKS = Peaks(dict.fromkeys(roofline._COLORS, 100.0), memory=10.0, cache=50.0, cached=10)


def by_kind(network, images):
    return {o.kind: o for o in record(network.eval(), images, "cpu", passes=2)}


def test_convolutions_by_hand():
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False),
        nn.ConvTranspose2d(8, 4, 4, stride=2, padding=1, bias=False),
    )
    found = by_kind(network, torch.randn(1, 3, 10, 10))
    # 100 positions x 8 filters x 3 channels x 9; depthwise: 1 channel; deconv: 100 input
    # positions x 8 channels x 4 filters x 16.
    assert found["conv 3x3"].macs == 100 * 8 * 3 * 9
    assert found["depthwise 3x3"].macs == 100 * 8 * 9
    assert found["deconv 4x4"].macs == 100 * 8 * 4 * 16
    # float32: input 3x100, weights 8x3x9, output 8x100.
    assert found["conv 3x3"].bytes == 4 * (300 + 216 + 800)


def test_lower_precision_moves_half_the_bytes():
    network, images = nn.Conv2d(3, 8, 3, padding=1, bias=False), torch.randn(1, 3, 10, 10)
    full = by_kind(network, images)["conv 3x3"]
    low = by_kind(network.bfloat16(), images.bfloat16())["conv 3x3"]
    assert (low.macs, 2 * low.bytes) == (full.macs, full.bytes)


def test_the_fused_form_has_the_same_macs_in_its_convolutions():
    conditions = Conditions(input_size=(64, 64), mode="fused")
    model = randomise_norms_(create_model("nano", seed=0), (64, 64))
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        plain = by_kind(model, images)
        fused = by_kind(forms.build_network(model, conditions, images), images)
    for kind in ("conv 7x7", "depthwise 3x3", "deconv 4x4"):
        assert fused[kind].macs == plain[kind].macs > 0


def test_attention_and_views_by_hand():
    class Attention(nn.Module):
        def forward(self, x):
            return F.scaled_dot_product_attention(x, x, x).transpose(1, 2)

    found = by_kind(Attention(), torch.randn(2, 4, 10, 8))
    # q k^T and the weights times v: 2 images x 4 heads x 10 x 10 x 8, twice.
    assert found["attention"].macs == 2 * (2 * 4 * 10 * 10 * 8)
    assert (found["view"].bytes, found["view"].macs) == (0, 0)


def test_operations_belong_to_their_module():
    network = nn.Sequential(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), nn.Linear(4, 2))
    operations = record(network, torch.randn(3, 4), "cpu", passes=2)
    groups = {o.module: o for o in grouped(operations, at_depth(1))}
    assert groups["0"].macs == 3 * 4 * 4
    assert groups["1"].macs == 3 * 4 * 2


def fraction(operation, peaks=PEAKS):
    return peaks.seconds(operation) / operation.seconds


def test_fraction_of_the_roof():
    # 500 MACs = 1000 FLOPs: 10 s at the peak; 20 bytes: 2 s. The roof is 10 s.
    assert fraction(Operation("m", "k", 500, 20, 20.0)) == 0.5
    # 200 bytes: 20 s at the memory's pace, which bounds it.
    assert fraction(Operation("m", "k", 500, 200, 20.0)) == 1.0
    assert Operation("m", "k", 500, 200, 20.0).intensity == 5.0
    # 8 bytes a call come from the cache: 100 calls, 16 s at its pace.
    assert fraction(Operation("m", "k", 0, 800, 32.0, calls=100)) == 0.5


def test_nothing_lies_above_its_own_roof():
    """A depthwise convolution is held against grouped ones, and the best one seen is the roof."""
    operations = [
        Operation("m", "conv 3x3", 5000, 4000, 20.0),  # 500 FLOP/s, above the probe's 100
        Operation("m", "depthwise 3x3", 1000, 9, 40.0),
        Operation("m", "add", 0, 400, 4.0),  # 100 B/s
    ]
    peaks = PEAKS.covering(operations)
    assert peaks.flops == {
        "matrix product": 100.0, "convolution": 500.0, "grouped convolution": 100.0,
    }  # fmt: skip
    assert max(fraction(o, peaks) for o in operations) == 1.0
    assert fraction(operations[1], peaks) == 0.5


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_the_command_prints_and_plots(tmp_path, capsys, monkeypatch, dtype):
    probed = []

    def probe(device, precision):
        probed.append(precision)
        return Peaks(dict.fromkeys(roofline._COLORS, 1e11), 1e10, 5e10)

    monkeypatch.setattr(roofline, "measure_peaks", probe)
    monkeypatch.setattr(roofline, "PASSES", 2)
    plot = tmp_path / "roof.svg"
    arguments = ["--model", "nano", "--input", "64x64", "--threads", "1", "--plot", str(plot)]
    assert roofline.main([*arguments, "--dtype", dtype]) == 0
    out = capsys.readouterr().out
    assert probed == [{"fp32": torch.float32, "bf16": torch.bfloat16}[dtype]]
    assert f", {dtype}, " in " ".join(out.split())
    assert "conv 1x1" in out
    assert "backbone.stages.0.blocks" in out
    assert plot.read_text().startswith("<?xml")


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_gpu_without_a_gpu(capsys):
    assert roofline.main(["--gpu"]) == 2
    assert "no CUDA GPU is available" in capsys.readouterr().err
    assert roofline.main(["--model", "hrnet"]) == 2


@pytest.mark.parametrize("name", ["roof.txt", "roof"])
def test_a_plot_of_another_kind_is_refused_before_measuring(capsys, monkeypatch, name):
    monkeypatch.setattr(roofline, "measure_peaks", lambda *_: pytest.fail("measured"))
    assert roofline.main(["--model", "nano", "--plot", f"{__file__}/x.svg"]) == 2
    assert "is not a folder that can be written" in capsys.readouterr().err
    assert roofline.main(["--model", "nano", "--input", "32x32", "--plot", name]) == 2
    assert f"--plot {name}: expected a name in .svg" in capsys.readouterr().err
