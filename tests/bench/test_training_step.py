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
        (["--rounds", "0"], "expected at least 1"),
    ],
)
def test_bad_usage_is_one_line(capsys, arguments, says):
    assert training_step.main([*TINY, *arguments]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1
