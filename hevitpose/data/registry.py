"""What each dataset declares: one row per dataset, or a user's yaml, without reading annotations.

Readers obey it, scoring obeys it, and records hash it: nothing here is ever inferred from the
values in a file, nor from a dataset's name.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hevitpose.data.keypoints import COCO, CROWDPOSE, MPII
from hevitpose.errors import UsageError, unknown_name
from hevitpose.models.keypoints import KeypointLayout

#: ``oks``: pycocotools; ``crowdpose``: xtcocotools; ``pckh``: MPII's metric; ``pckh+oks``: PCKh,
#: and the AP of the same predictions over CrowdPose's 14 joints.
Protocol = Literal["oks", "crowdpose", "pckh", "pckh+oks"]


@dataclass(frozen=True)
class Declared:
    """What a dataset says of itself, from its registry row or from the user's yaml."""

    name: str
    layout: KeypointLayout
    protocol: Protocol
    category: str = "person"  # whose annotations are people
    other_categories: bool = False  # annotations of others are left out, instead of an error
    use_area: bool = True  # OKS is scaled by the annotated area; else by 0.53 x the box's
    shift: bool = False  # training moves boxes at random
    half_body: bool = False  # training cuts people to ``layout.upper_body`` or the rest

    def training_inputs(self) -> dict[str, Any]:
        """What changes the weights of a training on this dataset, as plain json data.

        With ``training.selection=val`` the evaluation's inputs do so too.
        """
        layout = self.layout
        return {
            "format": self._format,
            "num_keypoints": len(layout),
            "flip_pairs": sorted(sorted(pair) for pair in layout.flip_pairs),
            "upper_body": sorted(layout.upper_body) if self.half_body else [],
            "shift": self.shift,
            "joint_weights": list(layout.joint_weights),
            **self._who_counts,
        }

    def evaluation_inputs(self) -> dict[str, Any]:
        """What changes the score of given weights on this dataset, as plain json data."""
        layout = self.layout
        return {
            "format": self._format,
            "protocol": self.protocol,
            "num_keypoints": len(layout),
            "flip_pairs": sorted(sorted(pair) for pair in layout.flip_pairs),
            "sigmas": list(self.sigmas),
            **self._who_counts,
        }

    @property
    def sigmas(self) -> tuple[float, ...]:
        """OKS constants of the scoring; none where the protocol is PCKh alone."""
        if self.protocol == "pckh":
            return ()
        return CROWDPOSE.sigmas if self.protocol == "pckh+oks" else self.layout.sigmas

    @property
    def _format(self) -> str:
        return "mpii" if self.protocol.startswith("pckh") else "coco"

    @property
    def _who_counts(self) -> dict[str, Any]:
        return {
            "category": self.category,
            "other_categories": self.other_categories,
            "use_area": self.use_area,
        }


_COCO_AUGMENTATION: dict[str, Any] = {"shift": True, "half_body": True}

#: The datasets of the registry. Rules are MMPose 0.29's; CrowdPose's files have no ``area``.
ROWS = {
    row.name: row
    for row in (
        Declared("synthetic", MPII, "pckh+oks", use_area=False),
        Declared("coco", COCO, "oks", **_COCO_AUGMENTATION),
        Declared("mpii", MPII, "pckh", use_area=False),
        Declared("crowdpose", CROWDPOSE, "crowdpose", use_area=False, **_COCO_AUGMENTATION),
        Declared("ochuman", COCO, "oks"),
    )
}


def declared(dataset: str | Path) -> Declared:
    """What a dataset declares; neither annotations nor images are opened.

    Args:
        dataset: a name of the registry, or the yaml file of a custom dataset.

    Raises:
        UsageError: an unknown name, or a yaml that says something that cannot be.
        DataError: the yaml is absent or is not yaml.
    """
    name = str(dataset)
    if not name.endswith((".yaml", ".yml")):
        if name not in ROWS:
            raise unknown_name("dataset", name, (*ROWS, "FILE.yaml"))
        return ROWS[name]
    from hevitpose.data.readers.custom import describe

    return describe(Path(dataset))[1]


def refuse_reserved(name: str) -> str:
    """A custom dataset's name, which must not be a registered dataset's.

    Raises:
        UsageError: its records would stand in the tables of another dataset.
    """
    if name.casefold() in ROWS:
        raise UsageError(
            f"name: {name!r} is a dataset of its own with its own protocol, "
            f"expected another name, for instance my_{name}"
        )
    return name
