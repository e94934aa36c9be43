"""Names of weights, ours and theirs: how a table of them is read, in both directions.

A row pairs one of our names with one of theirs. Both are dotted templates: ``{i}`` stands for a
number, ``{i+1}`` for the next one, and a last ``*`` for whatever follows. A row without ``*`` names
a module or a single tensor; what its module holds (``weight``, ``running_mean``, ...) keeps its
name. The first row that matches counts. Where tensors are laid out otherwise, a row says how
(:class:`Layout`). The tables themselves: ``keytables``.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """How one of their tensors lies in ours: one function for each direction."""

    to_ours: Callable[[Tensor], Sequence[Tensor]]  # one of theirs to as many as the row has
    to_theirs: Callable[[Sequence[Tensor]], Tensor]


def _from_unfold(x: Tensor) -> list[Tensor]:
    """Last axis: channel, row, column (``nn.Unfold``) to column, row, channel (timm)."""
    return [x.unflatten(-1, (-1, 2, 2)).transpose(-1, -3).flatten(-3)]


def _to_unfold(parts: Sequence[Tensor]) -> Tensor:
    return parts[0].unflatten(-1, (2, 2, -1)).transpose(-1, -3).flatten(-3)


def _first_row_added(x_1LC: Tensor) -> list[Tensor]:
    """Positions of the tokens: the class token's, which the authors add to all, included."""
    return [x_1LC[:, 1:] + x_1LC[:, :1]]


def _zero_row_first(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat((torch.zeros_like(parts[0][:, :1]), parts[0]), dim=1)


SAME = Layout(lambda x: [x], lambda parts: parts[0])
#: A linear layer that they write as a 1x1 convolution; its bias is the same.
POINTWISE = Layout(
    lambda x: [x.flatten(1) if x.ndim > 1 else x],
    lambda parts: parts[0][..., None, None] if parts[0].ndim > 1 else parts[0],
)
#: ``nn.MultiheadAttention``'s query, key and value in one; ours has the query, and the two others.
Q_AND_KV = Layout(
    lambda x: x.split((len(x) // 3, len(x) - len(x) // 3)), lambda parts: torch.cat(list(parts))
)
#: Swin's four merged neighbours: a pixel's channels lie together, or a channel's pixels do.
MERGED = Layout(_from_unfold, _to_unfold)
#: 193 positions of the ViTPose authors, the first of which is added to all others.
FIRST_ADDED = Layout(_first_row_added, _zero_row_first)


@dataclass(frozen=True)
class Row:
    """One correspondence; ``ours`` has several names where their tensor is several of ours."""

    ours: tuple[str, ...]
    theirs: str
    layout: Layout = SAME


@dataclass(frozen=True)
class KeyMap:
    """One family's table, and what its files hold besides."""

    origin: str  # whose names
    rows: tuple[Row, ...]
    unused: tuple[str, ...] = ()  # their names (regular expressions) that no output needs

    def to_ours(self, theirs: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
        """Their state dict under our names, and those of their names that no row has."""
        found: dict[str, Tensor] = {}
        strange: list[str] = []
        for key, tensor in theirs.items():
            if any(re.fullmatch(pattern, key) for pattern in self.unused):
                continue
            for row in self.rows:
                names = [_rename(key, row.theirs, ours) for ours in row.ours]
                if names[0] is not None:
                    parts = row.layout.to_ours(tensor)
                    found |= {str(name): part for name, part in zip(names, parts, strict=True)}
                    break
            else:
                strange.append(key)
        return found, strange

    def their_name(self, key: str) -> str | None:
        """What they call one of our tensors, or the tensor that it is a part of."""
        for row in self.rows:
            for ours in row.ours:
                name = _rename(key, ours, row.theirs)
                if name is not None:
                    return name
        return None

    def to_theirs(self, ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Our state dict under their names.

        Raises:
            KeyError: a tensor that no row has.
        """
        found: dict[str, Tensor] = {}
        for key in ours:
            for row in self.rows:
                name = _rename(key, row.ours[0], row.theirs)
                if name is not None:
                    parts = [str(_rename(key, row.ours[0], other)) for other in row.ours]
                    found[name] = row.layout.to_theirs([ours[part] for part in parts])
                    break
            else:
                if self.their_name(key) is None:
                    raise KeyError(key)
        return found


_LEAF = r"(?P<leaf>(?:\.(?:weight|bias|running_mean|running_var|num_batches_tracked))?)"
_FIELD = re.compile(r"\{([a-z])(?:\+(\d+))?\}")


def _rename(key: str, source: str, target: str) -> str | None:
    """A key that fits the template `source`, by the template `target`; None where it does not."""
    match = _compiled(source).fullmatch(key)
    if match is None:
        return None
    numbers: dict[str, int] = {}
    for group, text in match.groupdict().items():
        if group not in ("rest", "leaf"):
            name, step, _ = group.split("_")
            number = int(text) - int(step)
            if number < 0 or numbers.setdefault(name, number) != number:
                return None
    name = _FIELD.sub(lambda field: str(numbers[field[1]] + int(field[2] or 0)), target)
    rest = match.groupdict()
    return name.removesuffix("*") + rest.get("rest", "") + rest.get("leaf", "")


@functools.cache
def _compiled(template: str) -> re.Pattern[str]:
    """A template as a regular expression; what ``{i+1}`` matched first is the group ``i_1_0``."""
    text, position = "", 0
    for count, field in enumerate(_FIELD.finditer(template)):
        text += re.escape(template[position : field.start()])
        text += rf"(?P<{field[1]}_{field[2] or 0}_{count}>\d+)"
        position = field.end()
    text += re.escape(template[position:].removesuffix("*"))
    return re.compile(text + ("(?P<rest>.+)" if template.endswith("*") else _LEAF))
