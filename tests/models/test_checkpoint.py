"""Weights on disk: complete, strict, and never code."""

from __future__ import annotations

import json
import os
import pickle
import re
import resource
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from hevitpose import PosePredictor, create_model, optimize, save_pretrained
from hevitpose.cli import execute
from hevitpose.data.keypoints import MPII
from hevitpose.errors import DataError, HEViTPoseError, Notice, UsageError, notice_once
from hevitpose.files import replacing
from hevitpose.models.checkpoint import (
    FORMAT,
    LAST_LAYER,
    METADATA,
    from_pretrained,
    load_weights,
    read_checkpoint,
    save_checkpoint,
)
from hevitpose.models.keypoints import KeypointLayout
from hevitpose.models.shipped import locate
from hevitpose.training.callbacks import AtomicCheckpointIO


@pytest.fixture
def nano():
    return create_model("nano", num_keypoints=16, seed=1, attention="mhsa").eval()


def test_a_file_is_all_it_takes(nano, tmp_path):
    path = save_checkpoint(nano, tmp_path / "model.safetensors", {"seed": 1}, MPII)
    images = torch.randn(2, 3, 64, 96)
    for source in (path, tmp_path):
        again = from_pretrained(source)
        assert again.spec == nano.spec
        assert torch.equal(again(images), nano(images))
    stored = read_checkpoint(path)
    assert stored.layout == MPII
    assert stored.config == {"seed": 1}


def test_missing_and_unexpected_entries_are_named(nano, tmp_path):
    path = save_checkpoint(nano, tmp_path / "m.safetensors")
    other = create_model("nano", num_keypoints=16, attention="none")
    with pytest.raises(DataError, match=r"unexpected: .*attention") as caught:
        load_weights(other, path)
    assert "missing: " not in str(caught.value)
    bigger = create_model("t", num_keypoints=16)
    before = {k: v.clone() for k, v in bigger.state_dict().items()}
    with pytest.raises(DataError, match=r"missing: .* more"):
        load_weights(bigger, path)
    assert all(torch.equal(before[k], v) for k, v in bigger.state_dict().items())


def test_other_keypoints_only_when_asked_and_said(nano, tmp_path):
    path = save_checkpoint(nano, tmp_path / "m.safetensors", None, MPII)
    coco = create_model("nano", num_keypoints=17, attention="mhsa")
    with pytest.raises(DataError, match="has 16 keypoints, the model 17"):
        load_weights(coco, path)
    reset = load_weights(coco, path, reset_keypoints=True)
    assert len(reset) == 2  # weight and bias of the last convolution
    kept = coco.state_dict().keys() - set(reset)
    assert all(torch.equal(coco.state_dict()[k], nano.state_dict()[k]) for k in kept)


def test_a_new_head_is_new_and_said(nano, tmp_path):
    path = save_checkpoint(nano, tmp_path / "m.safetensors", None, MPII)
    for count in (None, 16, 5):
        model = from_pretrained(path, num_keypoints=count, reset_keypoints=True)
        assert model.num_keypoints == (count or 16)
        assert not torch.equal(model.head.final.weight[:5], nano.head.final.weight[:5])
        about = model.pretrained_from
        assert about.source["reset"] == list(LAST_LAYER) and about.layout is None
    assert "reset" not in from_pretrained(path).pretrained_from.source
    folder = save_pretrained(model, tmp_path / "new")
    assert "`head.final.bias` started anew" in (folder / "README.md").read_text()
    with pytest.warns(Notice, match="new: head.final.weight, head.final.bias started anew"):
        PosePredictor(folder, layout=KeypointLayout("five", tuple("abcde"), (), (0.1,) * 5))


def test_export_checkpoint_says_what_started_anew(nano, tmp_path, capsys):
    path, out = save_checkpoint(nano, tmp_path / "m.safetensors"), tmp_path / "out.safetensors"
    for count, anew in (("16", 0), ("5", 2)):
        assert execute(["export-checkpoint", str(path), str(out), "--keypoints", count]) == 0
        assert capsys.readouterr().out.count("reinitialised: head.final") == anew
        assert len(read_checkpoint(out).source.get("reset", ())) == anew


def test_loading_leaves_the_global_generator_alone(nano, tmp_path):
    path = save_checkpoint(nano, tmp_path / "m.safetensors")
    before = torch.get_rng_state()
    from_pretrained(path)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("path", "count", "message"),
    [
        (None, None, "checkpoint: None, expected a file"),
        (b"x", None, "checkpoint: b'x'"),
        ("hevitpose_nano", 0, "num_keypoints: 0"),
        ("hevitpose_nano", "17", "num_keypoints: '17'"),
    ],
)
def test_arguments_of_another_kind(path, count, message):
    with pytest.raises(UsageError, match=message):
        from_pretrained(path, num_keypoints=count)


def test_tied_weights(nano, tmp_path):
    nano.head.final.weight = nano.head.up2.deconv.weight  # of any other shape: only saved
    nano.tied = nano.head.up2
    nano.view = torch.nn.Parameter(nano.head.up1.deconv.weight[:1])
    path = save_checkpoint(nano, tmp_path / "m.safetensors")
    state = read_checkpoint(path).state
    assert state.keys() == nano.state_dict().keys()
    assert all(torch.equal(state[key], value) for key, value in nano.state_dict().items())


def test_what_could_not_be_loaded_is_not_written(nano, tmp_path):
    path = tmp_path / "m.safetensors"
    for model, message in (
        (optimize(nano, mode="fused"), "of a fused form, expected a network of create_model"),
        (torch.nn.Conv2d(1, 1, 1), "of a Conv2d"),
    ):
        with pytest.raises(UsageError, match=message):
            save_checkpoint(model, path)
    assert not path.exists()
    save_checkpoint(optimize(nano), path)
    assert from_pretrained(path).spec == nano.spec


def test_pickles_are_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "pwned"),)

    for name, content in (
        ("a.ckpt", pickle.dumps(Evil())),
        ("b.safetensors", pickle.dumps(Evil())),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=name):
            read_checkpoint(tmp_path / name)
    torch.save({"hevitpose": Evil(), "state_dict": {}}, tmp_path / "c.ckpt")
    with pytest.raises(DataError, match=r"c\.ckpt"):
        read_checkpoint(tmp_path / "c.ckpt")
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("keep", [0, 1, 7, 8, 100, -1])
def test_truncated_files(nano, tmp_path, keep):
    path = save_checkpoint(nano, tmp_path / "m.safetensors")
    data = path.read_bytes()
    path.write_bytes(data[:keep] if keep >= 0 else data[:-1])
    with pytest.raises(DataError, match=r"m\.safetensors"):
        from_pretrained(path)
    path = tmp_path / "m.ckpt"
    torch.save({"hevitpose": {}, "state_dict": {}}, path)
    data = path.read_bytes()
    path.write_bytes(data[:keep] if keep >= 0 else data[:-30])
    with pytest.raises(DataError, match=r"m\.ckpt"):
        from_pretrained(path)


@pytest.mark.parametrize(
    "description",
    [
        None,
        "[",
        "[]",
        {"format": "other"},
        {"format": FORMAT},
        {"format": FORMAT, "model": [], "config": {}},
        {"format": FORMAT, "model": {}, "config": {}, "layout": {"name": 1}},
        {"format": FORMAT, "model": {}, "config": {}},
        {
            "format": FORMAT,
            "model": {"name": "nano", "num_keypoints": 16, "options": {"eval": 1}},
            "config": {},
        },
    ],
)
def test_foreign_descriptions(tmp_path, description):
    path = tmp_path / "x.safetensors"
    text = description if isinstance(description, str) else json.dumps(description)
    metadata = {} if description is None else {METADATA: text}
    save_file({"weight": torch.zeros(1)}, path, metadata=metadata)
    with pytest.raises(HEViTPoseError) as caught:
        from_pretrained(path)
    assert "\n" not in str(caught.value)


def test_files_have_the_mode_that_the_user_gives_new_files(nano, tmp_path):
    (tmp_path / "plain").write_text("")
    path = save_checkpoint(nano, tmp_path / "m.safetensors")
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_equal_weights_are_equal_files(nano, tmp_path):
    a = save_checkpoint(nano, tmp_path / "a.safetensors", {"b": 1, "a": 2}, MPII)
    b = save_checkpoint(nano, tmp_path / "b.safetensors", {"a": 2, "b": 1}, MPII)
    assert a.read_bytes() == b.read_bytes()


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as file:
        file.write(b"half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_one_line(nano, tmp_path):
    """A limit on the size of files stands in for the disk: both stop a writer in the middle."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(HEViTPoseError, match=r"m\.safetensors: cannot be written \(File too"):
            save_checkpoint(nano, tmp_path / "m.safetensors")
        with pytest.raises(HEViTPoseError, match=r"last\.ckpt: cannot be written \(File too"):
            AtomicCheckpointIO().save_checkpoint(nano.state_dict(), tmp_path / "last.ckpt")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())


def test_torch_hub_finds_both_entries(nano, tmp_path):
    repository = str(Path(__file__).parents[2])
    path = save_checkpoint(nano, tmp_path / "m.safetensors")
    loaded = torch.hub.load(repository, "from_pretrained", path, source="local")
    assert loaded.spec == nano.spec
    fresh = torch.hub.load(repository, "create_model", "nano", source="local", num_keypoints=3)
    assert fresh.num_keypoints == 3


def test_torch_hub_checks_for_all_that_its_entries_import():
    repository = Path(__file__).parents[2]
    program = (
        "import sys, hubconf; hubconf.from_pretrained('hevitpose_nano'); "
        "hubconf.create_model('t'); print(*{name.partition('.')[0] for name in sys.modules})"
    )
    command = [sys.executable, "-c", program]
    run = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True)
    required = tomllib.loads((repository / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {re.split(r"\W", each.replace("-", "_"))[0] for each in required}
    names = {{"pyyaml": "yaml", "pillow": "PIL"}.get(name, name) for name in names}
    hub = runpy.run_path(str(repository / "hubconf.py"))["dependencies"]
    # torchvision brings Pillow along.
    assert names & set(run.stdout.split()) - {"PIL"} == set(hub)


def test_a_name_that_ships_is_the_same_network_in_any_folder(nano, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shipped = locate("hevitpose_nano")
    save_pretrained(nano, "hevitpose_nano")
    notice_once.cache_clear()
    with pytest.warns(Notice, match="comes with the package, not hevitpose_nano/model"):
        assert locate("hevitpose_nano") == shipped
    assert locate("hevitpose_nano/model.safetensors") != shipped
    assert PosePredictor().model.num_keypoints == 17
