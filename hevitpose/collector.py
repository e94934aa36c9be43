"""Python's garbage collector, held while it would only be in the way. Torch-free."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Collect now and not again until the block ends.

    So that no timing contains a collection, and none looks again and again at what all stays.
    """
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
