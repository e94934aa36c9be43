"""What each dataset declares: one row per dataset, or a user's yaml, without reading annotations.

Readers obey it, scoring obeys it, and records hash it: nothing here is ever inferred from the
values in a file, nor from a dataset's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from hevitpose.data.keypoints import COCO, CROWDPOSE, MPII
from hevitpose.errors import UsageError, unknown_name
from hevitpose.files import is_dir
from hevitpose.models.keypoints import KeypointLayout

#: ``oks``: pycocotools; ``crowdpose``: xtcocotools; ``pckh``: MPII's metric; ``pckh+oks``: PCKh,
#: and the AP of the same predictions over CrowdPose's 14 joints; ``pck``: of custom datasets in
#: MPII's format.
Protocol = Literal["oks", "crowdpose", "pckh", "pckh+oks", "pck"]


@dataclass(frozen=True)
class Files:
    """Where a dataset's files are below its folder in ``data.root``, and where to get them."""

    folder: str
    page: str  # the authors'
    annotations: Mapping[str, tuple[str, ...]]  # by split, names to look for in annotations/
    images: Mapping[str, str] = field(default_factory=dict)  # by split, a folder in images/
    beside: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # by split, names of a file
    withheld: tuple[str, ...] = ()  # splits whose answers a server has
    optional: tuple[str, ...] = ()  # splits that few have and nothing here needs
    derived: str = ""  # files that the page lacks, as pose repositories distribute them
    source: str = ""  # "originals" that `hevitpose data prepare` converts, or a dataset's name
    label: str = ""  # what its numbers are called wherever they stand; see label_of

    def image_folder(self, root: Path, split: str) -> Path:
        """Where the photographs of a split are: ``images/val2017``, or COCO's own ``val2017``."""
        folder = self.images.get(split, "")
        ours, usual = root / self.folder / "images" / folder, root / self.folder / folder
        return usual if folder and not is_dir(ours) and is_dir(usual) else ours


@dataclass(frozen=True)
class Pck:
    """How PCK is normalised: a joint is right within ``threshold`` of the person's size."""

    name: Literal["PCK", "PCKh"]
    by: Literal["bbox"] | tuple[int, int]  # the longer side of the box, or between two joints
    threshold: float

    def inputs(self) -> dict[str, Any]:
        """As plain json data."""
        said = {"name": self.name, "threshold": self.threshold}
        if isinstance(self.by, str):  # grown: earlier results counted no box of a line or a point
            return said | {"by": self.by, "boxes": "grown"}
        return said | {"by": sorted(self.by)}


@dataclass(frozen=True)
class Declared:
    """What a dataset says of itself, from its registry row or from the user's yaml."""

    name: str
    layout: KeypointLayout
    protocol: Protocol
    category: str | int | tuple[str | int, ...] = "person"  # whose annotations are people
    other_categories: bool = False  # annotations of others are left out, instead of an error
    use_area: bool = True  # OKS is scaled by the annotated area; else by 0.53 x the box's
    pck: Pck | None = None  # also scored by it
    derive: bool = False  # missing boxes, sizes and whole ids are made of what is there
    stored_pixels: bool = False  # photographs are read without EXIF's orientation
    shift: bool = False  # training moves boxes at random
    half_body: bool = False  # training cuts people to ``layout.upper_body`` or the rest
    files: Files | None = field(default=None, compare=False, repr=False)  # None: not in data.root
    # (dataset, split) whose photographs these are: what trains on one is not scored on the other.
    part_of: tuple[str, str] | None = field(default=None, compare=False, repr=False)
    rendered_as: str = ""  # rendered by this package, into files laid out as this dataset's
    terms: str = field(default="", compare=False, repr=False)  # of photographs and annotations
    # Accuracy tables of the reports: name -> (split, title).
    reported: Mapping[str, tuple[str, str]] = field(default_factory=dict, compare=False, repr=False)

    def training_inputs(self) -> dict[str, Any]:
        """What changes the weights of a training on this dataset, as plain json data.

        With ``training.selection=val`` the evaluation's inputs do so too.
        """
        layout = self.layout
        return {
            "format": self.format,
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
            "format": self.format,
            "protocol": self.protocol,
            "num_keypoints": len(layout),
            "flip_pairs": sorted(sorted(pair) for pair in layout.flip_pairs),
            "sigmas": list(self.sigmas),
            **({} if self.pck is None else {"pck": self.pck.inputs()}),
            **self._who_counts,
        }

    @property
    def categories(self) -> tuple[str | int, ...]:
        """Names or ids of the categories whose annotations are people, one or several."""
        return self.category if isinstance(self.category, tuple) else (self.category,)

    @property
    def sigmas(self) -> tuple[float, ...]:
        """OKS constants of the scoring; none where the protocol is PCKh alone."""
        if self.protocol in ("pckh", "pck"):
            return ()
        return CROWDPOSE.sigmas if self.protocol == "pckh+oks" else self.layout.sigmas

    @property
    def format(self) -> Literal["mpii", "coco"]:
        """Of the annotation files, and with it the reader."""
        return "mpii" if self.protocol.startswith("pck") else "coco"

    @property
    def layout_on_disk(self) -> Files | None:
        """How its files are laid out below a root: as its own, or as those it is rendered into."""
        return ROWS[self.rendered_as].files if self.rendered_as else self.files

    @property
    def primary_metric(self) -> str:
        """What comparisons are judged by: mean PCKh@0.5 by head boxes, else AP, else its PCK."""
        return self.judging_metrics()[0]

    def judging_metrics(self, boxes: str = "gt") -> tuple[str, ...]:
        """The metrics that comparisons can be judged by, the usual one first.

        Args:
            boxes: ``gt``, or a detector's: people who are not found have no PCK.
        """
        found: tuple[str, ...] = ("Mean", "Mean@0.1") if self.protocol.startswith("pckh") else ()
        found += ("AP", "AR") if self.sigmas else ()
        return (*found, self.pck.name) if self.pck is not None and boxes == "gt" else found

    @property
    def _who_counts(self) -> dict[str, Any]:
        several = isinstance(self.category, tuple)
        return {
            "category": list(self.categories) if several else self.category,
            "other_categories": self.other_categories,
            "use_area": self.use_area,
            **({"derive": True} if self.derive else {}),
            **({"exif": "stored"} if self.stored_pixels else {}),
        }


_COCO_AUGMENTATION: dict[str, Any] = {"shift": True, "half_body": True}
_COCO_TERMS = "annotations CC BY 4.0; photographs under their own Flickr terms"
_PAGE_TERMS = "see the dataset's page"
_TARS = "https://download.openmmlab.com/mmpose/datasets"


def _of_every(splits: str, *names: str) -> dict[str, tuple[str, ...]]:
    return {split: tuple(name.format(split) for name in names) for split in splits.split()}


#: The datasets of the registry, one row each. Rules are MMPose 0.29's; CrowdPose's files have no
#: ``area``. A dataset in COCO's format is a row and nothing else.
ROWS = {
    row.name: row
    for row in (
        Declared(
            "synthetic",
            MPII,
            "pckh+oks",
            use_area=False,
            rendered_as="mpii",
            terms="rendered by this package, no terms of others",
            reported={"synthetic-val": ("val", "Synthetic people, val, PCKh@0.5")},
        ),
        Declared(
            "coco",  # Lin et al., ECCV 2014
            COCO,
            "oks",
            **_COCO_AUGMENTATION,
            terms=_COCO_TERMS,
            reported={
                "coco-val": ("val", "COCO val2017, OKS AP"),
                "coco-test-dev": ("test-dev", "COCO test-dev2017, OKS AP"),
            },
            files=Files(
                "coco",
                "https://cocodataset.org/#download",
                {
                    "train": ("coco_train.json", "person_keypoints_train2017.json"),
                    "val": ("coco_val.json", "person_keypoints_val2017.json"),
                    "test": ("coco_test.json", "image_info_test-dev2017.json"),
                },
                {"train": "train2017", "val": "val2017", "test": "test2017"},
                withheld=("test",),
            ),
        ),
        Declared(
            "mpii",  # Andriluka et al., CVPR 2014
            MPII,
            "pckh",
            use_area=False,
            terms=_PAGE_TERMS,
            reported={
                "mpii-val": ("val", "MPII val, PCKh@0.5"),
                "mpii-test": ("test", "MPII test, PCKh@0.5"),
            },
            files=Files(
                "mpii",
                "http://human-pose.mpi-inf.mpg.de/#download",
                {
                    "train": ("mpii_train.json", "train.json"),
                    "val": ("mpii_val.json", "valid.json"),
                    "trainval": ("mpii_trainval.json", "trainval.json"),
                    "test": ("mpii_test.json", "test.json"),
                },
                beside={"val": ("mpii_gt_val.mat", "gt_valid.mat")},
                withheld=("test",),
                optional=("trainval",),
                derived=f"{_TARS}/mpii_annotations.tar",
                source="originals",
            ),
        ),
        Declared(
            "crowdpose",  # Li et al., CVPR 2019
            CROWDPOSE,
            "crowdpose",
            use_area=False,
            **_COCO_AUGMENTATION,
            terms=_PAGE_TERMS,
            reported={"crowdpose": ("test", "CrowdPose test, OKS AP")},
            files=Files(
                "crowdpose",
                "https://github.com/jeffffffli/CrowdPose",
                _of_every(
                    "train val trainval test", "crowdpose_{}.json", "mmpose_crowdpose_{}.json"
                ),
                derived=f"{_TARS}/crowdpose_annotations.tar",
                source="originals",
            ),
        ),
        Declared(
            "ochuman",  # Zhang et al., CVPR 2019: trained on val, or a test set of COCO's models
            COCO,
            "oks",
            terms=_PAGE_TERMS,
            reported={"ochuman": ("test", "OCHuman, OKS AP")},
            files=Files(
                "ochuman",
                "https://github.com/liruilong940607/OCHumanApi",
                _of_every(
                    "val test", "ochuman_{}.json", "ochuman_coco_format_{}_range_0.00_1.00.json"
                ),
                source="originals",
            ),
        ),
        Declared(
            "coco_small",  # people of val2017, split by photograph
            COCO,
            "oks",
            **_COCO_AUGMENTATION,
            terms=_COCO_TERMS,
            part_of=("coco", "val"),
            reported={
                "coco-small": ("val", "coco_small val: COCO val2017 people, own split"),
            },
            files=Files(
                "coco_small",
                "https://cocodataset.org/#download",
                _of_every("train val", "coco_small_{}.json"),
                source="coco",
                label="coco_small: COCO val2017 people, own split; not COCO val AP",
            ),
        ),
    )
}


def placed() -> dict[str, Declared]:
    """The datasets that have a folder below ``data.root``."""
    return {name: row for name, row in ROWS.items() if row.files is not None}


def label_of(dataset: str) -> str:
    """The sentence that stands wherever numbers on a dataset do; most have none."""
    row = ROWS.get(dataset)
    return row.files.label if row and row.files else ""


def labels_of(*datasets: str) -> list[str]:
    """The sentences of several datasets, each once."""
    return list(dict.fromkeys(filter(None, map(label_of, datasets))))


def is_custom(dataset: str | Path) -> bool:
    """Whether a dataset is named by the yaml file of a user's own, not by a row."""
    return str(dataset).endswith((".yaml", ".yml"))


def is_rendered(dataset: str) -> bool:
    """Whether a dataset's people are rendered by this package."""
    return dataset in ROWS and bool(ROWS[dataset].rendered_as)


def files_of(dataset: str) -> Files:
    """Where the files of a dataset of the registry are.

    Raises:
        UsageError: an unknown name, or people who are rendered.
    """
    found = ROWS[dataset].files if dataset in ROWS else None
    if found is None:
        raise unknown_name("dataset", dataset, placed())
    return found


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
