"""``python -m reports``: rendered twice it changes nothing, and what is stale is found."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib.text import Annotation, Text
from msgspec.structs import replace

from hevitpose.errors import DataError
from hevitpose.records import RecordStore
from reports import ablation, build
from reports.__main__ import ROOT, main
from reports.figures import style
from reports.figures.accuracy import draw_tradeoff, front, joint_profile
from reports.figures.effects import effects
from reports.load import check
from reports.output import readme
from reports.published import load as load_published

TEXT = """# Title

Ours has 10.63M parameters.<!-- text around blocks stays -->\r

<!-- BEGIN table:summary -->
old
<!-- END table:summary -->

In between: Python 3.11, torch >= 2.6, PCKh@0.5, `x = 1.234`, [link 1](http://a.b/1.5).

<!-- BEGIN table:ablation-attention -->
<!-- END table:ablation-attention -->
the end without a newline"""


class Project:
    """A store, a README and rendered files in a folder."""

    def __init__(self, root: Path, records) -> None:
        self.root = root
        self.measured, self.out, self.readme = root / "measured", root / "reports", root / "R.md"
        self.measured.mkdir(parents=True)
        store = RecordStore(self.measured)
        for record in records:
            store.add(record)
        self.readme.write_bytes(TEXT.encode())

    def run(self, *arguments: str) -> int:
        given = ["--measured", self.measured, "--out", self.out, "--readme", self.readme]
        return main([*map(str, given), "--no-site", *arguments])

    def files(self) -> dict[str, bytes]:
        found = {p for p in self.root.rglob("*") if p.is_file() and "measured" not in p.parts}
        return {str(p.relative_to(self.root)): p.read_bytes() for p in found}


@pytest.fixture(scope="module")
def rendered(make, tmp_path_factory) -> Path:
    project = Project(tmp_path_factory.mktemp("project"), make.grid(seeds=2))
    assert project.run() == 0
    return project.root


def test_an_output_folder_that_cannot_be_exits_2(tmp_path, capsys):
    (tmp_path / "note").touch()
    assert main(["--out", str(tmp_path / "note" / "x")]) == 2
    assert "is not a folder that can be written" in capsys.readouterr().err


@pytest.fixture
def project(rendered, tmp_path) -> Project:
    shutil.copytree(rendered, tmp_path / "p")
    made = Project.__new__(Project)
    made.root = tmp_path / "p"
    made.measured, made.out = made.root / "measured", made.root / "reports"
    made.readme = made.root / "R.md"
    return made


def test_twice_changes_no_byte(project, capsys):
    before = project.files()
    assert project.run() == 0
    assert project.files() == before
    assert "0 files changed" in capsys.readouterr().out
    assert project.run("--check") == 0


def test_only_blocks_of_the_readme_change(project):
    text = project.readme.read_bytes().decode()
    assert "\r\n" in text and text.endswith("the end without a newline")
    outside = re.sub(r"(BEGIN table:\S+ -->\n).*?(<!-- END)", r"\1\2", text, flags=re.S)
    assert outside == TEXT.replace("old\n", "")
    assert "| HEViTPose-B " in text and "cgsr (default)" in text


def test_a_digit_changed_by_hand_is_found(project, capsys):
    text = project.readme.read_bytes().decode()
    assert "*89.4*" in text
    project.readme.write_bytes(text.replace("*89.4*", "*89.5*").encode())
    assert project.run("--check") == 1
    out = capsys.readouterr().out
    assert "-| HEViTPose-B" in out and "+| HEViTPose-B" in out


def test_a_picture_of_the_network_changed_by_hand_is_found(project, capsys):
    picture = project.out / "figures" / "network.svg"
    text = picture.read_text()
    picture.write_text(text.replace("2 groups, reduction 8", "2 groups, reduction 4"))
    assert project.run("--check") == 1
    assert "reduction 4" in capsys.readouterr().out
    picture.unlink()
    assert project.run("--check") == 1
    assert "network.svg: absent" in capsys.readouterr().out
    assert project.run() == 0
    assert picture.read_text() == text


@pytest.mark.parametrize(
    ("typed", "bad"),
    [
        ("It reaches 93.7 PCKh@0.5 here.", "93.7 PCKh"),
        ("It takes 17 ms.", "17 ms"),
        ("12% faster", "12%"),
        ("a gain of 1.37 points", "1.37 points"),
        ("It reaches 89.4 PCKh@0.5 on MPII val.", None),
        ("Python 3.12 and torch 2.11, thresholds 0.1 against 0.11, sigma 2.5", None),
        ("```\nloss 0.123\n```", None),
        ("It was 93.7. <!-- cite: hevitpose-readme -->", None),
        ("It was 93.7. <!-- cite: nobody -->", "93.7"),
    ],
)
def test_numbers_in_prose_need_a_record_or_a_citation(project, typed, bad, capsys):
    text = project.readme.read_bytes().decode()
    project.readme.write_bytes(f"{text}\n\n{typed}\n".encode())
    assert project.run("--check") == (0 if bad is None else 1)
    out = capsys.readouterr().out
    assert bad is None or f"{bad!r} has no record and no citation" in out


def test_a_deleted_record_becomes_not_measured(project, make, capsys):
    for record in make.grid(seeds=2):
        if record.cell == "mhsa" and record.kind == "evaluation":
            (project.measured / f"{record.id}.json").unlink()
    assert project.run("--check") == 1
    out = capsys.readouterr().out
    assert "ablation-attention.svg: stale" in out and "bubble.svg" not in out
    assert project.run() == 0
    row = next(x for x in project.readme.read_text().splitlines() if x.startswith("| mhsa"))
    assert row.count("not measured") == 7
    assert project.run("--check") == 0


def test_stale_tables_and_pictures(project, monkeypatch, capsys):
    monkeypatch.setattr("reports.__main__.OUT", project.out)
    table = project.out / "tables" / "claims.csv"
    table.write_text(table.read_text() + "more\n")
    picture = project.out / "figures" / "bubble.svg"
    picture.write_text(picture.read_text().replace("data-digest:", "data-digest:0"))
    (project.out / "figures" / "pareto.svg").unlink()
    (project.out / "tables" / "old.md").write_text("x")
    assert project.run("--check") == 1
    out = capsys.readouterr().out
    for line in (
        "claims.csv",
        "bubble.svg: stale",
        "pareto.svg: absent",
        "old.md: no table",
    ):
        assert line in out
    assert project.run() == 0
    assert project.run("--check") == 0
    assert not (project.out / "tables" / "old.md").exists()


def test_files_of_others_stay_in_a_folder_that_was_given(project, capsys):
    """``--runs runs --out runs`` would take the grids' tables."""
    texts = ("tables/old.md", "tables/paper.tex", "tables/mine.csv", "tables/note.txt")
    others = [project.out / name for name in (*texts, "figures/photo.png", "figures/sketch.svg")]
    for path in others:
        path.write_text("x")
    assert project.run() == 0
    assert all(path.read_text() == "x" for path in others)
    assert project.run("--check") == 0


def test_a_new_matplotlib_is_no_failure(project):
    picture = project.out / "figures" / "bubble.svg"
    picture.write_text(picture.read_text().replace("stroke-width", "stroke-width "))
    assert project.run("--check") == 0


@pytest.mark.parametrize(
    ("kind", "count", "reason"),
    [
        ("foreign", 1, "measured/x.json: foreign file"),
        ("truncated", 1, ".json: "),
        ("infinite", 1, "metrics.Mean"),
        ("out of range", 1, "metrics.Mean: 160.0, expected 0 to 100"),
        ("copied", 1, "measured/" + "a" * 20 + ".json: "),
        ("contradicting counts", 2, "contradict: 401234, 401235"),
    ],
)
def test_bad_records_fail_the_check_and_are_named(project, make, capsys, kind, count, reason):
    """Each kind is named and left out, rendering goes on, and --check fails."""
    record, add = make.evaluation("cga", 0, 77.7), RecordStore(project.measured).add
    text = record.to_json()
    file = project.measured / f"{record.id}.json"
    if kind == "foreign":
        (project.measured / "x.json").write_text("{}")
    elif kind == "truncated":
        file.write_text(text[:100])
    elif kind == "infinite":
        data = json.loads(text)
        data["metrics"]["Mean"] = float("inf")
        file.write_text(json.dumps(data))
    elif kind == "out of range":
        file.write_text(text.replace('"Mean": 77.7', '"Mean": 160.0'))
    elif kind == "copied":
        (project.measured / f"{'a' * 20}.json").write_text(text)
    else:
        for params, grid in ((401234, "one"), (401235, "two")):
            add(make.complexity("cga", params, grid=grid))
    assert project.run("--check") == 1
    captured = capsys.readouterr()
    assert captured.err.count("left out: ") == count and reason in captured.err
    assert f"{count} unusable files" in captured.out
    assert project.run() == 0
    table = (project.out / "tables" / "ablation-attention.csv").read_text()
    assert "77.7" not in table and "160" not in table and "0.401235" not in table


def test_nan_is_never_part_of_a_mean(project, make):
    """0 of 0: not measured; and the mean over the other seeds is not passed off as the cell's."""
    records = [make.evaluation("cga", seed, 77.7) for seed in (0, 1)]
    for record in records:
        RecordStore(project.measured).add(record)
    assert project.run() == 0
    table = project.out / "tables" / "ablation-attention.md"
    row = next(line for line in table.read_text().splitlines() if line.startswith("| cga"))
    assert "77.7 ± 0.0" in row
    data = json.loads(records[0].to_json())
    data["metrics"]["Mean"] = float("nan")
    (project.measured / f"{records[0].id}.json").write_text(json.dumps(data))
    assert project.run("--check") == 1
    assert project.run() == 0
    row = next(line for line in table.read_text().splitlines() if line.startswith("| cga"))
    assert "77.7" not in row and "not measured" in row and "nan" not in row


def test_one_id_with_two_results_in_two_stores(project, make, tmp_path, capsys):
    """A preview that contradicts what is committed: neither is shown."""
    committed = next(r for r in RecordStore(project.measured).load() if r.kind == "evaluation")
    runs = tmp_path / "runs"
    other = replace(committed, metrics={"Mean": 99.0})
    RecordStore(runs / "records").add(other)
    given = ["--measured", project.measured, "--readme", project.readme, "--runs", runs]
    assert main([*map(str, given), "--no-site"]) == 0
    assert "one id, two results" in capsys.readouterr().err
    assert "99.0" not in (runs / "report" / "tables" / "ablation-attention.md").read_text()


def test_preview_touches_nothing_tracked(project, make, tmp_path):
    runs = tmp_path / "runs"
    RecordStore(runs / "records").add(make.evaluation("cga", mean=77.7))
    before = project.files()
    given = ["--measured", project.measured, "--readme", project.readme, "--runs", runs]
    assert main([*map(str, given), "--no-site"]) == 0
    assert project.files() == before
    assert "77.7" in (runs / "report" / "tables" / "ablation-attention.md").read_text()
    assert main([*map(str, given), "--check"]) == 2
    assert main(["--runs", str(tmp_path / "absent")]) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- BEGIN table:summary -->\n", "without its END"),
        ("<!-- END table:summary -->\n", "without its BEGIN"),
        ("<!-- BEGIN table:a -->\n<!-- BEGIN table:b -->\n", "inside table:a"),
        (
            "<!-- BEGIN table:a -->\n<!-- END table:a -->\n" * 2,
            "README.md:3: table:a is there twice",
        ),
    ],
)
def test_damaged_markers(text, message):
    with pytest.raises(DataError, match=re.escape(message)):
        readme.blocks(text)


def test_unknown_block(tmp_path):
    made = build.make([tmp_path])
    with pytest.raises(DataError, match="no table 'tabel'"):
        readme.render("<!-- BEGIN table:tabel -->\n<!-- END table:tabel -->", made)


def test_every_grid_name_is_a_safe_file_name(make, tmp_path):
    store = RecordStore(tmp_path / "s")
    record = replace(make.evaluation("mhsa"), grid="../../x")
    store.add(record)
    made = build.make([tmp_path / "s"])
    names = [t.name for t in made.tables] + [p.name for p in made.plots]
    assert any(name.startswith("ablation-.._.._x-") for name in names)
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+", name) for name in names)


@pytest.fixture(scope="module")
def every_plot(make, write_gallery, tmp_path_factory):
    """All plots that there are, from one store."""
    root = tmp_path_factory.mktemp("plots")
    store = RecordStore(root / "s")
    records = make.grid(cells=("mhsa", "none", "sra", "linear-sra", "cga"), seeds=2, shift=-0.2)
    for record in records:
        store.add(record)
    write_gallery(root / "gallery", next(r for r in records if r.kind == "evaluation"))
    for batch in (2, 4, 8):
        store.add(make.latency(p50=10.0 * batch, batch=batch))
        size = {"input": f"{batch * 128}x{batch * 128}"}
        store.add(make.latency(p50=30.0 * batch, attempt=batch, conditions=size))
    networks = {"hevitpose_nano": 0.1, "hevitpose_t": 0.45, "pose_resnet50": 1.8, "vitpose_s": 1.8}
    for model, base in networks.items():
        for side in (64, 256):
            record = make.complexity(
                gflops=base * (side / 128) ** 2, grid=f"{model}{side}", model=model
            )
            config = {"model": {"name": model}, "data": {"input_size": [side, side]}}
            changes = {"grid": None, "inputs": {}, "config": config, "cell_id": None, "axes": {}}
            store.add(replace(record, **changes))
    return build.make([root / "s"], pictures=[root / "gallery"])


def test_every_plot_is_drawn_and_carries_its_digest(every_plot, tmp_path):
    assert {plot.name for plot in every_plot.plots} == {
        "bubble", "pareto", "ablation-attention", "learning-curves", "latency-batch",
        "latency-side", "gallery",
    }  # fmt: skip
    for plot in every_plot.plots:
        for path in plot.save(tmp_path / "f"):
            assert style.read_digest(path) == plot.digest
        svg = (tmp_path / "f" / f"{plot.name}.svg").read_text()
        assert 'class="point" tabindex="0"' in svg and "<title>" in svg
        assert "<text" not in svg  # glyphs are drawn: no font is needed


def labels_of(axes):
    """Where each label of finished axes stands."""
    axes.figure.draw_without_rendering()
    return {
        text.get_text(): Text.get_window_extent(text)
        for text in axes.texts
        if isinstance(text, Annotation) and text.get_text()
    }


def require_apart(boxes):
    for (a, one), (b, other) in itertools.combinations(boxes.items(), 2):
        # A pixel of leading is no overlap.
        assert not one.padded(-1).overlaps(other.padded(-1)), (a, b)


def test_labels_of_the_bubble_chart_do_not_overlap(every_plot):
    plot = every_plot.plot("bubble")
    figure = plot.draw(plot.data)
    boxes = labels_of(figure.axes[0])
    assert len(boxes) > 3
    require_apart(boxes)
    style.close(figure)


def test_a_tradeoff_names_its_front_and_the_default():
    """Forty names on as many points nobody can read."""
    best = [[f"front-{i}", 0.07 + 0.002 * i, 63 + 0.1 * i, 62.0, 66.0, 5] for i in range(5)]
    others = [[f"cell-{i}", 0.09 + 0.001 * i, 62 - 0.05 * i, 61.0, 63.0, 5] for i in range(30)]
    default = ["default", 0.095, 61.9, 61.2, 62.6, 5]
    panel = {"unit": "GFLOPs (mmcv)", "points": [default, *others, *best]}
    figure = draw_tradeoff({"panels": [panel], "metric": "PCKh@0.5", "title": "t", "note": ""})
    boxes = labels_of(figure.axes[0])
    assert set(boxes) == {"default", *(point[0] for point in best)}
    require_apart(boxes)
    assert figure.hover_tips[-1].startswith("default: ")  # drawn last, hidden by none
    style.close(figure)


def test_learning_curves_are_drawn_with_validation_or_not_at_all(make, tmp_path):
    """A falling loss says nothing of poses."""
    curve = [{"epoch": 1, "step": 50, "loss": 0.02}, {"epoch": 2, "step": 100, "loss": 0.01}]
    store = RecordStore(tmp_path)
    store.add(make.evaluation(curve=curve))
    assert build.make([tmp_path]).plot("learning-curves") is None


def test_an_effect_is_drawn_with_its_simultaneous_interval_and_its_cost(make):
    grid = ablation.build(make.grid(), "attention")
    plot = effects(grid)
    first = plot.data["dots"][1]
    gap = grid.rows[1].difference
    assert first[:4] == ["mhsa", gap.value, gap.low, gap.high]
    assert first[6:] == [0.1234, 10.5, False]
    assert plot.data["title"] == "All 2 worse than cgsr"
    assert plot.data["condition"] == "nano, 300 steps, rendered people, one learning rate"


def test_joints_of_mpii_stand_in_no_picture_with_other_data(make):
    def profile(*records):
        found = check((f"{record.id}.json", record) for record in records)
        return joint_profile(found, load_published())

    rendered = make.evaluation()
    assert profile(rendered) is None
    mpii = replace(rendered.dataset, name="mpii", fingerprint="sha256:1")
    on_mpii = replace(rendered, id="a" * 20, dataset=mpii)
    labels = [series[0] for series in profile(rendered, on_mpii).data["series"]]
    assert labels[0] == "HEViTPose-nano, measured (n = 1)"
    assert all(label.endswith("published") for label in labels[1:])


def test_hostile_tips_are_escaped(tmp_path):
    figure, axes = style.new_figure()
    style.point(axes, 1, 1, '"><script>alert(1)</script>')
    path = tmp_path / "x.svg"
    style.save(figure, [path], style.digest({}))
    style.close(figure)
    assert "<script" not in path.read_text()


def test_pareto_front():
    points = [("a", 1, 50), ("b", 2, 40), ("c", 2, 60), ("d", 3, 60), ("e", 0.5, 20)]
    assert [p[0] for p in front(points)] == ["e", "a", "c"]


def test_the_committed_reports_are_fresh():
    """What is committed agrees with the committed records; part of every test run."""
    assert main(["--check"]) == 0


def test_rendering_starts_no_threads_for_its_small_matrices():
    """They would wait with the processor busy: a tenth of the command's time on two cores."""
    code = (
        "import reports.__main__, numpy, psutil\n"
        "numpy.ones((500, 500)) @ numpy.ones((500, 500))\n"
        "print(psutil.Process().num_threads())\n"
    )
    own = {name: value for name, value in os.environ.items() if not name.endswith("NUM_THREADS")}
    threads = subprocess.check_output([sys.executable, "-c", code], text=True, cwd=ROOT, env=own)
    assert threads == "1\n"
