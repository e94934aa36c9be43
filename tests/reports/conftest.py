"""Records made up for the tests of tables, plots and pages."""

from __future__ import annotations

import hashlib
import io
import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from PIL import Image

from hevitpose import records
from hevitpose.records import Record

START = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Factory:
    """Records of cells of one network, on synthetic people."""

    def cell_id(self, cell: str) -> str:
        return records.cell_id({"name": "hevitpose_nano", "cell": cell}, (128, 128))

    def common(self, cell: str, grid: str | None, **changes) -> dict:
        default = cell == "default"
        axes = changes.get("axes", {} if default else {"model.attention": cell})
        options = {key.removeprefix("model."): value for key, value in axes.items()}
        return {
            "model": "hevitpose_nano",
            "variant": "nano",
            "grid": None if default else grid,
            "cell": cell,
            "axes": axes,
            "cell_id": self.cell_id(cell),
            "config": {
                "preset": "quick",
                "model": {"name": "hevitpose_nano", **options},
                "data": {"dataset": "synthetic", "input_size": [128, 128]},
                "training": {"steps": 300},
            },
            "code": {"commit": COMMIT, "dirty": False, "version": "0.1.0"},
            "machine": {"cpu": "example cpu", "threads": 2},
            "versions": {"python": "3.11.2", "torch": "2.6.0"},
            "started_at": START,
            "seconds": 45.0,
        } | changes

    def identify(self, kind: str, **inputs) -> dict:
        inputs = {"kind": kind, "version": 1, "model": {"name": "hevitpose_nano"}, **inputs}
        return {"id": records.digest(inputs), "inputs": inputs, "kind": kind}

    def evaluation(self, cell="default", seed=0, mean=60.0, grid="attention", **changes) -> Record:
        identity = self.identify(
            "evaluation", config=changes.pop("id_config", {}), seed=seed, of=f"{cell} {grid}"
        )
        values = self.common(cell, grid, **changes) | identity | {
            "seed": seed,
            "dataset": {
                "name": "synthetic", "split": "val", "fingerprint": "synthetic:v1:0",
                "boxes": "gt", "counts": {"people": 250},
            },
            "flip_test": True,
            "decoder": "default",
            "selection": "minival",
            "threads": 1,
            "precision": "fp32",
            "metrics": {
                "Head": 80.0, "Shoulder": 75.0, "Elbow": 60.0, "Wrist": 50.0, "Hip": 70.0,
                "Knee": 55.0, "Ankle": 45.0, "Mean": mean, "Mean@0.1": 12.5, "AP": 0.305,
                "mean_pose_Mean": 21.5,
            },
            "train": {"epochs": 2, "steps": 300, "seconds": 40.0, "images_per_s": 120.0},
            "curve": [
                {"epoch": 1, "step": 150, "loss": 0.01, "Mean": mean - 20},
                {"epoch": 2, "step": 300, "loss": 0.005, "Mean": mean},
            ],
        }  # fmt: skip
        return Record.of(values | changes)

    def complexity(
        self, cell="default", params=401_234, gflops=0.1234, grid="attention", **changes
    ):
        identity = self.identify("complexity", input=[128, 128], of=f"{cell} {grid}")
        values = (
            self.common(cell, grid)
            | identity
            | {
                "params": params,
                "flops": {"mmcv": gflops},
            }
        )
        return Record.of(values | changes)

    def latency(self, cell="default", p50=9.5, grid="attention", batch=1, attempt=1, **changes):
        conditions = {
            "device": "cpu", "batch": batch, "input": "128x128", "dtype": "fp32", "layout": "nchw",
            "mode": "fused", "threads": 2, "scope": "model",
        }  # fmt: skip
        conditions |= changes.pop("conditions", {})
        identity = self.identify(
            "latency", conditions=conditions, attempt=attempt, of=f"{cell} {grid}"
        )
        values = self.common(cell, grid) | identity | {
            "latency": {
                "conditions": conditions, "samples": [p50, p50, p50 + 0.25], "p50": p50,
                "iqr": 0.1, "n": 200,
            },
            "started_at": START + timedelta(seconds=attempt),
        }  # fmt: skip
        return Record.of(values | changes)

    def failed(self, cell="mhsa", seed=0, status="failed", error="it broke", **changes) -> Record:
        return self.evaluation(cell, seed, metrics={}, status=status, error=error, **changes)

    def grid(self, cells=("mhsa", "none"), seeds=5, shift=-3.0) -> list[Record]:
        """A complete small grid: each cell ``shift`` points below the one before."""
        found = []
        for number, cell in enumerate(("default", *cells)):
            found += [self.complexity(cell), self.latency(cell, 9.5 + number)]
            for seed in range(seeds):
                wobble = 0.3 * ((seed * 7 + number * 3) % 5 - 2)
                mean = 60 + shift * number + 0.5 * seed + wobble
                found.append(self.evaluation(cell, seed, mean))
        return found


@pytest.fixture(scope="session")
def make() -> Factory:
    return Factory()


@pytest.fixture(scope="session")
def write_gallery():
    return _write_gallery


def _write_gallery(folder, record, changes=None, columns=2):
    """A gallery of one limb between two joints; the second joint is not labelled."""
    sheet = np.random.default_rng(0).integers(0, 255, (48, 32 * columns, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, "JPEG")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "people.jpg").write_bytes(buffer.getvalue())
    person = {
        "predicted": [[3, 4], [20, 21.5]], "true": [[3, 5], [20, 20]], "labelled": [True, False],
        "scores": [0.81, 0.4], "errors": [0.12, 0.7],
    }  # fmt: skip
    data = {
        "record": record.id, "size": [32, 24], "names": ["left_wrist", "right_knee"],
        "skeleton": [[0, 1]], "sheet": hashlib.sha256(buffer.getvalue()).hexdigest(),
        "people": [person] * columns,
    }  # fmt: skip
    (folder / "gallery.json").write_text(json.dumps(data | (changes or {})))
