"""``hevitpose records``: what is chosen, what is left out, and the exit code."""

from __future__ import annotations

from pathlib import Path

import pytest

from hevitpose.cli import execute
from hevitpose.models.spec import WEIGHTS

#: Two ids alike in their beginning, and another.
IDS = ("ab" * 10, "ab" * 9 + "cd", "9" * 20)


@pytest.fixture
def runs(tmp_path) -> Path:
    for name in IDS:
        (tmp_path / "train" / name).mkdir(parents=True)
        (tmp_path / "train" / name / WEIGHTS).write_bytes(b"x")
    return tmp_path


def weights(runs: Path) -> set[str]:
    return {path.parent.name for path in (runs / "train").glob(f"*/{WEIGHTS}")}


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([""], "record id '': expected 1 to 20"),
        (["zz"], "record id 'zz': expected 1 to 20"),
        (["99", "ab"], "record id 'ab' is ambiguous"),
        (["99", "c"], "no weights of a training whose id starts with 'c'"),
    ],
)
def test_prune_takes_a_beginning_for_one_id_or_removes_nothing(runs, ids, message, capsys):
    assert execute(["records", "prune", *ids, "--runs", str(runs), "--remove"]) == 2
    assert message in capsys.readouterr().err
    assert weights(runs) == set(IDS)


def test_prune_removes_what_was_named(runs):
    assert execute(["records", "prune", "9", "99", "--runs", str(runs), "--remove"]) == 0
    assert weights(runs) == set(IDS[:2])
    assert execute(["records", "prune", "--runs", str(runs), "--remove"]) == 0
    assert not weights(runs)
