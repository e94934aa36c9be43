"""The comparison of training forms, as a command."""

from __future__ import annotations

import re

import pytest
import torch

from bench import training_step
from hevitpose.models import create_for_input

TINY = ["--model", "nano", "--batch", "2", "--input", "32x64", "--rounds", "2", "--threads", "1"]


@pytest.fixture(autouse=True)
def _threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_prints_both_forms_and_their_ratio(capsys):
    assert training_step.main(TINY) == 0
    out = capsys.readouterr().out
    assert re.search(r"^plain +\d+\.\d+ s", out, re.M)
    assert re.search(r"^train / plain: \d\.\d+ \[\d\.\d+, \d\.\d+\] \(2 rounds\)", out, re.M)
    assert "nano, batch 2, 32x64, 1 threads, wall clock" in out


def test_the_ratio_is_train_over_plain(monkeypatch, capsys):
    now = {"value": 0.0}

    def step_of(form, options):
        def step():
            now["value"] += {"plain": 4.0, "train": 1.0}[form]

        return step

    monkeypatch.setattr(training_step, "step_of", step_of)
    monkeypatch.setitem(training_step.CLOCKS, "wall", lambda: now["value"])
    assert training_step.main(TINY) == 0
    out = capsys.readouterr().out
    assert re.search("^plain +4.000 s", out, re.M) and re.search("^train +1.000 s", out, re.M)
    assert "train / plain: 0.250 [0.250, 0.250] (2 rounds)" in out


def test_forms_that_take_turns_have_each_their_own_settings(monkeypatch):
    """All are built before the first step, and torch's settings are the whole process's."""

    def now():
        cudnn = torch.backends.cudnn
        return torch.get_float32_matmul_precision(), cudnn.allow_tf32, cudnn.benchmark

    before, seen = now(), []

    def create(*args, **kwargs):
        network = create_for_input(*args, **kwargs)
        network.head.register_forward_hook(lambda *_: seen.append(now()))
        return network

    monkeypatch.setattr(training_step, "create_for_input", create)
    forms = ["plain", "plain+tf32", "plain+autotune"]
    options = training_step.parse([*TINY, "--rounds", "1", "--forms", ",".join(forms)])
    steps = [training_step.step_of(form, options) for form in options.forms]
    for step in steps:
        step()
    assert seen == [("highest", False, False), ("high", True, False), ("highest", False, True)]
    assert now() == before


def test_the_last_line_names_the_device_that_was_timed(monkeypatch, capsys):
    facts = {"cpu": "A processor", "gpu": "A card"}
    monkeypatch.setattr(training_step.provenance, "machine", lambda: facts)
    monkeypatch.setattr(training_step, "measure", lambda options: {"plain": [[1.0, 0.0]]})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for device, name in (("cpu", "A processor"), ("cuda", "A card")):
        assert training_step.main([*TINY, "--device", device]) == 0
        assert capsys.readouterr().out.endswith(f", wall clock, {name}\n")


@pytest.mark.parametrize(
    ("form", "dtype"), [("train", torch.float32), ("train+bf16", torch.bfloat16)]
)
def test_a_form_computes_in_its_precision(monkeypatch, form, dtype):
    seen = set()

    def create(*args, **kwargs):
        network = create_for_input(*args, **kwargs)
        network.head.register_forward_hook(lambda module, args, output: seen.add(output.dtype))
        return network

    monkeypatch.setattr(training_step, "create_for_input", create)
    training_step.step_of(form, training_step.parse(TINY))()
    assert seen == {dtype}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--model", "nope"], "unknown model 'nope'"),
        (["--input", "256"], "--input '256': expected HEIGHTxWIDTH"),
        (["--input", "100x96"], "multiples of 32"),
        (["--forms", "fast"], "unknown form 'fast'"),
        (["--forms", "plain+bf16+tf32,plain+tf32+bf16"], "one of them is given twice"),
        (["--rounds", "0"], "--rounds: '0': expected a whole number, at least 1"),
    ],
)
def test_bad_usage_is_one_line(capsys, arguments, says):
    assert training_step.main([*TINY, *arguments]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1
