"""What a list of times says: percentiles that the sample can carry, and ratios with intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hevitpose.records.schema import P90_SAMPLES, P99_SAMPLES, VERDICT_ROUNDS

#: IQR / median above which a row is called noisy.
NOISY = 0.10
LEVEL = 0.95  # of the interval of a ratio


@dataclass(frozen=True)
class Summary:
    """Statistics of times in milliseconds; a percentile that n does not carry is None."""

    n: int
    p50: float
    p90: float | None
    p99: float | None
    min: float
    iqr: float
    noisy: bool  # iqr / p50 > 10%

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready object."""
        return asdict(self)


def summarize(samples_ms: Sequence[float]) -> Summary:
    """Median, percentiles (linear interpolation), spread of raw times.

    Args:
        samples_ms: at least one, in milliseconds.

    Raises:
        ValueError: no samples.
    """
    if not len(samples_ms):
        raise ValueError("no samples to summarize")
    times = np.asarray(samples_ms, dtype=np.float64)
    q25, p50, q75, p90, p99 = np.percentile(times, (25, 50, 75, 90, 99))
    n = len(times)
    iqr = float(q75 - q25)
    return Summary(
        n=n,
        p50=float(p50),
        p90=float(p90) if n >= P90_SAMPLES else None,
        p99=float(p99) if n >= P99_SAMPLES else None,
        min=float(times.min()),
        iqr=iqr,
        noisy=bool(iqr > NOISY * p50),
    )


@dataclass(frozen=True)
class Ratio:
    """time(A) / time(B) of interleaved rounds: below 1 where A is faster."""

    ratio: float  # median over rounds of the ratio of the two medians of a round
    low: float  # 95% bootstrap interval over rounds
    high: float
    rounds: int

    @property
    def distinguishable(self) -> bool:
        """Whether the interval leaves 1 out, and has enough rounds to mean something."""
        return self.rounds >= VERDICT_ROUNDS and not self.low <= 1.0 <= self.high

    @property
    def verdict(self) -> str:
        """What may be said of A beside B, in words."""
        if self.rounds < VERDICT_ROUNDS:
            return f"no verdict (needs {VERDICT_ROUNDS} rounds)"
        if not self.distinguishable:
            return "not distinguishable"
        return "faster" if self.ratio < 1 else "slower"

    def __str__(self) -> str:
        rounds = f"{self.rounds} round{'' if self.rounds == 1 else 's'}"
        return f"{self.ratio:.3f} [{self.low:.3f}, {self.high:.3f}] ({rounds})"


def ratio_of_rounds(
    rounds_a: Sequence[Sequence[float]],
    rounds_b: Sequence[Sequence[float]],
    generator: np.random.Generator,
    resamples: int = 5000,
) -> Ratio:
    """The ratio of two contenders measured in turn, A B A B ...

    Round i of A and round i of B are neighbours in time, so their quotient is free of whatever the
    machine did slowly; rounds are what the bootstrap draws (percentile interval, 95%).

    Args:
        rounds_a: times of A, a list per round, any unit.
        rounds_b: times of B, as many rounds.
        generator: draws the resamples.
        resamples: how many.

    Raises:
        ValueError: no rounds, or not equally many.
    """
    if not len(rounds_a) or len(rounds_a) != len(rounds_b):
        raise ValueError(f"{len(rounds_a)} rounds of A, {len(rounds_b)} of B: expected as many")
    a = np.array([np.median(times) for times in rounds_a])
    b = np.array([np.median(times) for times in rounds_b])
    quotients = a / b
    drawn = generator.integers(0, len(quotients), size=(resamples, len(quotients)))
    medians = np.median(quotients[drawn], axis=1)
    low, high = np.quantile(medians, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return Ratio(float(np.median(quotients)), float(low), float(high), len(quotients))


def interleave(
    contenders: Mapping[str, Callable[[], list[float]]],
    rounds: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, list[list[float]]]:
    """Run every contender's round in turn, again and again: A B C A B C ...

    Args:
        contenders: name to a function that measures one round and gives its times.
        rounds: how often each is called.
        progress: called with rounds done and rounds in all.

    Returns:
        Per contender its rounds, in order.
    """
    times: dict[str, list[list[float]]] = {name: [] for name in contenders}
    for index in range(rounds):
        for name, measure_round in contenders.items():
            times[name].append(measure_round())
        progress(index + 1, rounds)
    return times
