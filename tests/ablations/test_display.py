"""Time left from the first second: of the project's own records until something is done here."""

from __future__ import annotations

import io

import pytest
import rich.progress
from rich.console import Console

from ablations import cli, display
from ablations.cli import session
from ablations.grid import load_grids
from ablations.plan import plan
from ablations.run import Runner
from ablations.workers import create_workers


@pytest.fixture
def made(options_for, grid):
    """Options, and the plan of a grid of two cells."""
    path = grid("axes: {model.attention: [mhsa]}")
    options = options_for(path)
    return options, plan(load_grids(options.grid_names, options.base_config()), [0])


def runner(options, planned, **more):
    workers = create_workers(
        "local", workers=1, threads=1, timeout=20.0, preload=options.preload
    )  # fmt: skip
    return Runner(planned, options.out, workers, work=options.work, **more)


def test_what_is_expected_is_said_before_anything_runs(made, capsys):
    options, planned = made
    trainings = [job for job in planned.jobs if job.kind == "training"]
    expected = {trainings[0].id: 120.0}  # the other training is taken to be like it
    asked = []
    runner(
        options,
        planned,
        expected=expected,
        prepare=lambda jobs, left: asked.append((len(jobs), left)),
    ).run()
    first = capsys.readouterr().out.splitlines()[0]
    assert first == f"{len(planned.jobs)} to measure, about 4 min left"
    assert asked == [(len(planned.jobs), 240.0)]
    runner(options, planned, prepare=lambda *_: pytest.fail("nothing is left to run")).run()


def test_nothing_known_is_said_too(made, capsys):
    options, planned = made
    runner(options, planned).run()
    assert capsys.readouterr().out.splitlines()[0].endswith("time left not known yet")


def test_the_main_job_is_known(monkeypatch, tmp_path):
    from ablations.grid_file import MAIN_GRIDS
    from ablations.options import Options

    options = Options(out=tmp_path, threads=1)
    planned = plan(load_grids(MAIN_GRIDS, options.base_config()), [0])
    found = cli._expected(planned)
    trainings = [job for job in planned.jobs if job.kind == "training"]
    assert sum(job.id in found for job in trainings) > 0.8 * len(trainings)


def test_people_are_rendered_within_the_same_display(options_for, grid, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(display.Display, "status", lambda self, text, left, **_: said.append(text))
    path = grid("axes: {model.attention: [mhsa]}")
    assert session(options_for(path, data=tmp_path / "fresh")) == 0
    assert any(text.startswith("synthetic people ") for text in said)
    assert (tmp_path / "fresh" / "synthetic.json").exists()


def test_the_bar_is_in_time(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(display.sys.stdout, "isatty", lambda: True, raising=False)
    bars = []

    class Bar(rich.progress.Progress):
        def __init__(self, *columns, **more):
            super().__init__(*columns, console=Console(file=io.StringIO()), **more)
            bars.append(self)

    monkeypatch.setattr(rich.progress, "Progress", Bar)
    with display.Display() as shown:
        (task,) = bars[0].tasks
        assert task.total is None  # pulses until the time is known
        clock[0] = 130.0
        shown.begin(8, 90.0)
        assert (task.completed, task.total) == (30.0, 120.0)
        assert task.description == "8 to measure, about 90 s left"
        clock[0] = 160.0
        shown.status("default training 3/5", 20.0)
        assert (task.completed, task.total) == (60.0, 80.0)
        assert task.description == "default training 3/5, about 20 s left"
