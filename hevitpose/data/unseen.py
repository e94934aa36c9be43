"""No network is scored on photographs that it was trained on, as far as files of weights say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hevitpose.config.load import start_config
from hevitpose.config.schema import Config, EvaluationConfig
from hevitpose.data.apart import PARTS
from hevitpose.data.files import declared
from hevitpose.data.minival import MINIVAL, is_minival, split_of_files
from hevitpose.data.registry import ROWS
from hevitpose.errors import UsageError
from hevitpose.models.trained import Trained

#: What decides who is held out.
_SLICE = ("dataset", "folder", "train_split", "minival", "skip_bad", "present_only")
#: Of people whom a training that is not made yet would hold out.
_AS_PLANNED = "as planned"


def require_scorable(config: Config) -> None:
    """Refuses a config whose training could not be scored on its val split, before it is made.

    Raises:
        UsageError: minival that would not be held out, or that the dataset's metrics or boxes do
            not go with; a setting of AP where there is none; or a start, ``PRESET:DATASET``, that
            is trained on the val split.
    """
    data, selection = config.data, config.training.selection
    _require_effect(config)
    if is_minival(data, data.val_split):
        if selection != MINIVAL:
            raise UsageError(
                f"data.val_split=minival with training.selection={selection}: it would be trained "
                "on, expected training.selection=minival, which holds it out"
            )
        if data.box_source != "gt":
            raise UsageError(
                f"data.box_source={data.box_source} with data.val_split=minival: expected gt, the "
                "slice is of annotated people"
            )
        if declared(data.dataset).protocol.startswith("pckh"):
            raise UsageError(
                f"data.val_split=minival of {data.dataset}: PCKh needs head boxes, which its train "
                "split has not, expected a dataset that is scored by AP or PCK"
            )
    start = start_config(config)
    if start is not None:
        same = start.training.selection == MINIVAL and all(
            getattr(start.data, key) == getattr(data, key) for key in _SLICE
        )
        name, split = Path(start.data.dataset).name, start.data.train_split
        trained = Trained(name, split, _AS_PLANNED if same else "")
        require_unseen(config, str(config.training.start_from), [trained], held_out=_AS_PLANNED)


def _require_effect(config: Config) -> None:
    """Refuse what changes AP alone where there is no AP: one number under two ids.

    Raises:
        UsageError: such a setting has another value than usual.
    """
    said = declared(config.data.dataset)
    if said.sigmas:  # of OKS
        return
    for key in ("nms_threshold", "max_detections"):
        usual, value = EvaluationConfig.model_fields[key].default, getattr(config.evaluation, key)
        if value != usual:
            raise UsageError(
                f"evaluation.{key}={value:g} has no effect on {config.data.dataset}: it has no AP, "
                f"expected {usual:g}"
            )


def require_unseen(
    config: Config,
    path: Path | str,
    earlier: Sequence[Trained],
    own: Trained | None = None,
    held_out: str = "",
) -> None:
    """Refuses to score weights on photographs that they were trained on.

    A val split that they themselves, not what they started from, were trained on under its own
    dataset's name is no accident: an overfit proof, or MPII's trainval.

    Args:
        config: of the evaluation.
        path: the weights, for the message.
        earlier: the trainings that they started from.
        own: their own training.
        held_out: :func:`~hevitpose.data.minival.held_out_digest` of minival, where that is scored.

    Raises:
        UsageError: they were.
    """
    data, name = config.data, Path(config.data.dataset).name
    minival = is_minival(data, data.val_split)
    scored = _photographs(name, split_of_files(data, data.val_split))
    for trained in (*earlier, *([own] if own else [])):
        if not _overlap(scored, _photographs(trained.dataset, trained.split)):
            continue
        if minival and trained.held_out == held_out:
            continue
        if trained is own and trained.dataset == name and not minival:
            continue
        if minival and trained.dataset == name:
            raise UsageError(
                f"{path}: trained on {name} {trained.split}, and on people of minival, who were "
                "not the ones that it held out (files made before they said whom say nobody: train "
                "again with --no-resume); expected training.selection=minival with the same data, "
                "or data.val_split=val"
            )
        raise UsageError(
            f"{path}: trained on {trained.dataset} {trained.split}, whose photographs are also in "
            f"{name} {data.val_split}; expected other people to score it on"
        )


def _photographs(dataset: str, split: str) -> list[tuple[str, ...]]:
    """Where a split's photographs are: of a part of another dataset, in that one's split."""
    whole = ROWS[dataset].part_of if dataset in ROWS else None
    return [(*(whole or ()), dataset, part) for part in PARTS.get(split, (split,))]


def _overlap(some: Sequence[tuple[str, ...]], others: Sequence[tuple[str, ...]]) -> bool:
    """Whether one of some is one of the others, or a part of it, or has it as a part."""
    return any(a[: len(b)] == b[: len(a)] for a in some for b in others)
