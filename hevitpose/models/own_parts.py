"""What a user's own part promises about its maps, tried once where its network is built.

A wrong shape often passes unseen: a shortcut broadcasts (N, C, 1, 1) over the whole map, and every
count and score after it is of another network than the one that was meant.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from hevitpose.errors import HEViTPoseError, Notice, UsageError, described
from hevitpose.models.registry import Own, own_part, place

#: Side of the trial's image where nobody says what the network will be given.
_SIDE = 256
_SAME = "the same shape"


class _BrokenError(Exception):
    """A promise is; the message says which."""


def _halved(shape: torch.Size, own: Own) -> tuple[int, ...]:
    return shape[0], own.numbers["out_channels"], shape[2] // 2, shape[3] // 2


def _doubled(shape: torch.Size, own: Own) -> tuple[int, ...]:
    return shape[0], own.numbers["out_channels"], shape[2] * 2, shape[3] * 2


#: By kind of part: the shape of its output by that of its input, and how to say it.
_PROMISES: dict[str, tuple[Callable[[torch.Size, Own], tuple[int, ...]], str]] = {
    "attention": (lambda shape, own: tuple(shape), _SAME),
    "ffn": (lambda shape, own: tuple(shape), _SAME),
    "downsampling": (_halved, "out_channels and half the sides"),
    "upsampler": (_doubled, "out_channels and twice the sides"),
}


def try_own_parts(network: nn.Module, input_size: tuple[int, int] | None = None) -> None:
    """Run a network once, on a copy, if it has parts that are not built in.

    Real numbers, not the ``meta`` device: a part may remember what it computed (a mask), or know
    only real tensors. A network on ``meta`` is not tried: it is a sketch, built again before use.

    Args:
        network: fresh; it stays as it is, and so do the random numbers after it.
        input_size: (W, H) in pixels; None: not known. Then a part that fails is
            ignored, and sides only have to be no broadcast: it may be made for another size.

    Raises:
        UsageError: a part gives another shape than its kind promises.
        HEViTPoseError: a part fails in its ``forward``.

    Warns:
        Notice: the network cannot be copied, so nothing was tried.
    """
    own = {name: found for name, part in network.named_modules() if (found := own_part(part))}
    weight = next((p for p in network.parameters() if p.is_floating_point()), torch.empty(0))
    if not own or weight.device.type == "meta":
        return
    multiple: int = network.side_multiple  # type: ignore[assignment]
    width, height = input_size or (multiple * -(-_SIDE // multiple),) * 2
    image = torch.zeros(1, 3, height, width, dtype=weight.dtype, device=weight.device)
    running: list[Own] = []
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        try:
            tried = copy.deepcopy(network).eval()
        except Exception as error:
            names = ", ".join(sorted({f"{found.kind} {found.name!r}" for found in own.values()}))
            why = f"the network cannot be copied ({described(error)})"
            text = f"shapes of {names} are not checked, {why}"
            warnings.warn(text, Notice, stacklevel=3)
            return
        for name, found in own.items():
            _watch(tried.get_submodule(name), found, running, input_size is not None)
        try:
            tried(image)
        except _BrokenError as error:
            raise UsageError(str(error)) from None
        except Exception as error:
            if running and input_size is not None:
                where = place(running[-1], error)
                raise HEViTPoseError(f"{where}: {described(error)}") from error


def _watch(part: nn.Module, own: Own, running: list[Own], sized: bool) -> None:
    """Compare what a part gives with its promise; whose ``forward`` runs is the last of a list."""
    promise, in_words = _PROMISES[own.kind]

    def begins(module: nn.Module, args: Any) -> None:
        running.append(own)

    def ends(module: nn.Module, args: Any, output: Any) -> None:
        running.pop()
        given, got = args[0].shape, _shape(output)
        expected = promise(given, own)
        if got != expected and (sized or not _fits(got, expected)):
            text = f"gives {got} for {tuple(given)}, expected {expected} ({in_words})"
            raise _BrokenError(f"{place(own)}: {text}")

    part.register_forward_pre_hook(begins)
    part.register_forward_hook(ends)


def _fits(got: Any, expected: tuple[int, ...]) -> bool:
    """Whether a shape may be the promised one of an image of another size."""
    if len(got) != len(expected) or got[:2] != expected[:2]:
        return False
    return all(a == b or a > 1 for a, b in zip(got[2:], expected[2:], strict=True))


def _shape(output: Any) -> Any:
    return tuple(output.shape) if isinstance(output, Tensor) else f"a {type(output).__name__}"
