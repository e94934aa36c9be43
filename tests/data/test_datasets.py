"""A dataset is one row: every room knows it by that alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from annotation_files import coco, image, write

from hevitpose.config.schema import DataConfig
from hevitpose.data import load
from hevitpose.data.fingerprint import _photographs, fingerprint
from hevitpose.data.keypoints import COCO
from hevitpose.data.registry import ROWS, Declared, Files, is_custom
from hevitpose.data.tools.check import check
from hevitpose.errors import DataError, UsageError
from hevitpose.evaluation.score import score_results


@pytest.fixture
def mini(tmp_path, monkeypatch):
    files = Files("mini", "https://example.org", {"val": ("mini.json",)}, {"val": "pictures"})
    monkeypatch.setitem(ROWS, "mini", Declared("mini", COCO, "oks", files=files))
    write(tmp_path / "mini/annotations/mini.json", coco())
    for name in ("a.jpg", "b.jpg"):
        image(tmp_path / "mini/images/pictures" / name)
    return tmp_path


def test_a_row_is_a_dataset(mini):
    config = DataConfig(dataset="mini", root=mini)
    assert fingerprint(config, "val").startswith("sha256:")
    (row,) = check(mini, ["mini"])
    assert (row.status, row.people, row.absent_images) == ("present", 3, 0)
    table = load("mini", mini, "val", input_size=(64, 64), scored=True)
    results = [
        {
            "image_id": int(table.image_ids[table.image_index[i]]),
            "category_id": 1,
            "keypoints": [
                float(v)
                for point, seen in zip(table.keypoints[i], table.visibility[i], strict=True)
                for v in (*point, seen)
            ],
            "score": 1.0 - i / 10,
        }
        for i in range(len(table))
    ]
    assert score_results(table, results)["AP"] == pytest.approx(1.0)
    with pytest.raises(UsageError, match="expected one of val"):
        load("mini", mini, "train", input_size=(64, 64))
    assert json.loads(json.dumps(table.declared.training_inputs()))["format"] == "coco"


def test_every_kind_of_photograph_is_in_the_fingerprint(mini):
    """Whatever is read may change: a photograph of the same name is another one by its size."""
    config, pictures = DataConfig(dataset="mini", root=mini), mini / "mini/images/pictures"
    seen = {fingerprint(config, "val")}
    names = [f"c{suffix}" for suffix in (".jp2", ".PPM", ".gif", ".jfif", ".avif", ".tiff", ".JPG")]
    for number, name in enumerate([*names, ".h.jpg", "sub/d.png"]):
        (pictures / name).parent.mkdir(exist_ok=True)
        for size in (1, 2):
            (pictures / name).write_bytes(bytes(size))
            seen.add(fingerprint(config, "val"))
            assert len(seen) == 2 * number + size + 1, name


def test_what_is_no_photograph_of_the_set_is_not(mini):
    config, pictures = DataConfig(dataset="mini", root=mini), mini / "mini/images/pictures"
    before = fingerprint(config, "val")
    for name in ("notes.txt", "._a.jpg", ".thumbnails/a.jpg"):
        (pictures / name).parent.mkdir(exist_ok=True)
        (pictures / name).write_bytes(b"x")
    (pictures / "moved.jpg").symlink_to(mini / "gone.jpg")  # is absent: `load` says so
    (pictures / "round.jpg").symlink_to("round.jpg")
    (pictures / "pictures").symlink_to(pictures)  # `ln -s` called twice
    (pictures / "up").symlink_to(mini / "mini")
    assert fingerprint(config, "val") == before
    moved = mini / "link" / "mini"  # by another path to the same folders
    (mini / "link").symlink_to(mini)
    assert fingerprint(DataConfig(dataset="mini", root=moved.parent), "val") == before
    for here, there in (("p", "q"), ("q", "p")):
        image(pictures / here / f"{here}.jpg")
        (pictures / here / there).symlink_to(f"../{there}")
    folder = pictures.stat()
    found = _photographs(pictures, "", frozenset({(folder.st_dev, folder.st_ino)}))
    names = {name for name, _ in found}
    assert names == {"a.jpg", "b.jpg", "p/p.jpg", "p/q/q.jpg", "q/q.jpg", "q/p/p.jpg"}
    for name in ("p", "q"):
        shutil.rmtree(pictures / name)
    other = mini / "elsewhere"
    image(other / "z.jpg")
    (pictures / "other").symlink_to(other)
    assert fingerprint(config, "val") != before
    (pictures / "a.jpg").unlink()
    (mini / "mini/images/pictures").rename(mini / "moved")
    with pytest.raises(DataError, match="mini/images/pictures: No such file"):
        fingerprint(config, "val")


def test_without_its_row_it_is_unknown():
    with pytest.raises(UsageError, match="unknown dataset 'mini'"):
        DataConfig(dataset="mini")


def test_one_function_knows_a_custom_dataset_by_its_name():
    assert is_custom("my.yaml") and is_custom(Path("folder/my.yml"))
    assert not is_custom("coco") and not is_custom("my.yaml.json")
    package = Path(__file__).resolve().parents[2] / "hevitpose"
    asking = [p.name for p in package.rglob("*.py") if 'endswith((".yaml"' in p.read_text()]
    assert asking == ["registry.py"]
