"""Latency: how a model is timed, here and nowhere else.

:func:`measure` times one model under named :class:`Conditions`; :func:`interleave` and
:func:`ratio_of_rounds` say which of two is faster. ``bench/latency.py`` is the command around them.
The rules: ``docs/measurement.md``.
"""

from hevitpose.cost.latency.conditions import DTYPES, MEMORY_LAYOUTS, MODES, SCOPES, Conditions
from hevitpose.cost.latency.forms import randomise_norms_
from hevitpose.cost.latency.measure import (
    QUICK,
    STANDARD,
    Budget,
    LatencyResult,
    Prepared,
    WarmUp,
    measure,
)
from hevitpose.cost.latency.statistics import Ratio, Summary, interleave, ratio_of_rounds, summarize
from hevitpose.cost.latency.timers import EventTimer, Timer, WallTimer
from hevitpose.errors import UnavailableError

__all__ = [
    "DTYPES",
    "MEMORY_LAYOUTS",
    "MODES",
    "QUICK",
    "SCOPES",
    "STANDARD",
    "Budget",
    "Conditions",
    "EventTimer",
    "LatencyResult",
    "Prepared",
    "Ratio",
    "Summary",
    "Timer",
    "UnavailableError",
    "WallTimer",
    "WarmUp",
    "interleave",
    "measure",
    "randomise_norms_",
    "ratio_of_rounds",
    "summarize",
]
