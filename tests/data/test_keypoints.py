"""Layouts against the protocol's text, and against each other."""

from __future__ import annotations

import dataclasses

import pytest

from hevitpose.data.keypoints import (
    COCO,
    CROWDPOSE,
    LAYOUTS,
    MPII,
    MPII_TO_CROWDPOSE,
    layout,
    mapping,
    require_same_order,
)
from hevitpose.errors import DataError, UsageError
from hevitpose.models.keypoints import KeypointLayout

# design/protocols.md, section 1, as it is written there
COCO_SIGMAS = ".026 .025 .025 .035 .035 .079 .079 .072 .072 .062 .062 .107 .107 .087 .087 .089 .089"
CROWDPOSE_SIGMAS = ".079 .079 .072 .072 .062 .062 .107 .107 .087 .087 .089 .089 .079 .079"
MPII_WEIGHTS = "1.5 1.2 1 1 1.2 1.5 1 1 1 1 1.5 1.2 1 1 1.2 1.5"


def numbers(text):
    return tuple(float(word) for word in text.split())


def test_constants_are_the_protocols():
    assert COCO.sigmas == numbers(COCO_SIGMAS)
    assert CROWDPOSE.sigmas == numbers(CROWDPOSE_SIGMAS)
    assert MPII.joint_weights == numbers(MPII_WEIGHTS)
    assert (len(COCO), len(CROWDPOSE), len(MPII)) == (17, 14, 16)
    assert (MPII.names[0], MPII.names[6], MPII.names[9]) == ("right_ankle", "pelvis", "head_top")


@pytest.mark.parametrize("known", LAYOUTS.values(), ids=lambda known: known.name)
def test_flip_exchanges_left_and_right_names(known):
    for index, name in enumerate(known.names):
        other = known.names[known.flip_order[index]]
        if name.startswith("left_"):
            assert other == "right_" + name.removeprefix("left_")
        elif name.startswith("right_"):
            assert other == "left_" + name.removeprefix("right_")
        else:
            assert other == name
        assert known.flip_order[known.flip_order[index]] == index


@pytest.mark.parametrize("known", LAYOUTS.values(), ids=lambda known: known.name)
def test_sigmas_weights_and_halves_are_symmetric(known):
    for left, right in known.flip_pairs:
        assert known.sigmas[left] == known.sigmas[right]
        assert known.joint_weights[left] == known.joint_weights[right]
        assert (left in known.upper_body) == (right in known.upper_body)
        limbs = {frozenset(pair) for pair in known.skeleton}
        mirrored = {frozenset(known.flip_order[i] for i in pair) for pair in known.skeleton}
        assert limbs == mirrored


def test_mappings():
    assert all(index >= 0 for index in MPII_TO_CROWDPOSE)
    for target, source in enumerate(MPII_TO_CROWDPOSE[:12]):
        assert MPII.names[source] == CROWDPOSE.names[target]
    assert MPII.names[MPII_TO_CROWDPOSE[12]] == "head_top"
    assert MPII.names[MPII_TO_CROWDPOSE[13]] == "upper_neck"
    to_coco = mapping(MPII, COCO)
    assert to_coco[:5] == (-1,) * 5
    for target, source in enumerate(to_coco[5:], 5):
        assert MPII.names[source] == COCO.names[target]


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"sigmas": COCO.sigmas[:-1]}, "16 sigmas"),
        ({"sigmas": (0.0, *COCO.sigmas[1:])}, "positive"),
        ({"sigmas": (float("nan"), *COCO.sigmas[1:])}, "positive"),
        ({"flip_pairs": ((1, 17),)}, "flip_pairs"),
        ({"flip_pairs": ((1, 2), (2, 3))}, "two flip_pairs"),
        ({"skeleton": ((1, 1),)}, "skeleton"),
        ({"upper_body": (17,)}, "upper_body"),
        ({"names": ("nose", *COCO.names[:-1])}, "differ"),
        ({"joint_weights": (1.0,)}, "joint_weights"),
    ],
)
def test_bad_layout(changed, word):
    with pytest.raises(UsageError, match=word):
        dataclasses.replace(COCO, **changed)


def test_unknown_layout():
    with pytest.raises(UsageError, match="did you mean 'mpii'"):
        layout("mpi")


def camel(name):
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)


SPELLINGS = {
    "as the layout": str,
    "camelCase": camel,
    "PascalCase": lambda name: name.title().replace("_", ""),
    "dots": lambda name: name.replace("_", "."),
    "spaces": lambda name: f" {name.replace('_', '  ').title()} ",
    "dashes": lambda name: name.upper().replace("_", "-"),
    "a colon": lambda name: name.replace("_", ": "),
    "no sign": lambda name: name.replace("_", ""),
    "full width": lambda name: "".join(chr(ord(c) + 0xFEE0) if c != "_" else c for c in name),
}


@pytest.mark.parametrize("known", LAYOUTS.values(), ids=lambda known: known.name)
@pytest.mark.parametrize("spell", SPELLINGS.values(), ids=SPELLINGS)
def test_left_and_right_are_told_apart_in_any_spelling(spell, known):
    require_same_order("a.json", tuple(map(spell, known.names)), known)
    for pair in known.flip_pairs:
        names = list(map(spell, known.names))
        left, right = pair
        names[left], names[right] = names[right], names[left]
        with pytest.raises(DataError, match=r"a\.json: keypoints are in another order"):
            require_same_order("a.json", tuple(names), known)


def test_names_with_the_same_digits():
    """Written as the layout has them they are told apart; by letters and digits alone not."""
    own = KeypointLayout("own", ("leg_1_1", "leg_11", "tail"), flip_pairs=(), sigmas=(0.1,) * 3)
    require_same_order("a.json", ("Leg 1 1", "LEG-11", "tail"), own)
    require_same_order("a.json", ("leg.11", "leg.1.1", "Tail"), own)  # nobody can tell
    for other in (("Leg 11", "Leg 1 1", "tail"), ("tail", "leg_11", "leg_1_1")):
        with pytest.raises(DataError, match="another order"):
            require_same_order("a.json", other, own)


def test_letters_of_any_script_and_names_that_differ_in_signs():
    names = ("левый глаз", "\u00e9paule", "左目", "x+", "x-", "+", "-")
    named = KeypointLayout("own", names, flip_pairs=(), sigmas=(0.1,) * len(names))
    for same in (
        ("Левый_Глаз", "E\u0301paule", "左目", "x+", "x-", "+", "-"),
        ("ЛЕВЫЙ.ГЛАЗ", "\u00c9PAULE", "右目", "X +", "X -", "?", "!", "more than the layout has"),
    ):
        require_same_order("a.json", same, named)
    for other in (
        ("\u00e9paule", "левый глаз"),
        ("左目", "\u00e9paule", "левыйглаз"),
        ("левый глаз", "\u00e9paule", "左目", "x-", "x+"),
        ("левый глаз", "\u00e9paule", "左目", "x+", "x-", "-", "+"),
    ):
        with pytest.raises(DataError, match="another order"):
            require_same_order("a.json", other, named)
