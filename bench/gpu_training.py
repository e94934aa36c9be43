"""Parts c and d of ``bench/gpu.py``: how fast training goes, and a training for real."""

from __future__ import annotations

import argparse
import math
import multiprocessing
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.gpu_data import dataset_of
from bench.gpu_session import KEYPOINTS, Session
from bench.worker import preload, run_group
from hevitpose.cost.latency import Conditions
from hevitpose.errors import DataError
from hevitpose.isolated import Outcome
from hevitpose.records import provenance

#: The network that is trained.
TRAINED = "hevitpose_t"
#: Of the time of part d, for the one training; the rest is for the cells.
SHARE = 0.6
#: A cell that trains for less is not worth its start.
LEAST_CELL_SECONDS = 8.0
#: Of a cell's time: other attentions may be slower than the one whose pace is known.
SLOWER = 0.7
#: Left over at the end where there are no cells.
END_SECONDS = 15.0
#: Compiling forward and backward of a training step is not begun with less.
COMPILE_SECONDS = 45.0
#: A training may take this much longer than planned: late, it would be for nothing.
GRACE_SECONDS = 20.0
#: What the children need beyond those of bench/latency.py.
PRELOAD = ("cv2", "pytorch_lightning", "hevitpose.training.fit", "hevitpose.runs")
#: For reading from a disk that has never been read.
WARM_UP_SECONDS = 150.0
#: Steps between two looks at the clock.
BLOCK = 4
#: Of the measured throughput that a plan counts on.
CAUTION = 0.9


@dataclass(frozen=True)
class StepJob:
    """A throughput of training steps on noise."""

    conditions: Conditions  # device, batch and input
    model: str
    form: str
    seconds: float


@dataclass(frozen=True)
class TrainJob:
    """A training, or the loading that feeds one."""

    conditions: Conditions
    overrides: dict[str, Any]  # of the config
    runs: str = ""

    def with_steps(self, steps: int, **more: Any) -> TrainJob:
        """The same with so many steps, its warm-up and checkpoints to match."""
        given = {
            "training.steps": steps,
            "training.warmup_steps": max(1, min(500, steps // 20)),
            "training.checkpoint_steps": max(1, math.ceil(steps / 4)),
            **more,
        }
        return replace(self, overrides=self.overrides | given)


# ---------------------------------------------------------------------------------- in a child


def fork_workers() -> None:
    """Workers of loaders as in a training from the command line.

    A child of a fork server has its way, by which every worker would import torch anew, for every
    loader; they start in milliseconds otherwise.
    """
    multiprocessing.set_start_method("fork", force=True)


def step_rate(job: StepJob) -> dict[str, Any]:
    """Images per second of a form, and the memory it took."""
    import torch

    from bench.training_step import step_of
    from hevitpose.training.devices import peak_memory

    conditions = job.conditions
    wait = torch.cuda.synchronize if conditions.is_cuda else lambda: None
    options = argparse.Namespace(
        model=job.model,
        batch=conditions.batch,
        input=conditions.input_size,
        device=conditions.device,
    )
    if conditions.is_cuda:
        torch.cuda.empty_cache()  # of the form before it
        torch.cuda.reset_peak_memory_stats()
    step = step_of(job.form, options)
    for _ in range(BLOCK):
        step()
    wait()
    start, steps = time.perf_counter(), 0
    while (spent := time.perf_counter() - start) < job.seconds or not steps:
        for _ in range(BLOCK):  # as in training, where the processor runs ahead of the device
            step()
        steps += BLOCK
        wait()
    return {
        "images_per_s": steps * conditions.batch / spent,
        "ms": 1000 * spent / steps,
        "memory_mib": peak_memory() / 2**20,
    }


def loader_rate(job: TrainJob) -> dict[str, Any]:
    """Images per second of loading and augmenting alone, after the workers have started."""
    from hevitpose.config import load_config
    from hevitpose.training.loaders import load_split, training_loader

    fork_workers()
    config = load_config(None, job.overrides)
    table = load_split(config, "train", training=True)
    steps = config.training.steps or 1
    start, seen = 0.0, 0
    for index, batch in enumerate(training_loader(config, table, range(steps))):
        if index == steps // 4:
            start, seen = time.perf_counter(), 0
        seen += len(batch["image"])
    spent = time.perf_counter() - start
    return {
        "images_per_s": (seen - config.training.batch_size) / spent,
        "workers": config.data.workers,
        "people": len(table),
    }


def probe(job: TrainJob) -> dict[str, Any]:
    """A short training and its evaluation: images per second of the second half of its steps, and
    the seconds around them.
    """
    from hevitpose.config import load_config
    from hevitpose.runs import train_and_record

    fork_workers()
    config, marks = load_config(None, job.overrides), []
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="hevitpose-probe-") as folder:
        finished = train_and_record(
            config,
            runs=Path(folder),
            progress=lambda done, total: marks.append((done, time.perf_counter())),
        )
    total = time.perf_counter() - start
    assert finished is not None and finished.training.train is not None
    marks = marks[: config.training.steps]  # the evaluation reports after the steps
    (first, begun), (last, ended) = marks[len(marks) // 2 - 1], marks[-1]
    return {
        "images_per_s": (last - first) * config.total_batch / (ended - begun),
        "fixed_s": total - (ended - marks[0][1]),
        "people": finished.training.train.people,
    }


def train_for_real(job: TrainJob) -> dict[str, Any]:
    """The training with its record; what it scored."""
    from hevitpose.config import load_config
    from hevitpose.runs import train_and_record

    fork_workers()
    config = load_config(None, job.overrides)
    shown = [time.monotonic()]

    def progress(done: int, total: int) -> None:
        if (now := time.monotonic()) - shown[0] > 10:
            shown[0] = now
            print(f"[d] step {done}/{total}", file=sys.stderr)

    finished = train_and_record(config, runs=Path(job.runs), progress=progress)
    assert finished is not None
    training, scores = finished.training, finished.evaluation.metrics
    return {
        "record": training.id,
        "evaluation": finished.evaluation.id,
        **{name: scores[name] for name in ("AP", "AP50", "AP75") if name in scores},
        **{
            name: getattr(training.train, name)
            for name in ("steps", "epochs", "images_per_s", "loss")
        },
        "memory_mib": training.peak_memory / 2**20 if training.peak_memory else None,
    }


# ------------------------------------------------------------------------------ before the parts


def warm_up(session: Session) -> None:
    """Start two children, which take a few training steps; say how long each was.

    On a fresh machine the first one reads libraries and kernels from the disk, a minute or so, and
    several at once are no faster.
    """
    preload(*PRELOAD)
    scale = session.scale
    conditions = Conditions(session.device, 4, scale.train_size)
    job = StepJob(conditions, scale.ours[0], "train+bf16", 0.0)
    session.part, session.part_end = "start", session.end
    for child in ("first child", "next child"):
        start = time.monotonic()
        [outcome] = run_group([job], min(WARM_UP_SECONDS, session.left), step_rate)
        session.say(f"{child}: {outcome.reason or 'ready'} after {time.monotonic() - start:.1f} s")


# ------------------------------------------------------------------------------------- part c


def throughput(session: Session) -> None:
    """Part c: the loader, then steps of every form; compiling comes last, with what is left."""
    scale = session.scale
    try:
        loading(session)
    except DataError as error:  # steps need no data
        session.keep("loader", Outcome("failed", str(error)), {})
    for index, model in enumerate(scale.ours):
        jobs = [(f"{model} {form}", _step_job(session, model, form)) for form in scale.train_forms]
        session.group(jobs, step_rate, _result, seconds=session.left / (len(scale.ours) - index))
    for model in reversed(scale.compiled):
        form = "train+bf16+compile"
        job = (f"{model} {form}", _step_job(session, model, form))
        if session.todo([job]) and session.left < COMPILE_SECONDS:
            session.say(f"{job[0]}: not tried, takes up to {COMPILE_SECONDS:.0f} s")
            continue
        session.group([job], step_rate, _result)


def loading(session: Session) -> None:
    """The loader alone, with eight workers and with one for nearly every core."""
    base = train_job(session)
    most = max(1, provenance.cores() - 1)
    for workers in sorted({min(8, most), most}, reverse=True):
        job = base.with_steps(session.scale.loader_steps * workers, **{"data.workers": workers})
        session.group([(f"loader {workers} workers", job)], loader_rate, _result)


def _step_job(session: Session, model: str, form: str) -> StepJob:
    scale = session.scale
    conditions = Conditions(session.device, scale.train_batch, scale.train_size)
    return StepJob(conditions, model, form, scale.step_seconds)


def _result(key: str, job: Any, outcome: Outcome) -> dict[str, Any]:
    return outcome.result or {}


# ------------------------------------------------------------------------------------- part d


def train_job(session: Session) -> TrainJob:
    """The training of part d but for its steps."""
    scale = session.scale
    overrides: dict[str, Any] = {
        "model.name": TRAINED if TRAINED in scale.ours else scale.ours[0],
        "model.num_keypoints": KEYPOINTS,
        "data.dataset": dataset_of(session),
        "data.root": str(session.data),
        "data.input_size": list(scale.train_size),
        "data.workers": max(1, min(15, provenance.cores() - 1)),
        "data.eval_batch_size": max(64, scale.train_batch),
        "training.batch_size": scale.train_batch,
        "training.optimizer": "adamw",
        "training.lr": 1e-3,
        "training.weight_decay": 0.05,
        "training.schedule": "cosine",
        "training.precision": "bf16",
        "training.threads": 1,  # of the processor, which here only loads
        "training.deterministic": False,  # runs on a GPU are compared by interval
        "training.selection": "last",
        "training.eval_every": 1e6,  # only the end
        "device": session.device,
    }
    conditions = Conditions(session.device, scale.train_batch, scale.train_size)
    return TrainJob(conditions, overrides, str(session.out))


def real(session: Session) -> None:
    """Part d: one training with the steps that the time allows, then a cell of every attention."""
    base = train_job(session)
    name = base.overrides["model.name"]
    probing = base.with_steps(session.scale.probe_steps)
    session.group([("probe", probing)], probe, _result)
    pace = session.log.find(session.part, "probe")
    if pace is None:
        return
    if pace["status"] == "skipped":  # the device cannot train in this precision
        session.say("no training: its probe was skipped")
        return
    attentions, fixed = session.scale.attentions, pace["fixed_s"]
    share = (1 - SHARE) * session.left / len(attentions) - fixed
    seconds = SHARE * session.left if share >= LEAST_CELL_SECONDS else session.left - END_SECONDS
    steps = planned(session, f"steps of {name}", pace, seconds - fixed)
    jobs = [(f"{name} {steps} steps", base.with_steps(steps))]
    grace = min(session.left + GRACE_SECONDS, session.end - time.monotonic())
    session.group(jobs, train_for_real, _result, seconds=grace)
    if session.log.find(session.part, jobs[0][0]) is None:
        return  # it goes on from its checkpoint in the next call
    each = session.left / len(attentions) - fixed
    if each < LEAST_CELL_SECONDS and session.scale.most_steps is None:
        session.say(f"no attention cells: {each:.0f} s of training each would not do")
        return
    steps = planned(session, "steps of a cell", pace, SLOWER * each)
    cells = [
        (
            f"{name} attention={kind} {steps} steps",
            base.with_steps(steps, **{"model.attention": kind}),
        )
        for kind in attentions
    ]
    session.group(cells, train_for_real, _result)


def planned(session: Session, key: str, pace: dict[str, Any], seconds: float) -> int:
    """Steps for so many seconds of training, chosen and stated before it.

    They are kept, for the calls that continue it.
    """
    if row := session.log.find(session.part, key):
        return row["steps"]
    scale = session.scale
    steps = int(seconds * CAUTION * pace["images_per_s"] / scale.train_batch)
    steps = max(1, min(steps, scale.most_steps or steps))
    steps -= steps % 10 if steps > 10 else 0
    facts = {
        "steps": steps,
        "epochs": steps * scale.train_batch / pace["people"],
        "from_images_per_s": pace["images_per_s"],
        "for_seconds": seconds,
    }
    session.keep(key, Outcome("ok"), facts)
    return steps
