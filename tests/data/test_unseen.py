"""No network is scored on another dataset's photographs that it was trained on."""

from __future__ import annotations

import json

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from hevitpose.config import load_config
from hevitpose.data.unseen import require_scorable, require_unseen
from hevitpose.errors import DataError, UsageError
from hevitpose.inference.pretrained import save_pretrained
from hevitpose.models.checkpoint import from_pretrained, read_checkpoint
from hevitpose.models.trained import Trained
from hevitpose.training.fit import evaluate, train
from tests import tiny
from tests.data import annotation_files as files

TINY = {**tiny.TINY, "data.workers": 0, "training.selection": "last"}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """coco and coco_small with the same few people in every split."""
    folder = tmp_path_factory.mktemp("data")
    names = ("a.jpg", "b.jpg")
    for place in ("coco/images/train2017", "coco/images/val2017", "coco_small/images"):
        for name in names:
            files.image(folder / place / name)
    for split in ("train", "val"):
        files.write(folder / f"coco/annotations/coco_{split}.json", files.coco())
        files.write(folder / f"coco_small/annotations/coco_small_{split}.json", files.coco())
    return folder


def config(root, dataset, **changes):
    given = {"data.root": root, "data.dataset": dataset, **TINY, **changes}
    return load_config("coco", given)


@pytest.fixture(scope="module")
def small(root, tmp_path_factory):
    """Weights that were trained on coco_small train."""
    folder = tmp_path_factory.mktemp("small")
    train(config(root, "coco_small"), folder)
    return folder / "model.safetensors"


@pytest.mark.parametrize(
    ("trained", "dataset", "split", "refused"),
    [
        (("coco_small", "train"), "coco", "val", "both"),
        (("coco_small", "val"), "coco", "val", "both"),
        (("coco", "val"), "coco_small", "val", "both"),
        (("coco", "val"), "coco_small", "train", "both"),
        (("coco", "train"), "coco_small", "val", ""),
        (("coco_small", "train"), "coco_small", "val", ""),
        (("coco_small", "train"), "coco", "train", ""),
        (("coco_small", "train"), "coco_small", "train", "start"),  # else an overfit proof
        (("mpii", "trainval"), "mpii", "val", "start"),
        (("mine.yaml", "val"), "coco", "val", ""),
    ],
)
def test_who_has_seen_whom(root, trained, dataset, split, refused):
    """As the weights' own training, and as one that they started from."""
    asked = config(root, dataset, **{"data.val_split": split})
    one = Trained(*trained, held_out="")
    for kind, given in (("own", ([], one)), ("start", ([one], None))):
        if refused in ("both", kind):
            with pytest.raises(UsageError, match=f"trained on {' '.join(trained)}, whose"):
                require_unseen(asked, "w.safetensors", *given)
        else:
            require_unseen(asked, "w.safetensors", *given)


def test_weights_are_not_scored_on_what_they_saw(root, small):
    assert read_checkpoint(small).trained == Trained("coco_small", "train", "")
    weights = {"model.checkpoint": str(small)}
    with pytest.raises(UsageError, match=r"trained on coco_small train, .* in coco val; expected"):
        evaluate(config(root, "coco", **weights))
    assert "AP" in evaluate(config(root, "coco_small", **weights)).metrics


def test_what_weights_started_from_is_remembered(root, small, tmp_path):
    """However many trainings later, and also in what was converted from them."""
    start = {"training.start_from": str(small)}
    with pytest.raises(UsageError, match="trained on coco_small train"):
        train(config(root, "coco", **start), tmp_path / "never")  # scored on val at its end
    assert not (tmp_path / "never").exists()
    later = config(root, "coco", **start, **{"data.val_split": "train"})
    train(later, tmp_path / "later")
    again = {"training.start_from": str(tmp_path / "later" / "model.safetensors")}
    with pytest.raises(UsageError, match="trained on coco train, whose photographs"):
        train(later.with_overrides(again), tmp_path / "never")  # no proof of its own any more
    small_again = config(root, "coco_small", **again)
    train(small_again, tmp_path / "again")
    for name in ("model.safetensors", "last.ckpt"):
        stored = read_checkpoint(tmp_path / "again" / name)
        assert stored.earlier == [("coco_small", "train", ""), ("coco", "train", "")]
        assert stored.trained == ("coco_small", "train", "")
    network = from_pretrained(tmp_path / "again")
    save_pretrained(network, tmp_path / "card")
    assert read_checkpoint(tmp_path / "card").earlier == stored.earlier
    asked = {"model.checkpoint": str(tmp_path / "card")}
    with pytest.raises(UsageError, match="trained on coco_small train"):
        evaluate(config(root, "coco", **asked))


def test_a_start_that_is_not_made_yet(root):
    """Known from the text alone, before it is trained."""
    made = config(root, "coco", **{"training.start_from": "real:coco_small"})
    held_out = {"data.val_split": "minival", "training.selection": "minival"}
    paper = {"training.start_from": "paper:coco_small", "data.dataset": "coco_small"}
    require_scorable(made.with_overrides(paper | held_out))  # which holds the same people out
    with pytest.raises(UsageError, match="and on people of minival"):
        require_scorable(made.with_overrides(paper | held_out | {"data.minival": 0.2}))
    with pytest.raises(UsageError, match="real:coco_small: trained on coco_small train, whose"):
        require_scorable(made)
    require_scorable(made.with_overrides({"data.dataset": "coco_small"}))
    slice_of_start = made.with_overrides({"data.dataset": "coco_small"} | held_out)
    with pytest.raises(UsageError, match="trained on coco_small train, and on people of minival"):
        require_scorable(slice_of_start)


def test_another_start_is_another_run(root, small, tmp_path):
    start = {"training.start_from": str(small)}
    run = tmp_path / "run"
    train(config(root, "coco_small", **start), run)
    with pytest.raises(
        UsageError, match=r"another config \(training\.start_from: '\w{20}' -> None"
    ):
        train(config(root, "coco_small"), run)
    assert train(config(root, "coco_small", **start), run)


@pytest.mark.parametrize("said", ["coco", [["coco"]], [["coco", "val", 1]], [1], {"coco": "val"}])
def test_a_damaged_list(small, tmp_path, said):
    with safe_open(small, framework="pt") as file:
        description = json.loads(file.metadata()["hevitpose"])
    description["source"] = {"earlier": said}
    path = tmp_path / "model.safetensors"
    save_file(load_file(small), path, {"hevitpose": json.dumps(description)})
    with pytest.raises(DataError, match=r"source\.earlier is .*, expected lists of 3 texts"):
        read_checkpoint(path)
