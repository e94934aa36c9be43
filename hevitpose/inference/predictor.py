"""Images and boxes in, keypoints out."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import nn

from hevitpose.codec import Codec, SimCCCodec
from hevitpose.config import Config, parse_config
from hevitpose.data.keypoints import assumed
from hevitpose.data.transforms import crop_people
from hevitpose.errors import DivergedError, UsageError, first_line, notice_once, unknown_name
from hevitpose.evaluation.predict import codec_of, predict_batch
from hevitpose.inference.arrays import Colour, Picture, as_rgb, checked_boxes, listed
from hevitpose.models.checkpoint import DEFAULT_WEIGHTS, from_pretrained
from hevitpose.models.forms import optimize
from hevitpose.models.keypoints import KeypointLayout


@dataclass(frozen=True)
class Pose:
    """The people of one image."""

    keypoints: np.ndarray  # (P, K, 2) float32, image pixels, 0-based
    scores: np.ndarray  # (P, K) float32, the maps' maxima
    boxes: np.ndarray  # (P, 4) float32 x, y, w, h
    heatmaps: np.ndarray | None = None  # (P, K, h, w) float32, on request
    crops: np.ndarray | None = None  # (P, H, W, 3) uint8 RGB network inputs, with the heatmaps


class PosePredictor:
    """A trained network, ready for images.

    Args:
        model: what ``from_pretrained`` takes (a file, a folder, a name that ships), or a network,
            of which a copy in float32 is used. By default the nano network that ships.
        config: geometry, decoder and flip test; by default those that came with the weights, also
            of a network that ``from_pretrained`` or ``from_published`` gave.
        layout: what the keypoints mean; likewise, or else, with a notice, the one with that many.
        device: ``cpu``, ``cuda`` or ``cuda:1``.
        batch_size: crops a pass.

    Raises:
        DataError: the checkpoint is damaged or not ours.
        UsageError: an argument of another kind, nobody says what the network's keypoints mean, the
            layout has another number of them, or the device is not there.

    Warns:
        Notice: a layer started anew when the weights were loaded (``reset_keypoints``).
    """

    def __init__(
        self,
        model: nn.Module | os.PathLike[str] | str = DEFAULT_WEIGHTS,
        *,
        config: Config | None = None,
        layout: KeypointLayout | None = None,
        device: str | torch.device = "cpu",
        batch_size: int = 32,
    ) -> None:
        _require_kinds(model, config, layout, batch_size)
        self.device, self.batch_size = usable_device(device), int(batch_size)
        if isinstance(model, nn.Module):
            network = copy.deepcopy(model)  # the caller may go on training theirs
            named = str(getattr(model, "name", type(model).__name__))
        else:
            network, named = from_pretrained(Path(model)), str(model)
        about = getattr(network, "pretrained_from", None)  # what came with its weights
        if about is not None:
            layout = layout or about.layout
            if config is None and about.config:
                config = parse_config(about.config, named)
            if anew := about.source.get("reset"):
                notice_once(
                    f"{named}: {', '.join(anew)} started anew when its weights were loaded; "
                    "without training since, its keypoints mean nothing"
                )
        if config is None:
            config = Config()
            height, width = config.data.input_size[::-1]
            notice_once(
                f"{named} says nothing of its codec and input: crops of {height}x{width}, decoder "
                f"{config.codec.decoder} are taken"
            )
        self.config, self.named = config, named
        self.layout = _layout_of(network, named, layout)
        self.model = optimize(network.eval().float(), mode="train").to(self.device).eval()
        self.codec = codec_of(network, self.config)

    def __call__(
        self,
        images: Picture | Iterable[Picture],
        boxes: Iterable[Any] | None = None,
        *,
        colour: Colour = "rgb",
        heatmaps: bool = False,
    ) -> list[Pose]:
        """Keypoints of the people in the boxes.

        Args:
            images: files, PIL images, arrays (H, W, 3) or grey (H, W) of uint8, tensors
                (3, H, W) of uint8 or of floats in 0..1; one, several or none. Files and PIL images
                are turned as their EXIF says.
            boxes: per image (P, 4) x, y, w, h in pixels; None for one box, the whole image.
            colour: order of the channels of arrays and tensors: ``rgb``, or ``bgr`` as OpenCV
                reads them.
            heatmaps: also return the maps and the crops they belong to.

        Returns:
            One :class:`Pose` per image; an image without boxes has no people.

        Raises:
            DataError: an image is absent or damaged.
            DivergedError: the network gives no finite numbers.
            UsageError: an image of another type or shape; boxes that are not (P, 4), not finite,
                or not one entry per image; heatmaps of a network that has none.
        """
        if heatmaps:
            self.require_heatmaps()
        if colour not in get_args(Colour):
            raise unknown_name("colour", str(colour), get_args(Colour))
        many = listed(images)
        if boxes is not None and not isinstance(boxes, Iterable):
            raise UsageError(f"boxes: {type(boxes).__name__}, expected one entry per image")
        given: list[Any] = [None] * len(many) if boxes is None else list(boxes)
        if len(given) != len(many):
            raise UsageError(f"boxes: {len(given)} entries, expected one per image ({len(many)})")
        return [
            self._one(as_rgb(image, colour), box, f"image {number}", heatmaps)
            for number, (image, box) in enumerate(zip(many, given, strict=True))
        ]

    def require_heatmaps(self) -> None:
        """Refuse a network that predicts something else.

        Raises:
            UsageError: it has a SimCC head.
        """
        if isinstance(self.codec, SimCCCodec):
            name = getattr(self.model, "name", "this network")
            raise UsageError(
                f"heatmaps: {name} predicts each coordinate by itself (SimCC) and has no heatmaps"
            )

    def _one(self, pixels: np.ndarray, boxes: Any, where: str, heatmaps: bool) -> Pose:
        height, width = pixels.shape[:2]
        found = checked_boxes(boxes, (width, height), where)
        K = len(self.layout)
        if not len(found):
            return Pose(np.zeros((0, K, 2), np.float32), np.zeros((0, K), np.float32), found)
        crops, centers, sizes = crop_people(
            np.ascontiguousarray(pixels),
            found,
            self.config.data.input_size,
            udp=self.config.codec.udp,
        )
        keypoints, scores, maps = [], [], []
        for start in range(0, len(found), self.batch_size):
            rows = slice(start, start + self.batch_size)
            batch = {"image": crops[rows], "center": centers[rows], "size": sizes[rows]}
            tensors = {k: torch.from_numpy(v).to(self.device) for k, v in batch.items()}
            flip = self.layout.flip_pairs if self.config.evaluation.flip_test else None
            codec: Any = _Recorder(self.codec) if heatmaps else self.codec
            try:
                xy, score = predict_batch(self.model, tensors, codec, flip)
            except DivergedError as error:
                raise DivergedError(f"{self.named}: {error}") from None
            keypoints.append(xy)
            scores.append(score)
            if heatmaps:
                maps.append(codec.maps)
        return Pose(
            np.concatenate(keypoints),
            np.concatenate(scores),
            found,
            np.concatenate(maps) if maps else None,
            crops if maps else None,
        )


class _Recorder:
    """A codec that keeps the maps that it decodes, those of the flip test averaged."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self.maps = np.empty(0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._codec, name)

    def decode(self, outputs: Any) -> Any:
        self.maps = outputs.cpu().numpy()
        return self._codec.decode(outputs)


def _require_kinds(model: Any, config: Any, layout: Any, batch_size: Any) -> None:
    """Refuse arguments of another kind.

    Raises:
        UsageError: the first one.
    """
    for name, value, kinds, expected in (
        ("model", model, (nn.Module, str, os.PathLike), "a file, a name that ships, or a network"),
        ("config", config, (Config, type(None)), "a Config, as load_config gives it"),
        ("layout", layout, (KeypointLayout, type(None)), "a KeypointLayout"),
    ):
        if not isinstance(value, kinds):
            raise UsageError(f"{name}: {type(value).__name__}, expected {expected}")
    whole = isinstance(batch_size, (int, np.integer)) and not isinstance(batch_size, bool)
    if not whole or batch_size < 1:
        raise UsageError(f"batch_size: {batch_size!r:.80}, expected a positive integer")


def usable_device(device: str | torch.device) -> torch.device:
    """The device of a name.

    Raises:
        UsageError: it is none, or this machine has it not.
    """
    named = f"device {str(device)!r}"
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        why = first_line(str(error), "not a device")
        raise UsageError(f"{named}: {why}, expected cpu or cuda") from None
    if found.type not in ("cpu", "cuda"):
        raise UsageError(f"{named}: expected cpu or cuda")
    if found.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"{named}: this machine has no usable CUDA device")
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"{named}: this machine has {torch.cuda.device_count()} of them")
    return found


def _layout_of(network: nn.Module, named: str, given: KeypointLayout | None) -> KeypointLayout:
    count = getattr(network, "num_keypoints", None)
    if not isinstance(count, int):
        raise UsageError(f"model: {named} has no num_keypoints, expected a network of this package")
    if given is not None:
        if len(given) != count:
            raise UsageError(
                f"layout: {given.name} has {len(given)} keypoints, {named} predicts {count}"
            )
        return given
    found = assumed(named, count)
    if found is None:
        raise UsageError(
            f"{named}: predicts {count} keypoints, and no known layout has this many; expected "
            "weights that say what they mean (Python: layout= here, or of from_published)"
        )
    return found
