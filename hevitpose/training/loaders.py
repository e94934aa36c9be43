"""The people of a run: read, held out, augmented, and served to each process."""

from __future__ import annotations

import multiprocessing
import warnings
from typing import Any

import pytorch_lightning as L
from torch.utils.data import DataLoader

from hevitpose.config.schema import AugmentationConfig, Config
from hevitpose.data import declared, load, verify_images
from hevitpose.data.apart import overlap_by_name, tell_shared
from hevitpose.data.decoded import Change, DecodedImages, decoded_images
from hevitpose.data.files import splits_of
from hevitpose.data.fingerprint import fingerprint
from hevitpose.data.loader import PoseDataset
from hevitpose.data.minival import is_minival, split_minival
from hevitpose.data.registry import ROWS, is_custom, is_rendered
from hevitpose.data.sampler import RankSlice, SampleStream
from hevitpose.data.table import PoseTable, require_truth
from hevitpose.data.transforms import Augmentation
from hevitpose.errors import HEViTPoseError, Notice
from hevitpose.evaluation.conditions import Applied
from hevitpose.isolated import end_with
from hevitpose.metrics.crowdpose import require_xtcocotools
from hevitpose.records import provenance
from hevitpose.training.devices import device_of
from hevitpose.training.schedule import Plan


def augmentation(config: Config, table: PoseTable) -> Augmentation:
    """The config's augmentation; shift and half-body where the dataset declares them."""
    given, declared = config.training.augmentation, table.declared
    return Augmentation(
        flip=given.flip,
        scale=given.scale,
        rotation=given.rotation,
        rotation_probability=given.rotation_probability,
        shift=given.shift,
        shift_probability=given.shift_probability if declared.shift else 0.0,
        half_body_probability=given.half_body if declared.half_body else 0.0,
    )


def unused_augmentation(config: Config) -> list[str]:
    """What the config asks of augmentation and the dataset does not have, a line each.

    A registered dataset's recipe is known, so the config's default is not worth a line there.
    """
    said = declared(config.data.dataset)
    given, default = config.training.augmentation, AugmentationConfig()
    custom, lines = said.name not in ROWS, []
    if given.half_body and not said.half_body and (custom or given.half_body != default.half_body):
        why = "its yaml names no upper_body" if custom else "its recipe has none"
        lines.append(
            f"training.augmentation.half_body={given.half_body:g} has no effect on "
            f"{said.name}: {why}"
        )
    probability = given.shift_probability
    if probability and not said.shift and probability != default.shift_probability:
        lines.append(
            f"training.augmentation.shift_probability={probability:g} has no effect on "
            f"{said.name}: its recipe has none"
        )
    return lines


def load_split(
    config: Config,
    split: str,
    *,
    training: bool,
    scored: bool = True,
    boxes: str | None = None,
    look: bool = True,
) -> PoseTable:
    """The people of one split, as the config wants them.

    Args:
        config: the run.
        split: of the dataset, or ``minival``: of its train split, the slice that is held out.
        training: to train on: ground-truth boxes, keypoints.
        scored: to score, unless to train on: what cannot be scored is refused here, before a step.
        boxes: instead of the config's.
        look: into every image.

    Warns:
        Notice: augmentation that the dataset does not have was asked for.
    """
    data, scored = config.data, scored and not training
    held_out = is_minival(data, split)
    if training and look:
        for line in unused_augmentation(config):
            warnings.warn(line, Notice, stacklevel=2)
    if look and is_rendered(data.dataset):
        fingerprint(data, split)  # looks at every file, too, and knows what was rendered
    table = load(
        data.dataset,
        data.folder,
        data.train_split if held_out else split,
        input_size=data.input_size,
        boxes="gt" if training else boxes or data.box_source,
        box_threshold=data.box_threshold,
        training=training,
        scored=scored,
        present_only=data.present_only,
        skip_bad=data.skip_bad,
    )
    table = verify_images(table, skip_bad=data.skip_bad) if look else table
    if held_out:  # of those that can be read, as a training does it
        _, table = split_minival(table, data.minival)
    if scored:
        require_truth(table)
        if table.declared.protocol == "crowdpose":
            require_xtcocotools()
    return table


def tell_seen(config: Config, people: PoseTable, held: PoseTable) -> None:
    """Say which photographs of a custom dataset's val split are trained on, before the first step.

    Args:
        config: the run.
        people: to train on.
        held: to choose by: the val split's, or others.

    Warns:
        Notice: there are some.
    """
    data, val = config.data, config.data.val_split
    if not is_custom(data.dataset) or is_minival(data, val) or val not in splits_of(data.dataset):
        return
    if overlap_by_name(data.train_split, val):  # as it is asked for
        return
    if held.split != val:  # minival's, and val is read once the network is trained
        try:
            held = load_split(config, val, training=False, scored=False, boxes="gt", look=False)
        except HEViTPoseError:
            return  # whoever scores it refuses it
    tell_shared(people, held)


def dataset_facts(config: Config, table: PoseTable) -> dict[str, Any]:
    """What a record says of the data that a run trained on, or that a metric was taken on."""
    return {
        "name": table.dataset,
        "split": table.split,
        "fingerprint": fingerprint(config.data, table.split),
        "boxes": table.boxes,
        "counts": dict(table.counts),
        "skipped": [str(item) for item in table.skipped],
    }


def _workers(config: Config) -> int:
    if config.data.workers is not None:
        return config.data.workers
    cores = provenance.cores()
    return 0 if device_of(config) == "cpu" and cores <= 2 else min(8, max(1, cores - 1))


def _loader(config: Config, dataset: PoseDataset, sampler: Any, batch_size: int) -> DataLoader:
    workers = _workers(config)
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=workers,
        pin_memory=device_of(config) == "cuda",
        worker_init_fn=_end_with_parent,
    )


def _end_with_parent(worker: int) -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None and parent.pid is not None
    end_with(parent.pid)  # torch's own workers look every five seconds, and not while stopped


def evaluation_loader(
    config: Config,
    table: PoseTable,
    rank: int = 0,
    world: int = 1,
    pictures: DecodedImages | None = None,
    change: Change | None = None,
) -> DataLoader:
    """Crops of a table, each person once over all ranks."""
    dataset = PoseDataset(
        table, config.data.input_size, udp=config.codec.udp, pictures=pictures, change=change
    )
    return _loader(config, dataset, RankSlice(len(table), rank, world), config.data.eval_batch_size)


def training_loader(
    config: Config,
    table: PoseTable,
    steps: range,
    rank: int = 0,
    world: int = 1,
    pictures: DecodedImages | None = None,
) -> DataLoader:
    """Augmented crops in the order of some steps of a run, this rank's part of each batch."""
    dataset = PoseDataset(
        table,
        config.data.input_size,
        augmentation=augmentation(config, table),
        seed=config.seed,
        udp=config.codec.udp,
        pictures=pictures,
    )
    batch = config.training.batch_size
    stream = SampleStream(len(table), batch, steps, config.seed, rank, world)
    return _loader(config, dataset, stream, batch)


class PeopleModule(L.LightningDataModule):
    """Loaders that know the rank, which exists only once the trainer runs.

    Args:
        config: the run.
        plan: of the steps; None: only evaluated.
        train: people to train on.
        held: people to evaluate on.
        change: of their pictures, under an evaluation's condition.
    """

    def __init__(
        self,
        config: Config,
        plan: Plan | None,
        train: PoseTable | None,
        held: PoseTable,
        change: Applied | None = None,
    ) -> None:
        super().__init__()
        self.config, self.plan, self.train_table, self.held = config, plan, train, held
        self.pictures = None if train is None else decoded_images(train)
        self.change = change
        self.changed = None
        if change is not None and change.changes_pictures:
            self.changed = decoded_images(held, change)

    def _ranks(self) -> tuple[int, int]:
        assert self.trainer is not None
        return self.trainer.global_rank, self.trainer.world_size

    def train_dataloader(self) -> DataLoader:
        assert self.plan is not None and self.train_table is not None and self.trainer is not None
        first = self.trainer.global_step  # a loader per chunk, from wherever the run is
        steps = range(first, min(first + self.plan.chunk, self.plan.steps))
        return training_loader(
            self.config, self.train_table, steps, *self._ranks(), pictures=self.pictures
        )

    def val_dataloader(self) -> DataLoader:
        return evaluation_loader(
            self.config, self.held, *self._ranks(), pictures=self.changed, change=self.change
        )
