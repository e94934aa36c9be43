"""A user's attention in a file: known wherever its file is named, and nowhere else."""

from __future__ import annotations

import json
import sys

import cv2
import numpy as np
import pytest

from ablations.measurements import build
from ablations.refusals import refused
from ablations.workers.job import run_job
from bench import latency, worker
from hevitpose import create_model
from hevitpose.cli import execute
from hevitpose.config import load_config, network_options
from hevitpose.data.keypoints import MPII
from hevitpose.errors import HEViTPoseError, UsageError
from hevitpose.isolated import Outcome
from hevitpose.models import registry
from hevitpose.models.checkpoint import save_checkpoint
from hevitpose.models.imports import ANY_NAME, import_files, registered
from hevitpose.records import RecordStore

MINE = """
from torch import nn
from hevitpose.models import register

@register("attention", "mine")
def mine(dim):
    return nn.Conv2d(dim, dim, 1)
"""
OPTIONS = {"model.name": "nano", "model.attention": "mine", "data.input_size": [64, 64]}
WORDS = ["model.name=nano", "model.attention=mine", "data.input_size=64,64"]


def forget() -> None:
    """As in a process that has imported nothing yet."""
    registry._PARTS["attention"].pop("mine", None)
    for name in [name for name in sys.modules if name.startswith("hevitpose_import_")]:
        del sys.modules[name]


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    forget()
    yield path
    forget()


@pytest.fixture
def checkpoint(mine, tmp_path):
    import_files([mine])
    network = create_model("nano", num_keypoints=16, attention="mine", seed=0)
    path = save_checkpoint(
        network, tmp_path / "m.safetensors", load_config("synthetic", OPTIONS).dump(), MPII
    )
    forget()
    return path


def test_train_and_valid(mine, tmp_path, synthetic_root, capsys):
    words = [*WORDS, f"data.root={synthetic_root}", "data.people=60", "data.image_size=128"]
    words += ["training.steps=1", "training.batch_size=2", "training.threads=1"]
    assert execute(["train", *words]) == 2
    assert "unknown model.attention 'mine'" in capsys.readouterr().err
    assert execute(["train", *words, f"imports=[{mine}]"]) == 0
    (weights,) = (tmp_path / "runs" / "train").glob("*/model.safetensors")
    capsys.readouterr()
    for imports, condition, code in (  # conditions that are not recorded yet
        (f"imports=[{mine}]", "evaluation.nms_threshold=0.6", 0),
        ("imports=[]", "evaluation.nms_threshold=0.7", 2),
    ):
        forget()
        assert execute(["valid", "--weights", str(weights), *words, imports, condition]) == code


def test_info(mine, capsys):
    words = ["info", "nano", "model.attention=mine", "--input", "64x64", "--json"]
    assert execute(words) == 2
    assert execute([*words, "--import", str(mine)]) == 0
    forget()
    assert execute([*words, f"imports=[{mine}]"]) == 0
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert first == second and first["flops"] > 0
    assert execute(["info", "nano", "training.lr=1"]) == 2
    assert "expected options of the network" in capsys.readouterr().err


def test_predict_and_export(mine, checkpoint, tmp_path):
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((50, 50, 3), np.uint8))
    for words in (
        ["predict", "1.png", "--checkpoint", str(checkpoint), "--detector", "none"],
        ["export-checkpoint", str(checkpoint), "again.safetensors"],
        ["export", str(checkpoint), "m.pt", "--to", "torchscript"],
    ):
        assert execute(words) == 2
        assert execute([*words, "--import", str(mine)]) == 0
        forget()


def test_a_grids_child(mine, tmp_path):
    config = load_config("synthetic", OPTIONS).model_copy(update={"imports": (mine,)})
    job = {"work": "ablations.measurements", "kind": "complexity", "folder": str(tmp_path)}
    outcome = run_job({**job, "config": config.dump()}, lambda done, total: None)
    assert outcome.reason is None
    assert outcome.result["fields"]["flops"]["torch"] > 0
    assert build(config).spec.attention == "mine"


def test_latency(mine, tmp_path, monkeypatch):
    words = ["--models", "nano", "model.attention=mine", "--import", str(mine), "--modes", "eager"]
    options = latency.parse([*words, "--input", "64x64", "--out", str(tmp_path)])
    (task,) = options.tasks
    with pytest.raises(UsageError, match="'mine'"):
        worker._model(task.model, 17, (64, 64), 0, task.options)
    worker.prepared(task)
    monkeypatch.setattr(latency, "run", lambda task, timeout: Outcome("failed", "not run"))
    assert latency.main([*words, "--out", str(tmp_path)]) == 1
    (record,) = RecordStore(tmp_path / "records").load()
    assert record.config["model"]["attention"] == "mine"
    assert record.inputs["model"]["imports"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = 1\nraise ValueError('no')\n", "line 2: ValueError: no"),
        (MINE + MINE, "'mine': already registered"),
        ("def\n", "SyntaxError"),
    ],
)
def test_a_file_that_fails_is_one_line(mine, text, says):
    mine.write_text(text)
    with pytest.raises(HEViTPoseError, match=says) as caught:
        import_files([mine])
    assert "\n" not in str(caught.value)
    registry._PARTS["attention"].pop("mine", None)
    mine.write_text(MINE)  # nothing half done is kept
    import_files([mine, mine])


def test_files_of_one_name_are_two(mine, tmp_path):
    other = tmp_path / "folder" / "mine.py"
    other.parent.mkdir()
    other.write_text("raise SystemError('run')")
    import_files([mine])
    with pytest.raises(HEViTPoseError, match="SystemError: run"):
        import_files([other])
    with pytest.raises(UsageError, match="no such file"):
        import_files([tmp_path / "absent.py"])


def test_names_are_read_without_running(mine):
    mine.write_text(
        "raise SystemError('run')\n"
        "import hevitpose.models as m\n"
        "@m.register('attention', 'a')\ndef a(dim): ...\n"
        "m.register(name='b', kind='ffn')(a)\n"
        "m.register('attention', f'{a}')(a)\n"
        "other('attention', 'c')\n"
    )
    assert registered([mine]) == {"attention": {"a", ANY_NAME}, "ffn": {"b"}}
    mine.write_text("def\n")
    with pytest.raises(UsageError, match="not Python"):
        registered([mine])


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (
            "from hevitpose.models import register as reg\n@reg('attention', 'a')\ndef a(): ...",
            {"a"},
        ),
        ("NAME = 'dyn'\n@register('attention', NAME)\ndef a(): ...", {"dyn"}),
        ("KIND = 'attention'\nmine = models.register\nmine(KIND, name='a')(f)", {"a"}),
        ("NAME = 'a'\nNAME += 'b'\nregister('attention', NAME)(f)", {ANY_NAME}),
        ("NAME = 'a'\ndef add(NAME):\n    register('attention', NAME)(f)", {ANY_NAME}),
        ("for name in 'ab':\n    register('attention', name)(f)", {ANY_NAME}),
        ("register(kind(), 'a')(f)", {"a"}),
        ("import atexit\natexit.register(f)\nother('attention', 'c')", set()),
    ],
)
def test_ways_to_register(mine, text, names):
    mine.write_text(text)
    assert registered([mine]).get("attention", set()) == names
    words = ["model.name=nano", "model.attention=z", f"imports=[{mine}]"]
    reason = refused(load_config(None, words, preset="quick"))
    assert (reason is None) == (ANY_NAME in names)  # the import will say


def test_a_helper_registers_too(mine, tmp_path, monkeypatch):
    (tmp_path / "helper_of_mine.py").write_text("register('attention', 'theirs')(f)")
    mine.write_text("import helper_of_mine")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert registered([mine]) == {"attention": {"theirs"}}


def test_options_of_a_network():
    assert network_options("nano", ["model.groups=2,2,4"])[0] == {"groups": (2, 2, 4)}
    for word in ("model.num_keypoints=3", "model.checkpoint=a", "seed=1"):
        with pytest.raises(UsageError, match="expected options of the network"):
            network_options("nano", [word])
