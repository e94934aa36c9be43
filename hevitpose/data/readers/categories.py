"""Which annotations are of people: a file's categories, and what their ids and names mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hevitpose.data.keypoints import require_same_order
from hevitpose.data.readers import fields
from hevitpose.data.registry import Declared
from hevitpose.errors import DataError
from hevitpose.models.keypoints import KeypointLayout


class Meant:
    """What an annotation's ``category_id`` means.

    A number is an id, whatever categories are called. A text (with ``derive``) is an id or, where
    it is nobody's, a name, as some tools write it.

    Args:
        path: the file, for the message.
        names: of the categories, by id.
    """

    def __init__(self, path: Path, names: dict[int, str]) -> None:
        self._path, self._names = path, names
        self._named: dict[str, list[int]] = {}
        for number, name in names.items():
            self._named.setdefault(name.strip(), []).append(number)
        self._known: dict[int | str, int] = {}

    def of(self, said: int | str) -> int:
        """The category's id; one that the file does not list stays what it is.

        Raises:
            DataError: a text that is the id of one category and the name of another, or the name
                of two.
        """
        if said not in self._known:
            self._known[said] = said if isinstance(said, int) else self._of_text(said)
        return self._known[said]

    def _of_text(self, text: str) -> int:
        number = fields.number_of(text, "category_id")
        fitting = set(self._named.get(text.strip(), ()))
        if number in self._names:
            fitting.add(number)
        if len(fitting) > 1:
            listed = ", ".join(f"{self._names[each]} ({each})" for each in sorted(fitting))
            raise DataError(
                f"{self._path}: category_id {text!r:.60} is the id or the name of several: "
                f"{listed}; expected of one"
            )
        return fitting.pop() if fitting else number


def category_id(path: Path, categories: dict[int, str], wanted: str | int) -> int:
    """The id of the category that a yaml names, or that it gives itself.

    Raises:
        DataError: there is none of the name, or several.
    """
    found = [number for number, name in categories.items() if wanted in (number, name)]
    if not found and isinstance(wanted, int):
        return wanted  # an id that annotations may have, although the file does not name it
    if not found:
        there = ", ".join(f"{name} ({number})" for number, name in list(categories.items())[:20])
        more = f" and {len(categories) - 20} more" if len(categories) > 20 else ""
        raise DataError(
            f"{path}: categories has no {wanted!r}, it has {there or 'none'}{more}; "
            "a custom dataset's yaml names its own (category: NAME, or a list of names)"
        )
    if len(found) > 1:
        raise DataError(
            f"{path}: categories {found} are called {wanted!r}, expected one "
            f"(a custom dataset's yaml may give the id: category: {found[0]})"
        )
    return found[0]


def read_category(path: Path, position: int, record: Any, declared: Declared) -> tuple[int, str]:
    """(id, name) of one category.

    Raises:
        DataError: it has none, or the people's keypoints have other names or another order.
    """
    where = f"{path}: categories[{position}]"
    if not isinstance(record, dict):
        raise DataError(f"{where} is not an object, expected id and name")
    try:
        number = fields.identity(record, "id", text=declared.derive)
    except ValueError as error:
        derive = isinstance(error, fields.MissingError)
        hint = " (derive: true in a custom dataset's yaml reads it)" if derive else ""
        raise DataError(f"{where}: {error}{hint}") from None
    name = record.get("name")
    if not isinstance(name, str):
        expected = declared.categories[0]
        raise DataError(f"{where}: name is not text, expected for instance {expected!r}")
    wanted = name in declared.categories or number in declared.categories
    if wanted and record.get("keypoints") not in (None, []):
        _check_names(where, record["keypoints"], declared.layout)
    return number, name


def _check_names(where: str, names: Any, layout: KeypointLayout) -> None:
    """The names' order; how many there are says nothing, since Human-Art has 21 for 17 points."""
    if not isinstance(names, list):
        raise DataError(
            f"{where}: no list of keypoint names, expected {len(layout)} ({layout.name})"
        )
    require_same_order(where, tuple(map(str, names)), layout)
