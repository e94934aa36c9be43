"""The peers compute what the original implementations do, for weights made from names.

A few reference numbers of each network are committed (``peer_outputs.json``); all of them, and the
networks' names, are compared where a checkout has ``../shared/reference/mmpose``.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from generated import (
    KNOWN,
    TOLERANCE,
    build,
    filled,
    images,
    key_map,
    peer_of,
    structure,
    their_shapes,
    weight,
    worst,
)
from timm.models.swin_transformer import SwinTransformerBlock
from torch import nn

from hevitpose.models import keymaps, keytables
from hevitpose.models.keytables import KEY_MAPS
from hevitpose.models.peers.rtmpose import ScaleNorm
from tests.conftest import LARGE

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def reference(samples) -> Path:
    """The folder of the reference outputs; skips where there is none."""
    folder = samples.parent / "reference" / "mmpose"
    if not folder.is_dir():
        pytest.skip(f"no reference outputs at {folder}")
    return folder


# ------------------------------------------------------------------------------ what is committed


@pytest.mark.parametrize("network", [name for name in KNOWN if name not in LARGE], scope="module")
def test_outputs_are_the_originals(network: str) -> None:
    """The large ones' are seen once, read from a published file (``test_published_weights``)."""
    assert worst(filled(network), network) < TOLERANCE


@pytest.mark.parametrize("network", [name for name in KNOWN if KNOWN[name]["norms"]])
def test_norms_and_their_eps_are_the_originals(network: str) -> None:
    """A LayerNorm's eps does not show in an output at that tolerance."""
    model, keys = structure(network), key_map(network)
    found: collections.Counter[str] = collections.Counter()
    for name, module in model.named_modules():
        for kind in (nn.BatchNorm2d, nn.LayerNorm, ScaleNorm):
            if isinstance(module, kind):
                found[f"{kind.__name__} eps={module.eps:g}"] += 1
                leaf = "gain" if kind is ScaleNorm else "weight"
                assert keys.their_name(f"{name}.{leaf}"), name
    assert found == KNOWN[network]["norms"]


@pytest.mark.parametrize("network", [name for name in KNOWN if KNOWN[name]["layers"]])
def test_activations_poolings_and_upsamplings_are_the_originals(network: str) -> None:
    found = {layer for module in structure(network).modules() if (layer := described(module))}
    assert found == set(KNOWN[network]["layers"])


def described(module: nn.Module) -> str | None:
    """A layer without weights, as the reference lists it."""
    kind = type(module).__name__
    if "ardsigmoid" in kind.lower():  # timm's or torch's
        return "Hardsigmoid()"
    if isinstance(module, nn.ReLU | nn.ReLU6 | nn.SiLU):
        return f"{kind}()"
    if isinstance(module, nn.GELU | nn.MaxPool2d | nn.AvgPool2d):
        return f"{kind}({module.extra_repr()})"
    if isinstance(module, nn.Upsample):
        return (
            f"Upsample x{module.scale_factor:g} {module.mode} align_corners={module.align_corners}"
        )
    return None


@pytest.mark.parametrize("network", KNOWN, scope="module")
def test_key_map_in_both_directions(network: str) -> None:
    keys = key_map(network)
    ours = build(network).state_dict()
    theirs = keys.to_theirs(ours)
    back, strange = keys.to_ours(theirs)
    assert not strange and back.keys() == ours.keys()
    for key, value in ours.items():
        torch.testing.assert_close(back[key], value, rtol=0, atol=0)
    # One name for each tensor: none is overwritten by another, in either direction.
    assert {keys.their_name(key) for key in ours} == set(theirs)


def test_every_published_peer_has_a_key_map() -> None:
    assert {peer_of(network) for network in KNOWN} == set(KEY_MAPS)


# ------------------------------------------------------------------------------ what it would miss


def pad_nothing(model: nn.Module) -> None:
    model.backbone.net.patch_embed.proj.padding = (0, 0)


def roll_before_padding(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, SwinTransformerBlock):
            module.__class__ = SwinTransformerBlock


def swap_two_of_a_shape(model: nn.Module) -> None:
    first, second = model.backbone.stages[0].blocks[0], model.backbone.stages[0].blocks[1]
    state = first.attn.proj.weight.data.clone()
    first.attn.proj.weight.data = second.attn.proj.weight.data
    second.attn.proj.weight.data = state


@pytest.mark.parametrize(
    ("network", "harm"),
    [
        ("vitpose_s", pad_nothing),
        ("pose_swin_t", roll_before_padding),
        ("pose_pvtv2_b2", swap_two_of_a_shape),
    ],
)
def test_the_comparison_sees(network: str, harm: Any) -> None:
    model = filled.__wrapped__(network)
    harm(model)
    assert worst(model, network) > 10 * TOLERANCE


def test_the_comparison_sees_the_order_of_merged_patches() -> None:
    plain = dataclasses.replace(keymaps.MERGED, to_ours=keymaps.SAME.to_ours)
    rows = tuple(
        dataclasses.replace(row, layout=plain) if row.layout is keymaps.MERGED else row
        for row in keytables.SWIN.rows
    )
    harmed = dataclasses.replace(keytables.SWIN, rows=rows)
    model = filled.__wrapped__("pose_swin_t", harmed)
    assert worst(model, "pose_swin_t") > 10 * TOLERANCE


def test_the_comparison_sees_smoothed_positions(monkeypatch) -> None:
    smooth = functools.partial(nn.functional.interpolate, antialias=True)
    monkeypatch.setattr(nn.functional, "interpolate", smooth)
    assert worst(filled.__wrapped__("vitpose_s"), "vitpose_s") > 10 * TOLERANCE


# ------------------------------------------------------------------------------ with ../shared


@pytest.mark.parametrize("network", KNOWN, scope="module")
def test_names_and_shapes_are_the_originals(reference: Path, network: str) -> None:
    described = json.loads((reference / f"{network}.keys.json").read_text())
    theirs = {
        key.replace("keypoint_head.", "head."): (tuple(shape), dtype)
        for key, (shape, dtype, _) in described["keys"].items()
    }
    ignored = [key for key in theirs if key.endswith("relative_position_index")]
    shapes = their_shapes(network)
    assert shapes.keys() == theirs.keys() - set(ignored)
    assert all(shapes[key] == theirs[key] for key in shapes)
    kept, strange = key_map(network).to_ours(
        {key: torch.empty(shape) for key, (shape, _) in theirs.items()}
        | {key: torch.empty(shape) for key, (shape, _) in described.get("extra_in_0x", {}).items()}
    )
    assert not strange and kept.keys() == structure(network).state_dict().keys()


@pytest.mark.parametrize("network", KNOWN, scope="module")
def test_all_outputs_are_the_originals(reference: Path, network: str) -> None:
    described = json.loads((reference / f"{network}.keys.json").read_text())
    golden = np.load(reference / f"{network}.golden.npz")
    floating = [(k, tuple(s)) for k, (s, dtype, _) in described["keys"].items() if "float" in dtype]
    for (key, shape), first in zip(floating[:20], golden["weight_first"][:20], strict=True):
        assert weight(key, shape, described["gain"]).flat[0] == first, key
    for size in KNOWN[network]["outputs"]:
        height, width = map(int, size.split("x"))
        number = int(golden[f"feat0_shape_{size}"][0])
        x = images(number, height, width)
        digest = hashlib.sha256(x.numpy().tobytes()).hexdigest()
        assert digest == str(golden[f"input_sha256_{size}"])
        model = filled(network)
        with torch.no_grad():
            result, (features,) = model(x, return_intermediates=True)
        found = (
            dict(zip(("simcc_x", "simcc_y"), result, strict=True))
            if isinstance(result, tuple)
            else {"heatmap": result}
        )
        last = max(
            key for key in golden.files if key.startswith("feat") and key.endswith(f"sub_{size}")
        )
        for kind, output in (*found.items(), (last.partition("_")[0], features)):
            assert list(output.shape) == golden[f"{kind}_shape_{size}"].tolist()
            sample = output.flatten()[:: int(golden[f"{kind}_step_{size}"])].numpy()
            error = np.abs(sample - golden[f"{kind}_sub_{size}"]).max() / output.std().item()
            assert error < TOLERANCE, (kind, size)
