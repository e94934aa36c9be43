"""Exchangeable parts of the network by name: the paper's, the alternatives, a user's own.

::

    @register("attention", "mine")
    class Mine(nn.Module):
        def __init__(self, dim: int, num_heads: int) -> None: ...

A part asks for numbers by the names of its parameters (:data:`OFFERED`) and is given those alone.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from hevitpose.errors import UsageError, unknown_name
from hevitpose.models import spec

#: What a part can ask for, by kind of part. All map (N, C, H, W) to (N, C', H', W').
OFFERED: dict[str, tuple[str, ...]] = {
    # C' = C, the same map. ``None`` instead of a module: the block has no such line.
    "attention": ("dim", *spec.VARIANTS["hevitpose_b"].attention_numbers(0, 0)),
    # C' = C, the same map. The hidden width is ``ratio * dim``.
    "ffn": ("dim", "ratio"),
    # Half the sides. ``ffn`` and ``ffn_ratio`` are the network's.
    "downsampling": ("in_channels", "out_channels", "ffn", "ffn_ratio"),
    # Twice the sides.
    "upsampler": ("in_channels", "out_channels"),
}
_HOMES = ("attention", "ffn", "downsample", "upsample")
_PARTS: dict[str, dict[str, Callable[..., Any]]] = {kind: {} for kind in OFFERED}

Part = TypeVar("Part", bound=Callable[..., Any])


def register(kind: str, name: str) -> Callable[[Part], Part]:
    """Make a class (or a function) available under a name of ``model.attention`` and the like.

    Args:
        kind: ``"attention"``, ``"downsampling"``, ``"ffn"`` or ``"upsampler"``.
        name: what a config calls it.

    Raises:
        UsageError: no such kind, a name that another part has, or a parameter that is not offered.
    """
    if kind not in OFFERED:
        raise unknown_name("kind of part", kind, OFFERED)

    def decorate(part: Part) -> Part:
        built_in = part.__module__.startswith("hevitpose.models.")
        taken = _PARTS[kind].get(name)
        again = part.__module__ == "__main__" and _place(taken) == _place(part)  # a notebook's cell
        if (taken is not None and not again) or (name in spec.PARTS[kind] and not built_in):
            raise UsageError(f"{kind} {name!r}: already registered, choose another name")
        for parameter in inspect.signature(part).parameters.values():
            needed = parameter.default is parameter.empty and parameter.kind in (
                parameter.POSITIONAL_OR_KEYWORD,
                parameter.KEYWORD_ONLY,
            )
            if needed and parameter.name not in OFFERED[kind]:
                offered = ", ".join(OFFERED[kind])
                raise UsageError(
                    f"{kind} {name!r}: parameter {parameter.name!r} has no default and is not "
                    f"offered (offered: {offered})"
                )
        _PARTS[kind][name] = part
        return part

    return decorate


def _place(part: Callable[..., Any] | None) -> tuple[str | None, str]:
    return getattr(part, "__module__", None), getattr(part, "__qualname__", str(id(part)))


def create(kind: str, name: str, **numbers: Any) -> Any:
    """Build a part with those of the numbers that it asks for.

    Raises:
        UsageError: no part of this name; the message lists those that there are.
    """
    load()
    if name not in _PARTS[kind]:
        raise UsageError(
            f"{unknown_name(f'model.{kind}', name, names(kind))}; "
            "one of yours: --import FILE, or imports=[FILE]"
        )
    part = _PARTS[kind][name]
    wanted = inspect.signature(part).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in wanted):
        return part(**numbers)
    return part(**{p.name: numbers[p.name] for p in wanted if p.name in numbers})


def names(kind: str) -> tuple[str, ...]:
    """Registered names of a kind, in alphabetical order."""
    load()
    return tuple(sorted(_PARTS[kind]))


def load() -> None:
    """Import the alternatives, which register themselves, and their fast forms."""
    for home in _HOMES:
        importlib.import_module(f"hevitpose.models.{home}")
