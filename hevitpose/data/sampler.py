"""The order in which people are seen: a pure function of (seed, step), so a run can stop anywhere.

Training sees one endless stream of sample positions; position p is person ``order(p // N)[p % N]``
of epoch ``p // N``, and step s takes positions ``s * B`` to ``(s + 1) * B - 1``. Batches are always
full, whatever N and B are, and a resumed run continues at its step without replaying anything.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

_ORDER = 1  # key of the stream that orders an epoch; augmentation has its own


class SampleStream(Sampler[tuple[int, int]]):
    """Training order: (epoch, index) pairs of one rank, for a range of steps.

    Args:
        count: number of people N.
        batch_size: per rank.
        steps: the steps to yield, of the whole run's numbering.
        seed: of the run.
        rank: this process.
        world: number of processes; together they take ``world * batch_size`` positions a step.
    """

    def __init__(
        self, count: int, batch_size: int, steps: range, seed: int, rank: int = 0, world: int = 1
    ) -> None:
        self.count, self.batch_size, self.steps = count, batch_size, steps
        self.seed, self.rank, self.world = seed, rank, world

    def __len__(self) -> int:
        return len(self.steps) * self.batch_size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch, order = -1, np.empty(0, np.int64)
        for step in self.steps:
            start = (step * self.world + self.rank) * self.batch_size
            for position in range(start, start + self.batch_size):
                if position // self.count != epoch:
                    epoch = position // self.count
                    order = self.order(epoch)
                yield epoch, int(order[position % self.count])

    def order(self, epoch: int) -> np.ndarray:
        """The permutation of people of one epoch, (N,)."""
        return np.random.default_rng((self.seed, _ORDER, epoch)).permutation(self.count)


class RankSlice(Sampler[tuple[int, int]]):
    """Evaluation order: each sample on exactly one rank, nothing padded or repeated.

    Args:
        count: number of people.
        rank: this process.
        world: number of processes.
    """

    def __init__(self, count: int, rank: int = 0, world: int = 1) -> None:
        self.indices = range(rank, count, world)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return ((0, index) for index in self.indices)
