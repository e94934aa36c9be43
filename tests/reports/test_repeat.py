"""The command under a run makes the same run again."""

from __future__ import annotations

import dataclasses
import shlex
from collections import Counter
from functools import cache
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from ablations.cli import app as ablations_app
from ablations.grid import load_grids, select_cells
from ablations.grid_file import MATCH_COSTS
from ablations.options import Options
from ablations.tune import Tuning
from bench import complexity, gpu, latency
from bench.gpu_session import FULL, REHEARSAL, Session
from bench.latency_records import Store
from bench.worker import Task
from hevitpose.cli import app as hevitpose_app
from hevitpose.cli.common import make_config, of_checkpoint
from hevitpose.models import checkpoint_config
from hevitpose.records import Record, RecordStore, identity
from hevitpose.records.identity import DataInputs
from reports.__main__ import MEASURED
from reports.output.repeat import repeat_command
from reports.settings import flatten
from tests.commands import typer_command


def test_latency(make):
    record = make.latency(cell="default", batch=4, conditions={"flip_test": True, "tf32": False})
    assert repeat_command(replace(record, axes={})).endswith(
        "python bench/latency.py --models hevitpose_nano --modes fused --batch 4 "
        "--input 128x128 --dtype fp32 --layout nchw --scope model --threads 2 --flip"
    )


def test_a_contender_says_its_dtype_once(make):
    record = make.latency(cell="default", conditions={"clock": "wall", "dtype": "bf16"})
    given = replace(record, grid=None, axes={}, seed=7)
    own = "hevitpose_nano:fused"
    for label, dtype in ((f"{own}:bf16", ""), (own, " --dtype bf16")):
        details = {"interleaved_with": [label, "vitpose_s:eager:fp32"], "rounds": 5}
        changed = replace(given, latency=replace(given.latency, details=details))
        assert repeat_command(changed).endswith(
            f"python bench/latency.py --vs {label},vitpose_s:eager:fp32 --rounds 5 --batch 1 "
            f"--input 128x128{dtype} --layout nchw --scope model --clock wall --threads 2 --seed 7"
        )


def test_cells_and_hostile_words(make):
    record = replace(make.complexity("mhsa"), cell="$(rm -rf ~)")
    assert "--cells '$(rm -rf ~)'" in repeat_command(record)


def test_hostile_weights(make):
    """A comment ends with its line, so that only a checked hash is in it."""
    record = make.evaluation(config={"model": {"checkpoint": "/a b/$(id)\n.onnx"}})
    inputs = {
        **record.inputs,
        "weights": "sha256:0\nid",
        "runtime": {"name": "x;id", "exported": 1},
    }
    command = repeat_command(replace(record, inputs=inputs))
    assert shlex.split(command)[-4:] == ["--weights", "/a b/$(id)\n.onnx", "--runtime", "x;id"]
    assert "'/a b/$(id)" in command and "'x;id'" in command and "sha256" not in command


def test_training_names_what_differs_from_the_named_config(make):
    record = make.evaluation("mhsa", seed=3)
    config = record.config | {
        "seed": 3,
        "training": {"steps": 450, "milestones": [170.0, 200.0]},
    }
    command = repeat_command(replace(record, config=config))
    assert command.splitlines()[1] == (
        "hevitpose train --cfg synthetic preset=quick model.attention=mhsa seed=3 "
        "training.steps=450"
    )


# The committed records: parsed by the real parsers, each command gives the record's own id. What
# the data are comes from the record, so that no data are needed.


@cache
def committed() -> dict[str, Record]:
    return {record.id: record for record in RecordStore(MEASURED).iter()}


def case(record: Record) -> tuple:
    """Equal for records whose commands are made alike."""
    inputs, config = record.inputs, flatten(record.config)
    runtime = inputs.get("runtime") or {}
    return (
        record.kind, bool(record.tuned), record.grid, str(inputs.get("weights"))[:7] == "sha256:",
        "exported" in runtime, runtime.get("name"), config.get("model.checkpoint") is None,
        config.get("data.dataset"), config.get("preset"), str(config.get("training.start_from")),
        (record.cell or "").endswith("matched)"), inputs.get("device") or runtime.get("device"),
    )  # fmt: skip


def of_every_case(kind: str) -> list[Record]:
    return list({case(r): r for r in committed().values() if r.kind == kind}.values())


def parsed(words: list[str]) -> dict:
    """What the real parser makes of a command."""
    found = {}
    if words[:4] == ["nox", "-s", "ablation", "--"]:
        typer_command(ablations_app, lambda **given: found.update(given))(["run", *words[4:]])
    else:
        assert words[0] == "hevitpose"
        typer_command(hevitpose_app, lambda **given: found.update(given))(words[1:])
    return found


def with_data(config, record: Record) -> DataInputs:
    for key in ("dataset", "people", "image_size"):
        assert str(getattr(config.data, key)) == str(record.config["data"][key])
    # An evaluation's network is in its weights, and not in its id.
    keypoints = record.inputs.get("model", {}).get("num_keypoints", 17)
    return DataInputs(keypoints, train=record.inputs["data"], val=record.inputs["data"])


def trained_as(config, record: Record) -> str:
    """The id of a config's training, on the data of that training's record."""
    of = committed()[record.training or record.id]
    return identity.training_run(
        config, with_data(config, of), config.device, of.inputs.get("start_from")
    ).id


def evaluated_as(config, record: Record, whose: str, runtime=None, tuned=None) -> str:
    device = "cpu" if runtime and config.device == "auto" else config.device
    made = identity.evaluation_run(config, with_data(config, record), device, whose, runtime, tuned)
    return made.id


def from_train(record: Record, words: list[str]) -> str:
    given = parsed(words)
    config = make_config(given["cfg"], given["overrides"])
    training = trained_as(config, record)
    if record.kind == "training":
        return training
    return evaluated_as(config, record, training)


def from_valid(record: Record, words: list[str], monkeypatch) -> str:
    """The weights say another codec and input than the record's: the command's are taken."""
    given = parsed(words)
    config = make_config(given["cfg"], given["overrides"], model__checkpoint=given["checkpoint"])
    udp = record.config["codec"].get("method", record.config["codec"].get("encode")) == "udp"
    codec = {"method": "standard"} if udp else {"method": "udp", "decoder": "udp"}
    network = {k: v for k, v in record.config["model"].items() if k != "checkpoint"}
    own = {"model": network, "codec": codec, "data": {"input_size": [32, 32]}}
    stored = SimpleNamespace(config=own, model={"num_keypoints": 0})
    monkeypatch.setattr("hevitpose.data.files.declared", lambda _: SimpleNamespace(layout=()))
    monkeypatch.setattr(checkpoint_config, "read_checkpoint", lambda path: stored)
    monkeypatch.setattr(checkpoint_config, "locate", lambda path: path)
    config = of_checkpoint(config, given["overrides"])
    inputs = record.inputs
    if record.training is not None:
        assert record.training in given["checkpoint"].parts
    runtime = None
    if "exported" in inputs["runtime"]:
        exported = inputs["runtime"]["exported"]
        precision = inputs["runtime"]["precision"]
        runtime = {"name": given["runtime"], "precision": precision, "exported": exported}
    else:
        assert given["runtime"] is None
    return evaluated_as(config, record, inputs["weights"], runtime)


def from_ablation(record: Record, words: list[str]) -> str:
    options = Options(**parsed(words))
    loaded = load_grids(options.grid_names, options.base_config())
    (grid,) = select_cells(loaded, options.cell_names)
    *_, cell = grid.cells  # the default, and the one that was asked for
    assert len(grid.cells) == (1 if record.grid is None else 2)
    if options.match:  # as its search will find
        assert record.cell.endswith(f"({MATCH_COSTS[options.match]} matched)")
        found = cell.config.with_overrides({"model.widths": record.axes["model.widths"]})
        cell = dataclasses.replace(cell, config=found)
    if record.kind == "complexity":
        return identity.complexity_run(cell.config, record.inputs["model"]["num_keypoints"]).id
    tried = Tuning.parse(options.tune, options.seed_numbers()).tried
    chosen = {key: flatten(record.config)[key] for key in tried}  # as minival will tell
    (seed,) = options.seed_numbers()
    config = cell.config.with_overrides(chosen).model_copy(update={"seed": seed})
    return evaluated_as(config, record, trained_as(config, record), tuned=tried)


@pytest.mark.parametrize("kind", ["complexity", "training", "evaluation"])
def test_the_command_makes_this_record(kind, monkeypatch):
    for record in of_every_case(kind):
        command = repeat_command(record).splitlines()[-1]
        words = shlex.split(command, comments=True)
        assert not any(word.startswith("model.checkpoint=") for word in words)
        foreign = record.inputs.get("weights", "").startswith("sha256:")
        assert (words[:2] == ["hevitpose", "valid"] and record.weights in command) or not foreign
        assert (words[0] == "nox") >= bool(record.tuned)
        if words[:2] == ["python", "bench/complexity.py"]:
            options = complexity.parse(words[2:])
            planned = map(
                complexity.Store(options.out, fresh=False).identify, complexity.plan(options)
            )
            assert record.id in {run.id for _, run in planned}, command
        elif words[:2] == ["hevitpose", "train"]:
            assert from_train(record, words) == record.id, command
        elif words[:2] == ["hevitpose", "valid"]:
            assert from_valid(record, words, monkeypatch) == record.id, command
            monkeypatch.undo()
        else:
            assert from_ablation(record, words) == record.id, command


def timed(words: list[str]) -> list[Task]:
    """What the real parser of a timing measures."""
    if words[1] == "bench/gpu.py":
        options = gpu.parse(words[2:])
        assert options.parts == ["b"]
        scale = REHEARSAL if options.rehearse else FULL
        of = SimpleNamespace(scale=scale, device="cpu" if options.rehearse else "cuda")
        names = (*scale.contenders, *scale.peers)
        return [Session.task(of, name, way) for way in scale.versus for name in names]
    options = latency.parse(words[2:])
    return list(latency.versus_tasks(options).values()) if options.vs else options.tasks


def timed_as(task: Task, record: Record) -> str:
    """The id of a timing on the record's machine."""
    was = record.inputs
    keys = ("machine", "versions", "attempt")
    conditions = task.conditions.columns()
    return identity.latency_run(
        Store.config(task), task.keypoints, conditions, **{key: was[key] for key in keys}
    ).id


def test_the_command_times_under_the_conditions_of_the_record(tmp_path, monkeypatch):
    """Every timing but the grids' own: of one network, in turn with others, and of bench/gpu.py."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("hevitpose.records.provenance.cores", lambda: 16)  # as that machine's
    programs = Counter()
    for record in committed().values():
        if record.kind != "latency" or record.grid is not None:
            continue
        command = repeat_command(record).splitlines()[-1]
        words = shlex.split(command, comments=True)
        tasks = timed(words)
        details = record.latency.details
        if "--vs" in words:
            options = latency.parse(words[2:])
            assert list(latency.versus_tasks(options)) == details["interleaved_with"]
            assert options.rounds == details["rounds"]
        elif "ratios" in details:
            assert set(details["interleaved_with"]) <= {task.model for task in tasks}
        else:
            assert len(tasks) == 1 and "interleaved_with" not in details
        if record.cell is None:
            assert record.id in {timed_as(task, record) for task in tasks}, command
        else:  # the suite hashes the same conditions under other names
            assert tasks[0].conditions.columns() == record.latency.conditions, command
        assert {task.seed for task in tasks} == {record.seed or 0}
        programs[words[1], "--vs" in words, "--clock" in words] += 1
    assert programs["bench/latency.py", True, False] >= 16
    assert programs["bench/latency.py", False, True] >= 40
    assert programs["bench/gpu.py", False, False] >= 14


def test_weights_in_another_network_are_valid_of_that_network():
    """No committed record is one: its command names the network and the modules."""
    (record,) = (r for r in committed().values() if r.id == "17ea80c8232581dd3143")
    other = {"model": record.config["model"] | {"cascade": False}, "imports": ["mine.py"]}
    inputs = record.inputs | {"model": {"name": "hevitpose_nano", "cascade": False}}
    command = repeat_command(replace(record, config=record.config | other, inputs=inputs))
    assert "model.cascade=false" in command and "imports=" in command
    assert "model.cascade" not in repeat_command(record)


def test_imports_are_in_ids_of_every_kind():
    for kind in ("training", "evaluation", "complexity", "latency"):
        assert "imports" in identity.proxies_of(kind)
