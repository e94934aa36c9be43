"""The command line: what it imports, what it prints, how it fails."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import hevitpose.cli
from hevitpose.cli import execute
from hevitpose.cli.common import make_config
from hevitpose.data import load, synthetic
from hevitpose.errors import DataError, UsageError
from hevitpose.models import create_model
from hevitpose.models.checkpoint import save_checkpoint
from hevitpose.training.fit import evaluate

COMMANDS = (
    *("info", "train", "valid", "infer-testdev", "predict", "evaluate-predictions", "diagnose"),
    *("export", "export-checkpoint", "data", "records"),
)


def assert_passes(code: str) -> str:
    """Standard output of some lines in an interpreter of their own."""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_package_and_help_load_no_torch():
    code = (
        "import sys, hevitpose, hevitpose.cli, hevitpose.config, hevitpose.records\n"
        "hevitpose.cli.execute(['--help'])\n"
        "heavy = {'torch', 'timm', 'cv2', 'pytorch_lightning'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    shown = assert_passes(code)
    for command in COMMANDS:
        assert command in shown


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command, capsys):
    assert execute([command, "--help"]) == 0
    assert "Usage" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["predict", "x.jpg"], "--out"),
        (["train"], "--out"),
        (["infer-testdev"], "--out"),
        (["diagnose", "--dataset", "coco", "--ground-truth", "a", "--predictions", "b"], "--out"),
        (["import-weights", "a.pth", "--model", "pose_hrnet_w32"], "--out"),
        (["export", "a.ckpt"], ""),
        (["export-checkpoint", "a.ckpt"], ""),
        (["data", "synth", "--root"], ""),
        (["data", "synth", "--root", "new"], "--sheet"),
    ],
)
def test_where_nothing_can_be_written_is_said_first(words, option, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "note").touch()
    name = {"export": "x.onnx"}.get(words[0], "x.safetensors")
    assert execute([*words, *([option] if option else []), f"note/{name}"]) == 2
    said = f"error: {option} note/{name}: {tmp_path / 'note'} is not a folder that can be written\n"
    assert capsys.readouterr().err == said.replace("  ", " ")


@pytest.mark.slow
def test_info_json(capsys):
    arguments = ["info", "hevitpose_b", "--input", "256x256", "--keypoints", "16", "--json"]
    assert execute([*arguments, "--convention", "mmcv"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["params"] == 10_629_456
    assert found["flops"] == pytest.approx(5.5807e9, abs=2e6)


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["info", "hevitpose_x"], 2, "hevitpose_x"),
        (["info", "b", "--input", "100x100"], 2, "100x100"),
        (["info", "b", "--input", "big"], 2, "--input"),
        (["info", "b", "--input", "4128x64"], 2, "at most 4096"),
        (["info", "b", "--input", f"{'9' * 5000}x64"], 2, "at most 4096"),
        (["info", "b", "--convention", "thop"], 2, "thop"),
        (["train", "--cfg", "imagenet"], 2, "imagenet"),
        (["train", "--cfg", "missing.yaml"], 1, "missing.yaml"),
        (["train", "training.lrr=1"], 2, "training.lrr"),
        (["train", "--cfg", "coco", "data.root=/nowhere"], 1, "/nowhere"),
        (["train", "--gpus", "a"], 2, "--gpus"),
        (["train", "--gpus", "²"], 2, "--gpus"),
        (["train", "--gpus", "0,1", "--devices", "3"], 2, "contradicts"),
        (["valid"], 2, "model.checkpoint"),
        (["valid", "--checkpoint", "none.safetensors"], 1, "none.safetensors"),
        (["infer-testdev", "--cfg", "crowdpose"], 2, "crowdpose"),
        (["infer-testdev", "--cfg", "coco"], 2, "--boxes"),
        (["infer-testdev", "--cfg", "mpii", "data.skip_bad=true"], 2, "one row for each person"),
        (["infer-testdev", "--cfg", "mpii", "data.present_only=true"], 2, "data.present_only"),
        (["predict", "none.jpg", "--checkpoint", "x"], 1, "none.jpg"),
        (["predict", "a.jpg", "--boxes", "b", "--detector", "hog"], 2, "contradicts --boxes b"),
        (["predict", "a.jpg", "--boxes", "b", "--detector-weights", "w"], 2, "--detector-weights"),
        (["predict", "a.jpg", "--min-score", "-1"], 2, "--min-score"),
        (["export-checkpoint", "a.ckpt", "b.ckpt"], 2, ".safetensors"),
        (["export", "hevitpose_nano", "x.txt"], 2, "ends in .onnx"),
        (["export", "hevitpose_nano", "x.onnx", "--to", "torchscript"], 2, "ends in .pt"),
        (["export", "hevitpose_nano", "x.onnx", "--batch", "9999999"], 2, "batch: 9999999"),
        (["export", "b", "x.pt", "--to", "torchscript", "--runtime", "openvino"], 2, "--to onnx"),
        (["export", "hevitpose_nano", "x.onnx", "--accept-loss"], 2, "--int8 or --bf16"),
        (["records", "show", "xyz"], 2, "xyz"),
        (["records", "list", "--kind", "trainings"], 2, "did you mean 'training'"),
        (["records", "list", "--store", "/nowhere"], 2, "--store /nowhere"),
        (["records", "export", "x.jsonl", "--store", "/nowhere"], 2, "--store /nowhere"),
        (["records", "prune", "--runs", "/nowhere"], 2, "--runs /nowhere"),
        (["nonsense"], 2, "nonsense"),
        (["info"], 2, "MODEL"),
    ],
)
def test_failures_are_one_line(arguments, code, word, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert execute(arguments) == code
    captured = capsys.readouterr()
    assert word.lower() in captured.err.lower()
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert not list(tmp_path.iterdir())  # nothing is left behind


def test_debug_shows_the_traceback(capsys):
    assert execute(["--debug", "info", "hevitpose_x"]) == 2
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["--debug"], ["data"], ["records"], ["--debug", "records"]])
def test_without_a_command_the_help_is_shown(words, capfd):
    assert execute(words) == 2
    found = capfd.readouterr()
    assert "Commands" in found.out and found.err == ""


def test_options_and_overrides_meet_in_one_config(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    config = make_config("coco", ["DATASET.TEST", "val"], gpus="0,1", data__box_source="det.json")
    assert (config.devices, config.device, config.data.box_source) == (2, "cuda", "det.json")
    assert make_config("coco", [], devices=2, nodes=3).total_batch == 64 * 6


@pytest.mark.slow
def test_public_names_stay_what_they_are_whatever_is_imported_first():
    """A submodule named like a public function would take its place once it is imported."""
    code = (
        "import hevitpose, hevitpose.training.fit, hevitpose.inference.export\n"
        "import hevitpose.cli, hevitpose.runs\n"
        "for name in hevitpose.__all__:\n"
        "    value = getattr(hevitpose, name)\n"
        "    assert name == '__version__' or callable(value), name"
    )
    assert_passes(code)


def test_defaults_in_words_are_shown(capsys):
    """``[default: ...]`` in the text of a help would be taken for a style and left out."""
    assert execute(["predict", "--help"]) == 0
    assert "[default: (hog)]" in capsys.readouterr().out
    sources = (path.read_text() for path in Path(hevitpose.cli.__file__).parent.glob("*.py"))
    assert not any("[default" in source for source in sources)


def test_absent_data_are_found_before_people_are_rendered(tmp_path, monkeypatch, capsys):
    """What `real_quick` starts from would be rendered for a minute first."""
    monkeypatch.chdir(tmp_path)
    words = ["train", "--cfg", "coco_small", "data.root=data", "preset=real_quick"]
    assert execute(words) == 1
    assert "no coco_small_train.json" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--gpus", "0"], "no usable CUDA device"),
        (["device=cpu", "training.precision=fp16"], "fp16 needs a CUDA device"),
    ],
)
def test_what_this_machine_cannot_do_is_said_before_people_are_rendered(
    words, says, tmp_path, monkeypatch, capsys
):
    import torch

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # --gpus sets it
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(synthetic, "generate", lambda *_, **__: pytest.fail("rendered"))
    save_checkpoint(create_model("nano", num_keypoints=16), tmp_path / "own.safetensors")
    for command in (["train"], ["valid", "--weights", "own.safetensors"]):
        assert execute([*command, *words]) == 2
        assert says in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["own.safetensors"]


def test_valid_renders_people_on_first_use(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save_checkpoint(create_model("nano", num_keypoints=16), tmp_path / "own.safetensors")
    words = ["valid", "--weights", "own.safetensors", "data.people=20", "data.image_size=64"]
    words += ["model.name=nano", "data.input_size=64,64", "data.root=people", "device=cpu"]
    assert execute(words) == 0, capsys.readouterr().err
    assert synthetic.is_complete(tmp_path / "people", 20, 64)
    monkeypatch.setattr(synthetic, "generate", lambda *_, **__: pytest.fail("rendered"))
    assert execute([*words, "data.people=30"]) == 0  # those that are there are taken
    shutil.rmtree(tmp_path / "people")
    assert execute(words) == 0  # recorded: nobody need be there
    assert not (tmp_path / "people").exists()
    with pytest.raises(DataError, match="`hevitpose data synth --root none` renders them"):
        load("synthetic", "none", "val", input_size=(64, 64))


def test_weights_of_other_keypoints_are_refused_first(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(synthetic, "generate", lambda *_, **__: pytest.fail("rendered"))
    assert execute(["valid", "--weights", "hevitpose_nano"]) == 2
    said = "error: hevitpose_nano: predicts 17 keypoints, synthetic has 16; expected weights of"
    assert said in capsys.readouterr().err
    config = make_config(None, ["model.checkpoint=hevitpose_nano", "device=cpu"])
    with pytest.raises(UsageError, match="predicts 17 keypoints, synthetic has 16"):
        evaluate(config)


def test_weights_that_are_read_are_not_replaced(tmp_path, monkeypatch, capsys):
    from hevitpose.models.shipped import locate

    monkeypatch.chdir(tmp_path)
    content = locate("hevitpose_nano").read_bytes()
    own = tmp_path / "own.safetensors"
    own.write_bytes(content)
    Path("link.safetensors").symlink_to(own)
    Path("link.pt").hardlink_to(own)
    model = ["--model", "pose_hrnet_w32", "--out"]
    for words in (
        ["export", "own.safetensors", "./own.safetensors", "--input", "64x64"],
        ["export", "own.safetensors", "link.pt", "--to", "torchscript"],
        ["export-checkpoint", "own.safetensors", "own.safetensors", "--keypoints", "5"],
        ["export-checkpoint", "own.safetensors", "link.safetensors"],
        ["export-checkpoint", "link.safetensors", str(own)],
        ["import-weights", "own.safetensors", *model, "link.safetensors"],
    ):
        assert execute(words) == 2, words
        said = capsys.readouterr().err
        assert (".onnx" if words[2] == "./own.safetensors" else "is the file of weights") in said
        assert own.read_bytes() == content and Path("link.safetensors").is_symlink()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--debug", "train"], "error: interrupted; the same command continues where it stopped"),
        (["predict", "train"], "error: interrupted"),
        (["diagnose"], "error: interrupted"),
        (["train", "--no-resume"], "error: interrupted"),
    ],
)
def test_an_interrupt_promises_what_is_true(monkeypatch, capsys, words, line):
    def app(**_):
        raise KeyboardInterrupt

    monkeypatch.setattr("hevitpose.cli.app", app)
    assert execute(words) == 1
    assert capsys.readouterr().err.splitlines()[-1] == line
