"""The command that makes a record again, on this machine's data.

Weights that a training leaves are evaluated by ``hevitpose train``, other weights and exported
files by ``hevitpose valid``; only the ablation suite records what a value was tuned among.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from functools import cache
from pathlib import PurePosixPath
from typing import Any

from ablations.grid_file import DEFAULT_CELL, MAIN_GRIDS
from hevitpose.config import Config
from hevitpose.config.section import keys_of
from hevitpose.models.spec import model_names
from hevitpose.records import Record
from hevitpose.records.identity import proxies_of
from reports.grid_files import listed_cells
from reports.load import h_by_w, input_size, is_plain_network, num_keypoints
from reports.recipe import base_of, overrides, value_text
from reports.settings import flatten

#: What `hevitpose valid` takes from the weights unless it is told otherwise, the network apart.
_OF_WEIGHTS = ("codec.", "data.input_size")


def repeat_command(record: Record) -> str:
    """The shell lines that make this record again, on this machine's data."""
    lines = []
    if record.code.commit:
        dirty = "  # the tree had changes that no commit holds" if record.code.dirty else ""
        lines.append(f"git checkout {shlex.quote(record.code.commit)}{dirty}")
    if record.tuned:
        lines.append(_ablation_command(record))
    elif record.kind == "evaluation" and _weights_file(record):
        lines.append(_valid_command(record))
    elif record.kind in ("training", "evaluation"):
        lines.append(_train_command(record))
    elif record.grid or (record.cell is not None and not is_plain_network(record)):
        lines.append(_ablation_command(record))
    elif record.kind == "latency":
        lines.append(_latency_command(record))
    else:
        words = ["python", "bench/complexity.py", "--models", record.model]
        words += ["--input", h_by_w(input_size(record))]
        lines.append(shlex.join([*words, "--keypoints", str(num_keypoints(record) or 17)]))
    return "\n".join(lines)


def _train_command(record: Record) -> str:
    """``hevitpose train`` with every key that differs from the named config's own value."""
    base, preset, known = base_of(record)
    words = [*([f"preset={preset}"] if preset else []), *overrides(record, known)]
    if "seed" not in record.config and record.seed is not None:
        words.append(f"seed={record.seed}")
    return shlex.join(["hevitpose", "train", "--cfg", base, *words, *_device(record)])


def _valid_command(record: Record) -> str:
    """``hevitpose valid`` of a file, with what decides a score and not what trained the weights."""
    base, preset, known = base_of(record)
    decides = {key for key in _scored_keys() if not key.startswith("model.")}
    given = {key for key in decides if key.startswith(_OF_WEIGHTS)}
    if "model" in record.inputs:  # another network than the weights were trained in
        network = {key for key in flatten(record.config) if key.startswith("model.")}
        decides, given = decides | network, given | network
    words = list(overrides(record, known, only=decides, always=given))
    file, whose = _weights_file(record), ""
    if record.training is not None:
        file = f"runs/train/{record.training}/model.safetensors"
    elif record.weights is not None:
        whose = f"  # the file with sha256 {record.weights}"
    path = PurePosixPath(file)
    if record.training is None and path.parts[:1] == ("...",) and path.parent.name in model_names():
        file = path.parent.name  # weights that ship are called by their network's name
    option = ["--weights", file]
    runtime = record.inputs.get("runtime") or {}
    if "exported" in runtime:
        option += ["--runtime", str(runtime.get("name"))]
    else:
        words += _device(record)
    preset_word = [f"preset={preset}"] if preset else []
    return shlex.join(["hevitpose", "valid", "--cfg", base, *preset_word, *words, *option]) + whose


def _ablation_command(record: Record) -> str:
    """The ablation suite on one cell, with what its base config differs in."""
    base, preset, known = base_of(record)
    grid, cell = record.grid or MAIN_GRIDS[0], record.cell or DEFAULT_CELL
    # A cell's form of equal cost is made of the cell, whose name is the one to ask for.
    matched = re.fullmatch(r"(.*) \((\w+) matched\)", cell)
    words = ["nox", "-s", "ablation", "--", "--grid", grid]
    words += ["--cells", matched[1] if matched else cell]
    if base != "synthetic":
        words += ["--cfg", base]
    if record.variant:
        words += ["--variant", record.variant]
    if preset:
        words += ["--preset", preset]
    if matched:
        words += ["--match", matched[2].lower()]
    if record.kind == "evaluation" and record.seed is not None:
        words += ["--seeds", str(record.seed)]
    for key, values in record.tuned.items():
        words += ["--tune", f"{key}={','.join(map(value_text, values))}"]
    varied = {key for cells in listed_cells(grid, None).values() for key in cells}
    varied |= {"seed", *(["model.name"] if record.variant else []), *record.axes, *record.tuned}
    return shlex.join([*words, *overrides(record, known, without=varied), *_device(record)])


def _device(record: Record) -> list[str]:
    """The type of device that the id says, which ``auto`` leaves to the machine."""
    inputs = record.inputs.get("runtime") or record.inputs
    device = inputs.get("device")
    return [f"device={device}"] if device else []


def _weights_file(record: Record) -> str:
    """The file of weights that was evaluated, as the record has its path; or nothing."""
    return str((record.config.get("model") or {}).get("checkpoint") or "")


@cache
def _scored_keys() -> frozenset[str]:
    """Config keys that an evaluation's id depends on, by their value or by what they name."""
    own = {key for key, kinds in keys_of(Config).items() if "evaluation" in kinds}
    return proxies_of("evaluation") | own | {"training.precision"}


#: A condition of a timing, and the option of ``bench/latency.py`` that has it.
_CONDITIONS = (
    ("mode", "--modes"), ("batch", "--batch"), ("input", "--input"), ("dtype", "--dtype"),
    ("layout", "--layout"), ("scope", "--scope"), ("clock", "--clock"), ("threads", "--threads"),
)  # fmt: skip
#: What older records call a scope.
_SCOPES = {"model+decode": "decode", "end-to-end": "e2e"}


def _latency_command(record: Record) -> str:
    """``bench/latency.py`` of one network, or of all that it was measured in turn with."""
    assert record.latency is not None
    conditions: Mapping[str, Any] = record.latency.conditions
    details = record.latency.details
    gpu = str(conditions.get("device", "")).startswith("cuda")
    if "ratios" in details:  # its comparisons are made in one process, and have no other command
        words = ["python", "bench/gpu.py", *([] if gpu else ["--rehearse"]), "--parts", "b"]
        return shlex.join(words) + "  # one of its interleaved comparisons"
    words, said = ["python", "bench/latency.py"], set[str]()
    if contenders := [str(each) for each in details.get("interleaved_with") or ()]:
        words += ["--vs", ",".join(contenders), "--rounds", str(details.get("rounds"))]
        own = f"{record.model}:{conditions.get('mode')}:{conditions.get('dtype')}"
        said = {"mode", "dtype"} if own in contenders else {"mode"}
    else:
        words += ["--models", record.model]
    words += ["--gpu"] * gpu
    for key, option in _CONDITIONS:
        if key not in said and conditions.get(key) is not None:
            value = str(conditions[key])
            words += [option, _SCOPES.get(value, value) if key == "scope" else value]
    words += ["--flip"] * bool(conditions.get("flip_test"))
    words += ["--tf32"] * bool(conditions.get("tf32"))
    words += ["--cold-l2"] * (conditions.get("l2") == "cold")
    words += ["--quick"] * (conditions.get("budget") == "quick")
    keypoints = num_keypoints(record)
    words += ["--keypoints", str(keypoints)] if keypoints else []
    words += ["--seed", str(record.seed)] if record.seed else []
    return shlex.join([*words, *_network_overrides(record)])


def _network_overrides(record: Record) -> list[str]:
    """What the network differs in from that of its name."""
    keys = {key for key in flatten(record.config) if key.startswith("model.")}
    keys |= {"imports"} if record.config.get("imports") else set()
    named = ("model.name", "model.num_keypoints")
    return list(overrides(record, {}, only=keys, without=named))
