"""Which runs may stand in one row: what the ids have of devices and files, and no display key."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from hevitpose.config import Config
from hevitpose.config.section import keys_of
from hevitpose.records import Record, digest, identity
from reports.load import check, with_trainings
from reports.settings import FREE_KEYS, SharedConfig, setting
from reports.tables.accuracy import measured_groups


def pair(make, seed=0, *, config=None, training=None, runtime=None, mean=60.0) -> list[Record]:
    """A training and its evaluation; what their ids have may differ from what configs say."""
    base = make.evaluation(seed=seed, grid=None, mean=mean)
    of = {"config": {"total_batch": 64}, "device": "cpu", "model": {"name": "hevitpose_nano"}}
    inputs = {"kind": "training", "version": 1, "seed": seed, **of, **(training or {})}
    whole = base.config | {"device": "auto", "devices": 1, "nodes": 1, "imports": []}
    whole["training"] = {"steps": 300, "batch_size": 64, "base_batch": 64, "lr": 0.001}
    whole |= config or {}
    trained = Record.of(
        make.common("default", None, config=whole)
        | {"kind": "training", "id": digest(inputs), "inputs": inputs, "seed": seed}
        | {"weights": "0" * 64, "train": {"steps": 300}}
    )
    scored = {"kind": "evaluation", "version": 1, "weights": trained.id}
    scored["runtime"] = {"name": "torch", "precision": "fp32", "device": "cpu"} | (runtime or {})
    evaluation = replace(base, config=whole, training=trained.id, inputs=scored, id=digest(scored))
    return [trained, evaluation]


def rows(*pairs: list[Record]) -> list[list[int]]:
    """The seeds of each row of a table."""
    measured = check((f"{r.id}.json", r) for records in pairs for r in records)
    assert not measured.problems
    groups = measured_groups(measured, "synthetic", "val")["hevitpose_nano"]
    return sorted(sorted(r.seed for r in group) for group in groups)


def test_two_seeds_are_one_row(make):
    assert rows(pair(make, 0), pair(make, 1)) == [[0, 1]]


@pytest.mark.parametrize(
    "other",
    [
        # On eight devices the rate is scaled too; the evaluation's config says one device.
        {"training": {"config": {"total_batch": 512}}},
        {"training": {"config": {"total_batch": 64, "training": {"checkpoint_steps": 7}}}},
        {"training": {"device": "cuda"}},
        {"training": {"model": {"name": "hevitpose_nano", "imports": ["a" * 64]}}},
        {"runtime": {"device": "cuda"}},
    ],
)
def test_what_decides_a_result_is_no_one_row(make, other):
    assert rows(pair(make, 0), pair(make, 1, **other)) == [[0], [1]]
    assert rows(pair(make, 0, **other), pair(make, 1, **other)) == [[0, 1]]


def test_one_total_batch_over_any_number_of_devices_is_one_row(make):
    """The id says the total batch; so do paths, workers and loggers decide nothing."""
    several = {"devices": 2, "nodes": 4, "device": "cpu", "imports": ["a/mine.py"]}
    assert rows(pair(make, 0), pair(make, 1, config=several)) == [[0, 1]]


def test_an_evaluation_whose_training_is_elsewhere_says_it_itself(make):
    """As where the training's record was not imported, or the evaluation failed."""
    alone = [pair(make, seed)[1] for seed in (0, 1)]
    assert rows([alone[0]], pair(make, 1)) == [[0, 1]]
    wide = replace(alone[1], config=alone[1].config | {"devices": 8})
    assert setting(alone[0]) == setting(alone[1]) != setting(wide)
    mine = replace(alone[1], config=alone[1].config | {"imports": ["a/mine.py"]})
    assert setting(mine) != setting(alone[1])


def test_a_failed_evaluation_is_of_its_trainings_setting(make):
    given = {"training": {"model": {"name": "hevitpose_nano", "imports": ["a" * 64]}}}
    given["config"] = {"imports": ["a/mine.py"]}
    training, evaluation = pair(make, 0, **given)
    failed = replace(evaluation, status="failed", error="it broke", metrics={}, curve=[])
    other = pair(make, 1, **given)
    measured = check((f"{r.id}.json", r) for r in (training, failed, *other))
    found = [setting(r) for r in measured.records if r.kind == "evaluation"]
    assert len(found) == 2 and len(set(found)) == 1
    assert all(not r.curve for r in measured.records if r.status == "failed")


def test_every_key_is_free_or_decides_a_setting(make):
    """By its own value, or by what the ids have of it: there is no list of its own.

    The last ones have their place in the data's fingerprint, or in what is asked of the training.
    """
    keys = keys_of(Config)
    decides = {key for key, ids in keys.items() if ids}
    assert FREE_KEYS & decides == {"seed"}
    assert set(identity.IN_NO_ID) <= FREE_KEYS
    assert {key for key in keys if key not in decides} - FREE_KEYS == {
        "data.dataset", "data.box_source", "training.start_from",
    }  # fmt: skip
    assert identity.BY_PROXY.keys() & FREE_KEYS == {
        "data.people", "data.image_size", "model.checkpoint",
        "device", "devices", "nodes", "imports", "training.checkpoint_steps",
    }  # fmt: skip


def test_an_evaluation_alone_says_where_checkpoints_compete(make):
    alone = pair(make, 0)[1]
    every = [
        replace(alone, config=alone.config | {"training": {"batch_size": 64, **given}})
        for given in (
            {"selection": "minival", "checkpoint_steps": 7},
            {"selection": "minival", "checkpoint_steps": 8},
            {"selection": "last", "checkpoint_steps": 7},
            {"selection": "last", "checkpoint_steps": 8},
        )
    ]
    assert setting(every[0]) != setting(every[1])
    assert setting(every[2]) == setting(every[3])


def test_joining_changes_no_record_that_was_given(make):
    training, evaluation = pair(make, 0)
    config = SharedConfig(evaluation.config)
    with_trainings([training, replace(evaluation, config=config)])
    assert config.origin is None


def test_files_of_weights_that_no_training_left_are_rows_of_their_own(make):
    """The shipped float16 file once hid the score of the weights that it was rounded from."""

    def foreign(seed: int, weights: str) -> list[Record]:
        evaluation = pair(make, seed)[1]
        inputs = evaluation.inputs | {"weights": f"sha256:{weights}"}
        of = {"training": None, "weights": weights, "inputs": inputs, "id": digest(inputs)}
        return [replace(evaluation, **of)]

    assert rows(foreign(0, "a" * 64), foreign(0, "b" * 64), pair(make, 1)) == [[0], [0], [1]]
