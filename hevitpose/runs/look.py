"""Looks at what a run will read, before anything is trained for it."""

from __future__ import annotations

import warnings
from pathlib import Path

from hevitpose.config.load import start_config
from hevitpose.config.schema import Config
from hevitpose.data.minival import MINIVAL
from hevitpose.errors import Notice


def look_first(config: Config, folder: Path | None = None) -> None:
    """Refuses what a training, or the evaluation after it, would find only after minutes of steps.

    What the training itself reads before its first step is looked at where another training, that
    it starts from, would come before.

    Args:
        config: of the training.
        folder: to be continued in; None: begun anew.

    Raises:
        UsageError: no such logger, or the folder is another run's.
        UnavailableError: a logger's package is not installed.
        DataError: annotations, boxes or photographs are absent or damaged, or cannot be scored.
    """
    from hevitpose.training.loggers import require_loggers
    from hevitpose.training.resume import require_folder_of

    data, after_another = config.data, start_config(config) is not None
    require_loggers(config.training.loggers)
    if folder is not None and after_another:
        require_folder_of(config, folder)
    if after_another:
        _look(config, data.train_split, training=True)
    if after_another or data.box_source != "gt" or config.training.selection == MINIVAL:
        _look(config, data.val_split, training=False)


def _look(config: Config, split: str, *, training: bool) -> None:
    from hevitpose.training.loaders import load_split

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Notice)  # the run itself will say it
        load_split(config, split, training=training)
