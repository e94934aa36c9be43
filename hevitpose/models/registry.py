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
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from torch import nn

from hevitpose.errors import HEViTPoseError, UsageError, described, unknown_name
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


class Own(NamedTuple):
    """A part that is not built in, and what it was given."""

    kind: str
    name: str
    part: Callable[..., Any]
    numbers: Mapping[str, Any]


_MADE: WeakKeyDictionary[nn.Module, Own] = WeakKeyDictionary()


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
        built_in = _is_built_in(part)
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


def _is_built_in(part: Callable[..., Any]) -> bool:
    return part.__module__.startswith("hevitpose.models.")


def _place(part: Callable[..., Any] | None) -> tuple[str | None, str]:
    return getattr(part, "__module__", None), getattr(part, "__qualname__", str(id(part)))


def create(kind: str, name: str, **numbers: Any) -> Any:
    """Build a part with those of the numbers that it asks for.

    Raises:
        UsageError: no part of this name; the message lists those that there are.
        HEViTPoseError: one of a user's own fails, or gives no module.
    """
    load()
    if name not in _PARTS[kind]:
        raise UsageError(
            f"{unknown_name(f'model.{kind}', name, names(kind))}; "
            "one of yours: --import FILE, or imports=[FILE]"
        )
    part = _PARTS[kind][name]
    wanted = inspect.signature(part).parameters.values()
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in wanted):
        asked = {p.name: numbers[p.name] for p in wanted if p.name in numbers}
    else:
        asked = numbers
    return part(**asked) if _is_built_in(part) else _made(Own(kind, name, part, numbers), asked)


def _made(own: Own, asked: Mapping[str, Any]) -> Any:
    """A user's part, remembered as such."""
    try:
        made = own.part(**asked)
    except HEViTPoseError:
        raise
    except Exception as error:
        raise HEViTPoseError(f"{place(own, error)}: {described(error)}") from error
    if isinstance(made, nn.Module):
        _MADE[made] = own
    elif made is not None or own.kind not in ("attention", "ffn"):
        raise UsageError(f"{place(own)}: gives a {type(made).__name__}, expected a torch module")
    return made


def own_part(module: nn.Module) -> Own | None:
    """Which part of a user's own a module is; None: none that a network was built of."""
    return _MADE.get(module)


def place(own: Own, error: Exception | None = None) -> str:
    """``attention 'mine' (mine.py:12, Mine)``: the line that failed, else where it is defined."""
    what = getattr(own.part, "__qualname__", type(own.part).__name__)
    try:
        file = inspect.getsourcefile(own.part) or ""
        line = inspect.getsourcelines(own.part)[1]
    except (OSError, TypeError):  # of no file: a notebook's, or made by another call
        return f"{own.kind} {own.name!r} ({own.part.__module__}, {what})"
    if error is not None:
        frames = traceback.extract_tb(error.__traceback__)
        line = next((f.lineno or line for f in reversed(frames) if f.filename == file), line)
    return f"{own.kind} {own.name!r} ({Path(file).name}:{line}, {what})"


def names(kind: str) -> tuple[str, ...]:
    """Registered names of a kind, in alphabetical order."""
    load()
    return tuple(sorted(_PARTS[kind]))


def load() -> None:
    """Import the alternatives, which register themselves, and their fast forms."""
    for home in _HOMES:
        importlib.import_module(f"hevitpose.models.{home}")
