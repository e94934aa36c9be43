"""Random numbers of one picture: a function of (seed, what, condition), in integers.

Philox's raw numbers are the same on every platform and in every version of NumPy (NEP 19), unlike
what ``Generator`` makes of them; tables turn 16 of their bits into a normal or a Poisson variable.
"""

from __future__ import annotations

import hashlib
from functools import cache

import numpy as np
from scipy import special

#: Units of a normal variable: 1 is 1024.
UNIT = 1024


class Draws:
    """A stream of random numbers.

    Args:
        seed: of all pictures.
        what: the image's or the person's id.
        condition: ``fog:3``.
    """

    def __init__(self, seed: int, what: object, condition: object) -> None:
        text = f"{seed} {what} {condition}".encode()
        self.key = int.from_bytes(hashlib.sha256(text).digest()[:16], "little")
        self._stream = np.random.Philox(key=self.key)

    def bits(self, shape: tuple[int, ...]) -> np.ndarray:
        """Uniform in 0..65535, uint16."""
        count = int(np.prod(shape))
        raw = np.asarray(self._stream.random_raw(-(-count // 4)), "<u8")
        return raw.view("<u2")[:count].reshape(shape)

    def integers(self, low: int, high: int, shape: tuple[int, ...] = ()) -> np.ndarray:
        """Uniform in low..high - 1, int64; high - low is at most 65536."""
        return low + (self.bits(shape).astype(np.int64) * (high - low) >> 16)

    def uniform(self, low: float, high: float, shape: tuple[int, ...] = ()) -> np.ndarray:
        """Uniform in [low, high) at 65536 steps, float64."""
        return low + self.bits(shape) * ((high - low) / 65536)

    def normal(self, shape: tuple[int, ...] = ()) -> np.ndarray:
        """Standard normal, int32 in units of 1 / :data:`UNIT`, within 4.3 standard deviations."""
        return _normal_table()[self.bits(shape)]

    def poisson(self, means: np.ndarray, index: np.ndarray) -> np.ndarray:
        """Poisson variables, int64.

        Args:
            means: (M,) of which there are few.
            index: any shape, into ``means``.
        """
        bits, found = self.bits(index.shape), np.empty(index.shape, np.int64)
        for number, mean in enumerate(means.tolist()):
            at = index == number
            found[at] = np.searchsorted(_poisson_table(mean), bits[at], side="right")
        return found


@cache
def _normal_table() -> np.ndarray:
    middles = (np.arange(65536) + 0.5) / 65536
    return np.rint(special.ndtri(middles) * UNIT).astype(np.int32)


@cache
def _poisson_table(mean: float) -> np.ndarray:
    """Cumulative probabilities of 0, 1, 2 ... in 65536ths, as far as they tell values apart."""
    counts = np.arange(int(mean + 8 * mean**0.5 + 8))
    return np.rint(special.pdtr(counts, mean) * 65536).astype(np.int64)
