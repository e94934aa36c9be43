"""Mutated annotation files: an error of ours or a correct table, never a stray exception."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hevitpose.data.readers import coco_format, mpii
from hevitpose.data.readers import detections as boxes
from hevitpose.data.readers.image_ids import ImageIds
from hevitpose.data.registry import ROWS
from hevitpose.errors import HEViTPoseError
from tests.data import annotation_files as files

SIZE = (192, 256)

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 9),
    st.sampled_from([2**31, 2**63, -(2**63) - 1, 10**40, 1e300, -1e-300, 1e-300, 7.0]),
    st.floats(),
    st.text(max_size=4),
    st.sampled_from(["a.jpg", "../a", "\ud800", "person", "C:\\x", "/a"]),
    st.lists(st.one_of(st.integers(-9, 99), st.floats(), st.none()), max_size=5),
    st.dictionaries(st.sampled_from(["id", "name", "bbox"]), st.integers(), max_size=2),
)


def places(content, path=()):
    """Every place in a JSON value, as a path of keys."""
    yield path
    if isinstance(content, (dict, list)):
        for key, value in content.items() if isinstance(content, dict) else enumerate(content):
            yield from places(value, (*path, key))


@st.composite
def mutated(draw, content):
    """The file's text after one to three changes of its values, or of its bytes."""
    content = copy.deepcopy(content)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from([p for p in places(content) if p]))
        parent = content
        for key in path[:-1]:
            parent = parent[key]
        action = draw(st.sampled_from(["set", "remove", "repeat"]))
        if action == "set":
            parent[path[-1]] = draw(VALUES)
        elif action == "remove":
            del parent[path[-1]]
        elif isinstance(parent, list):
            parent.append(copy.deepcopy(parent[path[-1]]))
        if not content:
            break
    text = json.dumps(content).encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 9)) == 0:
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.binary(max_size=3)) + text[at + draw(st.integers(0, 9)) :]
    return text


def check(table) -> None:
    """What holds of every table, whatever the file was."""
    count, joints = len(table), table.num_keypoints
    assert table.keypoints.shape == (count, joints, 2) and table.visibility.shape == (count, joints)
    for array in (table.centers, table.sizes, table.bboxes, table.keypoints, table.areas):
        assert len(array) == count and np.isfinite(array).all()
    assert (table.sizes > 0).all() and (table.bboxes[:, 2:] > 0).all()
    assert len(set(table.person_ids.tolist())) == count == table.counts["people"]
    assert len(set(table.image_ids.tolist())) == len(table.image_ids)
    assert len(table.image_ids) == len(table.image_names) == len(table.image_sizes)
    if count:
        assert 0 <= table.image_index.min() and table.image_index.max() < len(table.image_ids)
    assert set(np.unique(table.visibility)) <= {0, 1, 2}
    for name in table.image_names:
        assert ".." not in name.decode().split("/")


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "annotations.json"


def run(path: Path, text: bytes, read) -> None:
    path.write_bytes(text)
    tables = []
    for skip_bad in (False, True):
        try:
            table = read(path, skip_bad)
        except HEViTPoseError as error:
            assert "\n" not in str(error) and str(path) in str(error)
        else:
            check(table)
            tables.append(table)
    if len(tables) == 2:  # nothing was bad: both ways see the same people
        assert not tables[1].skipped
        np.testing.assert_array_equal(tables[0].person_ids, tables[1].person_ids)


def fuzz(examples):
    def decorate(test):
        return settings(
            max_examples=examples,
            derandomize=True,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        )(test)

    return decorate


@pytest.mark.slow
@given(text=mutated(files.coco(people=1)))
@fuzz(800)
def test_coco(path, text):
    run(
        path,
        text,
        lambda file, skip: coco_format.read(
            file, file.parent, ROWS["coco"], split="val", input_size=SIZE, skip_bad=skip
        ),
    )


@given(text=mutated(files.crowdpose()))
@fuzz(400)
def test_crowdpose(path, text):
    run(
        path,
        text,
        lambda file, skip: coco_format.read(
            file,
            file.parent,
            ROWS["crowdpose"],
            split="val",
            input_size=SIZE,
            skip_bad=skip,
        ),
    )


@given(text=mutated(files.mpii()))
@fuzz(600)
def test_mpii(path, text):
    run(
        path,
        text,
        lambda file, skip: mpii.read(
            file, file.parent, ROWS["mpii"], split="val", input_size=SIZE, skip_bad=skip
        ),
    )


@given(text=mutated(files.boxes()))
@fuzz(600)
def test_boxes(path, text):
    def read(file, skip):
        found = boxes.read_boxes(file, 0.2, ImageIds([7, 9]), skip)
        assert (found.bboxes[:, 2:].astype(np.float32) > 0).all() and np.isfinite(
            found.bboxes
        ).all()
        assert (found.scores >= 0.2).all() and np.isin(found.image_ids, [7, 9]).all()
        return found

    path.write_bytes(text)
    for skip in (False, True):
        try:
            read(path, skip)
        except HEViTPoseError as error:
            assert "\n" not in str(error) and str(path) in str(error)
