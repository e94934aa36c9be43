"""minival: training images held out to choose by - checkpoints, learning rates, whole recipes.

Val is for what is reported. ``training.selection=minival`` holds the slice out of a training and
takes its best checkpoint by it; ``data.val_split=minival`` has such trainings scored on it by the
dataset's metrics, as they would be on val.
"""

from __future__ import annotations

import dataclasses
import hashlib
import posixpath

import numpy as np

from hevitpose.config.schema import DataConfig
from hevitpose.data.files import splits_of
from hevitpose.data.table import PoseTable
from hevitpose.errors import DataError

MINIVAL = "minival"


def is_minival(data: DataConfig, split: str) -> bool:
    """Whether a split is the slice; a custom dataset may have a split of that name."""
    return split == MINIVAL and MINIVAL not in splits_of(data.dataset)


def split_of_files(data: DataConfig, split: str) -> str:
    """The split whose files hold a split's people: the train split for minival."""
    return data.train_split if is_minival(data, split) else split


def split_minival(table: PoseTable, share: float) -> tuple[PoseTable, PoseTable]:
    """People of held-out training images apart from the rest.

    Whole photographs, so that nobody's neighbour leaks, however many image records have one (merged
    files repeat them); chosen by a fixed generator over the sorted image ids, so that every seed
    and every cell of a grid holds out the same ones.

    Args:
        table: the training people.
        share: of the images, in (0, 1).

    Returns:
        (training people, held-out people).

    Raises:
        DataError: too few images to hold any out.
    """
    used = np.unique(table.image_index)
    order = used[np.argsort(table.image_ids[used], kind="stable")]
    names = np.array([posixpath.normpath(name) for name in table.image_names])
    _, first = np.unique(names[order], return_index=True)
    photographs = order[np.sort(first)]
    count = max(1, round(share * len(photographs)))
    if count >= len(photographs):
        raise DataError(
            f"{table.annotation_file}: {len(photographs)} images, too few to hold some out for "
            "selection; use training.selection=last"
        )
    drawn = np.random.default_rng(20_230).permutation(photographs)[:count]
    held = used[np.isin(names[used], names[drawn])]
    mask = np.isin(table.image_index, held)
    return table.take(~mask), _of_images(table.take(mask), np.sort(held))


def held_out_digest(minival: PoseTable) -> str:
    """Who is in the slice, as a hash of their images' names: what weights remember of it."""
    return hashlib.sha256(b"\n".join(sorted(minival.image_names.tolist()))).hexdigest()[:20]


def _of_images(table: PoseTable, images: np.ndarray) -> PoseTable:
    """The slice as a split of its own: no image, and no ignored region, of the others is in it."""
    place = np.full(len(table.image_ids), -1, np.int32)
    place[images] = np.arange(len(images), dtype=np.int32)
    truth, crowd_index = table.truth, table.crowd_index
    if truth is not None:
        truth = truth.take(place[truth.image_index] >= 0)
        truth = dataclasses.replace(truth, image_index=place[truth.image_index])
    return dataclasses.replace(
        table,
        split=MINIVAL,
        image_ids=table.image_ids[images],
        image_names=table.image_names[images],
        image_sizes=table.image_sizes[images],
        image_index=place[table.image_index],
        crowd_index=None if crowd_index is None else crowd_index[images],
        truth=truth,
        counts=table.counts | {"images": len(images)},
    )
