"""The child's side of ``pool.py``: calls in, results or exceptions out, until the input ends."""

from __future__ import annotations

import os
import pickle
import sys

import cv2

from hevitpose.errors import HEViTPoseError


def serve() -> None:
    """Answer calls (function, arguments) from standard input, pickled, on standard output."""
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
    cv2.setNumThreads(1)  # the processes are the parallelism
    serve()
