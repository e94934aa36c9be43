"""What is wrong with a file of the reports, in one line."""

from __future__ import annotations

from pydantic import ValidationError

from hevitpose.errors import first_line


def one_line(error: Exception) -> str:
    """A validation error as ``field: what is wrong``; other errors as their first line."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        return f"{where + ': ' if where else ''}{first['msg']}{more}"
    return first_line(str(error), repr(error))
