"""Synthetic people: determinism, agreement of the four formats, geometry, interrupted runs."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat

from hevitpose.data import load, synthetic
from hevitpose.data.keypoints import COCO, CROWDPOSE, MPII
from hevitpose.data.synthetic import driver, formats, pool, sheet
from hevitpose.data.synthetic.body import POINTS, Build, pose_body
from hevitpose.data.synthetic.person import Body, camera
from hevitpose.data.synthetic.poses import LIMITS, SIDED, mirror, sample_pose
from hevitpose.data.synthetic.render import Canvas, Capsule, Ellipsoid, Light
from hevitpose.data.synthetic.scene import render_scene
from hevitpose.data.synthetic.wardrobe import sample_outfit
from hevitpose.errors import DataError, UsageError

PEOPLE, SIZE = 40, 96


def _files(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def _read(path: Path):
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("people")
    synthetic.generate(root, PEOPLE, SIZE, seed=3, workers=1)
    return root


# --- determinism and completeness ------------------------------------------------------------


def test_files_do_not_depend_on_workers(root: Path, tmp_path: Path):
    synthetic.generate(tmp_path / "two", PEOPLE, SIZE, seed=3, workers=2)
    assert _files(tmp_path / "two") == _files(root)


def test_another_seed_gives_other_people(root: Path, tmp_path: Path):
    synthetic.generate(tmp_path, PEOPLE, SIZE, seed=4, workers=1)
    name = "coco/images/train2017/000000000001.jpg"
    assert (tmp_path / name).read_bytes() != (root / name).read_bytes()
    assert synthetic.fingerprint(tmp_path) == "synthetic:v1:seed4:people40:size96"


def test_complete_data_are_left_alone(root: Path, monkeypatch):
    monkeypatch.setattr(driver, "_build", lambda *_: pytest.fail("generated again"))
    info = synthetic.generate(root, PEOPLE, SIZE, seed=3)
    assert info.people == PEOPLE
    assert synthetic.is_complete(root, PEOPLE, SIZE, seed=3)
    assert not synthetic.is_complete(root, PEOPLE, SIZE, seed=4)


def test_other_parameters_are_refused(root: Path):
    before = _files(root)
    with pytest.raises(UsageError, match=r"people 40.*seed 3.*wanted.*people 41"):
        synthetic.generate(root, PEOPLE + 1, SIZE, seed=3)
    assert _files(root) == before


def test_a_folder_of_other_things_is_refused(tmp_path: Path):
    (tmp_path / "coco").mkdir()
    (tmp_path / "coco/precious.jpg").write_bytes(b"x")
    with pytest.raises(UsageError, match="not empty"):
        synthetic.generate(tmp_path, 5, SIZE)
    assert (tmp_path / "coco/precious.jpg").exists()


def test_progress_and_splits(tmp_path: Path):
    calls: list[tuple[int, int]] = []
    info = synthetic.generate(tmp_path, 60, 64, progress=lambda *c: calls.append(c), workers=1)
    assert calls[-1] == (info.images, info.images)
    assert [c[0] for c in calls] == sorted(c[0] for c in calls)
    assert sum(part["people"] for part in info.splits.values()) == 60
    assert 0.05 < info.splits["val"]["people"] / 60 < 0.3
    assert all(part["images"] for part in info.splits.values())


@pytest.mark.parametrize("people", [3, 4, 5, 9, 100, 5000])
def test_every_split_has_people(people: int):
    info, crowds = driver._plan(people, 64, 0)
    assert sum(crowds) == people and len(crowds) == info.images
    assert all(part["people"] > 0 for part in info.splits.values())


@pytest.mark.parametrize(
    "arguments", [{"people": 2}, {"size": 10}, {"seed": -1}, {"workers": 0}, {"people": 2.5}]
)
def test_bad_arguments(tmp_path: Path, arguments: dict):
    (name,) = arguments
    with pytest.raises(UsageError, match=name):
        synthetic.generate(tmp_path, **{"people": 5, "size": 64, **arguments})
    assert not list(tmp_path.iterdir())


# --- interrupted runs ------------------------------------------------------------------------


def test_interrupted_run_starts_over(root: Path, tmp_path: Path):
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthetic.generate(tmp_path, PEOPLE, SIZE, seed=3, workers=1, progress=interrupt)
    assert not synthetic.is_complete(tmp_path, PEOPLE, SIZE, seed=3)
    with pytest.raises(DataError, match=r"synthetic\.json"):
        synthetic.fingerprint(tmp_path)
    stray = next(tmp_path.rglob("*.jpg"))
    stray.write_bytes(stray.read_bytes()[:100])  # as if cut off in the middle of a write
    synthetic.generate(tmp_path, PEOPLE, SIZE, seed=3, workers=1)
    assert _files(tmp_path) == _files(root)


def test_killed_while_moving_into_place(root: Path, tmp_path: Path, monkeypatch):
    real, moved = Path.rename, []

    def rename(self, target):
        if moved:
            raise KeyboardInterrupt
        moved.append(target)
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(KeyboardInterrupt):
        synthetic.generate(tmp_path, PEOPLE, SIZE, seed=3, workers=1)
    monkeypatch.undo()
    assert (tmp_path / "coco").exists() and not synthetic.is_complete(tmp_path, PEOPLE, SIZE, 3)
    synthetic.generate(tmp_path, PEOPLE, SIZE, seed=3, workers=1)
    assert _files(tmp_path) == _files(root)


def test_killed_process_leaves_nothing_that_counts(tmp_path: Path):
    script = (
        "import os, sys, pathlib; from hevitpose.data import synthetic\n"
        "synthetic.generate(pathlib.Path(sys.argv[1]), 40, 64, workers=1,"
        " progress=lambda *_: os._exit(9))"
    )
    path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], env={**os.environ, "PYTHONPATH": path}
    )
    assert done.returncode == 9
    assert synthetic.read_marker(tmp_path) is None
    assert synthetic.generate(tmp_path, 40, 64, workers=1).people == 40


def test_processes_pass_on_results_errors_and_deaths(tmp_path: Path):
    assert sorted(pool.run(abs, [(-2,), (3,), (-1,)], 2)) == [1, 2, 3]
    assert list(pool.run(print, [("not a reply",)], 1)) == [None]
    with pytest.raises(FileNotFoundError):
        list(pool.run(os.listdir, [(str(tmp_path / "absent"),)], 1))
    with pytest.raises(DataError, match="status 3"):
        list(pool.run(os._exit, [(3,), (3,)], 1))


def test_full_disk_is_one_line(tmp_path: Path, monkeypatch):
    def full(self, data):
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DataError, match="no space left") as error:
        synthetic.generate(tmp_path, 5, 64, workers=1)
    assert "\n" not in str(error.value)
    assert synthetic.read_marker(tmp_path) is None


def test_damaged_marker(tmp_path: Path):
    (tmp_path / "synthetic.json").write_text('{"version": 1')
    with pytest.raises(DataError, match=r"synthetic\.json"):
        synthetic.generate(tmp_path, 5, 64)


# --- the four formats ------------------------------------------------------------------------


def test_formats_agree_about_every_person(root: Path):
    for split in ("train", "val"):
        coco = _read(root / f"coco/annotations/coco_{split}.json")
        crowd = _read(root / f"crowdpose/annotations/crowdpose_{split}.json")
        mpii = _read(root / f"mpii/annotations/mpii_{split}.json")
        names = {image["id"]: image["file_name"] for image in coco["images"]}
        rows = zip(coco["annotations"], crowd["annotations"], mpii, strict=True)
        for a, b, c in rows:
            assert a["id"] == b["id"] == c["id"]
            assert a["image_id"] == b["image_id"] == c["image_id"]
            assert names[a["image_id"]] == c["image"]
            in_coco = dict(zip(COCO.names, np.reshape(a["keypoints"], (17, 3)), strict=True))
            in_crowd = dict(zip(CROWDPOSE.names, np.reshape(b["keypoints"], (14, 3)), strict=True))
            joints = np.column_stack((c["joints"], c["joints_vis"]))
            in_mpii = dict(zip(MPII.names, joints, strict=True))
            shared = [name for name in in_coco if name in in_mpii]
            assert len(shared) == 12
            for name in shared:
                assert (in_coco[name][2] > 0) == (in_mpii[name][2] > 0)
                np.testing.assert_array_equal(in_coco[name], in_crowd[name])
                if in_coco[name][2] > 0:  # 1-based: exactly one more
                    np.testing.assert_allclose(in_mpii[name][:2], in_coco[name][:2] + 1, atol=1e-9)
                else:
                    assert not in_coco[name].any() and not in_mpii[name].any()
            assert a["num_keypoints"] == sum(v[2] > 0 for v in in_coco.values())
            assert a["iscrowd"] == 0 and a["area"] > 0


def test_labelled_joints_are_inside_and_missing_ones_outside():
    seen = set()
    for i in range(25):
        scene = render_scene(np.random.default_rng(i), 2, 64)
        for person in scene.people:
            inside = ((person.points >= 0) & (person.points <= 63)).all(1)
            assert not person.visibility[~inside].any()
            body = person.visibility[5:]  # of the face, what the head hides is not labelled
            assert (body[inside[5:]] > 0).all()
            seen |= set(person.visibility.tolist())
            x, y, w, h = person.box
            assert x >= 0 and y >= 0 and w > 0 and h > 0 and x + w <= 63 and y + h <= 63
            assert person.area <= 64 * 64 and person.polygons
    assert seen == {0, 1, 2}


def test_readers_take_every_format(root: Path):
    for dataset, split in (
        ("coco", "train"),
        ("coco", "val"),
        ("mpii", "train"),
        ("mpii", "val"),
        ("synthetic", "val"),
        ("crowdpose", "trainval"),
        ("crowdpose", "val"),
        ("crowdpose", "test"),
        ("ochuman", "val"),
        ("ochuman", "test"),
    ):
        table = load(dataset, root, split, input_size=(64, 64))
        assert len(table.centers) > 0 and table.counts["absent_images"] == 0
        # The box holds the person: labelled joints lie within the crop.
        at = (table.keypoints - table.centers[:, None]) / table.sizes[:, None]
        assert (np.abs(at[table.visibility > 0]) < 0.5).mean() > 0.99


def test_val_mat_is_like_the_evaluators_file(root: Path):
    content = loadmat(root / "mpii/annotations/mpii_gt_val.mat")
    people = _read(root / "mpii/annotations/mpii_val.json")
    n = len(people)
    shapes = {k: (v.shape, v.dtype.str) for k, v in content.items() if not k.startswith("__")}
    assert shapes == {
        "dataset_joints": ((1, 16), "|O"),
        "jnt_missing": ((16, n), "|u1"),
        "pos_gt_src": ((16, 2, n), "<f8"),
        "headboxes_src": ((2, 2, n), "<f8"),
    }
    for i, person in enumerate(people):
        np.testing.assert_array_equal(content["pos_gt_src"][:, :, i], person["joints"])
        np.testing.assert_array_equal(content["jnt_missing"][:, i] == 0, person["joints_vis"])
    top, neck = content["pos_gt_src"][9], content["pos_gt_src"][8]
    low, high = content["headboxes_src"]
    labelled = content["jnt_missing"][8:10].sum(0) == 0
    for point in (top[:, labelled], neck[:, labelled]):
        assert ((point >= low[:, labelled] - 0.1) & (point <= high[:, labelled] + 0.1)).all()


def test_val_mat_has_the_fields_of_the_real_one(root: Path, samples: Path):
    ours = loadmat(root / "mpii/annotations/mpii_gt_val.mat")
    real = loadmat(samples / "mpii/annotations/mpii_gt_val.mat")
    assert set(ours) == set(real)
    for key, value in real.items():
        if not key.startswith("__"):
            assert ours[key].shape[:-1] == value.shape[:-1] and ours[key].dtype == value.dtype
    ours_names, real_names = ([str(v[0]) for v in m["dataset_joints"][0]] for m in (ours, real))
    assert ours_names == real_names


def test_mpii_box_surrounds_the_coco_box(root: Path):
    """The centre that the MPII reader makes of the file is the middle of the person."""
    mpii = load("mpii", root, "train", input_size=(64, 64))
    coco = load("coco", root, "train", input_size=(64, 64))
    whole = (coco.bboxes[:, :2] > 0).all(1) & ((coco.bboxes[:, :2] + coco.bboxes[:, 2:]) < 94).all(
        1
    )
    assert whole.sum() > 5
    np.testing.assert_allclose(mpii.centers[whole], coco.centers[whole], atol=0.6)
    # The COCO reader's boxes end at the last pixel: a pixel, times the padding, smaller.
    np.testing.assert_allclose(mpii.sizes[whole], 0.95 * (coco.sizes[whole] + 1.25), atol=0.1)


def test_pycocotools_reads_the_files(root: Path):
    from pycocotools import coco

    for name in ("coco/annotations/coco_val.json", "ochuman/annotations/ochuman_test.json"):
        api = coco.COCO(str(root / name))
        assert api.getAnnIds()
        for annotation in api.loadAnns(api.getAnnIds()):
            mask = api.annToMask(annotation)
            # Contours run through the outermost pixels' centres: a little less than the area.
            assert 0.6 < mask.sum() / annotation["area"] < 1.3


def test_crowd_index_is_the_papers():
    rng = np.random.default_rng(0)
    for _ in range(50):
        n = int(rng.integers(1, 5))
        boxes = np.concatenate((rng.uniform(0, 40, (n, 2)), rng.uniform(5, 60, (n, 2))), 1)
        points = rng.uniform(0, 100, (n, 14, 2))
        labelled = rng.random((n, 14)) < 0.8
        total = 0.0
        for i in range(n):
            own = foreign = 0
            x, y, w, h = boxes[i]
            for j in range(n):
                for k in range(14):
                    px, py = points[j, k]
                    if labelled[j, k] and x <= px <= x + w and y <= py <= y + h:
                        own, foreign = own + (i == j), foreign + (i != j)
            total += foreign / max(own, 1)
        assert formats.crowd_index(boxes, points, labelled) == pytest.approx(total / n)


def test_images_carry_their_crowd_index(root: Path):
    content = _read(root / "crowdpose/annotations/crowdpose_trainval.json")
    count = {image["id"]: 0 for image in content["images"]}
    for annotation in content["annotations"]:
        count[annotation["image_id"]] += 1
    assert all(i["crowdIndex"] == 0 for i in content["images"] if count[i["id"]] == 1)
    assert any(i["crowdIndex"] > 0 for i in content["images"])


# --- the body --------------------------------------------------------------------------------


def _points(yaw: float, **pose: float) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    skeleton = pose_body(Build(), {"yaw": yaw, **pose})
    body = Body(skeleton, Build(), sample_outfit(rng), camera(0, 0, 6.0))
    return dict(zip(POINTS, body.xyz, strict=True))


def test_left_is_on_the_images_right_in_front_and_on_its_left_behind():
    front, back, left_turn = _points(0), _points(180), _points(90)
    for name in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle", "eye", "ear"):
        assert front[f"left_{name}"][0] > front[f"right_{name}"][0]
        assert back[f"left_{name}"][0] < back[f"right_{name}"][0]
    assert front["nose"][2] < front["left_ear"][2]  # the face is nearer to the camera
    assert back["nose"][2] > back["left_ear"][2]
    assert left_turn["nose"][0] > left_turn["pelvis"][0]  # turned to its left: looks to our right
    assert front["head_top"][1] < front["pelvis"][1] < front["left_ankle"][1]


def test_joints_bend_the_way_a_body_does():
    knee = _points(90, left_knee=90.0)  # seen from the side, the person looks to the right
    assert knee["left_ankle"][0] < knee["left_knee"][0] - 0.1
    elbow = _points(90, left_elbow=90.0)
    assert elbow["left_wrist"][0] > elbow["left_elbow"][0] + 0.1
    hip = _points(90, left_hip_flex=90.0)
    assert hip["left_knee"][0] > hip["left_hip"][0] + 0.2
    bow = _points(90, spine_flex=60.0)
    assert bow["head_top"][0] > bow["pelvis"][0] + 0.2
    star = _points(0, left_arm_lift=90.0, left_arm_plane=90.0, right_hip_side=40.0)
    assert star["left_wrist"][0] > star["left_shoulder"][0] + 0.3
    assert star["right_ankle"][0] < star["right_hip"][0] - 0.2


def test_poses_keep_the_limits_and_mirror():
    rng = np.random.default_rng(0)
    for _ in range(300):
        _, pose = sample_pose(rng)
        for name, (low, high) in LIMITS.items():
            sides = ("left_", "right_") if name in SIDED else ("",)
            assert all(low <= pose[side + name] <= high for side in sides)
        again = mirror(mirror(pose))
        assert again == pose
    _, pose = sample_pose(rng)
    a, b = pose_body(Build(), pose), pose_body(Build(), mirror(pose))
    for name in ("elbow", "wrist", "knee", "ankle", "eye"):
        np.testing.assert_allclose(a[f"left_{name}"] * (-1, 1, 1), b[f"right_{name}"], atol=1e-9)


def test_visible_joints_lie_on_their_person():
    on = total = 0
    for i in range(20):
        scene = render_scene(np.random.default_rng((5, i)), 1, 128)
        (person,) = scene.people
        mask = np.zeros((128, 128), np.uint8)
        import cv2

        cv2.fillPoly(mask, [np.array(p, np.int32).reshape(-1, 2) for p in person.polygons], 1)
        mask = cv2.dilate(mask, np.ones((3, 3), np.uint8))
        xy = np.round(person.points[person.visibility == 2]).astype(int)
        on, total = on + mask[xy[:, 1], xy[:, 0]].sum(), total + len(xy)
    assert on / total > 0.99


# --- the solids ------------------------------------------------------------------------------


def _canvas(size: int = 65) -> Canvas:
    light = Light(np.array((0.0, 0.0, -1.0)), 0.5)
    return Canvas(np.zeros((3, size, size), np.float32), light, np.zeros((size, size), np.float32))


def _white(*_: np.ndarray) -> np.ndarray:
    return np.full((3, 1, 1), 255, np.float32)


def test_a_ball_is_drawn_at_its_centre_and_size():
    ball = Ellipsoid(np.array((30.0, 34.0, 5.0)), np.eye(3) * 10.2, _white)
    capsule = Capsule(np.array((30.0, 34.0, 5.0)), np.array((30.0, 34.0, 5.0)), 10.2, 10.2, _white)
    for solid in (ball, capsule):
        canvas = _canvas()
        canvas.draw([solid], 1)
        ys, xs = np.nonzero(canvas.owner == 1)
        assert (xs.min(), xs.max(), ys.min(), ys.max()) == (20, 40, 24, 44)
        assert canvas.owner.sum() == pytest.approx(np.pi * 10.2**2, rel=0.03)
        assert canvas.depth[34, 30] == pytest.approx(-5.2)  # the near pole
        assert canvas.image[0, 34, 30] > 200 > canvas.image[0, 34, 21]


def test_a_tilted_ellipsoid_agrees_with_sampling_its_surface():
    rng = np.random.default_rng(1)
    frame = np.linalg.qr(rng.normal(size=(3, 3)))[0] * (18.0, 9.0, 5.0)
    canvas = _canvas()
    canvas.draw([Ellipsoid(np.array((32.0, 32.0, 0.0)), frame, _white)], 1)
    sphere = rng.normal(size=(200_000, 3))
    points = sphere / np.linalg.norm(sphere, axis=1, keepdims=True) @ frame.T + (32, 32, 0)
    lowest = np.full((65, 65), np.inf)
    ij = np.round(points[:, :2]).astype(int)
    np.minimum.at(lowest, (ij[:, 1], ij[:, 0]), points[:, 2])
    both = np.isfinite(lowest) & (canvas.owner == 1)
    assert both.sum() / (canvas.owner == 1).sum() > 0.99
    assert np.median(np.abs(lowest[both] - canvas.depth[both])) < 0.5


def test_the_nearer_solid_shows():
    near = Ellipsoid(np.array((32.0, 32.0, -20.0)), np.eye(3) * 8, _white)
    dark = Ellipsoid(np.array((32.0, 32.0, 20.0)), np.eye(3) * 12, lambda *_: 0 * _white())
    for order in ([near, dark], [dark, near]):
        canvas = _canvas()
        canvas.draw(order, 1)
        assert canvas.image[0, 32, 32] > 200 and canvas.image[0, 32, 42] == 0


# --- the sheet and the import ----------------------------------------------------------------


def test_contact_sheet(root: Path, tmp_path: Path, monkeypatch):
    """The first val pictures in order, with joints drawn on them."""
    import cv2

    monkeypatch.setattr(sheet, "_ROWS", 2)
    monkeypatch.setattr(sheet, "_COLS", 2)
    made = cv2.imread(str(synthetic.contact_sheet(root, tmp_path / "a.png")))
    people = json.loads((root / "mpii/annotations/mpii_val.json").read_text())
    names = list(dict.fromkeys(person["image"] for person in people))[:4]
    assert made.shape == (-(-len(names) // 2) * SIZE, 2 * SIZE, 3)
    for i, name in enumerate(names):
        y, x = i // 2 * SIZE, i % 2 * SIZE
        plain = cv2.imread(str(root / "mpii/images" / name))
        assert 0 < (made[y : y + SIZE, x : x + SIZE] != plain).any(-1).mean() < 0.5
    with pytest.raises(DataError, match="mpii_val"):
        synthetic.contact_sheet(tmp_path, tmp_path / "c.png")


def test_import_brings_no_torch():
    script = "import sys; import hevitpose.data.synthetic; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[2])
