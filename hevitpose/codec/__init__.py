"""Keypoints to network targets and back: a codec = encode, decode, flip, loss.

Pure functions, batched, without a loop over joints, and blind to models and datasets. Arrays in,
arrays out; tensors in, tensors out on their device. Shapes: ``keypoints_NK2`` in pixels of the
network input (the crop), ``heatmaps_NKHW``, sizes (W, H).

:class:`HeatmapCodec` binds the functions to sizes and methods; :class:`SimCCCodec` is the same for
heads that classify x and y. A head names its codec; :func:`make_codec` builds it.
"""

from __future__ import annotations

from typing import Any

from hevitpose.codec.heatmap import (
    DECODERS,
    ENCODERS,
    HeatmapCodec,
    decode,
    encode,
    flip_back,
    flip_test,
    mse_loss,
    to_image,
)
from hevitpose.codec.simcc import SimCCCodec
from hevitpose.errors import unknown_name

__all__ = [
    "CODECS",
    "DECODERS",
    "ENCODERS",
    "Codec",
    "HeatmapCodec",
    "SimCCCodec",
    "decode",
    "encode",
    "flip_back",
    "flip_test",
    "make_codec",
    "mse_loss",
    "to_image",
]

Codec = HeatmapCodec | SimCCCodec
#: Every codec a head can name.
CODECS: dict[str, type[HeatmapCodec] | type[SimCCCodec]] = {
    codec.name: codec for codec in (HeatmapCodec, SimCCCodec)
}


def make_codec(name: str, input_size: tuple[int, int], **options: Any) -> Codec:
    """A codec by the name that a head gives.

    Args:
        name: ``heatmap`` or ``simcc``.
        input_size: network input (W, H).
        options: fields of the codec; those that are None keep their default. ``heatmap_size``
            defaults to a quarter of the input.

    Raises:
        UsageError: no codec has this name or this option.
    """
    if name not in CODECS:
        raise unknown_name("codec", name, CODECS)
    kind = CODECS[name]
    known = set(kind.__dataclass_fields__) - {"input_size"}
    for key in options:
        if key not in known:
            raise unknown_name(f"option of codec {name!r}", key, known)
    given = {key: value for key, value in options.items() if value is not None}
    if kind is HeatmapCodec:
        given.setdefault("heatmap_size", (input_size[0] // 4, input_size[1] // 4))
    return kind(input_size=input_size, **given)
