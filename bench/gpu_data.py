"""The data of ``bench/gpu.py``: coco_small under the name that its form has, or a stand-in."""

from __future__ import annotations

import json
from pathlib import Path

from bench.gpu_session import KEYPOINTS, Session
from hevitpose.data.registry import ROWS
from hevitpose.errors import DataError


def dataset_of(session: Session) -> str:
    """What ``data.dataset`` is for ``DATA/coco_small``.

    The registry's name where it is there; else, and for a reduced form, whose pictures are other
    ones and which has a name of its own, the yaml of a custom dataset in the session's folder.

    Raises:
        DataError: there is no such folder, or its annotations cannot be read.
    """
    import yaml

    from hevitpose.data.keypoints import COCO
    from hevitpose.files import write_atomically

    folder = session.data.resolve() / "coco_small"
    annotations = {s: folder / f"annotations/coco_small_{s}.json" for s in ("train", "val")}
    try:
        info = json.loads(annotations["val"].read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{error.filename}: {error.strerror}, expected --data ROOT") from None
    side = max(max(image["width"], image["height"]) for image in info["images"])
    reduced = "Reduced" in info.get("info", {}).get("description", "")
    name = f"coco_small_{side}px" if reduced else "coco_small"
    if name in ROWS:
        return name
    content = {
        "name": name,
        "keypoints": list(COCO.names),
        "flip_pairs": [list(pair) for pair in COCO.flip_pairs],
        "sigmas": list(COCO.sigmas),
        "skeleton": [list(pair) for pair in COCO.skeleton],
        "upper_body": list(COCO.upper_body),
        "splits": {
            split: {"annotations": str(path), "images": str(folder / "images")}
            for split, path in annotations.items()
        },
    }
    path = session.out / f"{name}.yaml"
    write_atomically(path, yaml.safe_dump(content, sort_keys=False))
    return str(path)


def make_stand_in(root: Path) -> None:
    """A few pictures of noise with one person each, laid out as coco_small is: for rehearsing."""
    import cv2
    import numpy as np

    from hevitpose.data.keypoints import COCO

    rng = np.random.default_rng(0)
    folder = root / "coco_small"
    for name in ("annotations", "images"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    category = {"id": 1, "name": "person", "keypoints": list(COCO.names), "skeleton": []}
    for split, numbers in (("train", range(1, 13)), ("val", range(13, 19))):
        images, people = [], []
        for number in numbers:
            picture = rng.integers(0, 256, (96, 96, 3), dtype=np.uint8)
            cv2.imwrite(str(folder / f"images/{number:012d}.jpg"), picture)
            size = {"width": 96, "height": 96}
            images.append({"id": number, "file_name": f"{number:012d}.jpg", **size})
            points = [v for x, y in rng.uniform(12, 84, (KEYPOINTS, 2)) for v in (x, y, 2)]
            person = {"id": number, "image_id": number, "category_id": 1, "iscrowd": 0}
            box = {"bbox": [8, 8, 80, 80], "area": 3200.0, "num_keypoints": KEYPOINTS}
            people.append({**person, **box, "keypoints": points})
        info = {"description": "Noise. Reduced to 96 pixels."}
        content = {"info": info, "images": images, "annotations": people, "categories": [category]}
        path = folder / f"annotations/coco_small_{split}.json"
        path.write_text(json.dumps(content), encoding="utf-8")
