"""Loading: one person's crop per item, in an order and with an augmentation that depend on
(seed, epoch, index) alone, whatever the number of workers or processes.

Items are uint8 crops; normalisation and targets are made in batches, on the device.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

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

#: ImageNet's, of RGB in 0..1.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

# Separate streams of random numbers: data order and augmentation never share one.
_ORDER, _AUGMENT = 1, 2


class PoseDataset(Dataset):
    """Crops of the people of a table.

    Args:
        table: the people.
        input_size: the crop's (W, H).
        augmentation: None for evaluation.
        seed: of the augmentation.
        udp: crop by the UDP variant.
    """

    def __init__(
        self,
        table: PoseTable,
        input_size: tuple[int, int],
        augmentation: Augmentation | None = None,
        seed: int = 0,
        udp: bool = False,
    ) -> None:
        self.table = table
        self.input_size = tuple(input_size)
        self.augmentation = augmentation
        self.seed = seed
        self.udp = udp

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, Any]:
        """One person.

        Args:
            key: (epoch, index), or the index alone for epoch 0.

        Returns:
            ``image`` (H, W, 3) uint8 RGB; ``keypoints`` (K, 2) float32 in crop pixels and
            ``visible`` (K,) float32, joints swapped where the crop is flipped; ``center`` and
            ``size`` (2,) float32 of the table's box; ``index`` int64.

        Raises:
            DataError: the image is absent or damaged.
        """
        epoch, index = key if isinstance(key, tuple) else (0, key)
        table = self.table
        image_size = table.image_sizes[table.image_index[index]]
        image = read_image(table.image_path(index), (int(image_size[0]), int(image_size[1])))
        keypoints = table.keypoints[index]
        visible = table.visible[index].astype(np.float32)
        parameters = self._parameters(epoch, index)
        matrix = crop_matrix(parameters, image.shape[1], self.input_size, self.udp)
        if parameters.flip:
            swapped = list(table.layout.flip_index)
            keypoints, visible = keypoints[swapped], visible[swapped]
        window = crop(image, matrix, self.input_size)
        return {
            "image": cv2.cvtColor(window, cv2.COLOR_BGR2RGB, dst=window),
            "keypoints": transform_points(keypoints, matrix),
            "visible": visible,
            "center": table.centers[index],
            "size": table.sizes[index],
            "index": np.int64(index),
        }

    def _parameters(self, epoch: int, index: int) -> CropParameters:
        table = self.table
        center = table.centers[index].astype(np.float64)
        size = table.sizes[index].astype(np.float64)
        if self.augmentation is None:
            return CropParameters(center, size, 0.0, False)
        return sample_augmentation(
            generator(self.seed, _AUGMENT, epoch, index),
            self.augmentation,
            center,
            size,
            table.keypoints[index],
            table.visible[index],
            table.layout,
            self.input_size[0] / self.input_size[1],
        )


def generator(seed: int, stream: int, epoch: int, index: int = 0) -> np.random.Generator:
    """The random numbers of one sample, a function of its key alone."""
    return np.random.Generator(
        np.random.PCG64(np.random.SeedSequence((seed, stream, epoch, index)))
    )


class EpochSampler(Sampler):
    """(epoch, index) of every person once per epoch, divided among the processes without padding.

    Process r of w takes positions r, r + w, ... of the epoch's order, so that one step of w
    processes sees the same people as one step of a single process with w times the batch.

    Args:
        n: how many people there are.
        seed: of the order.
        shuffle: a new permutation every epoch; otherwise 0..n-1.
        rank: this process.
        world: how many processes.
        even: drop the last n % world positions of the order, so that all processes have equally
            many (training with DDP needs it; evaluation must not).
    """

    def __init__(
        self,
        n: int,
        seed: int = 0,
        shuffle: bool = True,
        rank: int = 0,
        world: int = 1,
        even: bool = False,
    ) -> None:
        if not 0 <= rank < world:
            raise ValueError(f"rank {rank} of {world}, expected 0 to {world - 1}")
        self.n, self.seed, self.shuffle, self.rank, self.world = n, seed, shuffle, rank, world
        self.even = even
        self.epoch = self.start = 0

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Sets the epoch, and how many of this process's people were already seen in it."""
        self.epoch, self.start = epoch, start

    def __len__(self) -> int:
        total = self.n - self.n % self.world if self.even else self.n
        return max(0, (total - self.rank + self.world - 1) // self.world - self.start)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.arange(self.n)
        if self.shuffle:
            order = generator(self.seed, _ORDER, self.epoch).permutation(self.n)
        if self.even:
            order = order[: self.n - self.n % self.world]
        mine = order[self.rank :: self.world][self.start :]
        epoch = self.epoch
        return ((epoch, int(index)) for index in mine)


def worker_init(worker: int) -> None:
    """For ``DataLoader(worker_init_fn=...)``: a worker is one thread, OpenCV's pool included."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def normalise(images: Tensor) -> Tensor:
    """Crops to the network's input, in a batch, on the images' device.

    Args:
        images: (N, H, W, 3) uint8 RGB.

    Returns:
        (N, 3, H, W) float32, contiguous: (x / 255 - mean) / std per channel.
    """
    mean = torch.tensor(MEAN, device=images.device).mul_(255).view(1, 3, 1, 1)
    scale = torch.tensor(STD, device=images.device).mul_(255).reciprocal_().view(1, 3, 1, 1)
    out = images.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
    return out.sub_(mean).mul_(scale)
