"""The order of samples: complete, full batches, the same whatever the ranks and restarts."""

from __future__ import annotations

from collections import Counter

import numpy as np

from hevitpose.data.sampler import RankSlice, SampleStream


def positions(count, batch, steps, seed=0, rank=0, world=1):
    return list(SampleStream(count, batch, steps, seed, rank, world))


def test_every_person_once_an_epoch_and_batches_are_full():
    seen = positions(count=10, batch=4, steps=range(10))  # 40 positions: 4 epochs of 10
    assert len(seen) == 40
    assert Counter(seen) == {(epoch, i): 1 for epoch in range(4) for i in range(10)}
    assert [epoch for epoch, _ in seen] == sorted(epoch for epoch, _ in seen)


def test_order_differs_between_epochs_and_seeds():
    stream = SampleStream(100, 4, range(1), seed=0)
    assert not np.array_equal(stream.order(0), stream.order(1))
    assert not np.array_equal(stream.order(0), SampleStream(100, 4, range(1), seed=1).order(0))
    assert np.array_equal(stream.order(3), SampleStream(100, 8, range(9), seed=0).order(3))


def test_where_a_run_stops_does_not_change_the_order():
    whole = positions(10, 4, range(9))
    assert positions(10, 4, range(5)) + positions(10, 4, range(5, 9)) == whole


def test_ranks_together_see_what_one_process_sees():
    single = positions(count=11, batch=6, steps=range(4))
    parts = [positions(11, 2, range(4), rank=rank, world=3) for rank in range(3)]
    joined = [p for step in range(4) for part in parts for p in part[2 * step : 2 * step + 2]]
    assert joined == single


def test_a_batch_larger_than_the_set_wraps():
    assert [i for _, i in positions(count=3, batch=8, steps=range(1))].count(0) in (2, 3)


def test_evaluation_has_each_sample_exactly_once():
    ranks = [list(RankSlice(7, rank, 3)) for rank in range(3)]
    assert sorted(index for rank in ranks for _, index in rank) == list(range(7))
    assert [len(RankSlice(7, rank, 3)) for rank in range(3)] == [3, 2, 2]
