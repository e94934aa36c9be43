"""Loading: one person's crop per item, augmented by a function of (seed, epoch, index) alone,
whatever the number of workers or processes. ``stream`` has the order.

Items are uint8 crops; normalisation and targets are made in batches, on the device.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from hevitpose.data.decoded import Change, DecodedImages
from hevitpose.data.images import read_image
from hevitpose.data.table import PoseTable
from hevitpose.data.transforms import (
    Augmentation,
    CropParameters,
    crop,
    crop_matrix,
    sample_augmentation,
    transform_points,
)
from hevitpose.models.spec import MEAN, STD

_AUGMENT = 2  # key of augmentation's stream of random numbers; ``stream`` has the order's


class PoseDataset(Dataset):
    """Crops of the people of a table.

    Args:
        table: the people.
        input_size: the crop's (W, H).
        augmentation: None for evaluation.
        seed: of the augmentation.
        udp: crop by the UDP variant.
        pictures: of the table's images, already decoded (and changed); None to read their files.
        change: of an evaluation under a condition.
    """

    def __init__(
        self,
        table: PoseTable,
        input_size: tuple[int, int],
        augmentation: Augmentation | None = None,
        seed: int = 0,
        udp: bool = False,
        pictures: DecodedImages | None = None,
        change: Change | None = None,
    ) -> None:
        self.table = table
        self.pictures = pictures
        self.change = change
        self._latest: tuple[int, np.ndarray] | None = None
        self.input_size = (input_size[0], input_size[1])
        self.augmentation = augmentation
        self.seed = seed
        self.udp = udp
        self._threads_set = False

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, Any]:
        """One person.

        Args:
            key: (epoch, index), or the index alone for epoch 0.

        Returns:
            ``image`` (H, W, 3) uint8 RGB; ``keypoints`` (K, 2) float32 in crop pixels and
            ``visibility`` (K,) float32, joints swapped where the crop is flipped; ``center`` and
            ``size`` (2,) float32 of the table's box; ``index`` int64.

        Raises:
            DataError: the image is absent or damaged.
        """
        epoch, index = key if isinstance(key, tuple) else (0, key)
        if not self._threads_set and get_worker_info() is not None:
            cv2.setNumThreads(0)  # one worker is one thread; a pool each would fight over the cores
            self._threads_set = True
        table = self.table
        image = self._picture(index)
        keypoints = table.keypoints[index]
        visible = table.visibility[index].astype(np.float32)
        parameters = self._parameters(epoch, index)
        matrix = crop_matrix(parameters, image.shape[1], self.input_size, self.udp)
        if parameters.flip:
            swapped = list(table.layout.flip_order)
            keypoints, visible = keypoints[swapped], visible[swapped]
        window = crop(image, matrix, self.input_size)
        if self.change is not None:
            window = self.change.crop(window)
        return {
            "image": cv2.cvtColor(window, cv2.COLOR_BGR2RGB, dst=window),
            "keypoints": transform_points(keypoints, matrix),
            "visibility": visible,
            "center": table.centers[index],
            "size": table.sizes[index],
            "index": np.int64(index),
        }

    def _picture(self, index: int) -> np.ndarray:
        table, number = self.table, self.table.image_index[index]
        if self.pictures is not None:
            return self.pictures[number]
        if self._latest is not None and self._latest[0] == number:
            return self._latest[1]
        width, height = table.image_sizes[number]
        image = read_image(
            table.image_path(index), (int(width), int(height)), table.declared.stored_pixels
        )
        if self.change is not None:  # costs more than reading, and neighbours share it
            image = self.change.picture(image, number)
            self._latest = (number, image)
        return image

    def _parameters(self, epoch: int, index: int) -> CropParameters:
        table = self.table
        center = table.centers[index].astype(np.float64)
        size = table.sizes[index].astype(np.float64)
        if self.augmentation is None:
            return CropParameters(center, size, 0.0, False)
        return sample_augmentation(
            np.random.default_rng((self.seed, _AUGMENT, epoch, index)),
            self.augmentation,
            center,
            size,
            table.keypoints[index],
            table.visibility[index],
            table.layout,
            self.input_size[0] / self.input_size[1],
        )


def normalise(
    images: Tensor, memory_format: torch.memory_format = torch.contiguous_format
) -> Tensor:
    """Crops to the network's input, in a batch, on the images' device.

    Args:
        images: (N, H, W, 3) uint8 RGB.
        memory_format: ``torch.channels_last`` spares a copy where the network wants that.

    Returns:
        (N, 3, H, W) float32: (x / 255 - mean) / std per channel.
    """
    mean = torch.tensor(MEAN, device=images.device).mul_(255).view(1, 3, 1, 1)
    scale = torch.tensor(STD, device=images.device).mul_(255).reciprocal_().view(1, 3, 1, 1)
    out = images.permute(0, 3, 1, 2).to(torch.float32, memory_format=memory_format)
    return out.sub_(mean).mul_(scale)
