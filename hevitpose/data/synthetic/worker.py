"""The child's side of ``pool.py``: calls in, results or exceptions out, until the input ends."""

from __future__ import annotations

import os
import pickle
import sys

from hevitpose.errors import HEViTPoseError
from hevitpose.isolated import end_with


def serve() -> None:
    """Answer calls (function, arguments) from standard input, pickled, on standard output."""
    import cv2

    cv2.setNumThreads(1)  # the processes are the parallelism
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not reach the parent as a reply
    while True:
        try:
            function, arguments = pickle.load(sys.stdin.buffer)  # noqa: S301 (our parent's)
        except EOFError:
            return
        try:
            reply = function(*arguments)
        except (HEViTPoseError, OSError) as error:
            reply = error
        pickle.dump(reply, replies)
        replies.flush()


if __name__ == "__main__":
    end_with(int(sys.argv[1]))  # before anything that takes time
    serve()
