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
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    NonNegativeFloat,
    NonNegativeInt,
    StringConstraints,
    model_validator,
)

from hevitpose.records.identity import Kind

#: Version of this schema. A change to a field raises it and adds a migration.
SCHEMA_VERSION = 3
#: How an id looks: hexadecimal digits of a sha256.
ID_PATTERN = r"[0-9a-f]{20}"

Status = Literal["ok", "failed", "oom", "diverged", "skipped"]
Scalar = str | int | FiniteFloat | bool | None
Id = Annotated[str, StringConstraints(pattern=f"^{ID_PATTERN}$")]
Sha256 = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
Gflops = NonNegativeFloat


def _check_source(source: str) -> str:
    if source != "measured" and not (source.startswith("published: ") and source[11:].strip()):
        raise ValueError('expected "measured" or "published: CITATION"')
    return source


def _nan_is_none(metrics: Any) -> Any:
    """A metric that nothing was counted for (0 of 0) is None, never a number."""
    if not isinstance(metrics, dict):
        return metrics
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in metrics.items()}


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Dataset(_Part):
    """What was trained or evaluated on."""

    name: str
    split: str
    fingerprint: str  # "sha256:..." or "synthetic:v1:..."
    boxes: str  # "gt" or "FILE>=threshold"
    counts: dict[str, int] = {}  # people evaluated; left out, by reason
    skipped: list[str] = []  # what was left out as bad: what, where, why


class Flops(_Part):
    """GFLOPs of one image under three conventions; None where not counted."""

    mmcv: Gflops | None = None
    fvcore: Gflops | None = None
    torch: Gflops | None = None


class Latency(_Part):
    """Times in milliseconds under named conditions."""

    conditions: dict[str, Scalar]  # device, batch, input, dtype, layout, mode, threads, scope ...
    samples: list[NonNegativeFloat] = []
    p50: NonNegativeFloat | None = None
    p90: NonNegativeFloat | None = None  # from n >= 100
    p99: NonNegativeFloat | None = None  # from n >= 1000
    min: NonNegativeFloat | None = None
    iqr: NonNegativeFloat | None = None
    n: NonNegativeInt = 0
    noisy: bool = False  # IQR / median above 10%
    parity: NonNegativeFloat | None = None  # largest relative error against eager fp32
    details: dict[str, Any] = {}  # harness overhead, warm-up, clocks before and after ...


class Train(_Part):
    """What training cost."""

    epochs: NonNegativeFloat | None = None  # passes over the training people, also part of one
    steps: NonNegativeInt | None = None  # of the optimiser
    seconds: NonNegativeFloat | None = None  # evaluation and loading included
    images_per_s: NonNegativeFloat | None = None
    best_epoch: NonNegativeFloat | None = None  # whose weights are reported
    lr: NonNegativeFloat | None = None  # after scaling with the total batch
    total_batch: NonNegativeInt | None = None  # images a step, over all devices
    people: NonNegativeInt | None = None  # trained on
    loss: FiniteFloat | None = None  # mean of the last chunk of steps


class Interval(_Part):
    """An interval around a metric of one run, and how it was made."""

    low: FiniteFloat
    high: FiniteFloat
    method: str  # "bootstrap over images"
    n: NonNegativeInt


class JointScore(_Part):
    """One joint of an evaluation."""

    n: NonNegativeInt  # counted
    oks: FiniteFloat | None = None  # mean similarity, 0..1; None where the protocol has none
    auc: FiniteFloat | None = None  # of the PCK curve from 0 to 0.5, 0..1
    pck: list[FiniteFloat] = []  # at the thresholds
    errors: dict[str, NonNegativeInt] = {}  # good, jitter, ... -> joints; {}: not computed


class GroupScore(_Part):
    """Some of the people of an evaluation; None where there are none."""

    people: NonNegativeInt
    oks: FiniteFloat | None = None  # mean, 0..1; a missed person has 0
    ap: FiniteFloat | None = None
    ar: FiniteFloat | None = None


class Breakdown(_Part):
    """An evaluation by joint and by group of people."""

    unit: str  # of PCK's thresholds: "head size", "longer side of the box"
    thresholds: list[FiniteFloat]
    joints: dict[str, JointScore]
    groups: dict[str, dict[str, GroupScore]] = {}  # visible_joints, size, crowd_index


class Artifact(_Part):
    """A file that the run left, by its path under the run folder."""

    path: str
    sha256: Sha256


class Code(_Part):
    """The code that ran."""

    commit: str | None = None
    dirty: bool | None = None  # source paths only; None without git
    version: str | None = None


class Machine(_Part):
    """The machine that ran it."""

    cpu: str | None = None
    threads: int | None = None  # logical processors
    gpu: str | None = None
    driver: str | None = None
    ram: float | None = None  # GiB
    details: dict[str, Any] = {}  # governor, power limit ...


class Record(_Part):
    """One measurement of one kind.

    Raises:
        pydantic.ValidationError: an unknown field, a value out of range, a metric that is not a
            finite number, or a record that contradicts itself (``status`` ok with an error or
            without its measurement, not ok without a reason).
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
    params: NonNegativeInt | None = None
    flops: Flops | None = None
    metrics: Annotated[dict[str, FiniteFloat | None], BeforeValidator(_nan_is_none)] = {}
    intervals: dict[str, Interval] = {}  # of single metrics of this one run
    breakdown: Breakdown | None = None  # of an evaluation; None: not computed
    latency: Latency | None = None
    peak_memory: NonNegativeInt | None = None  # bytes
    train: Train | None = None
    curve: list[dict[str, Scalar]] = []  # one row per evaluation or epoch
    artifacts: dict[str, Artifact] = {}
    code: Code = Code()
    machine: Machine = Machine()
    versions: dict[str, str | None] = {}
    started_at: AwareDatetime
    seconds: NonNegativeFloat = Field(default=0.0)
    source: Annotated[str, AfterValidator(_check_source)] = "measured"

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Record:
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
        return self

    def to_json(self) -> str:
        """The record as its file holds it: one line per field, so that versions can be compared."""
        fields = self.model_dump(mode="json")
        lines = (
            f" {json.dumps(key)}: {json.dumps(value, allow_nan=False, ensure_ascii=False)}"
            for key, value in fields.items()
        )
        return "{\n" + ",\n".join(lines) + "\n}\n"
