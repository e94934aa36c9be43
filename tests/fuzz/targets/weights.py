"""Files of weights: safetensors, Lightning's checkpoints, other people's pickles, last.ckpt."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import shutil
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import onnx
import torch
from torch import nn

from hevitpose import create_model
from hevitpose.config import load_config
from hevitpose.inference.export import Request, export
from hevitpose.inference.pretrained import from_published
from hevitpose.models.checkpoint import (
    METADATA,
    from_pretrained,
    load_weights,
    read_checkpoint,
    save_checkpoint,
)
from hevitpose.models.checkpoint_config import checkpoint_config
from hevitpose.models.keypoints import KeypointLayout
from hevitpose.models.onnx_file import read_description, runtime_network
from hevitpose.models.torchfile import read_content
from tests.fuzz.campaign import Make, Reading, cli, target
from tests.fuzz.mutation import MARKER, damaged, put, to_json, tree

LAYOUT = KeypointLayout("mine", ("a", "b", "c"), ((0, 1),), (0.1, 0.1, 0.1), ((0, 2),))
OPTIONS: dict[str, Any] = {
    "widths": (8, 8, 8),
    "depths": (1, 1, 1),
    "groups": (2, 2, 2),
    "upsampler_channels": (8, 8),
}


def _network() -> nn.Module:
    return create_model("nano", 3, **OPTIONS)


def _readings(path: Path) -> list[Reading]:
    config = load_config("synthetic", {"model.checkpoint": str(path)})
    return [
        partial(read_checkpoint, path),
        partial(from_pretrained, path),
        partial(checkpoint_config, config),
        lambda: load_weights(_network(), path, reset_keypoints=True),
        partial(cli, "export-checkpoint", path, path.with_name("out.safetensors")),
    ]


#: What descriptions ask for where they ask for too much.
_MUCH = (20_000, 100_000, 2**31, 2**63, [20_000] * 3, [10**9] * 3, [32_000, 32_000], "vitpose_s")
_DESCRIBED = (
    *(None, 0, -1, 1.5, True, "a", "a\nb", "\ud800", [], {}, [1], {"a": 1}, 10**40, float("nan")),
    *("hevitpose_b", "pose_swin_t", "rtmpose_s", [[0, 1]], ["a", "b", "c"], "mhsa", "window"),
    *_MUCH,
    *_MUCH,
)


# safetensors -------------------------------------------------------------------------------------


@target(0.7)
def safetensors(shared: Path) -> Make:
    """Files with the network's description inside."""
    config = load_config("synthetic", {"model.name": "nano"}).dump()
    small = {key: config[key] for key in ("data", "codec", "seed")}
    path = save_checkpoint(_network(), shared / "m.safetensors", small, LAYOUT, {"origin": "x"})
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    description = json.loads(header["__metadata__"][METADATA])

    def make(rng: Random, folder: Path) -> list[Reading]:
        head = dict(header)
        kind = rng.randrange(10)
        if kind < 7:  # what it says of itself
            said = tree(rng, description, _DESCRIBED, 3)
            text = to_json(rng, said).decode("utf-8", "replace")
            head["__metadata__"] = {METADATA: text}
        if kind == 7:
            head["__metadata__"] = tree(rng, head["__metadata__"])
        if kind >= 8:  # tensors: shapes, types, places
            head = tree(rng, head, (*_DESCRIBED, "F32", "I64", "BOOL", "F8_E4M3", [0, 8], [2**40]))
        text = to_json(rng, head)
        size = len(text) if rng.random() < 0.95 else rng.choice((0, 2**63, 2**32, len(text) - 1))
        put(rng, folder / "m.safetensors", struct.pack("<Q", size) + text + body, 0.1)
        return _readings(folder / "m.safetensors")

    return make


# Pickles -----------------------------------------------------------------------------------------


def payload(rng: Random, marker: Path) -> bytes:
    """Instructions of a pickle that would make a folder, without PROTO before and STOP behind."""
    name = str(marker).encode()
    text = b"X" + struct.pack("<I", len(name)) + name
    code = f"__import__('os').mkdir({str(marker)!r})".encode()
    source = b"X" + struct.pack("<I", len(code)) + code
    names = [(b"posix", b"mkdir", text), (b"os", b"mkdir", text), (b"os", b"makedirs", text)]
    for module in (b"builtins", b"__builtin__"):
        names += [(module, b"eval", source), (module, b"exec", source)]
    module, function, argument = rng.choice(names)
    return rng.choice((
        b"c" + module + b"\n" + function + b"\n" + argument + b"\x85R",
        b"(" + argument + b"i" + module + b"\n" + function + b"\n",
        b"(c" + module + b"\n" + function + b"\n" + argument + b"o",
        _short(module) + _short(function) + b"\x93" + argument + b"\x85R",
        b"c" + module + b"\n" + function + b"\n" + argument + b"\x85\x81",
        b"cbuiltins\ngetattr\nc" + module + b"\n" + function + b"\nX\x08\0\0\0__call__\x86R"
        + argument + b"\x85R",
        b"ctorch._utils\n_rebuild_tensor_v2\n" + argument + b"\x85R",
        b"ctorch._tensor\n_rebuild_from_type_v2\n(c" + module + b"\n" + function + b"\n"
        + argument + b"\x85}tR",
        b"ccollections\nOrderedDict\n)R}X\x0a\0\0\0__reduce__c" + module + b"\n" + function
        + b"\nsb",
    ))  # fmt: skip


def _short(name: bytes) -> bytes:
    return b"\x8c" + bytes([len(name)]) + name


#: Whole pickles that are damaged, or that say much in few bytes.
_ODD = (
    b"", b".", b"\x80", b"\x80\x02", b"\x80\x02.", b"\x80\xff.", b"(((((", b"\x80\x02]q\x00K",
    b"\x80\x02X\xff\xff\xff\x7fa.", b"\x80\x04\x8d" + b"\xff" * 8 + b"a.", b"\x80\x02h\x00.",
    b"\x80\x02\x8b\xff\xff\xff\x7f.", b"\x80\x02}r\xff\xff\xff\xff.", b"\x80\x02)R.", b"\x80\x020.",
    b"\x80\x02" + b"]" + b"(" * 5000 + b"t" * 5000 + b".",
    b"\x80\x02" + b")\x85" + b"\x85" * 5000 + b".",
    b"\x80\x02]q\x00h\x00a.", b"\x80\x02}q\x00X\x01\0\0\0ah\x00s.", b"\x80\x02K\x01K\x02s.",
    b"\x80\x02]" + b"".join(b"q%c(" % n + b"h%c" % n * 9 + b"l" for n in range(9)) + b".",
    b"\x80\x02ctorch\nTensor\n.", b"\x80\x02ccollections\nOrderedDict\n.",
    b"\x80\x02ctorch.serialization\n_get_layout\nX\x01\0\0\0a\x85R.", b"cos\nsystem\n",
    b"\x80\x02ctorch._utils\n_rebuild_parameter\n(K\x01K\x02K\x03tR.", b"\x80\x02K\x01Q.",
    b"\x80\x02(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0aX\x03\0\0\0cpuJ\xff\xff\xff\x7ftQ.",
)  # fmt: skip


def _laughs(depth: int = 28) -> Any:
    """A list of lists of lists ..., a few hundred bytes that say 2 ** depth values."""
    found: Any = [1, 1]
    for _ in range(depth):
        found = [found, found]
    return found


_NOT_PLAIN: tuple[Callable[[], Any], ...] = (
    lambda: torch.zeros(2, dtype=torch.complex64),
    lambda: torch.zeros(2, 2).to_sparse(),
    lambda: torch.zeros(1).expand(2**20, 2**20),
    lambda: torch.zeros(2, device="meta"),
    lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
    lambda: torch.zeros(4, dtype=torch.float8_e4m3fn),
    lambda: torch.zeros(8, dtype=torch.int64),
    lambda: torch.zeros(3, dtype=torch.bool),
    lambda: torch.zeros(1).untyped_storage(),
    lambda: torch.tensor(float("nan")),
    lambda: nn.Parameter(torch.ones(3)),
    lambda: torch.zeros(0),
    lambda: torch.zeros(()),
    lambda: torch.Size([1, 2]),
    lambda: torch.device("cpu"),
    lambda: torch.float32,
    lambda: {"a": torch.zeros(1)},
    lambda: [torch.zeros(2)],
    lambda: None,
    lambda: "text",
    lambda: 2**70,
    _laughs,
)


def _tensors(rng: Random) -> Any:
    """What is no plain tensor, or none at all."""
    return rng.choice(_NOT_PLAIN)()


def _is_plain(value: Any) -> bool:
    """Whether it is a small dense tensor, which every operation takes."""
    dense = isinstance(value, torch.Tensor) and value.layout is torch.strided
    return dense and value.numel() < 2**20


def _state(rng: Random, state: dict[Any, Any]) -> Any:
    """A state dict with a few odd entries."""
    found = OrderedDict(state)
    for _ in range(rng.randint(1, 3)):
        key = rng.choice(list(found) or ["a"])
        action = rng.randrange(6)
        if action == 0:
            found[key] = _tensors(rng)
        elif action == 1:
            found.pop(key, None)
        elif action == 2:
            found[rng.choice((1, None, ("a",), "", "a\nb", "\ud800", "model.", 1.5))] = torch.zeros(
                1
            )
        elif action == 3 and _is_plain(old := found.get(key)):
            found[key] = rng.choice(
                (lambda t: t.reshape(-1), lambda t: t.dequantize().double(), lambda t: t[None])
            )(old)
        elif action == 4:
            found[rng.choice(list(found) or ["a"])] = found.get(key)
    if rng.random() < 0.1:
        return rng.choice((list(found.values()), {}, None, list(found), 7, "x", _laughs()))
    return found


def saved(rng: Random, content: Any, marker: Path) -> bytes:
    """What ``torch.save`` writes, in either format; now and then with hostile instructions."""
    buffer = io.BytesIO()
    zipped = rng.random() < 0.8
    try:
        torch.save(
            content,
            buffer,
            _use_new_zipfile_serialization=zipped,
            pickle_protocol=rng.choice((2, 2, 2, 3, 4)),
        )
    except (RuntimeError, NotImplementedError, AttributeError, UnicodeError, pickle.PicklingError):
        return rng.choice(_ODD)
    data = buffer.getvalue()
    kind = rng.random()
    if kind < 0.6:
        return data
    if not zipped or kind < 0.65:
        return _instructed(rng, rng.choice(_ODD) if kind < 0.65 else data, marker)
    return _repacked(rng, data, marker)


def _instructed(rng: Random, data: bytes, marker: Path) -> bytes:
    """A pickle with a payload at its beginning or in its middle, or with damage."""
    kind = rng.randrange(4)
    if kind == 0:
        return data[:2] + payload(rng, marker) + b"0" + data[2:]
    if kind == 1:
        return b"\x80\x02" + payload(rng, marker) + b"."
    if kind == 2:
        at = rng.randrange(len(data) + 1)
        return data[:at] + payload(rng, marker) + b"0" + data[at:]
    return damaged(rng, data)


def _repacked(rng: Random, data: bytes, marker: Path) -> bytes:
    """The archive with its pickle or another entry changed, or compressed."""
    out = io.BytesIO()
    method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    kind = rng.randrange(6)
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", method) as new:
        for entry in old.infolist():
            content, name = old.read(entry), entry.filename
            if name.endswith("data.pkl"):
                if kind < 3:
                    content = _instructed(rng, content, marker)
                elif kind == 3:
                    content = rng.choice(_ODD)
            elif kind == 4 and "/data/" in name:
                content = rng.choice((content[:-4], bytes(10**5), b""))
            elif kind == 5 and rng.random() < 0.5:
                if rng.random() < 0.5:
                    continue
                name = rng.choice((name + "x", "../" + name, "/etc/x", name.replace("/", "//")))
            new.writestr(name, content)
    return out.getvalue()


@target(0.7)
def lightning_checkpoints(shared: Path) -> Make:
    """``.ckpt``: weights beside what a run resumes from."""
    path = save_checkpoint(_network(), shared / "m.safetensors", {}, LAYOUT)
    stored = read_checkpoint(path)
    state = {f"model.{key}": value for key, value in stored.state.items()}
    description = {
        "format": "hevitpose-1",
        "model": json.loads(json.dumps(stored.model)),
        "config": {"data": {"input_size": [64, 64]}},
        "layout": None,
    }

    def make(rng: Random, folder: Path) -> list[Reading]:
        said: Any = description
        if rng.random() < 0.6:
            said = tree(rng, description, _DESCRIBED, 3)
        elif rng.random() < 0.1:
            said = {**description, "config": _laughs()}
        weights = _state(rng, state) if rng.random() < 0.4 else state
        content: Any = {"hevitpose": said, "state_dict": weights, "epoch": 1}
        data = saved(rng, content, folder / MARKER)
        put(rng, folder / "m.ckpt", data, 0.1)
        return _readings(folder / "m.ckpt")

    return make


@target(0.7)
def pickled_weights(shared: Path) -> Make:
    """``.pth`` of others, through ``import-weights``."""
    theirs = {
        "backbone.conv1.weight": torch.zeros(8, 3, 3, 3),
        "backbone.bn1.num_batches_tracked": torch.zeros((), dtype=torch.int64),
        "head.final_layer.weight": torch.zeros(17, 8, 1, 1),
        "head.final_layer.bias": torch.zeros(17),
    }
    vit = {"backbone.pos_embed": torch.zeros(1, 193, 8), **theirs}

    def make(rng: Random, folder: Path) -> list[Reading]:
        state = _state(rng, rng.choice((theirs, vit)))
        content = rng.choice((state, {"state_dict": state, "meta": {"a": 1}}, {"model": state}))
        path = put(rng, folder / "m.pth", saved(rng, content, folder / MARKER), 0.15)
        name = rng.choice(("pose_shufflenetv2", "pose_mobilenetv2", "rtmpose_t"))
        published = [partial(from_published, name, path)] if rng.random() < 0.03 else []
        return [partial(read_content, path), *published]

    return make


# Exported files ----------------------------------------------------------------------------------


@target(0.5)
def onnx_files(shared: Path) -> Make:
    """Exported files: what they say of themselves and of their graph, and what a runtime makes."""
    path = shared / "m.onnx"
    with contextlib.redirect_stdout(io.StringIO()):
        export(_network(), path, Request("onnx", input_size=(64, 64), fuse=True))
    data = path.read_bytes()
    description = read_description(path)
    images = torch.zeros(2, 3, 64, 64)

    def evaluated(path: Path, runtime: str) -> None:
        stored = read_checkpoint(path)
        runtime_network(path, stored.model, stored.exported, runtime)(images)

    def make(rng: Random, folder: Path) -> list[Reading]:
        model = onnx.load_from_string(data)
        if rng.random() < 0.6:
            said = tree(rng, description, (*_DESCRIBED, "int8", "bf16", "fp32", [64, 64], 3), 3)
            text = to_json(rng, said).decode("utf-8", "replace")
            model.metadata_props[0].value = text.encode("utf-8", "replace").decode()
        if rng.random() < 0.5:
            _of_another_shape(rng, model.graph)
        put(rng, folder / "m.onnx", model.SerializeToString(), 0.1)
        runtime = rng.choice(("onnxruntime", "openvino"))
        return [partial(evaluated, folder / "m.onnx", runtime)]

    return make


def _of_another_shape(rng: Random, graph: Any) -> None:
    """Other inputs, outputs, names and tensors in other files than the description says."""
    kind = rng.randrange(7)
    value = rng.choice((*graph.input, *graph.output))
    sides = value.type.tensor_type.shape.dim
    if kind == 0:
        rng.choice(sides).dim_value = rng.choice((0, -1, 1, 2, 32, 128, 2**31, 2**62))
    elif kind == 1:
        rng.choice(sides).dim_param = rng.choice(("N", "", "a\nb"))
    elif kind == 2:
        del sides[rng.randrange(4)]
    elif kind == 3:
        value.type.tensor_type.elem_type = rng.choice((0, 6, 7, 10, 11, 99))
    elif kind == 4:
        value.name = rng.choice(("", "other", "a\nb", graph.node[0].output[0]))
    elif kind == 5:
        tensor = rng.choice(graph.initializer)
        tensor.data_location = 1
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", rng.choice(("/etc/passwd", "../m", "m.onnx"))
    else:
        rng.choice((graph.output.append, graph.input.append))(rng.choice(graph.output))


# A run's own checkpoint --------------------------------------------------------------------------


@target(0.1)
def resumed_runs(shared: Path) -> Make:
    """``last.ckpt`` of a run that is continued, or asked again when it is finished."""
    from hevitpose.data.synthetic import generate
    from hevitpose.training import fit

    generate(shared / "people", people=20, size=64, workers=1)
    given = {
        "model.name": "nano",
        **{f"model.{key}": list(value) for key, value in OPTIONS.items()},
        "data.root": shared / "people",
        "data.people": 20,
        "data.image_size": 64,
        "data.input_size": [64, 64],
        "data.workers": 0,
        "training.steps": 2,
        "training.batch_size": 2,
        "training.warmup_steps": 1,
        "training.checkpoint_steps": 1,
        "training.threads": 1,
        "training.ema_decay": 0.5,
        "evaluation.flip_test": False,
    }
    config = load_config("synthetic", given)
    fit.train(config, shared / "run")
    stored = torch.load(shared / "run/last.ckpt", weights_only=True)

    def make(rng: Random, folder: Path) -> list[Reading]:
        shutil.copytree(shared / "run", folder / "run")
        last = folder / "run/last.ckpt"
        last.unlink()
        content = dict(stored)
        if rng.random() < 0.5:
            content["global_step"] = 1
        for _ in range(rng.randint(1, 2)):
            key = rng.choice(list(content))
            whole = isinstance(content[key], dict)  # not mutated in the round before
            if whole and key in ("state_dict", "averaging_state") and rng.random() < 0.8:
                content[key] = _state(rng, content[key])
            else:
                content = {**content, **_changed_part(rng, content, key)}
        put(rng, last, saved(rng, content, folder / MARKER), 0.1)
        return [partial(fit.train, config, folder / "run")]

    return make


def _changed_part(rng: Random, content: dict[str, Any], key: str) -> dict[str, Any]:
    """One part of a checkpoint mutated; the digest that binds it to its run mostly stays."""
    if key == "hevitpose" and rng.random() < 0.8:
        return {}
    if rng.random() < 0.3:
        return {key: rng.choice((None, {}, [], 7, "x", -1, 2**40, float("nan")))}
    return {key: tree(rng, content[key], (None, 0, -1, "a", [], {}, 2**40, float("nan")))}
