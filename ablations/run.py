"""The runner: jobs that are not recorded yet, to records.

Whatever happens to it (kill, full disk, Ctrl-C), what was recorded stays and what ran goes on from
its last checkpoint with the same command. A job that fails is recorded as failed and the others go
on. An evaluation, and a training that starts from another, begins when the weights that it needs
are there; where they are gone, that training is run again.
"""

from __future__ import annotations

import shutil
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from ablations import display
from ablations.options import WORK
from ablations.plan import History, Job, Plan, trainings_to_run
from ablations.recording import failure_of, record_of, remove_empty, tidy
from ablations.workers import Workers
from ablations.workers.job import Payload
from hevitpose import runs
from hevitpose.data.registry import labels_of
from hevitpose.errors import DataError, UsageError, first_line
from hevitpose.isolated import BUSY, Outcome
from hevitpose.leases import Leases
from hevitpose.models.spec import WEIGHTS
from hevitpose.program import interruptible
from hevitpose.records import Record, RecordStore, one_line, provenance

_POLL_SECONDS = 1.0
_FOREIGN_SECONDS = 0.5


@dataclass
class Summary:
    """How a grid ended."""

    recorded: int = 0  # made now
    cached: int = 0  # were there
    made: list[Record] = field(default_factory=list)  # evaluations made now
    failed: list[tuple[Job, str]] = field(default_factory=list)  # now or before, not retried
    labels: list[str] = field(default_factory=list)  # what has to be said of the data

    @property
    def exit_code(self) -> int:
        """0 if every job has its record."""
        return 1 if self.failed else 0

    def text(self) -> str:
        """One line, and one for each label of the data and for each failure."""
        lines = [
            f"{self.recorded} measured, {self.cached} recorded before, {len(self.failed)} failed",
            *self.labels,
        ]
        for job, error in self.failed:
            seed = "" if job.seed is None else f" seed {job.seed}"
            lines.append(f"  failed: {job.label}{seed} {job.kind} ({job.id}): {error}")
        return "\n".join(lines)


class Runner:
    """One run of a plan.

    Args:
        plan: what there is to do.
        out: holds ``records/``, ``train/`` and ``evaluate/`` (checkpoints, weights, predictions),
            ``cells/`` (what measurements write) and ``leases/``.
        workers: who does the jobs.
        retry_failed: also run what failed before.
        work: the module whose functions do the work.
        committed: more stores whose records count as done.
        expected: seconds of jobs by id, for the time left while nothing was measured here.
        shown: the display, entered; one of its own otherwise.
        prepare: called with the jobs that are to run and their seconds, before the first starts.
    """

    def __init__(
        self,
        plan: Plan,
        out: Path,
        workers: Workers,
        *,
        retry_failed: bool = False,
        work: str = WORK,
        committed: Sequence[RecordStore] = (),
        expected: Mapping[str, float] | None = None,
        shown: display.Display | None = None,
        prepare: Callable[[Iterable[Job], float | None], None] | None = None,
    ) -> None:
        self.plan, self.out, self.workers = plan, out, workers
        self.retry_failed, self.work, self.committed = retry_failed, work, committed
        self.expected, self.display = expected or {}, shown or display.Display()
        self.prepare = prepare
        self.store = RecordStore(out / "records")
        self.leases = Leases(out / "leases")
        self.summary = Summary(labels=labels_of(*(job.config.data.dataset for job in plan.jobs)))
        self.waiting: deque[Job] = deque()
        self.running: dict[str, tuple[Job, float]] = {}
        self.costs: dict[tuple[str, str], Record] = {}  # (cell_id, kind)
        self.took: dict[str, list[float]] = {}  # kind -> seconds of the jobs of this run

    @cached_property
    def history(self) -> History:
        """Earlier records of any job: thousands, which are read where something is to be run."""
        return History(self.store, *self.committed)

    def run(self) -> Summary:
        """Runs everything that is missing.

        Raises:
            HEViTPoseError: records cannot be written (a full disk, a newer store).
            KeyboardInterrupt: Ctrl-C, SIGTERM, SIGHUP or SIGQUIT; children have been ended.
        """
        self.store.check_writable()
        self.store.sweep()
        needed = trainings_to_run(self.plan, self._recorded, self._weights)
        for job in self.plan.jobs:
            if self._recorded(job) and job.id not in needed:
                self._cached(job)
            elif job.id in self.history.failed and not self.retry_failed:
                error = first_line(self.history.failed[job.id][-1].error)
                self.summary.failed.append((job, f"{error} (--retry-failed tries again)"))
            else:
                self.waiting.append(job)
        self._drop_hopeless()
        self._require_weights()
        if not self.waiting:
            self.leases.close()
            remove_empty(self.out)  # of a runner that was killed at its end
            return self.summary
        for label in self.summary.labels:
            self.display.line(label)
        try:
            self.display.begin(len(self.waiting), self.seconds_left())
            with interruptible():
                if self.prepare is not None:
                    self.prepare(self.waiting, self.seconds_left())
                self._loop()
        finally:
            self.workers.close()
            self.leases.close()
            remove_empty(self.out)
        return self.summary

    # Scheduling ------------------------------------------------------------------------------

    def _loop(self) -> None:
        while self.waiting or self.running:
            foreign = self._start_what_fits()
            if not self.running:
                if foreign:  # all that is left is being done by another runner
                    job = self.waiting[0]
                    whose = f"waiting for {job.label}: {self.leases.holder(job.id)} has it"
                    self.display.status(whose, None)
                    time.sleep(_FOREIGN_SECONDS)
                elif self.waiting:
                    self._give_up()
                continue
            ended = self.workers.wait(_POLL_SECONDS)
            # First all off the list of what runs: a line about one asks how far the others are.
            for job, outcome in [(self.running.pop(key)[0], outcome) for key, outcome in ended]:
                self._finish(job, outcome)
                self.leases.release(job.id)
                self.display.advance()
            if self.running:
                self.display.status(self._running_text(), self.seconds_left())

    def _start_what_fits(self) -> bool:
        """Starts jobs in order while there is room; whether some are another runner's."""
        foreign = False
        for job in list(self.waiting):
            if len(self.running) >= self.workers.slots:
                break
            # A latency is only true when nothing else runs.
            if self.running and (job.kind == "latency" or self._times()):
                break
            if self._waits_for_training(job):
                continue
            if not self.leases.acquire(job.id):
                foreign = True
                continue
            self.waiting.remove(job)
            if self._recorded(job) and self._has_weights(job):  # by another, since we looked
                self.leases.release(job.id)
                self._cached(job)
                self.display.advance()
                continue
            self._start(job)
        return foreign

    def _waits_for_training(self, job: Job) -> bool:
        """Whether the training that a job needs is still to be run, here or by another runner."""
        if job.needs is None:
            return False
        pending = job.needs in self.running or any(j.id == job.needs for j in self.waiting)
        return pending or self._weights(job.needs) is None

    def _require_weights(self) -> None:
        """What is needed and made by no job of the plan must be there before anything runs.

        Raises:
            UsageError: it is not.
        """
        made = {job.id for job in self.plan.jobs}
        for job in self.waiting:
            whose = job.needs
            if whose is None or whose in made or self._weights(whose) is not None:
                continue
            folder = runs.training_folder(self.out, whose)
            raise UsageError(
                f"training.start_from: {whose}: no weights of this training, as it is recorded, "
                f"in {folder}"
            )

    def _give_up(self) -> None:
        """Jobs whose weights were removed or replaced since this run began."""
        while self.waiting:
            job = self.waiting.popleft()
            self.summary.failed.append(
                (job, "its weights were removed or replaced during this run")
            )
            self.display.advance()

    def _has_weights(self, job: Job) -> bool:
        return job.kind != "training" or self._weights(job.id) is not None

    def _drop_hopeless(self) -> None:
        """Takes off the list what needs a training that failed: that is said once, of it."""
        failed = {job.id for job, _ in self.summary.failed}
        for job in list(self.waiting):  # what needs weights comes after what leaves them
            if job.needs in failed:
                failed.add(job.id)
                self.waiting.remove(job)

    def _times(self) -> bool:
        return any(job.kind == "latency" for job, _ in self.running.values())

    def _start(self, job: Job) -> None:
        config = job.config
        if job.needs is not None:
            weights = runs.training_folder(self.out, job.needs) / WEIGHTS  # asked for before
            if job.kind == "training":
                config = runs.with_start(config, weights)
            else:
                config = config.with_overrides({"model.checkpoint": str(weights)})
        # As its id says: a worker of another machine may know another device by "auto".
        config = config.model_copy(update={"device": provenance.device_type(config.device)})
        payload: Payload = {
            "work": self.work,
            "kind": job.kind,
            "config": config.model_dump(mode="json"),
            "folder": str(self._folder(job)),
        }
        self.running[job.id] = (job, time.monotonic())
        self.workers.start(job.id, payload, job.config.training.threads)

    @property
    def _stores(self) -> tuple[RecordStore, ...]:
        return (self.store, *self.committed)

    def _recorded(self, job: Job) -> bool:
        return any(job.id in store for store in self._stores)

    def _weights(self, training_id: str) -> Path | None:
        return runs.recorded_weights(self.out, training_id, self._stores)

    def _cached(self, job: Job) -> None:
        """Counts a job that has its record, and tidies what a kill after recording left."""
        self.summary.cached += 1
        record = next(store.get(job.id) for store in self._stores if job.id in store)
        if record is not None:
            self._remember(record)
            if self._folder(job).exists() and self.leases.acquire(job.id):
                tidy(self._folder(job))
                self.leases.release(job.id)

    # Records ---------------------------------------------------------------------------------

    def _finish(self, job: Job, outcome: Outcome) -> None:
        """An outcome to a record, a line on the screen, and a tidy folder."""
        folder = self._folder(job)
        if outcome.status == "ok":
            try:
                record = record_of(job, outcome.result, folder)
                new = runs.add(self.store, record, folder)
            except (DataError, ValueError) as error:
                reason = f"not recordable: {one_line(error)}"
                outcome = replace(outcome, status="failed", reason=reason)
            else:
                self._succeeded(job, record, new)
                return
        seconds = 0.0
        if outcome.status != BUSY:  # then it has not been tried
            failure = failure_of(job, outcome, folder)
            seconds = failure.seconds
            self.store.add_failure(failure)
            if job.kind != "training":
                shutil.rmtree(folder, ignore_errors=True)
        reason = first_line(outcome.reason)
        self.summary.failed.append((job, reason))
        before = len(self.waiting)
        self._drop_hopeless()
        self.display.advance(before - len(self.waiting))
        self._say(job, f"{outcome.status.upper()} {job.kind}: {reason}", seconds)

    def _succeeded(self, job: Job, record: Record, new: bool) -> None:
        if new:
            self.summary.recorded += 1
        else:
            self.summary.cached += 1  # another runner was first, or weights were gone
        self.took.setdefault(job.kind, []).append(record.seconds)
        self._remember(record)
        tidy(self._folder(job))
        if job.kind == "evaluation":
            self.summary.made.append(record)
            self._say(job, display.scores(record), record.seconds)

    def _remember(self, record: Record) -> None:
        if record.kind in ("complexity", "latency") and record.cell_id:
            self.costs[record.cell_id, record.kind] = record

    def _folder(self, job: Job) -> Path:
        if job.kind == "training":
            return runs.training_folder(self.out, job.id)
        if job.kind == "evaluation":
            return runs.evaluation_folder(self.out, job.id)
        return self.out / "cells" / job.id

    # Display ---------------------------------------------------------------------------------

    def _say(self, job: Job, result: str, seconds: float) -> None:
        seed = "" if job.seed is None else f"seed {job.seed}"
        cell = job.run.cell_id
        price = display.cost(
            self.costs.get((cell, "complexity")), self.costs.get((cell, "latency"))
        )
        left = display.time_left(self.seconds_left())
        count = f"[{self.display.done + 1}/{self.display.total}]"
        took = display.duration(seconds)
        label = job.label.ljust(self.plan.label_width)
        self.display.line(f"{count:>9} {label} {seed:<7} {price:<24} {result}  {took}, {left}")

    def _running_text(self) -> str:
        texts = []
        for key, (job, _) in self.running.items():
            done, total = self.workers.progress(key)
            share = f" {done}/{total}" if total else ""
            texts.append(f"{job.label} {job.kind}{share}")
        return "; ".join(texts)

    def seconds_left(self) -> float | None:
        """Estimated seconds until all is done; None while there is nothing to go by.

        What is not known of a job beside a training, a second or two, counts as nothing.
        """
        total = 0.0
        for job in self.waiting:
            expected = self._expected(job)
            if expected is None and job.kind == "training":
                return None
            total += expected or 0.0
        for key, (job, started) in self.running.items():
            elapsed = time.monotonic() - started
            done, steps = self.workers.progress(key)
            expected = elapsed * steps / done if done else self._expected(job)
            if expected is None and job.kind == "training":
                return None
            total += max(0.0, (expected or 0.0) - elapsed)
        return total / self.workers.slots

    def _expected(self, job: Job) -> float | None:
        known = self.history.seconds(job)
        if known is not None:
            return known
        took = self.took.get(job.kind)
        if took:
            return sum(took) / len(took)
        rates = []
        for key, (other, started) in self.running.items():
            done, steps = self.workers.progress(key)
            if other.kind == job.kind and done:
                rates.append((time.monotonic() - started) * steps / done)
        if not rates:
            return self.expected.get(job.id) or self._expected_of_kind.get(job.kind)
        return sum(rates) / len(rates)

    @cached_property
    def _expected_of_kind(self) -> dict[str, float]:
        """The mean of what is expected of each kind of job."""
        found: dict[str, list[float]] = {}
        for job in self.plan.jobs:
            if job.id in self.expected:
                found.setdefault(job.kind, []).append(self.expected[job.id])
        return {kind: sum(seconds) / len(seconds) for kind, seconds in found.items()}
