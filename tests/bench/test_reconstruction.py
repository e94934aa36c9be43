"""The search that says how far candidates are from the printed counts."""

from __future__ import annotations

import csv
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bench import reconstruction as r
from hevitpose.cost.complexity import count
from hevitpose.models import create_model
from hevitpose.models.spec import VARIANTS

ROOT = Path(__file__).resolve().parents[2]


def by_formula(spec):
    return r.network(
        spec.widths,
        spec.depths,
        spec.groups,
        spec.reductions,
        spec.num_heads,
        spec.upsampler_channels,
    )


def random_network(seed):
    """A network of the search's space that can be built."""
    draw = random.Random(seed)
    heads, groups = draw.choice(r.HEADS), draw.choice(r.GROUPS)
    return {
        "widths": tuple(sorted(draw.randrange(64, 513, 64) for _ in range(3))),
        "depths": tuple(sorted(draw.randint(1, r.DEEPEST) for _ in range(3))),
        "groups": groups,
        "reductions": draw.choice(r.REDUCTIONS),
        "num_heads": heads,
        "upsampler_channels": draw.choice(r.FILTERS),
    }


@pytest.mark.parametrize("name", [*VARIANTS, *range(12)])
def test_formulas_equal_the_counter(name):
    if name in VARIANTS:
        values = {}
    else:
        values, name = random_network(name), "hevitpose_b"
    with torch.device("meta"):
        model = create_model(name, num_keypoints=r.KEYPOINTS, **values)
    counted, formula = count(model, (256, 256)), by_formula(model.spec)
    assert (formula.params, formula.macs) == (counted.params, counted.flops)


def test_printed_counts_are_the_published_ones():
    assert [r.printed(size) for size in r.SIZES] == [(3.21, 1.75), (5.88, 3.64), (10.63, 5.58)]


@pytest.fixture
def small(monkeypatch):
    """A space of few choices, ours among them."""
    monkeypatch.setattr(r, "GROUPS", ((1, 1, 1), (2, 4, 8)))
    monkeypatch.setattr(r, "REDUCTIONS", ((8, 2, 1), (4, 2, 1)))
    monkeypatch.setattr(r, "HEADS", (4,))
    monkeypatch.setattr(r, "FILTERS", ((192, 96), (256, 256)))


def test_ours_is_found_with_its_widths_depths_and_distance(small, capsys, tmp_path):
    assert r.main(["--top", "2", "--csv", str(tmp_path / "all.csv")]) == 0
    rows = list(csv.DictReader((tmp_path / "all.csv").open()))
    assert len(rows) == 2 * 2 * 2
    best = rows[0]
    assert (best["groups"], best["reductions"], best["heads"]) == ("2,4,8", "8,2,1", "4")
    for size in r.SIZES:
        spec = VARIANTS[f"hevitpose_{size}"]
        assert best[f"{size}_widths"] == ",".join(map(str, spec.widths))
        assert best[f"{size}_depths"] == ",".join(map(str, spec.depths))
    # S: 3.6469 GFLOPs against 3.64, the worst of the six counts.
    assert float(best["off"]) == pytest.approx(0.689, abs=1e-3)
    assert [float(row["off"]) for row in rows] == sorted(float(row["off"]) for row in rows)
    out = capsys.readouterr().out
    assert "| 1, ours |" in out and out.count("\n| ") == 1 + 2  # the rule and two choices
    assert "- T and B: 1 of them" in out and "- T and S and B: 0 of them" in out


def test_ours_is_shown_wherever_it_ranks_and_twice_the_same(small, capsys):
    arguments = ["--step", "64", "--variant", "s", "--top", "1"]
    outputs = [(r.main(arguments), capsys.readouterr().out) for _ in range(2)]
    assert outputs[0] == outputs[1]
    assert re.search(r"^\| \d+, ours \|", outputs[0][1], re.M)


def test_a_width_that_cannot_be_split_is_no_candidate(small):
    found, _ = r.Space(step=32, widest=128).candidates([r.printed("t")])
    for candidate in found:
        for width, groups in zip(
            candidate.networks[0].widths, candidate.choice.groups, strict=True
        ):
            assert width % (groups * candidate.choice.heads) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--variant", "x"], "unknown --variant 'x' (known: b, s, t)"),
        (["--csv", f"{__file__}/x"], "is not a folder that can be written"),
        (["--variant", "t,t"], "--variant t,t: a size is given twice"),
        (["--step", "4"], "--step: '4': expected a whole number, 8 to 512"),
        (["--step", "511"], "--step 511: no width"),
        (["--top", "0"], "--top: '0': expected a whole number, at least 1"),
        (["--nothing"], "unrecognized arguments"),
    ],
)
def test_wrong_requests_are_one_line(small, capsys, arguments, said):
    assert r.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and said in error and error.count("\n") == 1


def test_the_docs_quote_what_the_command_prints():
    """In a process of its own, as a reader runs it; torch is not needed to count."""
    code = (
        "import sys; from bench.reconstruction import main; code = main([]);"
        "sys.exit(code or 'torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() in (ROOT / "docs" / "reconstruction.md").read_text(encoding="utf-8")
