"""The typed schema of a result record: one measurement of one kind, as data.

A record is frozen and complete: what was run (model, configuration, data, seed), what came out
(counts, metrics, times, the learning curve), and where it came from (code, machine, versions,
time). ``inputs`` holds exactly what the id is a hash of, so that a record can be checked against
its own name and two records can be told apart by their causes (:mod:`hevitpose.records.identity`).

A *training* leaves weights, an *evaluation* scores weights under a condition and names whose they
are, so that one training has many evaluations. Keys join records: ``cell_id`` is the network (model
options, input size, keypoints) and is shared by a cell's records of all kinds; ``config_hash`` is
everything but the seed and the data, and is shared by the seeds of one cell; ``training`` is the
training that an evaluation's weights come from; ``id`` is the run.

Torch-free: reports and the command line load thousands of records in seconds.
"""

from __future__ import annotations

import json
import math
import numbers
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta

from hevitpose.records.identity import Kind

#: Version of this schema. A change to a field raises it and adds a migration.
SCHEMA_VERSION = 3
#: Metrics of predicting the mean pose for everybody, as ``mean_pose_Mean``.
BASELINE_PREFIX = "mean_pose_"
#: How an id looks: hexadecimal digits of a sha256.
ID_PATTERN = r"[0-9a-f]{20}"

Status = Literal["ok", "failed", "oom", "diverged", "skipped"]
Scalar = str | int | float | bool | None
Id = Annotated[str, Meta(pattern=rf"^{ID_PATTERN}\Z")]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Count = Annotated[int, Meta(ge=0)]
NonNegative = Annotated[float, Meta(ge=0.0)]  # every number is finite: see Record.of
_LITERALS = {"kind": get_args(Kind), "status": get_args(Status)}


def is_share(metric: str) -> bool:
    """Whether a metric is a share of one (AP, AR), which people read in percent."""
    return metric.removeprefix(BASELINE_PREFIX).startswith(("AP", "AR"))


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """Plain data without cycles, so that the garbage collector need not look at it."""


class Dataset(_Part, frozen=True):
    """What was trained or evaluated on."""

    name: str
    split: str
    fingerprint: str  # "sha256:..." or "synthetic:v1:..."
    boxes: str  # "gt" or "FILE>=threshold"
    counts: dict[str, int] = {}  # people evaluated; left out, by reason
    skipped: list[str] = []  # what was left out as bad: what, where, why


class Flops(_Part, frozen=True):
    """GFLOPs of one image under three conventions; None where not counted."""

    mmcv: NonNegative | None = None
    fvcore: NonNegative | None = None
    torch: NonNegative | None = None


#: Fewest samples from which a percentile is given.
P90_SAMPLES = 100
P99_SAMPLES = 1000
#: Fewest rounds that a verdict on a ratio of two networks timed in turn rests on. Of two equal
#: contenders the interval leaves 1 out in 50% of comparisons with 2 rounds, 25% with 3, 13% with 7,
#: and 6 to 9% with 8 to 15 (normal noise, 4,000 simulated comparisons each).
VERDICT_ROUNDS = 8


class Latency(_Part, frozen=True):
    """Times in milliseconds under named conditions."""

    conditions: dict[str, Scalar]  # device, batch, input, dtype, layout, mode, threads, scope ...
    samples: list[NonNegative] = []
    p50: NonNegative | None = None
    p90: NonNegative | None = None  # from n >= 100
    p99: NonNegative | None = None  # from n >= 1000
    min: NonNegative | None = None
    iqr: NonNegative | None = None
    n: Count = 0
    noisy: bool = False  # IQR / median above 10%
    parity: NonNegative | None = None  # largest relative error against eager fp32
    details: dict[str, Any] = {}  # harness overhead, warm-up, clocks before and after ...


class Train(_Part, frozen=True):
    """What training cost."""

    epochs: NonNegative | None = None  # passes over the training people, also part of one
    steps: Count | None = None  # of the optimiser
    seconds: NonNegative | None = None  # evaluation and loading included
    images_per_s: NonNegative | None = None
    best_epoch: NonNegative | None = None  # whose weights are reported
    lr: NonNegative | None = None  # after scaling with the total batch
    total_batch: Count | None = None  # images a step, over all devices
    people: Count | None = None  # trained on
    loss: float | None = None  # mean of the last chunk of steps


class Interval(_Part, frozen=True):
    """An interval around a metric of one run, and how it was made."""

    low: float
    high: float
    method: str  # "bootstrap over images"
    n: Count


class JointScore(_Part, frozen=True):
    """One joint of an evaluation."""

    n: Count  # counted
    oks: float | None = None  # mean similarity, 0..1; None where the protocol has none
    auc: float | None = None  # of the PCK curve from 0 to 0.5, 0..1
    pck: list[float] = []  # at the thresholds
    errors: dict[str, Count] = {}  # good, jitter, ... -> joints; {}: not computed


class GroupScore(_Part, frozen=True):
    """Some of the people of an evaluation; None where there are none."""

    people: Count
    oks: float | None = None  # mean, 0..1; a missed person has 0
    ap: float | None = None
    ar: float | None = None


class Breakdown(_Part, frozen=True):
    """An evaluation by joint and by group of people."""

    unit: str  # of PCK's thresholds: "head size", "longer side of the box"
    thresholds: list[float]
    joints: dict[str, JointScore]
    groups: dict[str, dict[str, GroupScore]] = {}  # visible_joints, size, crowd_index


class Resampled(_Part, frozen=True):
    """A metric in draws of a small val set's photographs, the same draws in every record."""

    metric: str  # AP
    photographs: Count
    values: list[float]  # 0..1, one per draw


class Artifact(_Part, frozen=True):
    """A file that the run left, by its path under the run folder."""

    path: str
    sha256: Sha256


class Code(_Part, frozen=True):
    """The code that ran."""

    commit: str | None = None
    dirty: bool | None = None  # source paths only; None without git
    version: str | None = None


class Machine(_Part, frozen=True):
    """The machine that ran it."""

    cpu: str | None = None
    threads: int | None = None  # logical processors
    gpu: str | None = None
    driver: str | None = None
    ram: float | None = None  # GiB
    details: dict[str, Any] = {}  # family, model, stepping, caches, flags, hypervisor


class Record(_Part, frozen=True, kw_only=True):
    """One measurement of one kind.

    Made by :meth:`of`, which checks every field; a call of the class checks only whether the record
    contradicts itself.

    Raises:
        ValueError: ``status`` is ok with an error or without its measurement, or not ok without a
            reason; or an unknown form of ``source``.
    """

    schema_version: Literal[3] = 3
    id: Id
    kind: Kind
    status: Status = "ok"
    error: str | None = None  # reason, then the last lines of the log
    model: str  # full name: hevitpose_nano
    variant: str | None = None  # nano, t, s, b; None for peers
    grid: str | None = None  # the grid that first asked for it; None for the shared default
    cell: str | None = None  # the cell's name in that grid; "default" for the shared default
    axes: dict[str, Any] = {}  # config keys in which the cell differs from the default
    cell_id: Id | None = None
    config: dict[str, Any] = {}  # resolved
    config_hash: str | None = None  # without the seed and the data
    inputs: dict[str, Any] = {}  # what the id is a hash of
    seed: int | None = None
    tuned: dict[str, list[Scalar]] = {}  # config key -> values tried on minival; the best was taken
    dataset: Dataset | None = None
    training: Id | None = None  # of an evaluation: the training whose weights it scores
    weights: Sha256 | None = None  # the file that was left, or scored
    condition: str | None = None  # of an evaluation: its name in a grid, or fog:3; None: plain
    flip_test: bool | None = None
    decoder: str | None = None
    selection: str | None = None  # which checkpoint is reported: last, minival, val
    threads: int | None = None
    precision: str | None = None
    params: Count | None = None
    flops: Flops | None = None
    metrics: dict[str, float | None] = {}  # None: nothing was counted for it (0 of 0)
    intervals: dict[str, Interval] = {}  # of single metrics of this one run
    breakdown: Breakdown | None = None  # of an evaluation; None: not computed
    resampled: Resampled | None = None  # of an evaluation on a small val set of COCO's format
    latency: Latency | None = None
    peak_memory: Count | None = None  # bytes
    train: Train | None = None
    curve: list[dict[str, Scalar]] = []  # one row per evaluation or epoch
    artifacts: dict[str, Artifact] = {}
    code: Code = msgspec.field(default_factory=Code)
    machine: Machine = msgspec.field(default_factory=Machine)
    versions: dict[str, str | None] = {}
    started_at: Annotated[datetime, Meta(tz=True)]
    seconds: NonNegative = 0.0
    source: str = "measured"  # or "published: CITATION"

    def __post_init__(self) -> None:
        if self.source != "measured" and not re.match(r"published: +[^ ]", self.source):
            raise ValueError(
                f'source: {self.source!r}, expected "measured" or "published: CITATION"'
            )
        if self.status == "ok":
            if self.error is not None:
                raise ValueError("status is ok but there is an error")
            present = {
                "training": self.train is not None and self.weights is not None,
                "evaluation": any(value is not None for value in self.metrics.values()),
                "complexity": self.params is not None and self.flops is not None,
                "latency": self.latency is not None and self.latency.p50 is not None,
            }[self.kind]
            if not present:
                raise ValueError(f"status is ok but the {self.kind} measurement is missing")
        elif not self.error:
            raise ValueError(f"status is {self.status} but no reason is given")

    @classmethod
    def of(cls, fields: Mapping[str, Any], *, from_json: bool = False) -> Record:
        """The record of these fields, each of them checked.

        Args:
            fields: plain data, numbers of numpy among them, or parts as they are. A metric that is
                NaN becomes None.
            from_json: they are as JSON holds them, every number finite: no look at each of them.

        Raises:
            ValueError: an unknown or a missing field, a value of another type or out of range, a
                number that is not finite, or a record that contradicts itself; one line that says
                where, what is there, and what was expected.
        """
        plain: dict[str, Any] = dict(fields) if from_json else _plain(_nan_is_none(fields), "")
        try:
            return msgspec.convert(plain, cls)
        except msgspec.ValidationError as error:
            raise ValueError(_one_line(str(error), plain)) from None

    def to_json(self) -> str:
        """The record as its file holds it: one line per field, so that versions can be compared."""
        lines = (
            f" {json.dumps(key)}: {json.dumps(value, allow_nan=False, ensure_ascii=False)}"
            for key, value in self.to_dict().items()
        )
        text = "{\n" + ",\n".join(lines) + "\n}\n"
        # Of a path that is no UTF-8, say: as the letters of its escape.
        return re.sub("[\ud800-\udfff]", lambda half: rf"\\u{ord(half[0]):04x}", text)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as JSON has them: :meth:`of` makes an equal record of it."""
        return msgspec.to_builtins(self)


def _nan_is_none(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """The metrics without NaN: what nothing was counted for (0 of 0) is None, never a number."""
    metrics = fields.get("metrics")
    if not isinstance(metrics, Mapping):
        return fields
    counted = {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in metrics.items()
    }
    return {**fields, "metrics": counted}


def _plain(value: Any, key: str) -> Any:
    """Numbers of other libraries as Python's own; none that is not finite."""
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        if not math.isfinite(value):
            raise ValueError(f"{key}: {float(value)!r}, expected a finite number")
        return float(value)
    if isinstance(value, Mapping):
        start = f"{key}." if key else ""
        return {name: _plain(item, f"{start}{name}") for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{key}[{i}]") for i, item in enumerate(value)]
    return value


def _one_line(message: str, fields: dict[str, Any]) -> str:
    """Msgspec's message with the key before it, and the value, which msgspec does not tell.

    Args:
        message: ``Expected `float` >= 0.0 - at `$.flops.mmcv```.
        fields: that were refused; spoiled by the search.

    Returns:
        ``flops.mmcv: -1.0, expected `float` >= 0.0``.
    """
    what, _, path = message.partition(" - at `$")
    value: Any = fields
    where: list[str] = []
    for step in re.findall(r"\w+|\.\.\.", path):
        key = _refused(value, fields, message) if step == "..." else step
        value = value[int(key)] if isinstance(value, list) else value[key]
        where.append(key)
    if not where:
        return what
    if what.startswith("Invalid enum value"):
        what = f"expected one of {', '.join(_LITERALS.get(where[0], ()))}"
    if not what.startswith(("Expected", "expected")):  # an unknown or a missing field of a part
        return f"{'.'.join(where)}: {what}"
    return f"{'.'.join(where)}: {repr(value)[:60]}, e{what[1:]}"


def _refused(entries: dict[str, Any], fields: dict[str, Any], message: str) -> str:
    """The key of the entry that a message is about: of a mapping, msgspec tells none."""
    for key, value in list(entries.items()):
        entries.clear()
        entries[key] = value
        try:
            msgspec.convert(fields, Record)
        except msgspec.ValidationError as error:
            if str(error) == message:
                return key
    raise AssertionError(message)
