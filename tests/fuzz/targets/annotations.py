"""Annotation files, boxes and photographs: COCO, CrowdPose, OCHuman, MPII, custom datasets."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import savemat

from hevitpose.data import images, load
from hevitpose.data.readers import coco_format, detections, mpii
from hevitpose.data.readers.image_ids import ImageIds
from hevitpose.data.registry import ROWS
from hevitpose.data.synthetic import driver, seal
from hevitpose.inference.pictures import match_boxes, name_images
from hevitpose.metrics.pckh import JOINTS, load_ground_truth
from tests.data import annotation_files as files
from tests.data.feeding_back import custom
from tests.fuzz.campaign import Make, Reading, cli, target
from tests.fuzz.mutation import damaged, put, put_json, put_yaml, to_json, tree

SIZE = (192, 256)


def _read(reader: Any, name: str, content: Any, folder: Path, rng: Random) -> list[Reading]:
    path = put_json(rng, folder / "annotations.json", content)
    options = {"split": "val", "input_size": SIZE}
    return [
        partial(reader.read, path, folder, ROWS[name], **options, skip_bad=skip)
        for skip in (False, True)
    ]


@target(2)
def coco(shared: Path) -> Make:
    """COCO's and OCHuman's, and detections beside them."""
    content = files.coco(people=2)

    def make(rng: Random, folder: Path) -> list[Reading]:
        return _read(coco_format, rng.choice(("coco", "ochuman")), content, folder, rng)

    return make


@target()
def crowdpose(shared: Path) -> Make:
    """CrowdPose's."""
    return lambda rng, folder: _read(coco_format, "crowdpose", files.crowdpose(), folder, rng)


@target()
def mpii_json(shared: Path) -> Make:
    """MPII's, as mmpose writes them."""
    return lambda rng, folder: _read(mpii, "mpii", files.mpii(), folder, rng)


@target()
def detected_boxes(shared: Path) -> Make:
    """A detector's file, for ``valid --boxes``."""

    def make(rng: Random, folder: Path) -> list[Reading]:
        path = put_json(rng, folder / "boxes.json", files.boxes())
        known = ImageIds([7, 9], ["a.jpg", "b.jpg"])
        return [partial(detections.read_boxes, path, 0.2, known, skip) for skip in (False, True)]

    return make


@target()
def predict_boxes(shared: Path) -> Make:
    """``predict --boxes`` and ``predict --ids``."""
    paths = [files.image(shared / name) for name in ("a.jpg", "b.jpg")]
    named = [*files.boxes()[:2], {"file_name": "b.jpg", "bbox": [1, 2, 3, 4.5], "score": 0.5}]

    def make(rng: Random, folder: Path) -> list[Reading]:
        ids = put_json(rng, folder / "ids.json", {"images": files.coco()["images"]})
        boxes = put_json(rng, folder / "boxes.json", named)
        known = files.write(folder / "known.json", {"images": files.coco()["images"]})
        return [
            lambda: name_images(paths, ids),
            lambda: match_boxes(boxes, name_images(paths, known), 0.1, skip_bad=True),
            lambda: match_boxes(boxes, name_images(paths, known), 0.1),
            lambda: match_boxes(boxes, name_images(paths), 0.1),
        ]

    return make


@target()
def custom_dataset(shared: Path) -> Make:
    """A user's yaml, through ``data check`` and the reader."""
    custom(shared, files.coco(people=2))
    said = {
        "name": "mine",
        "keypoints": ["a", "b", "c"],
        "flip_pairs": [["a", "b"]],
        "sigmas": [0.1, 0.1, 0.2],
        "skeleton": [["a", 2]],
        "upper_body": ["a"],
        "joint_weights": [1, 1.5, 1],
        "category": ["person", 2],
        "derive": True,
        "use_area": False,
        "pck": {"name": "PCKh", "by": ["a", "c"], "threshold": 0.5},
        "splits": {s: {"annotations": "ann.json", "images": "../shared"} for s in ("train", "val")},
    }
    person = {"id": 1, "image_id": 7, "category_id": 1, "keypoints": [5, 5, 2, 9, 9, 1, 0, 0, 0]}
    content = files.coco() | {"annotations": [person, person | {"id": 2}]}
    content["categories"] = [{"id": 1, "name": "person"}, {"id": 2, "name": "dog"}]

    def make(rng: Random, folder: Path) -> list[Reading]:
        path = put_yaml(rng, folder / "mine.yaml", said)
        files.write(folder / "ann.json", content)
        if rng.random() < 0.4:
            (folder / "ann.json").unlink()
            put_json(rng, folder / "ann.json", content)
        check = partial(cli, "data", "check", "--root", folder, path)
        return [check, lambda: load(str(path), folder, "val", input_size=SIZE)]

    return make


@target(0.5)
def data_check(shared: Path) -> Make:
    """``data check`` of a folder with all datasets."""
    kinds: dict[str, Any] = {
        "coco": files.coco(),
        "crowdpose": files.crowdpose(),
        "ochuman": files.coco(),
        "mpii": files.mpii(),
    }

    def make(rng: Random, folder: Path) -> list[Reading]:
        name = rng.choice(list(kinds))
        text = to_json(rng, tree(rng, kinds[name])).decode("utf-8", "replace")
        files.root(folder, **{name: text})
        return [partial(cli, "data", "check", "--root", folder, *rng.choice(((), ("--json",))))]

    return make


# MATLAB ------------------------------------------------------------------------------------------


def mat(rng: Random, content: dict[str, Any], spoil: float = 0.3) -> bytes:
    """A MATLAB file of mutated arrays."""
    content = {
        key: array(rng, value) if rng.random() < 0.4 else value for key, value in content.items()
    }
    if rng.random() < 0.2:
        content.pop(rng.choice(list(content)))
    buffer = io.BytesIO()
    try:
        savemat(buffer, content, do_compression=rng.random() < 0.5)
    except (TypeError, ValueError, AttributeError, IndexError):  # what MATLAB has no form of
        return b"MATLAB 5.0 MAT-file"
    return damaged(rng, buffer.getvalue()) if rng.random() < spoil else buffer.getvalue()


def array(rng: Random, value: Any) -> Any:
    """An array of another shape, type or content."""
    value = np.asarray(value)
    odd = [np.zeros(0), np.zeros((3, 0, 2)), np.array("text"), np.array(1 + 2j), {"a": 1}, "text"]
    odd += [np.empty((2, 2), object), np.float64(np.nan), np.array([{"x": 1}], object), [[]], 0]
    action = rng.randrange(7)
    if action == 0 or not value.size:
        return rng.choice(odd)
    if action == 1:
        return value.ravel()
    if action == 2:
        return value.T
    if action == 3 and value.ndim:
        return value[..., :-1]
    if action == 4 and value.dtype.kind in "iuf":
        changed = value.astype(np.float64)
        changed.flat[rng.randrange(changed.size)] = rng.choice(
            (np.nan, np.inf, -np.inf, 1e308, -1, 1e-320)
        )
        return changed
    if action == 5 and value.dtype.kind in "iuf":
        return value.astype(rng.choice(("f4", "i8", "u1", "c16", "f8", "S3")))
    return np.stack([value, value])


@target(0.5)
def mpii_truth(shared: Path) -> Make:
    """``mpii_gt_val.mat``."""
    content = {
        "jnt_missing": np.zeros((16, 2)),
        "pos_gt_src": np.ones((16, 2, 2)),
        "headboxes_src": np.arange(8.0).reshape(2, 2, 2),
        "dataset_joints": np.array(JOINTS, object),
    }

    def make(rng: Random, folder: Path) -> list[Reading]:
        path = put(rng, folder / "mpii_gt_val.mat", mat(rng, content), 0)
        return [partial(load_ground_truth, path)]

    return make


@target(0.5)
def originals(shared: Path) -> Make:
    """``data prepare`` of the authors' own releases."""
    joints = [{"id": float(j), "x": 5.0 + j, "y": 9.0, "is_visible": 1} for j in range(16)]
    people = {"scale": 1.0, "objpos": {"x": 3.0, "y": 4.0}, "annopoints": {"point": joints}}
    image = {"image": {"name": "a.jpg"}, "annorect": people}
    release = {"annolist": [image, image], "img_train": [1, 0], "single_person": [1, 1]}
    truth = {"jnt_missing": np.zeros((16, 1)), "pos_gt_src": np.ones((16, 2, 1))}
    truth["pos_gt_src"][:, 0, 0], truth["pos_gt_src"][:, 1, 0] = 5.0 + np.arange(16), 9.0
    ochuman = {
        "keypoint_names": list(files.COCO.names),
        "images": [
            {
                "image_id": "a", "file_name": "a.jpg", "width": 64, "height": 48,
                "annotations": [
                    {"keypoints": [5, 6, 1] * 17, "segms": {"a": 1}, "bbox": [1, 2, 3, 4]}
                ],
            }
        ],
    }  # fmt: skip

    def make(rng: Random, folder: Path) -> list[Reading]:
        name = rng.choice(("mpii", "mpii", "crowdpose", "ochuman", "coco_small"))
        source = folder / "source"
        source.mkdir()
        if name == "mpii":
            changed = tree(rng, release, (None, 0, 1.5, "a", [], {"a": 1}, float("nan"), -1))
            put(
                rng, source / "mpii_human_pose_v1_u12_1.mat", mat(rng, {"RELEASE": changed}, 0.2), 0
            )
            (source / "mpii_gt_val.mat").write_bytes(mat(rng, truth, 0.1))
        elif name == "crowdpose":
            for split in ("train", "val", "test"):
                put_json(rng, source / f"crowdpose_{split}.json", files.crowdpose())
        elif name == "ochuman":
            put_json(rng, source / "ochuman.json", ochuman)
        else:
            place = source / "annotations/person_keypoints_val2017.json"
            put_json(rng, place, files.coco())
        root = folder / "data"
        return [partial(cli, "data", "prepare", name, "--source", source, "--root", root)]

    return make


# Photographs and rendered people -----------------------------------------------------------------


@target()
def photographs(shared: Path) -> Make:
    """Image files."""
    noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    kinds = {}
    for name in ("jpeg", "png", "tiff", "bmp", "webp"):
        buffer = io.BytesIO()
        exif = Image.Exif()
        exif[0x0112] = 6
        options = {} if name == "bmp" else {"exif": exif}
        Image.fromarray(noise).save(buffer, name, **options)
        kinds[name] = buffer.getvalue()

    def make(rng: Random, folder: Path) -> list[Reading]:
        name = rng.choice(list(kinds))
        data = kinds[name]
        if rng.random() < 0.3:  # headers say the size
            head = damaged(rng, data[:100])
            data = head + data[100:]
        path = put(rng, folder / f"a.{name}", data, 0.7)
        return [
            lambda: images.read_image(path),
            lambda: images.read_image(path, (64, 48)),
            lambda: images.look(path, (64, 48)),
            lambda: images.size_of(path),
        ]

    return make


@target(0.5)
def rendered_people(shared: Path) -> Make:
    """The marker and the seal of a rendered set."""
    marker = {"version": 1, "seed": 0, "people": 20, "size": 64, "images": 1}
    marker["splits"] = {"train": {"images": 1, "people": 20}}  # type: ignore[assignment]
    line = "0" * 64 + "  mpii/annotations/mpii_val.json\n"

    def make(rng: Random, folder: Path) -> list[Reading]:
        put_json(rng, folder / driver.MARKER, marker)
        put(rng, folder / seal.SEAL, line.encode() * rng.choice((1, 2)), 0.8)
        files.write(folder / "mpii/annotations/mpii_val.json", "[]")
        return [partial(driver.fingerprint, folder), partial(driver.read_marker, folder)]

    return make
