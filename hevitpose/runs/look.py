"""Looks at what a run will read, before anything is trained for it."""

from __future__ import annotations

import warnings
from pathlib import Path

from hevitpose.config.schema import Config
from hevitpose.data.minival import MINIVAL
from hevitpose.errors import Notice


def look_first(config: Config, folder: Path | None = None, *, after_another: bool) -> None:
    """Refuses what a training, or the evaluation after it, would find only after minutes of steps.

    Args:
        config: of the training.
        folder: to be continued in; None: begun anew.
        after_another: a training that it starts from is made before. Then what it reads before its
            own first step is looked at, too.

    Raises:
        UsageError: no such device, precision or logger, or the folder is another run's.
        UnavailableError: a logger's package is not installed.
        DataError: annotations, boxes or photographs are absent or damaged, or cannot be scored.
    """
    from hevitpose.training.resume import require_folder_of

    data = config.data
    require_machine(config)
    if folder is not None and after_another:
        require_folder_of(config, folder)
    if after_another:
        _look(config, data.train_split, training=True)
    if after_another or config.training.selection == MINIVAL:
        _look(config, data.val_split)
    elif data.box_source != "gt":  # the training looks at val's images itself
        _look(config, data.val_split, images=False)


def require_machine(config: Config) -> None:
    """Refuses a training that this machine cannot do, before anything is read or rendered for it.

    Raises:
        UsageError: no such device, precision or logger.
        UnavailableError: a logger's package is not installed.
    """
    from hevitpose.training.devices import device_of
    from hevitpose.training.loggers import require_loggers

    device_of(config)
    require_loggers(config.training.loggers)


def _look(config: Config, split: str, *, training: bool = False, images: bool = True) -> None:
    from hevitpose.training.loaders import load_split

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Notice)  # the run itself will say it
        load_split(config, split, training=training, look=images)
