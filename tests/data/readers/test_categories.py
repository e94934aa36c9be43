"""Ids and names of categories: a number is an id, whatever the categories are called."""

from __future__ import annotations

import pytest

from hevitpose.errors import DataError
from tests.data import annotation_files as files
from tests.data.feeding_back import ap, custom, read

#: The people of :func:`named`, in the order of the three ids.
PEOPLE = ([100], [101], [102])


def named(names, ids=(1, 2, 3), said=None):
    """A labelled person of each of three categories; ``said`` is what annotations call them."""
    content = files.coco()
    points = content["categories"][0]["keypoints"]
    content["categories"] = [
        {"id": number, "name": name, "keypoints": points}
        for number, name in zip(ids, names, strict=True)
    ]
    content["annotations"] = content["annotations"][:3]
    for record, number in zip(content["annotations"], said or ids, strict=True):
        record["category_id"] = number
    return content


@pytest.mark.parametrize("derive", [False, True])
@pytest.mark.parametrize("wanted", ["0", "1", "2", 1, 2, 3])
def test_a_number_is_an_id(tmp_path, wanted, derive):
    """However much it looks like another category's name, and with ``derive``, too."""
    content = named(("0", "1", "2"))
    table = read(custom(tmp_path, content, category=wanted, derive=derive))
    place = int(wanted) if isinstance(wanted, str) else wanted - 1
    assert table.person_ids.tolist() == PEOPLE[place]
    assert ap(table) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("names", "ids", "said"),
    [
        (("cat", "dog", "cow"), (1, 2, 3), ("cat", " dog ", "cow")),
        (("cat", "dog", "cow"), (1, 2, 3), ("1", "2", "3")),
        (("cat", "dog", "cow"), (1, 2, 3), ("1", "dog", 3)),
        (("cat", "dog", "cow"), ("a", "b", "c"), ("a", "dog", "c")),
        (("cat", "dog", "cow"), ("1", "2", "3"), (1, 2, 3)),
        (("a", "dog", "c"), ("a", "b", "c"), ("a", "b", "c")),  # its own name
        (("5", "dog", "7"), (1, 2, 3), ("5", "dog", "7")),  # names that are nobody's id
        (("cat", "dog", "cat"), (1, 2, 3), (1, "dog", 3)),
    ],
)
def test_a_text_is_an_id_or_a_name(tmp_path, names, ids, said):
    table = read(custom(tmp_path, named(names, ids, said), category="dog", derive=True))
    assert table.person_ids.tolist() == PEOPLE[1]
    assert ap(table) == (1.0, 1.0)


def test_a_number_is_nobodys_name(tmp_path):
    """What no category has as its id is of another category, also where one is called so."""
    content = named(("cat", "5", "cow"), said=(5, 5, 5))
    with pytest.raises(DataError, match=r"is of 2; they are of not in categories \(5\)"):
        read(custom(tmp_path, content, category=2, derive=True))


@pytest.mark.parametrize(
    ("names", "ids", "said", "listed"),
    [
        (("b", "a", "c"), ("a", "b", "c"), ("a", "b", "c"), r"'a' .* a \(\d+\)"),
        (("0", "1", "2"), (1, 2, 3), ("1", "2", "3"), r"'1' .* 0 \(1\), 1 \(2\)"),
        (("cat", "cat", "dog"), (1, 2, 3), ("cat", 2, 3), r"'cat' .* cat \(1\), cat \(2\)"),
    ],
)
def test_a_text_that_fits_two_is_refused(tmp_path, names, ids, said, listed):
    content = named(names, ids, said)
    with pytest.raises(DataError, match=f"category_id {listed}.*; expected of one") as caught:
        read(custom(tmp_path, content, category=names[0] if names[0] != "cat" else 1, derive=True))
    assert "\n" not in str(caught.value)


def test_a_bad_record_is_of_its_category(tmp_path):
    """Named or numbered: it is reported of people and left out of others."""
    content = named(("cat", "dog", "cow"), said=("cat", "dog", "cow"))
    content["annotations"][0]["keypoints"] = content["annotations"][2]["keypoints"] = []
    path = custom(tmp_path, content, category="dog", derive=True)
    assert read(path).person_ids.tolist() == PEOPLE[1]
    content["annotations"][1]["keypoints"] = []
    with pytest.raises(DataError, match=r"annotations\[1\].*keypoints"):
        read(custom(tmp_path, content, category="dog", derive=True))
