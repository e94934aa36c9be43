"""Going on from a run's last checkpoint: of this very run, or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hevitpose.config.renamed import with_todays_names
from hevitpose.config.schema import Config, parse_config
from hevitpose.data import declared
from hevitpose.data.fingerprint import fingerprint
from hevitpose.errors import DataError, HEViTPoseError, UsageError, first_line
from hevitpose.models import gate
from hevitpose.models.spec import WEIGHTS
from hevitpose.records import provenance
from hevitpose.records.identity import Difference, differences, imports_digests
from hevitpose.training.module import PoseModule


def stored_run(last: Path, module: PoseModule) -> dict[str, Any] | None:
    """What the checkpoint to continue from holds, if there is one; it must be of this very run.

    Raises:
        UsageError: the folder holds another run's checkpoint.
        DataError: it holds something else.
    """
    stored = _stored(last)
    if stored is not None:
        _require_same(last, stored["hevitpose"], module.resumed_by(), module.config)
    return stored


def require_folder_of(config: Config, folder: Path) -> None:
    """Refuses another run's folder, as far as the config tells before its start is trained.

    Raises:
        UsageError: the folder holds another run's checkpoint.
        DataError: it holds something else.
    """
    last = folder / "last.ckpt"
    stored = _stored(last)
    if stored is not None:
        ours = {"digest": config.digest, "facts": facts_of(config)}
        _require_same(last, stored["hevitpose"], ours, config)


def facts_of(config: Config) -> dict[str, Any]:
    """What decides a training beside its config, as its id knows it: also of a resume the same.

    Raises:
        DataError: annotations or imported files are absent.
    """
    data, said = config.data, declared(config.data.dataset)
    facts: dict[str, Any] = {
        "data": {
            "fingerprint": fingerprint(data, data.train_split),
            "declared": said.training_inputs(),
        },
        "imports": imports_digests(config.imports),
        "device": provenance.device_type(config.device),
    }
    if config.training.selection == "val":
        facts["selected_on"] = {
            "fingerprint": fingerprint(data, data.val_split),
            "declared": said.evaluation_inputs(),
        }
    return json.loads(json.dumps(facts))  # plain, as a checkpoint has them


def _stored(last: Path) -> dict[str, Any] | None:
    if not last.exists():
        return None
    try:
        stored = gate.unpickle(last)
    except DataError as error:
        raise DataError(f"{error}; remove it, or use --no-resume") from error
    theirs = stored.get("hevitpose") if isinstance(stored, dict) else None
    if not (
        isinstance(theirs, dict) and {"digest", "plan"} <= theirs.keys() and "global_step" in stored
    ):
        raise DataError(f"{last}: not a checkpoint of a run; remove it, or use --no-resume")
    return stored


def _require_same(
    last: Path, theirs: Mapping[str, Any], ours: Mapping[str, Any], config: Config
) -> None:
    if any(theirs[key] != ours[key] for key in ours if key in theirs):  # older ones have fewer
        weights = last.with_name(WEIGHTS)
        how = ""
        if weights.exists():
            how = f" and training.start_from={weights} (or its training's id) to go on from there"
        raise UsageError(
            f"{last}: is of a run with another config{_differs(theirs, ours, config)}; use another "
            f"--out{how}, or --no-resume to begin anew here"
        )


def _differs(theirs: Mapping[str, Any], ours: Mapping[str, Any], config: Config) -> str:
    """In which keys the run of a checkpoint differs, at most three of them, in brackets."""
    try:
        other = parse_config(theirs.get("config") or {}, "checkpoint")
    except UsageError:  # keys that are none any more
        return ""
    found = differences(
        with_todays_names(other.resume_inputs()), with_todays_names(config.resume_inputs())
    )
    if "start" in ours and theirs.get("start", ours["start"]) != ours["start"]:
        starts = (text[:20] or None for text in (theirs["start"], ours["start"]))
        found.append(Difference("training.start_from", *starts))
    if "facts" in theirs:
        found += differences(theirs["facts"], ours["facts"])
    if not found and "plan" in ours:  # other people, or other chunks of the same steps
        found = [Difference("steps, and steps between checkpoints", theirs["plan"], ours["plan"])]
    if not found:
        return ""
    more = f", {len(found) - 3} more" if len(found) > 3 else ""
    return f" ({', '.join(map(str, found[:3]))}{more})"


@contextmanager
def restoring(last: Path, until: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """What fails while a checkpoint's states are taken over is the file's fault.

    Raises:
        DataError: something did, before ``until`` says that the rest has begun.
    """
    try:
        yield
    except HEViTPoseError:
        raise
    except Exception as error:  # the states of several libraries' parts
        if until():
            raise
        why = f"{type(error).__name__}: {first_line(str(error), 'no reason')[:200]}"
        raise DataError(
            f"{last}: cannot be continued from ({why}); remove it, or use --no-resume"
        ) from error
