"""The commands that are killed: the smallest networks on forty rendered people."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from hevitpose.records import RecordStore, export_records
from tests.kills.harness import Command

ROOT = Path(__file__).resolve().parents[2]
MEASURED = ROOT / "results" / "measured"
PEOPLE = ("--people", "40", "--size", "64", "--workers", "2")
NETWORK = (
    "model.name=nano", "model.widths=8,8,8", "model.upsampler_channels=8,8",
    "data.people=40", "data.image_size=64", "data.input_size=64,64", "data.eval_batch_size=8",
)  # fmt: skip
RECIPE = (
    "training.batch_size=4", "training.warmup_steps=2", "training.checkpoint_steps=2",
    "training.threads=1", "evaluation.flip_test=false",
)  # fmt: skip
GRID = """\
question: q
command: c
expected: e
finding: f
primary: {other: Mean}
axes: {model.ffn_ratio: [1, 2]}
evaluate: {dark: {codec.decoder: dark}}
"""


def all_of(shared: Path) -> Iterator[Command]:
    """Every command, given a folder with ``people``, ``run`` (of :func:`prepare`)."""
    yield from _trainings(shared)
    yield _grid(shared)
    yield from _rendering()
    yield from _records(shared)
    yield _report()
    yield from _exports(shared)


def prepare(shared: Path) -> Iterator[tuple[str, list[str]]]:
    """What makes the folder that all commands read from: programs and words."""
    people = str(shared / "people")
    yield "hevitpose", ["data", "synth", "--root", people, *PEOPLE]
    yield "hevitpose", ["train", f"data.root={people}", *NETWORK, *RECIPE, "training.steps=2"]


def _trainings(shared: Path) -> Iterator[Command]:
    for selection in ("last", "minival", "val"):
        for decay in ("null", "0.5"):
            # Readers in processes of their own must end with a killed run.
            workers = 2 if (selection, decay) in (("last", "0.5"), ("val", "null")) else 0
            words = (
                "train", f"data.root={shared / 'people'}", *NETWORK, *RECIPE, "training.steps=6",
                f"training.selection={selection}", f"training.ema_decay={decay}",
                "data.minival=0.3", "training.eval_every=0.2", f"data.workers={workers}",
            )  # fmt: skip
            average = "" if decay == "null" else " averaged"
            yield Command(f"train {selection}{average}", "hevitpose", words, share=1.2)


def _grid(shared: Path) -> Command:
    words = (
        "run", "mini.yaml", *NETWORK, *RECIPE, "training.steps=4", "--data", str(shared / "people"),
        "--out", "runs", "--executor", "processes", "--workers", "2",
    )  # fmt: skip

    def setup(folder: Path) -> None:
        (folder / "mini.yaml").write_text(GRID)

    return Command("grid", "ablations", words, setup)


def _rendering() -> Iterator[Command]:
    def words(seed: int) -> tuple[str, ...]:
        return "data", "synth", "--root", "people", *PEOPLE, "--seed", str(seed)

    yield Command("data synth", "hevitpose", words(1))
    # Finished before the kill, another seed is refused, and that is right.
    refusal = "remove it or choose another root"
    yield Command("data synth, other seed", "hevitpose", words(1), first=words(2), refusal=refusal)


def some_records(folder: Path, count: int = 30) -> list[str]:
    """Copy committed records; give their ids."""
    folder.mkdir(parents=True)
    chosen = sorted(MEASURED.glob("*.json"))[:count]
    for path in chosen:
        shutil.copy(path, folder)
    return [path.stem for path in chosen]


def _records(shared: Path) -> Iterator[Command]:
    known = some_records(shared / "some")
    export_records(RecordStore(shared / "some"), shared / "some.jsonl")
    words = ("records", "import", str(shared / "some.jsonl"), "--store", "runs/records")
    yield Command("records import", "hevitpose", words, share=0.5)
    words = ("records", "export", "out.jsonl", *known, "--store", str(shared / "some"))
    yield Command("records export", "hevitpose", words, _old_export, share=0.25)
    promote = ("records", "promote", *known, "--store", str(shared / "some"), "--to", "to/records")
    yield Command("records promote", "hevitpose", promote, share=0.5)


def _old_export(folder: Path) -> None:
    (folder / "out.jsonl").write_text("an older one\n")


def _report() -> Command:
    def setup(folder: Path) -> None:
        some_records(folder / "runs/records")
        (folder / "measured").mkdir()

    words = ("--runs", "runs", "--measured", "measured", "--out", "out")
    return Command("report", "reports", words, setup)


def _exports(shared: Path) -> Iterator[Command]:
    weights = next((shared / "runs/train").glob("*/model.safetensors"))
    for name, share in (("onnx", 0.5), ("torch.export", 0.25), ("torchscript", 0.25)):
        words = ("export", str(weights), f"out.{name}", "--to", name, "--input", "64x64")
        yield Command(f"export {name}", "hevitpose", words, share=share)
    words = ("export-checkpoint", str(weights.with_name("last.ckpt")), "out.safetensors")
    yield Command("export-checkpoint", "hevitpose", words, share=0.25)
