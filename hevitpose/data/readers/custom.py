"""A user's own dataset: annotations in COCO's format, described by one yaml file.

::

    name: hands
    keypoints: [wrist, left_tip, right_tip]
    flip_pairs: [[left_tip, right_tip]]
    sigmas: [0.062, 0.05, 0.05]
    skeleton: [[wrist, left_tip], [wrist, right_tip]]
    splits:
      train: {annotations: train.json, images: images}
      val: {annotations: val.json, images: images}

Paths are relative to the yaml file. Optional:

- ``category``: whose annotations are people, a name or a list of names (an id where two have one
  name); where it is given, annotations of other categories are left out and counted, else
  (``person``) they are an error. Several are scored as one.
- ``derive`` (false): read what has no bbox (made of the labelled keypoints, grown on every side by
  a tenth of its longer side), no width and height (the photograph's) and ids that are text.
- ``exif`` (apply): ``stored`` for annotations that were made on the pixels as they are stored,
  by a tool that leaves EXIF's orientation aside.
- ``use_area`` (true): OKS is scaled by the annotated ``area``, which every labelled person must
  then have. With false it is 0.53 x the box's area, whatever the file has.
- ``pck``: also score PCK, or PCKh, and its AUC: ``{by: bbox, threshold: 0.2}`` by the longer side
  of the box, ``{name: PCKh, by: [head_top, upper_neck], threshold: 0.5}`` by the distance of two
  joints; people without both are not counted.
- ``format`` (coco): ``mpii`` for a list of people with ``image``, ``center``, ``scale``, ``joints``
  and ``joints_vis`` as MPII has it, in one-based pixels; scored by ``pck`` alone.
- ``upper_body``: the joints of half-body augmentation, which is off without them.
- ``joint_weights``: of the loss.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, ValidationError

from hevitpose import yaml_file
from hevitpose.config.section import Section
from hevitpose.data.files import find_boxes
from hevitpose.data.readers import mpii
from hevitpose.data.readers.coco_format import read
from hevitpose.data.registry import Declared, Pck, refuse_reserved
from hevitpose.data.table import PoseTable, Problems
from hevitpose.errors import UsageError, unknown_name
from hevitpose.models.keypoints import KeypointLayout


class Split(Section):
    """Where one split is, relative to the yaml file."""

    annotations: Path
    images: Path


class PckSettings(Section):
    """How PCK is normalised: by the box's longer side, or by the distance of two joints."""

    name: Literal["PCK", "PCKh"] = "PCK"
    by: Literal["bbox"] | tuple[int | str, int | str]
    threshold: float = Field(gt=0)


class CustomDataset(Section):
    """The yaml file. Joints are named by their names or by their positions from 0."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    keypoints: tuple[str, ...] = Field(min_length=1)
    flip_pairs: tuple[tuple[int | str, int | str], ...]
    sigmas: tuple[float, ...] = ()
    skeleton: tuple[tuple[int | str, int | str], ...] = ()
    upper_body: tuple[int | str, ...] = ()
    joint_weights: tuple[float, ...] = ()
    category: str | int | tuple[str | int, ...] = "person"
    use_area: bool = True
    derive: bool = False
    exif: Literal["apply", "stored"] = "apply"
    format: Literal["coco", "mpii"] = "coco"
    pck: PckSettings | None = None
    splits: dict[str, Split] = Field(min_length=1)

    def layout(self) -> KeypointLayout:
        """The keypoints, checked.

        Raises:
            UsageError: an unknown joint, or counts that do not agree.
        """
        if self.format == "coco" and not self.sigmas:
            raise UsageError("sigmas: not given, expected one per keypoint (OKS is scaled by them)")
        return KeypointLayout(
            name=self.name,
            names=self.keypoints,
            flip_pairs=self._pairs(self.flip_pairs),
            sigmas=self.sigmas or (0.1,) * len(self.keypoints),  # nobody's of format mpii
            skeleton=self._pairs(self.skeleton),
            upper_body=tuple(self._joint(joint) for joint in self.upper_body),
            joint_weights=self.joint_weights,
        )

    def declared(self) -> Declared:
        """What scoring, augmentation and records take from the file."""
        if self.format == "mpii" and self.pck is None:
            raise UsageError(
                "pck: not given, expected what format: mpii is scored by, for instance "
                "pck: {name: PCKh, by: [head_top, upper_neck], threshold: 0.5}"
            )
        return Declared(
            name=refuse_reserved(self.name),
            layout=self.layout(),
            protocol="pck" if self.format == "mpii" else "oks",
            pck=self._pck(),
            category=self._category(),
            other_categories="category" in self.model_fields_set,
            use_area=self.use_area,
            derive=self.derive,
            stored_pixels=self.exif == "stored",
            shift=True,
            half_body=bool(self.upper_body),
        )

    def _category(self) -> str | int | tuple[str | int, ...]:
        """One as itself, several in an order that does not matter to records."""
        if not isinstance(self.category, tuple):
            return self.category
        several = tuple(sorted(set(self.category), key=str))
        if not several:
            raise UsageError("category: an empty list, expected names")
        return several[0] if len(several) == 1 else several

    def _pck(self) -> Pck | None:
        if self.pck is None:
            return None
        by = self.pck.by
        if not isinstance(by, str):
            by = self._joint(by[0]), self._joint(by[1])
            if by[0] == by[1] or not all(0 <= joint < len(self.keypoints) for joint in by):
                raise UsageError(f"pck.by: {list(self.pck.by)}, expected two different keypoints")
        return Pck(self.pck.name, by, self.pck.threshold)

    def _pairs(self, pairs: Sequence[tuple[int | str, int | str]]) -> tuple[tuple[int, int], ...]:
        return tuple((self._joint(left), self._joint(right)) for left, right in pairs)

    def _joint(self, joint: int | str) -> int:
        if isinstance(joint, int):
            return joint
        if joint not in self.keypoints:
            raise unknown_name("keypoint", joint, self.keypoints)
        return self.keypoints.index(joint)


def describe(path: Path) -> tuple[CustomDataset, Declared]:
    """Read and check the yaml file.

    Raises:
        UsageError: it says something that cannot be, or a key twice.
        DataError: it is absent or is not yaml.
    """
    content = yaml_file.read(path)
    if not isinstance(content, dict):
        raise UsageError(f"{path}: expected keys (name, keypoints, flip_pairs, sigmas, splits)")
    try:
        dataset = CustomDataset.model_validate(content)
        return dataset, dataset.declared()
    except ValidationError as error:
        problems = [_problem(item) for item in error.errors(include_url=False)[:5]]
        raise UsageError(f"{path}: " + "; ".join(problems)) from None
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


def _problem(item: Any) -> str:
    *above, last = map(str, item["loc"])
    if item["type"] == "extra_forbidden":
        sections: dict[str, type[Section]] = {"splits": Split, "pck": PckSettings}
        known = sections[above[0]].model_fields if above else CustomDataset.model_fields
        return str(unknown_name(f"key of {'.'.join(above)}" if above else "key", last, known))
    return f"{'.'.join([*above, last])}: {str(item['input'])[:60]!r}: {item['msg']}"


def place(path: Path, split: str) -> tuple[Path, Path]:
    """Where one split's annotations and photographs are.

    Raises:
        UsageError: the yaml says something that cannot be, or has no such split.
        DataError: it is absent or is not yaml.
    """
    splits = describe(path)[0].splits
    if split not in splits:
        raise unknown_name(f"split of {path}", split, splits)
    return path.parent / splits[split].annotations, path.parent / splits[split].images


def read_truth(dataset: Path, annotations: Path, skip_bad: bool) -> PoseTable:
    """Any annotation file by the rules of a yaml; its photographs are those of the file's split.

    Args:
        dataset: the yaml file.
        annotations: of one of its splits, or another file of the same kind.
        skip_bad: leave bad records out.

    Raises:
        UsageError: the yaml says something that cannot be.
        DataError: the annotations are wrong.
    """
    said, images = describe(dataset)[1], annotations.parent
    for split in describe(dataset)[0].splits.values():
        if os.path.realpath(dataset.parent / split.annotations) == os.path.realpath(annotations):
            images = dataset.parent / split.images
    reader = mpii.read if said.format == "mpii" else read
    # The crop's size has no part in a score.
    table = reader(annotations, images, said, split="", input_size=(256, 256), skip_bad=skip_bad)
    return _with_known_sizes(table, skip_bad) if said.derive and said.format == "coco" else table


def _with_known_sizes(table: PoseTable, skip_bad: bool) -> PoseTable:
    """The table without people of absent photographs that are to say their sizes.

    By size it is decided who counts; elsewhere absent photographs are refused or dropped later.
    """
    unknown = table.needed_images & (table.image_sizes[:, 0] == 0)
    problems = Problems(table.annotation_file)
    for index in np.flatnonzero(unknown):
        path = table.image_root / table.image_names[index].decode()
        why = f"{path}: absent, expected a photograph, which says its width and height"
        problems.add("image", f"id {table.image_ids[index]}", why)
    skipped = problems.raise_or_list(skip_bad)
    left = table.without_images(unknown)
    counts = {**left.counts, "skipped": left.counts.get("skipped", 0) + len(skipped)}
    return dataclasses.replace(left, counts=counts, skipped=(*left.skipped, *skipped))


def load(
    path: Path,
    split: str,
    *,
    input_size: tuple[int, int],
    boxes: str = "gt",
    box_threshold: float = 0.0,
    truth: bool = True,
    skip_bad: bool = False,
) -> PoseTable:
    """One split of the dataset that a yaml file describes.

    Raises:
        UsageError: the file is wrong or has no such split.
        DataError: the annotations are wrong, or the category has other keypoint names.
    """
    _, said = describe(path)
    annotations, images = place(path, split)
    options: dict[str, Any] = {"split": split, "input_size": input_size, "skip_bad": skip_bad}
    if said.format == "mpii":
        if boxes != "gt":
            raise UsageError(f"boxes {boxes!r}: format mpii gives centre and scale, expected gt")
        return mpii.read(annotations, images, said, truth=truth, **options)
    return read(
        annotations,
        images,
        said,
        boxes=find_boxes(path.parent, boxes),
        box_threshold=box_threshold,
        truth=truth,
        **options,
    )
