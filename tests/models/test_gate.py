"""Hostile files of weights: one line, no code, no memory, no minutes."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save as to_safetensors
from safetensors.torch import save_file

from hevitpose import create_model
from hevitpose.errors import DataError, HEViTPoseError
from hevitpose.models import gate
from hevitpose.models.checkpoint import (
    FORMAT,
    METADATA,
    from_pretrained,
    load_weights,
    read_checkpoint,
    save_checkpoint,
)
from hevitpose.models.torchfile import read_content

ROOT = Path(__file__).resolve().parents[2]
GOOD = {"name": "nano", "num_keypoints": 16, "options": {}}


def description(**changes) -> dict:
    return {"format": FORMAT, "model": {**GOOD, **changes}, "config": {}, "layout": None}


def refused(read, path: Path) -> str:
    with pytest.raises(HEViTPoseError) as caught:
        read(path)
    said = str(caught.value)
    assert path.name in said and "\n" not in said and len(said) < 1000
    return said


def loop() -> dict:
    turning: dict = {}
    turning["again"] = turning
    return turning


def nested(depth: int) -> list:
    found: list = []
    for _ in range(depth):
        found = [found]
    return found


WEIGHT = {"model.a": torch.zeros(2)}
STATES = {
    "a list": [torch.zeros(2)],
    "empty": {},
    "integer keys": {1: torch.zeros(2)},
    "text values": {"model.a": "text"},
    "more than it stores": {"model.a": torch.zeros(1).expand(1_000_000, 1_000_000)},
    "complex": {"model.a": torch.zeros(2, dtype=torch.complex64)},
    "sparse": {"model.a": torch.zeros(2, 2).to_sparse()},
}
DESCRIPTIONS = {
    "a list": [1],
    "a number": float("nan"),
    "turning": loop(),
    "deep": nested(400),
    "a tensor": {"format": torch.zeros(1)},
    "half a character": description(name="\ud800"),
    "a config of text": description() | {"config": {"data": "x"}},
    "an input of 32,000": description() | {"config": {"data": {"input_size": [32_000, 32_000]}}},
    "an input of text": description() | {"config": {"data": {"input_size": "ab"}}},
}


@pytest.mark.parametrize("name", STATES)
def test_state_dicts_that_are_none(tmp_path, name):
    torch.save({"hevitpose": description(), "state_dict": STATES[name]}, tmp_path / "x.ckpt")
    refused(from_pretrained, tmp_path / "x.ckpt")
    torch.save(STATES[name], tmp_path / "y.pth")
    refused(read_content, tmp_path / "y.pth")


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_descriptions_that_are_none(tmp_path, name):
    torch.save({"hevitpose": DESCRIPTIONS[name], "state_dict": WEIGHT}, tmp_path / "x.ckpt")
    refused(read_checkpoint, tmp_path / "x.ckpt")


OTHERS = [
    {"options": {"widths": [20_000] * 3}},
    {"options": {"widths": [2**40] * 3}},
    {"options": {"depths": [100_000] * 3}},
    {"options": {"upsampler_channels": [20_000, 20_000]}},
    {"options": {"reductions": [10_000, 1, 1]}},
    {"options": {"ffn_ratio": 10**6}},
    {"options": {"groups": [20_000] * 3, "widths": [20_000] * 3}},
    {"options": {"widths": None}},
    {"options": {"widths": "abc"}},
    {"options": {"drop_path_rate": [0]}},
    {"options": "x"},
    {"num_keypoints": 10**9},
    {"num_keypoints": -1},
    {"name": ["nano"]},
    {"name": "vitpose_s", "options": {"input_size": [32_000, 32_000]}},
    {"name": "pose_swin_t", "options": {"nonsense": 1}},
]


@pytest.mark.slow
def test_descriptions_of_other_networks_cost_nothing(tmp_path):
    """In a process of its own: within 2 GB and 10 seconds of processor time each."""
    state = create_model("nano", 16).state_dict()
    for number, changes in enumerate(OTHERS):
        metadata = {METADATA: json.dumps(description(**changes))}
        save_file(state, tmp_path / f"{number}.safetensors", metadata=metadata)
    code = (
        "import pathlib, sys, time; import hevitpose.models.peers\n"
        "from hevitpose.models.checkpoint import from_pretrained\n"
        "from hevitpose.errors import HEViTPoseError\n"
        "for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):\n"
        "    begin = time.process_time()\n"
        "    try: from_pretrained(path)\n"
        "    except HEViTPoseError as error: print(error)\n"
        "    assert time.process_time() - begin < 10, path\n"
        # Not ru_maxrss, which begins with what the parent had.
        "    status = pathlib.Path('/proc/self/status').read_text()\n"
        "    assert int(status.partition('VmHWM:')[2].split()[0]) < 2e6, path\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(lines) == len(names), done.stdout
    assert all(name in line for name, line in zip(names, lines, strict=True))


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.ckpt")
    os.mkfifo(tmp_path / "pipe.safetensors")
    (tmp_path / "endless.ckpt").symlink_to("/dev/zero")
    for name in ("pipe.ckpt", "pipe.safetensors", "endless.ckpt"):
        refused(read_checkpoint, tmp_path / name)
    refused(read_content, tmp_path / "pipe.ckpt")


def test_a_bomb_is_not_unpacked(tmp_path):
    torch.save(dict(WEIGHT), tmp_path / "plain.pth")
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as plain,
        zipfile.ZipFile(tmp_path / "x.pth", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for entry in plain.infolist():
            content = plain.read(entry)
            bomb.writestr(entry.filename, bytes(10**8) if "/data/" in entry.filename else content)
    assert "compressed" in refused(read_content, tmp_path / "x.pth")


class Multi:
    def __reduce__(self):
        return os.system, ("touch pwned\n\nagain",)


def test_pickles_are_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    damaged = (b"\x80\x02.", b"\x80", b"(((((", b"\x80\x02]q\x00K", b"cos\nsystem\n")
    for number, content in enumerate((pickle.dumps(Multi()), *damaged)):
        path = tmp_path / f"{number}.ckpt"
        path.write_bytes(content)
        refused(read_checkpoint, path)
        refused(read_content, path)
    assert not (tmp_path / "pwned").exists()


def test_good_files_pass(tmp_path):
    model = create_model("nano", 16)
    path = save_checkpoint(model, tmp_path / "m.safetensors")
    assert load_weights(from_pretrained(path), path) == ()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (to_safetensors({"a": torch.zeros(3)}), "seems to be in safetensors, expected a name"),
        (pickle.dumps({"a": 1}), "seems to be a pickle that torch.save did not write"),
        (pickle.dumps({"a": 1}, protocol=2), "seems to be a pickle that torch.save did not write"),
        (b'{"a": 1}', "seems to be text"),
        (b"version https://git-lfs.github.com/spec/v1\n", "seems to be text"),
        (b"\x08\x08\x12\x07pytorch", "is of an unknown kind"),
    ],
)
def test_other_files_are_called_what_they_seem(tmp_path, content, says):
    """Torch's own line advises to run what is in the file."""
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with pytest.raises(
        DataError, match=rf"w\.pth: not a readable file of weights \(it {says}"
    ) as e:
        gate.unpickle(path)
    assert "weights_only" not in str(e.value)
