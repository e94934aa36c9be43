"""The statistics on known samples, both clocks on fakes, and what qualifies a time."""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import subprocess
import sys
import time
import types
import weakref

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from hevitpose.cost.latency import (
    QUICK,
    Budget,
    Conditions,
    EventTimer,
    Prepared,
    UnavailableError,
    WallTimer,
    forms,
    interleave,
    machine_state,
    measure,
    randomise_norms_,
    ratio_of_rounds,
    summarize,
)
from hevitpose.cost.latency.forms import settings
from hevitpose.cost.latency.measure import take_samples, warm_up
from hevitpose.errors import HEViTPoseError, UsageError
from hevitpose.models import create_model, runtimes
from hevitpose.models.parity import mean_shift, relative_error
from hevitpose.records import Latency
from hevitpose.records.schema import VERDICT_ROUNDS

BRIEF = Budget(5, 3, 0.05, 0.0, 0.05, 0.01, energy=False)


class FakeTimer:
    """Gives a scripted time per call, and calls."""

    def __init__(self, times):
        self.times = iter(times)
        self.blocks = []

    def __call__(self, call, inputs, n, before=None):
        self.blocks.append(n)
        for index in range(n):
            if before:
                before()
            call(inputs[index % len(inputs)])
        return [next(self.times) for _ in range(n)]


class Tiny(nn.Module):
    num_keypoints = 17

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 17, 4, stride=4)
        self.seen = []

    def forward(self, images):
        self.seen.append(images.data_ptr())
        return self.conv(images)


# Statistics ------------------------------------------------------------------------------------


def test_summary_of_known_samples():
    # 1..5: median 3, quartiles 2 and 4.
    summary = summarize([5.0, 1.0, 4.0, 2.0, 3.0])
    assert (summary.n, summary.p50, summary.iqr, summary.min) == (5, 3.0, 2.0, 1.0)
    assert summary.noisy  # 2 / 3 > 10%


@pytest.mark.parametrize(
    ("n", "p90", "p99"), [(99, False, False), (100, True, False), (999, True, False), (1000, 1, 1)]
)
def test_percentiles_only_from_enough_samples(n, p90, p99):
    summary = summarize(np.arange(1, n + 1, dtype=float))
    assert (summary.p90 is not None) == bool(p90)
    assert (summary.p99 is not None) == bool(p99)
    if n == 1000:  # linear interpolation between order statistics: 1 + 0.9 * 999
        assert summary.p90 == pytest.approx(900.1)
        assert summary.p99 == pytest.approx(990.01)


def test_noisy_is_strictly_above_ten_percent():
    # Quartiles of [a, a, b, b] about 100: 95 and 105, so IQR / median is 10% exactly.
    assert not summarize([95.0, 95.0, 105.0, 105.0]).noisy
    assert summarize([94.0, 94.0, 106.0, 106.0]).noisy


def test_no_samples_is_an_error():
    with pytest.raises(ValueError, match="no samples"):
        summarize([])


def test_ratio_divides_neighbours_so_that_drift_cancels():
    # The machine slows down tenfold on the way; A is always half of B.
    drift = np.linspace(1, 10, 12)
    ratio = ratio_of_rounds(
        [[d, d, d] for d in drift], [[2 * d] for d in drift], np.random.default_rng(0)
    )
    assert (ratio.ratio, ratio.low, ratio.high) == (0.5, 0.5, 0.5)
    assert ratio.distinguishable


def test_ratio_of_equals_is_not_distinguishable_and_repeats():
    noise = np.random.default_rng(1).lognormal(0, 0.1, (2, 30, 5))
    first, second = (ratio_of_rounds(*noise, np.random.default_rng(7)) for _ in range(2))
    assert first == second
    assert first.low < 1 < first.high
    assert not first.distinguishable


def test_few_rounds_give_no_verdict():
    """Of equal contenders, one comparison in ten or so is called a difference, not one in two."""
    rng, said = np.random.default_rng(3), {}
    for rounds, comparisons in ((1, 5), (3, 30), (7, 30), (VERDICT_ROUNDS, 150)):
        noise = rng.lognormal(0, 0.05, (comparisons, 2, rounds, 1))
        found = [ratio_of_rounds(a, b, rng, resamples=300) for a, b in noise]
        said[rounds] = sum(ratio.verdict in ("faster", "slower") for ratio in found) / comparisons
    assert 0.02 < said.pop(VERDICT_ROUNDS) < 0.12
    assert set(said.values()) == {0}, said
    one = ratio_of_rounds([[1.0]], [[1.1]], rng)
    assert f"{one}: {one.verdict}" == (
        "0.909 [0.909, 0.909] (1 round): no verdict (needs 8 rounds)"
    )
    assert not one.distinguishable


def test_ratio_interval_covers_a_known_ratio():
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(200):
        a, b = 0.8 * rng.lognormal(0, 0.05, (20, 1)), rng.lognormal(0, 0.05, (20, 1))
        ratio = ratio_of_rounds(a, b, rng, resamples=400)
        covered += ratio.low <= 0.8 <= ratio.high
    assert 0.88 <= covered / 200 <= 1.0


def test_ratio_needs_as_many_rounds():
    with pytest.raises(ValueError, match="2 rounds of A, 1 of B"):
        ratio_of_rounds([[1.0], [1.0]], [[1.0]], np.random.default_rng(0))


def test_rounds_interleave():
    order = []

    def contender(name):
        return lambda: order.append(name) or [1.0]

    times = interleave({name: contender(name) for name in "AB"}, 3)
    assert "".join(order) == "ABABAB"
    assert times == {"A": [[1.0]] * 3, "B": [[1.0]] * 3}


# Clocks ----------------------------------------------------------------------------------------


def test_wall_clock_synchronises_before_and_after_each_call():
    log = []
    ticks = iter(range(0, 10**9, 1_500_000))  # each look at the clock is 1.5 ms later
    timer = WallTimer(lambda: log.append("sync"), lambda: log.append("clock") or next(ticks))
    times = timer(log.append, ["x", "y"], 3, before=lambda: log.append("flush"))
    assert times == [1.5] * 3
    one = ["flush", "sync", "clock", None, "sync", "clock"]
    assert log == [entry or value for value in "xyx" for entry in one]


class FakeStream:
    """A device that takes 2 ms per kernel and runs behind the caller."""

    def __init__(self):
        self.now, self.log, self.done = 0.0, [], False

    def event(self):
        stream = self

        class Event:
            at = None

            def record(self):
                stream.log.append("record")
                self.at = stream.now

            def elapsed_time(self, later):
                assert stream.done, "read before the stream was synchronised"
                return later.at - self.at

        self.log.append("event")
        return Event()

    def kernel(self, value):
        self.log.append("kernel")
        self.now += 2.0

    def synchronise(self):
        self.log.append("sync")
        self.done = True


def test_event_pairs_are_made_before_the_loop_and_synchronised_once():
    stream = FakeStream()
    timer = EventTimer(stream.event, stream.synchronise)
    assert timer(stream.kernel, [0], 3) == [2.0] * 3
    assert stream.log == ["event"] * 6 + ["record", "kernel", "record"] * 3 + ["sync"]


def test_both_columns_from_a_fake_stream():
    stream = FakeStream()
    conditions = Conditions(input_size=(32, 32))
    timer = EventTimer(stream.event, stream.synchronise)

    class Slow(Tiny):
        def forward(self, images):
            stream.kernel(None)
            return super().forward(images)

    with Prepared(Slow(), conditions, BRIEF, stream_timer=timer) as prepared:
        result = prepared.result()
    assert result.stream.p50 == 2.0
    assert result.stream.n == result.wall.n == len(result.stream_samples)
    latency = Latency(**result.record_fields())
    assert latency.details["stream"]["p50"] == 2.0
    assert latency.p50 == result.wall.p50


# Warm-up and sampling --------------------------------------------------------------------------


def test_warm_up_ends_when_two_blocks_agree():
    # 1,916 ms once, then 30, 25, 23, 22.8 ms blocks: the last two agree within 2%.
    budget = Budget(warmup_seconds=0.0, warmup_cap_s=60, block_seconds=0.001)
    timer = FakeTimer([1916.0, 30.0] + [30.0] * 3 + [25.0] * 3 + [23.0] * 3 + [22.8] * 3)
    warmup = warm_up(timer, lambda _: None, [0], budget)
    assert warmup.first_ms == 1916.0
    assert warmup.block_medians_ms == (30.0, 25.0, 23.0, 22.8)
    assert warmup.calls == 2 + 4 * 3
    assert not warmup.capped


def test_warm_up_that_never_settles_is_capped_and_says_so():
    budget = Budget(warmup_seconds=0.0, warmup_cap_s=0.2, block_seconds=0.001)
    growing = (10.0 * 1.5**i for i in range(100))
    warmup = warm_up(FakeTimer(growing), lambda _: None, [0], budget)
    assert warmup.capped


def test_a_slow_first_call_leaves_the_warm_up_its_time():
    budget = Budget(warmup_seconds=0.0, warmup_cap_s=0.8, block_seconds=0.001)
    timer = FakeTimer([1916.0, 30.0] + [30.0] * 3 + [25.0] * 3 + [24.9] * 3)
    assert not warm_up(timer, lambda _: None, [0], budget).capped


def test_threads_are_those_of_opencv_too_and_come_back():
    before = cv2.getNumThreads()
    with settings(Conditions(threads=1)):
        assert cv2.getNumThreads() == 1 == torch.get_num_threads()
    assert cv2.getNumThreads() == before


def test_warm_up_lasts_its_least_time_though_stable():
    budget = Budget(warmup_seconds=1.0, warmup_cap_s=10, block_seconds=0.1)
    warmup = warm_up(FakeTimer([10.0] * 1000), lambda _: None, [0], budget)
    assert 1.0 <= warmup.seconds < 1.2
    assert not warmup.capped


def test_sampling_stops_at_enough_or_when_the_time_is_over():
    enough = take_samples(FakeTimer([1.0] * 999), lambda _: None, [0], Budget(samples=50))
    assert len(enough) == 50
    few = take_samples(
        FakeTimer([1000.0] * 99), lambda _: None, [0], Budget(min_samples=4, max_seconds=2)
    )
    assert len(few) == 4  # the fewest wanted, though two would have filled the time


@pytest.mark.slow
def test_processor_time_leaves_waiting_out():
    class Waits(Tiny):
        def forward(self, images):
            time.sleep(0.05)
            return super().forward(images)

    conditions = Conditions(input_size=(32, 32), clock="cpu")
    assert conditions.columns()["clock"] == "cpu"
    assert "clock" not in Conditions().columns()
    with Prepared(Waits(), conditions, BRIEF) as prepared:
        assert min(prepared.round()) < 50
    with pytest.raises(UsageError, match="expected device cpu and threads 1"):
        Conditions(clock="cpu", threads=2)


def test_inputs_rotate_and_are_not_zero():
    model = Tiny()
    with Prepared(model, Conditions(input_size=(32, 32)), BRIEF, check=False) as prepared:
        assert all(images.abs().mean() > 0.5 for images in prepared.inputs)
        assert not torch.equal(prepared.inputs[0], prepared.inputs[1])
        copied = prepared.call.__closure__  # the model itself is not called: a copy is
        assert copied and not model.seen
    again = forms.random_images(Conditions(input_size=(32, 32)), 0)
    assert torch.equal(again[0], prepared.inputs[0])


# Measuring -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nano():
    return randomise_norms_(create_model("nano", seed=0), (64, 64))


def test_measurement_fills_a_record(nano):
    threads = torch.get_num_threads()
    result = measure(nano, input_size=(64, 96), batch=2, threads=1, budget=BRIEF)
    assert torch.get_num_threads() == threads
    assert result.images_per_s == pytest.approx(2000 / result.p50)
    assert result.overhead_ms < result.p50
    assert result.peak_memory > 1 << 20
    assert result.parity is None  # it is the reference
    latency = Latency(**result.record_fields())
    assert latency.conditions["input"] == "96x64"  # H x W in text
    assert latency.n == len(latency.samples) >= 3
    assert latency.p90 is None


@pytest.mark.parametrize("scope", ["model", "decode", "e2e"])
@pytest.mark.parametrize("flip", [False, True])
def test_every_scope_with_and_without_flip(nano, scope, flip):
    conditions = Conditions(input_size=(64, 64), batch=2, scope=scope, flip=flip)
    with Prepared(nano, conditions, BRIEF) as prepared:
        result = prepared.call(prepared.inputs[0])
        assert prepared.result().wall.n >= 3
    if scope == "model":
        assert result.shape == (2, 17, 16, 16)
    else:
        xy, scores = result
        assert xy.shape == (2, 17, 2)
        assert scores.shape == (2, 17)


def test_parity_is_measured_before_the_time(nano):
    result = measure(nano, input_size=(64, 64), dtype="bf16", threads=1, budget=BRIEF)
    assert 0 < result.parity < 0.25


def test_a_form_that_computes_something_else_is_refused(nano):
    broken = randomise_norms_(create_model("nano", seed=1), (64, 64))
    conditions = Conditions(input_size=(64, 64), mode="fused")
    images = forms.random_images(conditions, 0)[0]
    with torch.inference_mode(), pytest.raises(HEViTPoseError, match="differs from eager fp32"):
        forms.check_parity(nano, broken, conditions, images)


def test_relative_error():
    reference = torch.tensor([[1.0, -4.0]])
    assert relative_error(torch.tensor([[1.1, -4.0]]), reference) == pytest.approx(0.025)
    assert relative_error((reference, reference + 1), (reference, reference)) == 0.25
    assert relative_error(torch.tensor([[float("nan"), 0.0]]), reference) == float("inf")


def test_settled_statistics_are_those_of_a_trained_network(nano):
    norms = [m for m in nano.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(0.5 <= norm.weight.min() and norm.weight.max() <= 1.5 for norm in norms)
    assert any(norm.running_var.mean() < 0.5 for norm in norms)
    assert not nano.training
    with torch.no_grad():
        heatmaps = nano(torch.randn(1, 3, 64, 64))
    assert 1e-6 < heatmaps.std() < 10


def test_peak_memory_is_of_its_own_pass():
    """In a process of its own: an allocator that has run for long keeps what it was given back."""
    code = (
        "import torch; from hevitpose.cost.latency.measure import peak_memory as peak\n"
        "calls = lambda: None, lambda: torch.ones(200 << 20, dtype=torch.uint8), lambda: None\n"
        "print(*(peak(call, 'cpu') for call in calls))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    small, large, after = map(int, result.stdout.split())
    assert large - small > 150 << 20
    assert after < large - (150 << 20)


@pytest.mark.parametrize(
    ("line", "numbers"),
    [
        ("1980, 2619, 71.35, 700.00, 34, 0x0000000000000004", (1980, 2619, 71.35, 700, 34, 4)),
        ("1410, 1215, [N/A], [Not Supported], 41, 0x0", (1410, 1215, None, None, 41, 0)),
        ("[Unknown Error], 1215", (None, 1215, None, None, None, None)),
        ("", (None,) * 6),
    ],
)
def test_clocks_of_nvidia_smi_are_numbers(line, numbers, monkeypatch):
    """As of NVML: a record does not depend on which of the two there is."""
    names = ("sm_mhz", "memory_mhz", "power_w", "power_limit_w", "temperature_c")
    names += ("throttle_reasons",)
    printed = subprocess.CompletedProcess([], 0, stdout=line + "\n")
    monkeypatch.setattr(machine_state.subprocess, "run", lambda *_, **__: printed)
    monkeypatch.setattr(machine_state, "_uuid", str)
    monkeypatch.setattr(machine_state, "_nvml", lambda _: None)
    found = machine_state.machine_state("cuda:0")
    assert tuple(found[name] for name in names) == numbers
    assert not any(isinstance(value, str) for value in found.values())


# Bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("mode", "fuse", "unknown mode 'fuse'; did you mean 'fused'"),
        ("dtype", "fp8", "unknown dtype 'fp8'"),
        ("scope", "all", "unknown scope 'all'"),
        ("batch", 0, "batch: 0, expected a positive integer"),
        ("threads", True, "threads: True"),
        ("device", "gpu", "device: 'gpu', expected cpu, cuda or cuda:N"),
        ("device", "cuda:²", "device: 'cuda:²', expected cpu, cuda or cuda:N"),
        ("input_size", (0, 3), "input size"),
    ],
)
def test_unknown_conditions(key, value, message):
    with pytest.raises(UsageError) as error:
        Conditions(**{key: value})
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_no_gpu_is_never_the_cpu(nano):
    with pytest.raises(UnavailableError, match="no CUDA GPU"):
        measure(nano, device="cuda", budget=QUICK)
    with pytest.raises(UnavailableError, match="cudagraph: needs a CUDA device"):
        measure(nano, mode="cudagraph", input_size=(64, 64), budget=QUICK)


def test_compile_without_a_compiler_is_unavailable(nano, monkeypatch):
    monkeypatch.setattr(forms.shutil, "which", lambda name: None)
    with pytest.raises(UnavailableError, match="no C\\+\\+ compiler"):
        measure(nano, mode="compile", input_size=(64, 64), budget=QUICK)


def test_an_input_that_does_not_fit_the_strides(nano):
    with pytest.raises(UsageError, match="multiples of 32"):
        measure(nano, input_size=(100, 64), budget=QUICK)


def test_the_fused_form_is_a_mode(nano):
    result = measure(nano, input_size=(64, 96), mode="fused", threads=1, budget=BRIEF)
    assert 0 < result.parity < 1e-4
    assert result.conditions.columns()["mode"] == "fused"


@pytest.mark.parametrize("mode", ["onnxruntime", "fused+onnxruntime", "torchscript"])
def test_exported_forms_are_modes(nano, mode):
    if "onnxruntime" in mode:
        pytest.importorskip("onnxruntime")
    result = measure(nano, input_size=(64, 96), mode=mode, threads=1, budget=BRIEF)
    assert 0 <= result.parity < 1e-4
    with pytest.raises(UnavailableError, match=r"not bf16 and nchw|not in bf16"):
        measure(nano, input_size=(64, 96), mode=mode, dtype="bf16", budget=BRIEF)


@pytest.mark.parametrize(
    ("mode", "dtype", "error"),
    [
        ("autocast", "bf16", 0.2),
        ("fused+onnxruntime", "int8", 0.6),
        ("openvino", "fp32", 1e-4),
        ("fused+openvino", "bf16", 0.2),
        ("fused+openvino", "int8", 0.6),
    ],
)
def test_lower_precisions_are_modes_with_their_parity(nano, mode, dtype, error):
    backend = mode.removeprefix("fused+")
    if backend != "autocast":
        pytest.importorskip(backend)
        if backend == "openvino" and dtype == "bf16" and not runtimes.has_bfloat16():
            pytest.skip("this processor has no bfloat16 arithmetic")
    result = measure(nano, input_size=(64, 96), mode=mode, dtype=dtype, threads=1, budget=BRIEF)
    low = 0 if dtype == "fp32" else 1e-3  # as near as fp32 it would be fp32
    assert low <= result.parity < error
    latency = Latency(**result.record_fields())
    assert (latency.conditions["mode"], latency.conditions["dtype"]) == (mode, dtype)
    assert latency.details["keypoints_px"] >= 0
    assert ("runtime" in latency.details) == (backend != "autocast")


def test_how_far_key_points_move():
    codec = forms.make_codec("heatmap", (64, 96))
    reference, output = torch.zeros(2, 3, 24, 16), torch.zeros(4, 3, 24, 16)
    reference[:, :, 10, 5] = output[:, :, 10, 5] = 1.0
    assert mean_shift(output, reference, codec) == 0
    # One of six keypoints: three heatmap pixels of 4 input pixels to the right.
    output[0, 0, 10, 5], output[0, 0, 10, 8] = 0.0, 1.0
    assert mean_shift(output, reference, codec) == pytest.approx(12 / 6)


@pytest.mark.parametrize(
    ("mode", "dtype", "reason"),
    [
        ("eager", "int8", "eager: has no int8"),
        ("autocast", "fp32", "autocast: of a lower precision"),
        ("openvino", "fp16", "openvino: computes in fp32, bf16, int8, not in fp16"),
        ("tensorrt", "fp16", "tensorrt: runs files on a CUDA device"),
    ],
)
def test_what_a_mode_lacks_is_unavailable(nano, mode, dtype, reason):
    with pytest.raises(UnavailableError, match=reason):
        measure(nano, input_size=(64, 64), mode=mode, dtype=dtype, budget=BRIEF)


@pytest.mark.parametrize("mode", ["onnxruntime", "openvino"])
def test_a_runtime_that_is_not_there(nano, monkeypatch, mode):
    there = importlib.util.find_spec
    monkeypatch.setattr(
        runtimes.importlib.util, "find_spec", lambda name: None if name == mode else there(name)
    )
    with pytest.raises(UnavailableError, match=f"{mode} is not installed: pip install"):
        measure(nano, input_size=(64, 64), mode=mode, budget=BRIEF)


def test_tensorrt_is_never_another_provider(monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(runtimes, "_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(UnavailableError, match="no TensorrtExecutionProvider"):
        runtimes.require_runtime("tensorrt", "fp16")


def test_tensorrt_does_not_call_tf32_float32(monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(runtimes, "_providers", lambda: ["TensorrtExecutionProvider"])
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    with pytest.raises(UnavailableError, match="would compute fp32 in TF32"):
        runtimes.require_runtime("tensorrt", "fp32")
    runtimes.require_runtime("tensorrt", "fp16")
    runtimes.require_runtime("tensorrt")  # of a file that says its precision itself
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    runtimes.require_runtime("tensorrt", "fp32")


def test_a_processor_without_bfloat16(nano, monkeypatch):
    pytest.importorskip("openvino")
    monkeypatch.setattr(runtimes, "has_bfloat16", lambda: False)
    with pytest.raises(UnavailableError, match="no bfloat16 arithmetic"):
        measure(nano, input_size=(64, 64), mode="openvino", dtype="bf16", budget=BRIEF)


def test_compile_is_the_whole_network_or_an_error(nano):
    class Breaks(Tiny):
        def forward(self, images):
            torch._dynamo.graph_break()  # the rest would quietly stay eager
            return super().forward(images)

    with pytest.raises(torch._dynamo.exc.Unsupported):
        measure(Breaks(), mode="compile", input_size=(32, 32), budget=BRIEF)


# A CUDA graph, with stand-ins for CUDA ---------------------------------------------------------


@pytest.fixture
def replay(monkeypatch):
    """Makes a replay of a network: the stand-in graph computes anew, into the same output."""
    captured = {}

    class Graph:
        def replay(self):
            network, images, output = captured["network"](), captured["images"], captured["output"]
            output.copy_(network(images))

    class Stream:
        def wait_stream(self, other):
            pass

    stand_in = types.SimpleNamespace(
        Stream=Stream,
        CUDAGraph=Graph,
        current_stream=Stream,
        stream=lambda stream: contextlib.nullcontext(),
        graph=lambda graph: contextlib.nullcontext(),
    )
    monkeypatch.setattr(torch, "cuda", stand_in)

    def make(network, example):
        made = forms._captured(network, types.SimpleNamespace(is_cuda=True), example)
        captured.update(network=weakref.ref(network), images=made.images, output=made.output)
        return made

    return make


def test_a_cuda_graph_lives_as_long_as_its_network(replay):
    network = nn.Conv2d(3, 2, 1).requires_grad_(False)
    alive = weakref.ref(network)
    expected, images = network(torch.ones(1, 3, 4, 4)), torch.zeros(1, 3, 4, 4)
    captured = replay(network, images)
    del network
    gc.collect()
    assert alive() is not None  # the graph reads its weights
    assert torch.equal(captured(torch.ones(1, 3, 4, 4)), expected)
    del captured
    gc.collect()
    assert alive() is None


def test_the_flip_test_of_a_cuda_graph_keeps_the_first_output(replay):
    class Network(nn.Conv2d):
        num_keypoints = 17

    network = Network(3, 17, 4, stride=4).requires_grad_(False)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    conditions = Conditions(batch=2, input_size=(64, 64), flip=True)
    expected = forms.build_call(network, network, conditions)(images)
    found = forms.build_call(network, replay(network, images), conditions)(images)
    assert torch.equal(found, expected)
