"""Tracks keep their numbers."""

from __future__ import annotations

import numpy as np

from hevitpose.inference.tracking import Tracker


def boxes(*left):
    return np.array([[x, 0, 10, 30] for x in left], np.float32).reshape(-1, 4)


def test_two_people_who_pass_each_other_keep_their_numbers():
    tracker = Tracker()
    assert tracker.update(boxes(0, 50)) == [1, 2]
    assert tracker.update(boxes(52, 2)) == [2, 1]  # the order of detections says nothing
    assert tracker.update(boxes(4, 54, 90)) == [1, 2, 3]
    assert tracker.count == 3


def test_the_sum_of_overlaps_decides():
    """The first box overlaps most with track 2, and then the second would continue none."""
    tracker = Tracker()
    assert tracker.update(boxes(0, 6)) == [1, 2]
    assert tracker.update(boxes(4, 9)) == [1, 2]


def test_a_person_who_is_missed_for_a_while_is_the_same():
    for missed, number in ((3, 1), (4, 2)):
        tracker = Tracker(max_missed=3)
        assert tracker.update(boxes(0)) == [1]
        for _ in range(missed):
            assert tracker.update(boxes()) == []
        assert tracker.update(boxes(1)) == [number]


def test_only_frames_in_a_row_count_as_missed():
    tracker = Tracker(max_missed=2)
    for _ in range(3):
        assert tracker.update(boxes(0)) == [1]
        assert [tracker.update(boxes()) for _ in range(2)] == [[], []]


def test_far_is_another():
    tracker = Tracker(min_iou=0.3)
    tracker.update(boxes(0))
    assert tracker.update(boxes(6)) == [2]  # IoU 0.25
    tracker = Tracker(min_iou=0.3)
    tracker.update(boxes(0))
    assert tracker.update(boxes(5)) == [1]  # 0.33
    assert tracker.update(boxes(5, 5)) == [1, 2]  # one track, one box
