"""Training: what must hold of a run whatever it learns."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import pytorch_lightning as L
import torch

from hevitpose import leases
from hevitpose.config import load_config
from hevitpose.data import load
from hevitpose.errors import DataError, DivergedError, HEViTPoseError, UsageError
from hevitpose.models.checkpoint import read_checkpoint
from hevitpose.training import fit as training
from hevitpose.training import resume
from hevitpose.training.callbacks import AtomicCheckpointIO, AveragedWeights, Evaluate, Report
from hevitpose.training.fit import evaluate, train
from hevitpose.training.loaders import PeopleModule
from hevitpose.training.module import PoseModule
from hevitpose.training.schedule import Plan, learning_rate_factor
from hevitpose.training.trainer import build, make_trainer
from tests import tiny as tiny_training

TINY = {
    **tiny_training.TINY,
    "data.eval_batch_size": 8,
    "training.steps": 6,
    "training.warmup_steps": 2,
    "training.checkpoint_steps": 2,
}


@pytest.fixture(scope="module")
def tiny(synthetic_root):
    def make(**changes):
        given = {**TINY, "data.root": synthetic_root, **changes}
        return load_config("synthetic", given)

    return make


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory):
    """A run of ``tiny()`` that loads its own people; whoever changes its files takes a copy."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    train(tiny(**{"data.workers": 0}), folder)
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(folder / "model.safetensors").state


def assert_same(a: dict, b: dict) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


class KilledError(Exception):
    """Stands in for a process that dies."""


def digests(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
    }


def killed(patch, place: str) -> None:
    """Makes the next training die: in a chunk, around its checkpoint, or before the last file."""
    save, fit_checkpoint = PoseModule.save, AtomicCheckpointIO.save_checkpoint
    saved = []

    def dies(*_):
        raise KilledError

    def save_or_die(self, path):
        if path.name == "model.safetensors":
            raise KilledError
        save(self, path)

    def checkpoint_or_die(self, checkpoint, path, storage_options=None):
        saved.append(path)
        if place == "before-last-checkpoint" and len(saved) == 3:
            raise KilledError
        fit_checkpoint(self, checkpoint, path, storage_options)

    patch.setattr(AtomicCheckpointIO, "save_checkpoint", checkpoint_or_die)
    if place == "before-final-save":
        patch.setattr(PoseModule, "save", save_or_die)
    elif place == "before-final-evaluation":
        patch.setattr(training, "_evaluate", dies)
    elif place == "in-last-chunk":

        def report(self, trainer, *_):
            if trainer.global_step == 5:  # in the third chunk of two steps: back to step 4
                raise KilledError

        patch.setattr(Report, "on_train_batch_end", report)


PLACES = ("in-last-chunk", "before-last-checkpoint", "before-final-save")
SELECTION = {"data.minival": 0.3, "training.eval_every": 0.2}  # once a chunk


@pytest.mark.parametrize(
    ("changes", "places"),
    [
        ({"model.drop_path_rate": 0.5}, PLACES[:1]),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [
                ({"training.ema_decay": 0.9, "training.clip_norm": 1.0}, PLACES),
                ({"training.optimizer": "muon", "training.weight_decay": 0.1}, PLACES),
                ({"training.selection": "minival", **SELECTION}, PLACES),
                ({"training.selection": "minival", "training.ema_decay": 0.5, **SELECTION}, PLACES),
                ({"training.selection": "val", **SELECTION}, PLACES[2:]),
                ({"training.selection": "val", "training.ema_decay": 0.5, **SELECTION}, PLACES),
                (  # the end alone competes
                    {"training.selection": "val", "training.ema_decay": 0.5},
                    ("before-final-evaluation", "before-final-save"),
                ),
            ]
        ),
    ],
    ids=["drop-path", "ema", "muon", "minival", "minival-ema", "val", "val-ema", "val-ema-end"],
)
def test_a_killed_run_ends_as_an_uninterrupted_one(tiny, tmp_path, changes, places):
    config = tiny(**changes)
    whole = train(config, tmp_path / "whole")
    wanted = digests(tmp_path / "whole")
    for place in places:
        cut = tmp_path / place
        with pytest.MonkeyPatch.context() as patch, pytest.raises(KilledError):
            killed(patch, place)
            train(config, cut)
        assert not (cut / "model.safetensors").exists()
        resumed = train(config, cut)
        found = digests(cut)
        assert found.keys() == wanted.keys(), place  # no temporary file is left
        for name in wanted.keys() - {"last.ckpt"}:  # which holds seconds
            assert found[name] == wanted[name], (place, name)
        assert resumed.curve == whole.curve, place
        assert resumed.train["best_epoch"] == whole.train["best_epoch"], place


@pytest.mark.parametrize("selection", ["last", "minival", "val"])
@pytest.mark.parametrize("decay", [None, 0.5])
def test_a_finished_run_is_left_as_it_is(tiny, tmp_path, selection, decay):
    config = tiny(**{"training.selection": selection, "training.ema_decay": decay, **SELECTION})
    first = train(config, tmp_path)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    steps = []
    again = train(config, tmp_path, progress=lambda done, total: steps.append(done))
    assert not steps
    assert files == {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert (again.curve, again.train) == (first.curve, first.train)


@pytest.mark.parametrize(("selection", "decay"), [("last", None), ("last", 0.5), ("val", 0.5)])
def test_damaged_weights_of_a_finished_run_are_written_again(tiny, tmp_path, selection, decay):
    config = tiny(**{"training.selection": selection, "training.ema_decay": decay, **SELECTION})
    train(config, tmp_path)
    wanted, steps = digests(tmp_path), []
    path = tmp_path / "model.safetensors"
    whole = path.read_bytes()
    for content in (whole[:-9], whole[:-1] + bytes([whole[-1] ^ 1])):
        path.write_bytes(content)
        train(config, tmp_path, progress=lambda done, total: steps.append(done))
        assert digests(tmp_path) == wanted
    if selection != "last":  # without the best ones nothing tells what they were
        (tmp_path / "best.safetensors").unlink()
        path.write_bytes(whole[:-9])
        train(config, tmp_path)
        assert path.read_bytes() == whole[:-9]
        path.unlink()
        with pytest.raises(DataError, match=r"best\.safetensors: .*; --no-resume trains again"):
            train(config, tmp_path)
    assert not steps


def test_a_curve_without_a_loss_is_the_checkpoints_fault(tiny, trained, tmp_path):
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    stored = torch.load(tmp_path / "last.ckpt", weights_only=True)
    (state,) = [each for each in stored["callbacks"].values() if "rows" in each]
    del state["rows"][-1]["loss"]
    torch.save(stored, tmp_path / "last.ckpt")
    with pytest.raises(DataError, match=r"last\.ckpt: cannot be continued from .*without step or"):
        train(tiny(), tmp_path)


def test_starting_afresh_leaves_no_weights_of_the_run_before(tiny, tmp_path):
    train(tiny(**{"training.selection": "val", **SELECTION}), tmp_path)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KilledError):
        killed(patch, "in-last-chunk")
        train(tiny(), tmp_path, resume=False)
    assert {path.name for path in tmp_path.iterdir()} == {"curve.csv", "last.ckpt"}


def test_two_runs_do_not_share_a_folder(tiny, tmp_path, monkeypatch):
    """Whoever comes second is refused, and changes nothing of the first."""
    monkeypatch.setattr(leases, "_PATIENCE_SECONDS", 0.2)
    config, refused = tiny(**{"training.selection": "val", **SELECTION}), []
    whole = train(config, tmp_path / "whole")

    def second():
        try:
            train(tiny(**{"training.lr": 0.1}), tmp_path / "run", resume=False)
        except HEViTPoseError as error:
            refused.append(str(error))
        os.write(pipe[1], (refused or ["trained"])[0].encode())

    pipe, begun = os.pipe(), []

    def progress(done, total):
        if done == 3 and not begun:
            begun.append(multiprocessing.get_context("fork").Process(target=second))
            begun[0].start()
            begun[0].join()

    first = train(config, tmp_path / "run", progress=progress)
    said = os.read(pipe[0], 1000).decode()
    assert f"process {os.getpid()} on " in said and "is using it" in said
    assert first.curve == whole.curve
    assert digests(tmp_path / "run").keys() == digests(tmp_path / "whole").keys()
    assert_same(weights(tmp_path / "run"), weights(tmp_path / "whole"))


def test_average_is_not_swapped_in_over_selected_weights(tiny, tmp_path):
    """On several devices the trainer that fitted also evaluates, with the averaging still there."""
    config = tiny(**{"training.ema_decay": 0.5})
    people = load("synthetic", config.data.folder, "train", input_size=(64, 64))
    plan = Plan.of(config, len(people))
    module = PoseModule(config, build(config, 16), people, plan)
    evaluate = Evaluate(tmp_path, people, config)
    averaged = AveragedWeights(decay=0.5)
    trainer = make_trainer(config, [evaluate, averaged], plan)
    trainer.fit(module, datamodule=PeopleModule(config, plan, people, people))
    torch.nn.init.ones_(module.model.head.final.bias)
    seen = []
    evaluate.evaluate = lambda _: seen.append(module.model.head.final.bias.clone()) or {"AP": 0.0}
    trainer.validate(module, datamodule=PeopleModule(config, None, None, people), verbose=False)
    assert torch.equal(seen[0], torch.ones(16))


def test_drop_path_is_active_and_keyed_by_the_seed(tiny, trained, tmp_path):
    train(tiny(**{"model.drop_path_rate": 0.5}), tmp_path / "drop")
    a, b = weights(trained), weights(tmp_path / "drop")
    assert any(not torch.equal(a[name], b[name]) for name in a)


def test_workers_do_not_change_the_result(tiny, trained, tmp_path):
    train(tiny(**{"data.workers": 2}), tmp_path / "2")
    assert_same(weights(trained), weights(tmp_path / "2"))


def test_global_generators_neither_matter_nor_move(tiny, trained, tmp_path):
    torch.manual_seed(20261127)  # not that of the other run
    train(tiny(), tmp_path)
    state = torch.get_rng_state()
    torch.manual_seed(20261127)
    assert torch.equal(state, torch.get_rng_state())
    assert_same(weights(trained), weights(tmp_path))


def test_folder_is_complete_and_valid_repeats_the_numbers(tiny, trained):
    config = tiny()
    rows = list(csv.DictReader((trained / "curve.csv").open()))
    assert [int(row["step"]) for row in rows] == [2, 4, 6]
    assert all(math.isfinite(float(row["loss"])) for row in rows)
    found = [
        evaluate(config.with_overrides({"model.checkpoint": trained / file}))
        for file in ("model.safetensors", "last.ckpt")
    ]
    assert {"Mean", "AP", "mean_pose_Mean"} <= found[0].metrics.keys()
    assert found[0].metrics == found[1].metrics
    assert len(found[0].predictions.index) == found[0].dataset["counts"]["people"]


def test_another_runs_folder_is_refused(tiny, trained):
    before = digests(trained)
    with pytest.raises(UsageError, match=r"another config \(training\.lr: 0\.008 -> 0\.1\); use"):
        train(tiny(**{"training.lr": 0.1}), trained)
    changes = {"codec.method": "udp", "codec.decoder": "udp"}  # the key's name of today
    with pytest.raises(UsageError, match=r"\(codec\.method: 'standard' -> 'udp'\); use"):
        train(tiny(**changes), trained)
    with pytest.raises(UsageError, match=r"\(steps, and .*: \[6, 2\] -> \[6, 3\]\); use"):
        train(tiny(**{"training.checkpoint_steps": 3}), trained)
    assert digests(trained) == before


def test_a_resume_has_the_same_data_modules_and_device(tiny, trained, tmp_path, monkeypatch):
    folder, mine = tmp_path / "run", tmp_path / "mine.py"
    shutil.copytree(trained, folder)
    mine.write_text("")
    with pytest.raises(UsageError, match=r"another config \(imports: \[\] -> \['\w{64}'\]\); use"):
        train(tiny(imports=[mine]), folder)
    with monkeypatch.context() as patch:
        patch.setattr(resume, "fingerprint", lambda *_: "others")
        with pytest.raises(UsageError, match=r"\(data\.fingerprint: 'synthetic\S+ -> 'others'\)"):
            train(tiny(), folder)
    stored = torch.load(folder / "last.ckpt", weights_only=False)
    assert stored["hevitpose"]["facts"]["device"] == "cpu"
    del stored["hevitpose"]["facts"]  # of before they were written down
    torch.save(stored, folder / "last.ckpt")
    train(tiny(imports=[mine]), folder)


def test_nan_loss_stops_before_anything_is_saved(tiny, tmp_path):
    config = tiny(**{"training.lr": 1e30, "training.warmup_steps": 0})
    with pytest.raises(DivergedError, match=r"loss is (nan|inf) at step \d+|not finite"):
        train(config, tmp_path)
    assert not (tmp_path / "model.safetensors").exists()


def test_missing_and_truncated_images_stop_before_the_first_step(tiny, tmp_path, synthetic_root):
    root = tmp_path / "data"
    shutil.copytree(synthetic_root, root)
    victim = sorted((root / "mpii" / "images").iterdir())[0]
    victim.unlink()
    with pytest.raises(DataError, match=victim.name):
        train(tiny(**{"data.root": root}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_schedule_of_the_paper():
    config = load_config("mpii")
    plan = Plan(steps=210 * 100, steps_per_epoch=100, chunk=100, eval_chunks=10)
    factor = learning_rate_factor(config, plan)
    assert factor(0) == pytest.approx(0.001)
    assert factor(250) == pytest.approx(0.5005)  # half way from 0.001 to 1 in 500 steps
    assert factor(500) == 1
    assert factor(169 * 100 + 99) == 1
    assert factor(170 * 100) == pytest.approx(0.1)
    assert factor(200 * 100) == pytest.approx(0.01)


def test_cosine_by_hand():
    config = load_config("synthetic")  # 30 steps of warm-up from 0.001, 300 in all
    plan = Plan(steps=300, steps_per_epoch=100, chunk=30, eval_chunks=10)
    factor = learning_rate_factor(config, plan)
    assert factor(0) == pytest.approx(0.001)
    assert factor(15) == pytest.approx(0.5005)
    assert factor(30) == 1
    assert factor(30 + 90) == pytest.approx(0.5 * (1 + 0.5))  # a third of the half turn: cos 60
    assert factor(30 + 135) == pytest.approx(0.5)
    assert factor(300) == pytest.approx(0)


def test_the_schedule_reaches_the_optimiser(tiny, tmp_path):
    recipe = {"training.warmup_steps": 3, "training.warmup_ratio": 0.25, "training.lr": 0.008}
    result = train(tiny(**recipe, **{"training.checkpoint_steps": 1}), tmp_path)
    # A row's rate is that of the next step: a quarter and half and three quarters of the way up,
    # then a half turn over three steps: (1 + cos 0, 60, 120, 180) / 2.
    wanted = [0.5, 0.75, 1, 0.75, 0.25, 0]
    assert [row["lr"] / 0.008 for row in result.curve] == pytest.approx(wanted, abs=1e-12)


class Line(torch.nn.Module):
    """A network of one number, for averages by hand."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))


class Counting(PoseModule):
    """Its weight goes up by 1 a step: 1, 2, 3, 4."""

    def __init__(self, config, plan):
        L.LightningModule.__init__(self)
        self.config, self.plan, self.model = config, plan, Line()
        self.losses, self.predicted = [], []
        self.evaluated, self.saved = [], []

    def training_step(self, batch, batch_idx):
        loss = -self.model.weight.sum()
        self.losses.append(loss.detach())
        return loss

    def on_train_batch_start(self, batch, batch_idx):
        pass

    def validation_step(self, batch, batch_idx):
        self.evaluated.append(self.model.weight.item())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1.0)

    def save(self, path):
        self.saved.append((path.name, self.model.weight.item()))


class Script(Evaluate):
    """Scores that are told beforehand."""

    def __init__(self, scores, *given):
        super().__init__(*given)
        self.scores = iter(scores)

    def evaluate(self, predictions):
        return {"minival_pck": next(self.scores)}


def counted(config, tmp_path, monkeypatch, scores):
    plan = Plan(steps=4, steps_per_epoch=4, chunk=1, eval_chunks=1)
    module = Counting(config, plan)
    evaluate = Script(scores, tmp_path, None, config)
    callbacks = [evaluate]
    if config.training.ema_decay is not None:
        callbacks.append(AveragedWeights(decay=config.training.ema_decay))
    monkeypatch.setattr("hevitpose.evaluation.score.Predictions.join", lambda parts: parts)
    loader = torch.utils.data.DataLoader([0], batch_size=1)
    trainer = make_trainer(config, callbacks, plan)
    trainer.fit(module, loader, loader)
    return module, evaluate


def test_the_average_by_hand(tiny, tmp_path, monkeypatch):
    config = tiny(**{"training.ema_decay": 0.75})
    module, _ = counted(config, tmp_path, monkeypatch, [0, 0, 0, 0])
    # Weights 1, 2, 3, 4. The average starts at the first, then is 3/4 of itself and 1/4 of them:
    # 1; 0.75 + 0.5 = 1.25; 0.9375 + 0.75 = 1.6875; 1.265625 + 1 = 2.265625.
    assert module.evaluated == [1, 1.25, 1.6875, 2.265625]
    assert module.model.weight.item() == 2.265625  # what the run ends with


def test_a_run_averages_by_its_own_decay(tiny, tmp_path, monkeypatch):
    seen = []

    def spy(**given):
        seen.append(given)
        return AveragedWeights(**given)

    monkeypatch.setattr(training, "AveragedWeights", spy)
    train(tiny(**{"training.ema_decay": 0.25, "training.steps": 2}), tmp_path)
    assert seen == [{"decay": 0.25}]


def test_selection_by_hand(tiny, tmp_path, monkeypatch):
    config = tiny(**{"training.selection": "minival"})
    module, evaluate = counted(config, tmp_path, monkeypatch, [5, 9, 9, 7])
    assert module.evaluated == [1, 2, 3, 4]
    assert module.saved == [("best.safetensors", 1), ("best.safetensors", 2)]  # a tie changes none
    assert (evaluate.best, evaluate.best_step, evaluate.step) == (9, 2, 4)
    averaged = tiny(**{"training.selection": "minival", "training.ema_decay": 0.75})
    module, _ = counted(averaged, tmp_path, monkeypatch, [5, 4, 9, 7])
    assert module.saved == [("best.safetensors", 1), ("best.safetensors", 1.6875)]
    module, _ = counted(tiny(), tmp_path, monkeypatch, [5, 9, 9, 7])
    assert module.saved == []  # selection=last writes no candidates


def test_plan_counts_fractional_epochs():
    config = load_config(
        None, {"training.epochs": 3, "training.batch_size": 4, "training.eval_every": 1}
    )
    plan = Plan.of(config, people=10)
    assert plan.steps == 8  # ceil(3 x 10 / 4)
    assert plan.steps_per_epoch == 2.5


def test_sync_bn_is_not_dropped_in_silence(tiny, tmp_path):
    with pytest.raises(UsageError, match="sync_bn"):
        train(tiny(devices=2), tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_interrupt_leaves_a_folder_that_continues(tiny, tmp_path, synthetic_root):
    overrides = [f"{k}={json.dumps(v) if v is not None else ''}" for k, v in TINY.items()]
    overrides += [f"data.root={synthetic_root}", "data.people=60", "data.image_size=128"]
    overrides += ["training.steps=100000"]
    command = [sys.executable, "-m", "hevitpose.cli", "train", "--out", str(tmp_path / "run")]
    process = subprocess.Popen(
        [*command, *overrides],
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts its background jobs with SIGINT ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    for _ in range(600):
        if (tmp_path / "run" / "last.ckpt").exists():
            break
        assert process.poll() is None, process.stderr.read()
        signal.sigtimedwait([], 0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" not in errors
    assert "interrupted" in errors
    read_checkpoint(tmp_path / "run" / "last.ckpt")
    assert not list((tmp_path / "run").glob(".*.tmp"))


def test_a_truncated_image_stops_before_the_first_step(tiny, tmp_path, synthetic_root):
    root = tmp_path / "data"
    shutil.copytree(synthetic_root, root)
    table = load("synthetic", root, "train", input_size=(64, 64))
    victim = table.image_path(len(table) - 1)
    whole = victim.read_bytes()
    victim.unlink()  # a hard link: the other formats' copies stay
    victim.write_bytes(whole[: len(whole) // 2])
    config = tiny(**{"data.root": root})
    with pytest.raises(DataError, match=rf"{victim.name}: is not the file that was rendered"):
        train(config, tmp_path / "run")
    (root / "synthetic.sha256").unlink()  # as people who were never sealed
    with pytest.raises(DataError, match=victim.name):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    result = train(config.with_overrides({"data.skip_bad": True}), tmp_path / "run")
    assert result.train["people"] < len(table)


def test_the_curve_ends_with_the_evaluation_of_the_end(synthetic_root, tmp_path):
    """``--tune`` chooses by it, also where a run is shorter than the first evaluation."""
    from hevitpose.config import load_config

    config = load_config(
        "synthetic",
        {
            "data.root": str(synthetic_root),
            "data.input_size": [64, 64],
            "data.minival": 0.3,
            "training.steps": 2,
            "training.batch_size": 4,
            "training.threads": 1,
            "training.selection": "minival",
        },
    )
    result = train(config, tmp_path)
    assert result.curve[-1]["step"] == 2 and 0 <= result.curve[-1]["minival_pck"] <= 100
    assert (tmp_path / "curve.csv").read_text().splitlines()[0].endswith("minival_pck")
    assert train(config, tmp_path).curve == result.curve
