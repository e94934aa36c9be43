"""From a network's crops to keypoints in the image; ``evaluation.score`` scores them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hevitpose.codec import Codec, make_codec
from hevitpose.config import Config
from hevitpose.data.loader import normalise
from hevitpose.errors import DivergedError


def codec_of(model: nn.Module, config: Config) -> Codec:
    """The codec that a network's head names, with the config's settings."""
    name = getattr(model, "codec", "heatmap")
    options: dict[str, Any] = {"udp": config.codec.udp}
    if name == "heatmap":
        options = {
            "sigma": config.codec.sigma,
            "method": config.codec.method,
            "decoder": config.codec.decoder,
        }
    else:
        options |= {
            "split_ratio": config.codec.simcc_split_ratio,
            "sigma": config.codec.simcc_sigma,
        }
    return make_codec(name, config.data.input_size, **options)


@torch.inference_mode()
def predict_batch(
    model: Callable[[Tensor], Any],
    batch: dict[str, Tensor],
    codec: Codec,
    flip_pairs: Sequence[tuple[int, int]] | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints of a batch of crops, in image pixels.

    Args:
        model: in evaluation mode.
        batch: ``image``, ``center`` and ``size`` of :class:`~hevitpose.data.loader.PoseDataset`.
        codec: decoder and geometry.
        flip_pairs: for the flip test; None for a single pass.

    Returns:
        Keypoints (N, K, 2) float32, 0-based, and scores (N, K).
    """
    images = normalise(batch["image"], torch.channels_last)
    outputs: Any = (
        model(images) if flip_pairs is None else codec.flip_test(model, images, flip_pairs)
    )
    outputs = tuple(o.float() for o in outputs) if isinstance(outputs, tuple) else outputs.float()
    xy, scores = codec.decode(outputs)
    if not bool(torch.isfinite(scores).all()):
        bad = int((~torch.isfinite(scores)).any(-1).sum())
        raise DivergedError(f"outputs are not finite for {bad} of {len(scores)} people of a batch")
    keypoints = codec.to_image(xy.double(), batch["center"].double(), batch["size"].double())
    return keypoints.float().cpu().numpy(), scores.cpu().numpy()
