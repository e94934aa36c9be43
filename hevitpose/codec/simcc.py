"""SimCC: a keypoint as two classifications, for heads such as RTMPose's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from hevitpose.codec.arrays import as_tensor, like, swapped
from hevitpose.codec.heatmap import to_image


@dataclass(frozen=True)
class SimCCCodec:
    """Two classifications per joint, along x and along y, over bins finer than a pixel.

    Li et al., SimCC, ECCV 2022, with the constants of RTMPose (Jiang et al., 2023): targets are
    Gaussians over the bins, the loss is the KL divergence between softmaxes of 10 x both. Outputs
    and targets are pairs (x_NKB of W * ratio bins, y_NKB of H * ratio bins).
    """

    input_size: tuple[int, int]  # (W, H) of the network input
    split_ratio: float = 2.0  # bins per pixel
    sigma: tuple[float, float] = (4.9, 5.66)  # bins, along x and y; RTMPose's at 192x256 (W x H)
    beta: float = 10.0  # inverse temperature of both softmaxes
    udp: bool = False  # whether crops map the box to (W - 1, H - 1); bins follow the crop's pixels
    name: ClassVar[str] = "simcc"

    @property
    def map_size(self) -> tuple[int, int]:
        """The (W, H) grid that :meth:`decode` answers in: the network input."""
        return self.input_size

    @property
    def bins(self) -> tuple[int, int]:
        """How many bins x and y have."""
        return (
            round(self.input_size[0] * self.split_ratio),
            round(self.input_size[1] * self.split_ratio),
        )

    def encode(
        self, keypoints_NK2: Tensor, visibility_NK: Tensor
    ) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """Gaussians of peak 1 around the nearest bins.

        Args:
            keypoints_NK2: x, y in pixels of the network input.
            visibility_NK: labelled where > 0.

        Returns:
            (x_NKB, y_NKB) float32, and weights_NK: 0 where unlabelled or 3 sigma outside.
        """
        keypoints, visible = as_tensor(keypoints_NK2), as_tensor(visibility_NK)
        mean = torch.round(keypoints.double() * self.split_ratio)
        reach = 3 * mean.new_tensor(self.sigma)
        touches = (mean - reach < mean.new_tensor(self.bins)) & (mean + reach + 1 >= 0)
        drawn = touches.all(-1) & (visible > 0)
        mean = torch.where(drawn[..., None], mean, mean.new_zeros(()))
        targets = []
        for axis, (length, sigma) in enumerate(zip(self.bins, self.sigma, strict=True)):
            offset = (torch.arange(length, device=mean.device) - mean[..., axis, None]).float()
            target = torch.exp(offset.square() * (-0.5 / sigma**2)) * drawn[..., None]
            targets.append(like(keypoints_NK2, target))
        return (targets[0], targets[1]), like(keypoints_NK2, drawn.float())

    def decode(self, outputs: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """The highest bins, in pixels of the network input.

        Returns:
            xy_NK2, and scores_NK: the lower of the two maxima; where it is not above 0 the point
            is (-1, -1) bins.
        """
        (best_x, at_x), (best_y, at_y) = (as_tensor(output).max(-1) for output in outputs)
        scores = torch.minimum(best_x, best_y)
        bins = torch.where((scores > 0)[..., None], torch.stack((at_x, at_y), -1), -1)
        return like(outputs[0], bins.float() / self.split_ratio), like(outputs[0], scores)

    def to_image(self, xy: Tensor, center: Tensor, size: Tensor) -> Tensor:
        """Points of :meth:`decode` in image pixels; see :func:`to_image`."""
        return to_image(xy, center, size, self.map_size, self.udp)

    def flip_back(
        self,
        outputs: tuple[Tensor, Tensor],
        flip_pairs: Sequence[tuple[int, int]],
        shift: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Outputs for the mirrored image as outputs for the image.

        Mirroring pixels takes bin b of B to B - ratio - b, mirroring bins to B - 1 - b: the result
        is ratio - 1 bins too far right. ``shift`` corrects it; MMPose does not.
        """
        x, y = (as_tensor(output) for output in outputs)
        order = swapped(x.shape[1], flip_pairs, x.device)
        x, y = x.index_select(1, order).flip(-1), y.index_select(1, order)
        by = round(self.split_ratio) - 1
        if shift and by:
            x = torch.cat((x[..., by:], x[..., -1:].expand(*x.shape[:-1], by)), -1)
        return like(outputs[0], x), like(outputs[1], y)

    def flip_test(
        self,
        model: Callable[[Tensor], tuple[Tensor, Tensor]],
        images: Tensor,
        flip_pairs: Sequence[tuple[int, int]],
    ) -> tuple[Tensor, Tensor]:
        """Average of the outputs for the images and for their mirror images."""
        x, y = model(images)
        flipped_x, flipped_y = self.flip_back(model(images.flip(-1)), flip_pairs)
        return 0.5 * (x + flipped_x), 0.5 * (y + flipped_y)

    def loss(
        self, outputs: tuple[Tensor, Tensor], target: tuple[Tensor, Tensor], weights: Tensor
    ) -> Tensor:
        """KL divergence from the targets' softmax, averaged over bins, weighted, x and y added.

        Averaged over people and joints; MMPose sums over the batch, which is the same to
        Adam but changes with the batch size.
        """
        total = outputs[0].new_zeros((), dtype=torch.float32)
        for output, labels in zip(outputs, target, strict=True):
            log_p = F.log_softmax(output.float() * self.beta, -1)
            wanted = F.softmax(labels.float() * self.beta, -1)
            divergence = F.kl_div(log_p, wanted, reduction="none").mean(-1)
            total = total + (divergence * weights).mean()
        return total
