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

- ``category``: whose annotations are people; where it is given, annotations of other categories are
  left out and counted, else (``person``) they are an error.
- ``use_area`` (true): OKS is scaled by the annotated ``area``, which every labelled person must
  then have. With false it is 0.53 x the box's area, whatever the file has.
- ``upper_body``: the joints of half-body augmentation, which is off without them.
- ``joint_weights``: of the loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hevitpose.data.files import find_boxes
from hevitpose.data.readers.coco_format import read
from hevitpose.data.registry import Declared, refuse_reserved
from hevitpose.data.table import PoseTable
from hevitpose.errors import DataError, UsageError, unknown_name
from hevitpose.models.keypoints import KeypointLayout


class Split(BaseModel):
    """Where one split is, relative to the yaml file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    annotations: Path
    images: Path


class CustomDataset(BaseModel):
    """The yaml file. Joints are named by their names or by their positions from 0."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    keypoints: tuple[str, ...] = Field(min_length=1)
    flip_pairs: tuple[tuple[int | str, int | str], ...]
    sigmas: tuple[float, ...]
    skeleton: tuple[tuple[int | str, int | str], ...] = ()
    upper_body: tuple[int | str, ...] = ()
    joint_weights: tuple[float, ...] = ()
    category: str = "person"
    use_area: bool = True
    splits: dict[str, Split] = Field(min_length=1)

    def layout(self) -> KeypointLayout:
        """The keypoints, checked.

        Raises:
            UsageError: an unknown joint, or counts that do not agree.
        """
        return KeypointLayout(
            name=self.name,
            names=self.keypoints,
            flip_pairs=self._pairs(self.flip_pairs),
            sigmas=self.sigmas,
            skeleton=self._pairs(self.skeleton),
            upper_body=tuple(self._joint(joint) for joint in self.upper_body),
            joint_weights=self.joint_weights,
        )

    def declared(self) -> Declared:
        """What scoring, augmentation and records take from the file."""
        return Declared(
            name=refuse_reserved(self.name),
            layout=self.layout(),
            protocol="oks",
            category=self.category,
            other_categories="category" in self.model_fields_set,
            use_area=self.use_area,
            shift=True,
            half_body=bool(self.upper_body),
        )

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
        UsageError: it says something that cannot be.
        DataError: it is absent or is not yaml.
    """
    try:
        content = yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}, expected a dataset's yaml") from None
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        first = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: not yaml ({first})") from None
    if not isinstance(content, dict):
        raise UsageError(f"{path}: expected keys (name, keypoints, flip_pairs, sigmas, splits)")
    try:
        dataset = CustomDataset.model_validate(content)
        return dataset, dataset.declared()
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, item['loc']))}: {str(item['input'])[:60]!r}: {item['msg']}"
            for item in error.errors(include_url=False)[:5]
        ]
        raise UsageError(f"{path}: " + "; ".join(problems)) from None
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


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
    return read(
        annotations,
        images,
        said,
        split=split,
        input_size=input_size,
        boxes=find_boxes(path.parent, boxes),
        box_threshold=box_threshold,
        truth=truth,
        skip_bad=skip_bad,
    )
