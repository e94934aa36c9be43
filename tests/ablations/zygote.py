"""Starts runners quickly for the fault test: imports once, then forks one runner per line read.

Each line of standard input is the JSON of options; the answer is the runner's process id. The
runner is the leader of no group and has no other parent than this process, as from a shell. An
empty line is answered with the exit code of the last runner, once it has ended.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path

from ablations.cli import session
from ablations.options import Options


def main() -> None:
    child, status = 0, 0
    for line in sys.stdin:
        if not line.strip():
            if child:
                status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
                child = 0
            print(status, flush=True)
            continue
        values = json.loads(line)
        values["data"], values["out"] = Path(values["data"]), Path(values["out"])
        child = os.fork()
        if not child:
            null = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1):
                os.dup2(null, descriptor)
            code = 70
            try:
                code = session(Options(**values))
            except Exception:
                traceback.print_exc()
            finally:
                os._exit(code)
        print(child, flush=True)


if __name__ == "__main__":
    main()
