"""Tables: what a cell says, when a number is bold, what is never invented."""

from __future__ import annotations

import csv
import dataclasses
import io
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from msgspec.structs import replace

from hevitpose.markdown import escape_markdown, plain
from hevitpose.records import Interval, RecordStore, parse_record
from reports import ablation, build, grid_files
from reports.captions import condition, place_words
from reports.claims import claims_table
from reports.figures.accuracy import tradeoff
from reports.load import Measured, check, load, out_of_range
from reports.output.text import (
    Column,
    Table,
    TableCell,
    escape_csv,
    escape_latex,
    to_csv,
    to_latex,
    to_markdown,
)
from reports.published import load as load_published
from reports.render import render_grid
from reports.settings import setting
from reports.tables.accuracy import accuracy_table
from reports.tables.accuracy import tables as accuracy_tables
from reports.tables.cost import complexity_table
from reports.tables.grid import grid_table
from reports.tables.speed import speed_table
from reports.versions import NOTE, mark, older_records

FIXTURES = Path(__file__).parents[1] / "records" / "examples"
HOSTILE = [
    "<script>alert(1)</script>",
    "a | b",
    "**bold** _it_ `code` ~~x~~",
    "[link](javascript:alert(1))",
    "![x](http://example.com/x.png)",
    "\\input{/etc/passwd} $x$ % # & _ ^ ~ {}",
    "=cmd|' /C calc'!A0",
    "line\nbreak\ttab\x1b[31mred\x00",
    "right\u202eleft",
    "# heading",
    "<!-- END table:x -->",
    "1. list",
]


@pytest.fixture(scope="module")
def published():
    return load_published()


def cell(table: Table, row: str, column: str) -> TableCell:
    place = [c.key for c in table.columns].index(column)
    return next(r[place] for r in table.rows if r[0].text == row)


def cell_of(table: Table, row: tuple[TableCell, ...], column: str) -> str:
    return row[[c.key for c in table.columns].index(column)].text


def measured(records):
    found = check((f"{r.id}.json", r) for r in records)
    assert not found.problems
    return found


@pytest.mark.parametrize(
    ("dataset", "start", "expected"),
    [
        ("synthetic", "", "nano, 300 steps, rendered people, one learning rate"),
        (
            "coco_small",
            "standard:synthetic",
            "nano, 300 steps, coco_small, started on rendered people, one learning rate",
        ),
        ("coco_small", "w.pth", "nano, 300 steps, coco_small, from w.pth, one learning rate"),
    ],
)
def test_a_condition_says_what_the_training_started_from(dataset, start, expected):
    facts = {"model": "hevitpose_nano", "steps": "300", "tuned": "", "split": "val", "recipe": ""}
    assert condition(facts | {"dataset": dataset, "start": start}) == expected


class TestGrid:
    def test_numbers_by_hand(self, make):
        # Differences of mhsa to the default over seeds 0-4: -2, -3, -4, -3, -3: mean -3,
        # s = 0.7071, half = 2.7764 * 0.7071 / sqrt(5) = 0.878: one comparison is a paired t test.
        records = [make.complexity(), make.complexity("mhsa"), make.latency("mhsa", 12.5)]
        for seed, gap in enumerate((-2, -3, -4, -3, -3)):
            records += [
                make.evaluation("default", seed, 60.0),
                make.evaluation("mhsa", seed, 60 + gap),
            ]
        table = grid_table(ablation.build(records, "attention"))
        assert cell(table, "mhsa", "difference").text == "−3.00 ± 0.88"
        assert cell(table, "mhsa", "verdict").text.startswith(
            "worse (p = 0.00069)"
        )  # t = 9.49, 4 degrees
        assert cell(table, "mhsa", "pckh_05").text == "57.0 ± 0.9"
        assert cell(table, "mhsa", "latency_p50_ms").text == "12.50"
        assert cell(table, "mhsa", "ap").text == "30.5 ± 0.0"  # 0.305 of the evaluator
        assert cell(table, "mhsa", "params_m").text == "0.401"
        assert cell(table, "cgsr (default)", "latency_p50_ms").text == "not measured"
        assert cell(table, "cgsr (default)", "pckh_05").bold
        assert "batch 1" in table.conditions and "torch 2.6.0" in table.conditions
        assert "Synthetic people" in table.caption and "ground truth" in table.caption

    @pytest.mark.parametrize(("torch", "noted"), [(0.169, True), (0.102, False), (None, False)])
    def test_a_match_that_leaves_products_out_says_what_they_cost(self, make, torch, noted):
        view = ablation.build(make.grid(), "attention")
        flops = {False: torch, True: 0.1}
        rows = [
            dataclasses.replace(
                row,
                name=row.name if row.is_default else f"{row.name} (FLOPs matched)",
                complexity=make.complexity(flops={"mmcv": 0.1, "torch": flops[row.is_default]}),
            )
            for row in view.rows
        ]
        table = grid_table(dataclasses.replace(view, rows=tuple(rows)))
        notes = {note for row in table.rows for note in row[0].notes}
        assert any("by torch's count" in note and "+69%" in note for note in notes) is noted

    def test_a_small_val_set_shows_what_other_photographs_would_change(self, make):
        values = [0.2 + 0.0001 * draw for draw in range(1000)]
        records = []
        for seed in (0, 1):
            for name, shift in (("default", 0.0), ("mhsa", 0.02)):
                drawn = {
                    "metric": "AP", "photographs": 491,
                    "values": [value * (1 + (name == "mhsa") / 10) + shift for value in values],
                }  # fmt: skip
                records.append(make.evaluation(name, seed, resampled=drawn))
        table = grid_table(ablation.build(records, "attention"))
        # 10% of 20.25 and of 29.74, the percentiles, and two points.
        place = "difference_photographs"
        assert cell(table, "mhsa", place).text == "+4.02 to +4.97"
        assert cell(table, "cgsr (default)", place).text == "(reference)"
        assert any("paired bootstrap interval over the 491 photographs" in x for x in table.legend)
        plain = grid_table(ablation.build(make.grid(), "attention"))
        assert place not in [c.key for c in plain.columns]

    @pytest.mark.parametrize("seeds", [1, 2, 4])
    def test_no_verdict_and_no_bold_below_five_seeds(self, make, seeds):
        table = grid_table(ablation.build(make.grid(seeds=seeds, shift=-20), "attention"))
        assert not any(c.bold for row in table.rows for c in row)
        assert cell(table, "mhsa", "verdict").text == f"no verdict (n = {seeds}, needs 5)"

    def test_no_bold_where_the_first_two_are_not_told_apart(self, make):
        table = grid_table(ablation.build(make.grid(shift=-0.05), "attention"))
        assert not any(c.bold for row in table.rows for c in row)
        assert "not shown to differ" in cell(table, "mhsa", "verdict").text

    def test_one_seed_shows_its_bootstrap_interval_and_says_so(self, make):
        interval = Interval(low=55.0, high=63.5, method="bootstrap over images", n=250)
        records = [make.evaluation(mean=60.0, intervals={"Mean": interval})]
        table = grid_table(ablation.build(records, "attention"))
        found = cell(table, "default", "pckh_05")
        assert found.text == "60.0 [55.0, 63.5]"
        assert "bootstrap over images" in found.notes[0]

    def test_failures_are_rows_with_their_reason(self, make):
        records = [*make.grid(seeds=1), make.failed("window", status="oom", error="CUDA out\nmore")]
        records.append(make.failed("mhsa", seed=1, status="diverged", error="loss is nan"))
        table = grid_table(ablation.build(records, "attention"))
        assert cell(table, "window", "pckh_05").text == "oom"
        assert cell(table, "window", "pckh_05").value is None
        assert cell(table, "window", "verdict").text == "evaluation seed 0 oom: CUDA out"
        assert "seed 1 diverged: loss is nan" in cell(table, "mhsa", "verdict").text
        assert cell(table, "mhsa", "seeds").text == "1"

    def test_a_failure_that_was_made_good_is_not_shown(self, make):
        records = [make.failed("mhsa"), make.evaluation("mhsa"), make.evaluation()]
        table = grid_table(ablation.build(records, "attention"))
        assert "broke" not in cell(table, "mhsa", "verdict").text

    def test_different_budgets_never_share_a_table(self, make):
        longer = {"config": make.common("default", None)["config"] | {"training": {"steps": 900}}}
        records = make.grid(seeds=2)
        records.append(make.evaluation("default", 0, 90, id_config={"steps": 900}, **longer))
        grid = ablation.build(records, "attention")
        assert grid.default is not None and grid.default.seeds == 2
        assert grid.default.scores["Mean"].value < 70

    def test_unequal_timings_are_left_out(self, make):
        records = [
            *make.grid(seeds=1),
            make.latency("sra", 1.0, conditions={"threads": 64}),
            make.evaluation("sra"),
        ]
        table = grid_table(ablation.build(records, "attention"))
        assert cell(table, "sra", "latency_p50_ms").text == "not measured"

    def test_a_retiming_shows_the_latest(self, make):
        records = [make.latency("mhsa", 9.0), make.latency("mhsa", 11.0, attempt=2)]
        records += [make.evaluation("mhsa"), make.evaluation()]
        table = grid_table(ablation.build(records, "attention"))
        assert cell(table, "mhsa", "latency_p50_ms").text == "11.00"

    def test_cells_by_id_in_the_given_order(self, make):
        records = make.grid(seeds=1)
        ids = {"cgsr": [], "none": [], "mhsa": [], "later": ["0" * 20]}
        for record in records:
            ids["cgsr" if record.cell == "default" else record.cell].append(record.id)
        grid = ablation.build(records, "whatever", ids, default="cgsr")
        assert [row.name for row in grid.rows] == ["cgsr", "none", "mhsa", "later"]
        table = grid_table(grid)
        assert cell(table, "later", "pckh_05").text == "not measured"
        assert cell(table, "cgsr (default)", "difference").text == "(reference)"

    def test_deleting_a_record_leaves_not_measured(self, make):
        records = make.grid(seeds=1)
        without = [r for r in records if not (r.kind == "evaluation" and r.cell == "mhsa")]
        table = grid_table(ablation.build(without, "attention"))
        assert cell(table, "mhsa", "pckh_05").text == "not measured"
        assert cell(table, "mhsa", "params_m").text == "0.401"

    def test_a_mean_over_some_seeds_is_not_shown(self, make):
        gap = replace(make.evaluation("mhsa", 1), metrics={"Mean": 50.0})
        records = [make.evaluation("mhsa", 0), gap, make.evaluation()]
        table = grid_table(ablation.build(records, "attention"))
        assert cell(table, "mhsa", "ap").text == "not measured"
        assert cell(table, "mhsa", "pckh_05").kind == "measured"

    def test_render_writes_and_names_what_it_left_out(self, make, tmp_path):
        bad = replace(make.evaluation("mhsa", 7, 60.0), metrics={"Mean": 160.0})
        rendered = render_grid([*make.grid(seeds=1), bad], "attention", tmp_path)
        assert {p.name for p in rendered.paths} == {
            f"attention.{suffix}" for suffix in ("md", "csv", "tex", "svg", "png")
        }
        assert all(p.stat().st_size for p in rendered.paths)
        assert "1 records left out" in rendered.text and "160.0" in rendered.text
        again = [p.read_bytes() for p in rendered.paths]
        render_grid([bad, *reversed(make.grid(seeds=1))], "attention", tmp_path)
        assert again == [p.read_bytes() for p in rendered.paths]


class TestTables:
    def test_published_and_measured_side_by_side(self, make, published):
        config = {"model": {"name": "hevitpose_b"}, "data": {"input_size": [256, 256]}}
        data = {"name": "mpii", "split": "val", "fingerprint": "sha256:0", "boxes": "gt"}
        record = make.evaluation(
            grid=None, model="hevitpose_b", variant="b", config=config, dataset=data,
            mean=88.8,
        )  # fmt: skip
        spec = next(t for t in accuracy_tables() if t.name == "mpii-val")
        table = accuracy_table(spec, measured([record]), published)
        rows = [row for row in table.rows if row[0].text == "HEViTPose-B"]
        assert [row[1].text for row in rows] == [
            "published [HEViTPose README]",
            "measured here (300 steps)",
        ]
        means = [row[[c.key for c in table.columns].index("Mean")] for row in rows]
        assert [(m.text, m.kind) for m in means] == [("89.4", "published"), ("88.8", "measured")]
        assert means[1].records == (record.id,)
        text = to_markdown(table)
        assert "*89.4*" in text and "*88.8*" not in text

    def test_alternatives_stay_out_of_dataset_tables(self, make, published):
        spec = next(t for t in accuracy_tables() if t.name == "synthetic-val")
        table = accuracy_table(spec, measured(make.grid(seeds=1)), published)
        assert sum(row[0].text == "HEViTPose-nano" for row in table.rows) == 1

    @pytest.mark.parametrize("spec", accuracy_tables(), ids=lambda spec: spec.name)
    def test_nothing_is_blank(self, spec, published):
        table = accuracy_table(spec, measured([]), published)
        assert table.rows
        assert all(c.text for row in table.rows for c in row)

    def test_complexity_names_its_conventions(self, make, published):
        config = {"model": {"name": "hevitpose_b", "num_keypoints": 16}}
        record = replace(make.complexity(
            model="hevitpose_b", variant="b", config=config, params=10_629_520,
            axes={}, inputs={}, flops={"mmcv": 5.5807, "fvcore": 6.1},
        ), inputs={"input": [256, 256]})  # fmt: skip
        table = complexity_table(measured([record]), published)
        assert cell(table, "HEViTPose-B", "gflops_mmcv").text == "5.5807"
        assert cell(table, "HEViTPose-B", "gflops_torch").text == "not measured"
        assert cell(table, "HEViTPose-B", "params_published").text == "10.63"
        hrnet = cell(table, "HRNet-W32", "gflops_published")
        assert hrnet.kind == "published" and "stock HRNet-W32" in hrnet.notes[0]

    def test_speed_has_conditions_and_images_per_second(self, make):
        record = make.latency(p50=20.0, batch=8)
        table = speed_table(measured([record]))
        assert cell(table, "HEViTPose-nano", "images_per_s").text == "400.0"
        assert cell(table, "HEViTPose-nano", "batch").text == "8"
        assert "commit" in table.conditions

    def test_claims(self, make, published):
        def count(model, params, gflops):
            return replace(make.complexity(
                model, params, gflops, model=model, variant=None, axes={}, config={}, grid=None
            ), inputs={"input": [256, 256]})  # fmt: skip

        records = [
            count("hevitpose_b", 10_629_520, 5.5807),
            count("hevitpose_s", 5_880_600, 3.6469),
            count("pose_hrnet_w32", 28_540_000, 10.27),
        ]
        table = claims_table(measured(records), published, [])
        verdicts = {row[0].text.split(" [")[0]: row[3].text for row in table.rows}
        assert verdicts["HEViTPose-B has 10.63M parameters"] == ("fitted (256x256, 16 joints)")
        assert verdicts["HEViTPose-S takes 3.64 GFLOPs at 256x256"] == (
            "fitted, off by +0.0069G (256x256, 16 joints)"
        )
        # 1 - 10.62952 / 28.54 = 62.76%
        assert verdicts["HEViTPose-B has 62.1% fewer parameters than HRNet-W32"] == (
            "differs by +0.7 points, hevitpose_b's side fitted (256x256, 16 joints)"
        )
        assert verdicts["HEViTPose-T has 3.21M parameters"].startswith("not measured: no count")
        server = verdicts["HEViTPose-B reaches 90.7 PCKh@0.5 on MPII test"]
        assert server.startswith("not measurable here: ") and "withheld" in server

    @pytest.mark.parametrize(
        ("mine", "theirs", "mode", "shown", "verdict"),
        [
            # time(B) / time(HRFormer) = 0.4: 2.5 times as fast; bounds 1/0.5 and 1/0.32
            ("hevitpose_b", "hrformer_s", "fused", "2.50x [2.00, 3.12]", "not comparable: no dev"),
            # the other way round in the record: the ratio itself
            (
                "hrformer_s",
                "hevitpose_b",
                "fused",
                "0.400x [0.320, 0.500]",
                "not comparable: no dev",
            ),
            ("hevitpose_b", "hrformer_s", "eager", "not measured", "not measured: hevitpose_b and"),
            ("hevitpose_b", "pose_swin_s", "fused", "not measured", "not measured: hevitpose_b"),
        ],
    )
    def test_the_speed_claim_takes_interleaved_times_only(
        self, make, published, mine, theirs, mode, shown, verdict
    ):
        def timing(model, **details):
            record = make.latency(cell="default", batch=4, grid=model)
            latency = replace(record.latency, details=details)
            changes = {"model": model, "config": {"model": {"name": model}}, "axes": {}}
            return replace(record, **(changes | {"latency": latency}))

        ratio = {"to": f"{theirs}:{mode}", "ratio": 0.4, "low": 0.32, "high": 0.5, "rounds": 30}
        apart = [timing("hevitpose_b"), timing("hrformer_s")]
        for records, expected in ((apart, "not measured"), ([timing(mine, ratio=ratio)], shown)):
            table = claims_table(measured(records), published, [])
            row = next(row for row in table.rows if "HRFormer" in row[0].text)
            assert row[2].text == expected
        assert row[3].text.startswith(verdict)
        if shown != "not measured":
            assert "30 rounds" in row[2].notes[0] and "batch 4" in row[2].notes[0]

    def test_a_broken_ratio_is_none(self, make, published):
        for ratio in ("fast", {"to": 3}, {"to": "hrformer_s:fused", "ratio": float("nan"),
                                          "low": 1, "high": 2}):  # fmt: skip
            record = make.latency(cell="default")
            latency = replace(record.latency, details={"ratio": ratio})
            record = replace(record, model="hevitpose_b", latency=latency)
            table = claims_table(measured([record]), published, [])
            row = next(row for row in table.rows if "HRFormer" in row[0].text)
            assert row[2].text == "not measured"

    def test_speed_says_what_was_not_measured(self, make):
        record = make.latency(p50=20.0)  # n = 200: a p90 could be there, memory was not taken
        table = speed_table(measured([record]))
        for column in ("p90", "parity"):
            assert cell(table, "HEViTPose-nano", column).text == "not measured"
        assert not any("memory" in column.title for column in table.columns)
        assert table.conditions.startswith("Times: example cpu; ")
        assert "n = 200" in table.conditions and "2025-01-02" in table.conditions
        few = replace(record.latency, n=60)
        table = speed_table(measured([replace(record, latency=few)]))
        assert cell(table, "HEViTPose-nano", "p90").text == "n < 100"
        empty = speed_table(measured([]))
        assert empty.conditions == "Nothing has been timed yet."
        assert {c.text for c in empty.rows[0][1:]} == {"not measured"}

    def test_memory_of_a_process_is_no_memory_of_a_gpu(self, make):
        here = replace(make.latency(cell="default"), peak_memory=400 * 2**20)
        there = make.latency(cell="default", attempt=2)
        on_gpu = there.latency.conditions | {"device": "cuda"}
        latency = replace(there.latency, conditions=on_gpu, details={"peak_memory_of": "tensors"})
        there = replace(there, latency=latency, peak_memory=30 * 2**20)
        table = speed_table(measured([here, there]))
        titles = {column.key: column.title for column in table.columns}
        assert "process" in titles["process"] and "tensors on the GPU" in titles["tensors"]
        at = [list(titles).index(key) for key in ("process", "tensors")]
        assert {tuple(row[i].text for i in at) for row in table.rows} == {("400", "–"), ("–", "30")}

    def test_a_timing_that_was_not_warm_says_so(self, make):
        record = make.latency(cell="default")
        for capped in (True, False):
            latency = replace(record.latency, details={"warmup": {"capped": capped}})
            table = speed_table(measured([replace(record, latency=latency)]))
            notes = cell(table, "HEViTPose-nano", "p50").notes
            assert any("warm-up capped" in note for note in notes) is capped

    def test_heads_for_other_keypoints_are_no_attempts_at_one_timing(self, make):
        one, two = (
            replace(r, inputs=r.inputs | {"model": {"name": "hevitpose_nano", "num_keypoints": k}})
            for r, k in ((make.latency(cell="default"), 17), (make.latency(cell="default"), 133))
        )
        two = replace(two, id="f" * 20)
        table = speed_table(measured([one, two]))
        at = [column.key for column in table.columns].index("keypoints")
        assert {row[at].text for row in table.rows} == {"17", "133"}
        alone = speed_table(measured([one]))
        assert "keypoints" not in {column.key for column in alone.columns}

    def test_processor_time_is_not_taken_for_wall_time(self, make):
        """The clock alone tells two rows apart; who names none was timed by the wall's."""
        wall, cpu = make.latency(p50=20.6), make.latency(p50=15.4, conditions={"clock": "cpu"})
        table = speed_table(measured([wall, cpu]))
        shown = {cell_of(table, row, "clock"): cell_of(table, row, "p50") for row in table.rows}
        assert shown == {"wall": "20.60", "processor time": "15.40"}
        assert "stream" not in {column.key for column in table.columns}  # nobody has one

    def test_a_quick_timing_is_a_row_of_its_own(self, make):
        full = make.latency(p50=20.6)
        quick = make.latency(p50=15.4, attempt=2, conditions={"budget": "quick"})
        table = speed_table(measured([full, quick]))
        shown = {cell_of(table, row, "budget"): cell_of(table, row, "p50") for row in table.rows}
        assert shown == {"–": "20.60", "quick": "15.40"}
        assert {cell_of(table, row, "attempt") for row in table.rows} == {"1 of 1"}
        assert place_words(quick) == f"{place_words(full)}, quick timing"  # of plots, and groups

    def test_a_gpu_has_the_time_on_its_stream_too(self, make):
        cpu, gpu = make.latency(p50=20.6), make.latency(p50=21.4, conditions={"device": "cuda"})
        details = {"stream": {"p50": 15.82, "n": 45}}
        gpu = replace(gpu, latency=replace(gpu.latency, details=details))
        table = speed_table(measured([cpu, gpu]))
        shown = {cell_of(table, row, "device"): cell_of(table, row, "stream") for row in table.rows}
        assert shown == {"cpu": "–", "cuda": "15.82"}

    def test_speed_shows_the_latest_of_equals_and_names_the_noisy(self, make):
        first, again = make.latency(p50=20.0), make.latency(p50=30.0, attempt=2)
        noisy = replace(again.latency, noisy=True)
        table = speed_table(measured([replace(again, latency=noisy), first]))
        assert len(table.rows) == 1
        found = cell(table, "HEViTPose-nano", "p50")
        assert found.text == "30.00" and "noisy" in found.notes[0]
        assert cell(table, "HEViTPose-nano", "attempt").text == "2 of 2"

    def test_two_processors_of_one_name_are_two_machines(self, make):
        first = make.latency(p50=20.0)
        details = {"family": "25", "model": "17", "stepping": "1", "hypervisor": True}
        machine = replace(first.machine, details=details)
        other = replace(make.latency(p50=30.0, attempt=2), machine=machine)
        table = speed_table(measured([first, other]))
        assert [row[1].text for row in table.rows] == [
            "example cpu",
            "example cpu (family 25, model 17, stepping 1, virtual)",
        ]

    @pytest.mark.parametrize(
        ("low", "high", "similar"),
        [
            (0.95, 1.05, "within 10%"),
            (1.15, 1.3, "not within 10%"),
            (0.95, 1.2, "undecided whether"),
        ],
    )
    def test_similar_speed_is_checked_by_the_interval(self, make, published, low, high, similar):
        record = make.latency(cell="default", batch=4)
        ratio = {"to": "hevitpose_b:fused", "ratio": (low + high) / 2, "low": low, "high": high,
                 "rounds": 30}  # fmt: skip
        latency = replace(record.latency, details={"ratio": ratio})
        config = {"model": {"name": "pose_hrnet_w32"}}
        changes = {"model": "pose_hrnet_w32", "latency": latency, "config": config, "axes": {}}
        table = claims_table(measured([replace(record, **changes)]), published, [])
        row = next(row for row in table.rows if "as fast as HRNet" in row[0].text)
        assert f", {similar}" in row[3].text
        assert "on example cpu, 2 threads, batch 4, fused, fp32" in row[3].text

    @staticmethod
    def peow(make, value, mean, later="subsample-ope", seeds=5):
        """Runs of one cell of a product grid."""
        return [
            make.evaluation(
                f"peow-{value}+{later}", seed, mean + 0.1 * seed + 0.01 * (seed * value % 3),
                grid="peow", axes={"model.peow": value, "model.downsampling": later},
            )
            for seed in range(seeds)
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("means", "verdict"),
        [
            ({0: 50, 5: 55}, "supported: every other level is worse than 3"),
            ({0: 50, 5: 65}, "contradicted: 5 better than 3"),
            ({0: 50, 5: 60}, "undecided: 5 not shown to be worse than 3"),
        ],
    )
    def test_best_is_a_rule_about_every_other_level(self, make, published, means, verdict):
        """Marginal means: the levels of PEOW, each over the same two downsamplings."""
        records = [make.evaluation("default", seed, 60 + 0.11 * seed) for seed in range(5)]
        records += self.peow(make, 3, 62, "ope")
        for value, mean in means.items():
            records += self.peow(make, value, mean) + self.peow(make, value, mean + 2, "ope")
        # A cell that the other levels lack takes no part in the means.
        records += self.peow(make, 0, 99, "max-pool")
        table = claims_table(measured(records), published, [ablation.build(records, "peow")])
        row = next(row for row in table.rows if "PEOW" in row[0].text)
        assert row[3].text.startswith(verdict)
        assert "nano, 300 steps, rendered people, one learning rate; grid peow" in row[3].text
        assert "n = 5 seeds, PCKh@0.5" in row[3].text
        assert row[2].text.startswith("0 −10.0")

    def test_most_heads(self, make, published):
        def heads(value, mean):
            return [
                make.evaluation(
                    f"h{value}",
                    seed,
                    mean + 0.1 * seed,
                    grid="heads",
                    axes={"model.num_heads": value},
                )
                for seed in range(5)
            ]

        records = [make.evaluation("default", seed, 60 + 0.11 * seed) for seed in range(5)]
        records += [*heads(1, 58), *heads(4, 63)]  # nano's own are 2
        table = claims_table(measured(records), published, [ablation.build(records, "heads")])
        row = next(row for row in table.rows if "attention heads" in row[0].text)
        assert row[3].text.startswith("supported: every other level is worse than 4")
        # A grid that varies fewer levels has nothing to say of the largest, wherever it stands.
        fewer = ablation.build([r for r in records if r.cell != "h4"], "heads")
        both = [dataclasses.replace(fewer, name="few"), ablation.build(records, "heads")]
        again = claims_table(measured(records), published, both)
        assert row[3].text in [each[3].text for each in again.rows]


class TestBadInput:
    def test_out_of_range_is_named_and_left_out(self, make):
        bad = replace(make.evaluation("mhsa"), metrics={"AP": 30.5})
        found = check([("x.json", bad), ("y.json", make.evaluation())])
        assert [r.cell for r in found.records] == ["default"]
        assert str(found.problems[0]) == "x.json: metrics.AP: 30.5, expected 0 to 1"

    @pytest.mark.parametrize(
        ("metrics", "bad"),
        [
            ({"Mean": 100.0}, False),
            ({"Mean": -0.1}, True),
            ({"AP": -1.0}, False),  # what the COCO evaluator says of an empty range
            ({"APM": 1.01}, True),
            ({"mean_pose_Mean": 101.0}, True),
            ({"loss": 1e9}, False),
        ],
    )
    def test_ranges(self, make, metrics, bad):
        record = replace(make.evaluation(), metrics=metrics)
        assert bool(out_of_range(record)) == bad

    def test_one_id_with_two_results_is_contradictory(self, make):
        first = make.evaluation(mean=60.0)
        second = replace(first, metrics={"Mean": 61.0})
        found = check([("a.json", first), ("b.json", second), ("c.json", make.evaluation("mhsa"))])
        assert [r.cell for r in found.records] == ["mhsa"]
        assert len(found.problems) == 2 and "two results" in found.problems[1].reason
        later = replace(first, seconds=99.0, started_at=first.started_at + timedelta(days=1))
        for pair in ((first, later), (later, first)):  # the same measured twice: the later one
            same = check(zip(("a.json", "b.json"), pair, strict=True))
            assert same.records == (later,) and not same.problems

    def test_counts_that_disagree(self, make):
        first = make.complexity(params=1000)
        second = replace(first, id="f" * 20, params=1001)
        found = check([("a.json", first), ("b.json", second)])
        assert not found.records
        assert "contradict: 1000, 1001" in found.problems[0].reason

    def test_a_store_with_everything_wrong(self, make, tmp_path):
        store = RecordStore(tmp_path)
        good = make.evaluation()
        store.add(good)
        nan = make.evaluation("mhsa")
        text = nan.to_json().replace('"Mean": 60.0', '"Mean": NaN')
        (tmp_path / f"{nan.id}.json").write_text(text)
        (tmp_path / f"{'a' * 20}.json").write_text(good.to_json())  # a copy under another name
        (tmp_path / f"{'b' * 20}.json").write_bytes(b"\xff\xfe{")
        (tmp_path / f"{'c' * 20}.json").write_text("{")
        (tmp_path / "notes.txt").write_text("hello")
        (tmp_path / "README.md").write_text("fine")
        (tmp_path / "package.json").write_text("{}")
        found = load([tmp_path])
        assert [r.id for r in found.records] == [good.id]
        assert len(found.problems) == 6
        assert all("\n" not in str(problem) for problem in found.problems)

    @pytest.mark.parametrize("text", HOSTILE)
    def test_hostile_names_stay_text(self, make, text, tmp_path):
        name = replace(make.evaluation("mhsa"), cell=text)
        failed = make.failed("none", error=text)
        grid = ablation.build([make.evaluation(), name, failed], "attention")
        table = grid_table(grid)
        markdown = to_markdown(table)
        rows = [line for line in markdown.splitlines() if line.startswith("|")]
        assert len(rows) == len(table.rows) + 2
        bars = {len(line.replace("\\|", "").split("|")) for line in rows}
        assert bars == {len(table.columns) + 2}
        for forbidden in ("<script", "<!--", "\x1b", "\x00", "\u202e"):
            assert forbidden not in markdown
        for forbidden in ("\x1b", "\x00", "\u202e"):  # html means nothing in these two
            assert forbidden not in to_csv(table) + to_latex(table)
        latex = to_latex(table)
        assert "\\input{" not in latex
        for line in csv.reader(io.StringIO(to_csv(table))):
            assert not line[0].startswith(("=", "@", "+"))

    @pytest.mark.parametrize("text", HOSTILE)
    def test_a_markdown_reader_sees_text_only(self, text):
        markdown_it = pytest.importorskip("markdown_it")
        table = Table(
            "t", "t", (Column("a", "A", numeric=False),), ((TableCell(text),),), caption=text
        )
        reader = markdown_it.MarkdownIt("commonmark").enable(["table", "strikethrough"])
        tokens = reader.parse(to_markdown(table))
        kinds = {t.type for t in tokens} | {c.type for t in tokens for c in t.children or ()}
        structure = {"heading", "table", "thead", "tbody", "tr", "th", "td", "paragraph"}
        allowed = {f"{name}_{end}" for name in structure for end in ("open", "close")}
        assert kinds <= allowed | {"inline", "text"}
        inline = [t for t in tokens if t.type == "inline"]
        assert "".join(c.content for c in inline[-1].children) == plain(text)

    def test_escapes(self):
        assert escape_markdown("a_b hevitpose_b _x_") == r"a_b hevitpose_b \_x\_"
        assert escape_markdown("[x](y)") == r"\[x\](y)"
        assert escape_latex("5% of a_b & {c}") == r"5\% of a\_b \& \{c\}"
        assert escape_csv("-1 +1") == "'-1 +1"
        for text in ("\uff1d1+1", "\ufe661+1", "\uff0b1", "\u200b=1+1", "\u00a0@x"):
            assert escape_csv(text).startswith("'")
        assert escape_csv("\u2212 0.3") == "\u2212 0.3"

    def test_rows_must_fit_columns(self):
        with pytest.raises(ValueError, match="2 cells, 1 columns"):
            Table("t", "t", (Column("a", "A"),), ((TableCell("1"), TableCell("2")),))


class TestHistory:
    def test_old_schemas_load_and_render(self):
        found = measured([parse_record(p.read_text()) for p in sorted(FIXTURES.glob("*.json"))])
        assert len(found.records) >= 2
        table = grid_table(ablation.build(found.records, "attention"))
        assert "61.5" in to_markdown(table)  # of schema 1, under its alias

    def test_a_later_run_of_a_seed_replaces_the_earlier(self, make):
        old = make.evaluation(mean=50.0)
        new = replace(
            old, id="e" * 20, metrics={"Mean": 55.0}, started_at=old.started_at + timedelta(days=1)
        )
        grid = ablation.build([new, old], "attention")
        assert grid.default is not None and grid.default.scores["Mean"].value == 55.0
        assert grid.older == (old.id,)


@pytest.mark.slow
def test_reports_never_import_torch():
    # Neither when loaded nor when it renders; what else is heavy only when it is loaded.
    code = (
        "import sys, reports.__main__, reports.output.page, reports.build;"
        "import reports.figures.gallery, reports.figures.plots;"
        "heavy = {'torch', 'torchvision', 'timm', 'pytorch_lightning', 'cv2'} & set(sys.modules);"
        "heavy and sys.exit(f'imported {heavy}');"
        "reports.__main__.main(['--check']); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_every_number_of_the_book_has_a_source(make, tmp_path):
    store = RecordStore(tmp_path)
    for record in make.grid(seeds=2):
        store.add(record)
    made = build.make([tmp_path])
    counts = {"n", "n seeds", "Seed"}
    for table in made.tables:
        for row in table.rows:
            for column, found in zip(table.columns, row, strict=True):
                if found.kind == "measured" and found.value is not None:
                    baseline = row[0].text.startswith("mean pose")
                    assert found.records or column.title in counts or baseline, (table.name, found)


def test_an_option_spelled_out_at_its_own_value_is_the_same_network(make, published):
    """A grid's default may carry ``attention: cgsr`` where another grid's cells do not."""
    spelled = make.common("default", None)["config"]
    spelled = spelled | {"model": {"name": "hevitpose_nano", "attention": "cgsr"}}
    default = make.evaluation("default", config=spelled)
    gated = make.evaluation("gated", grid="ffn", axes={"model.ffn": "gated"})
    grid = ablation.build([default, gated], "ffn")
    assert [(row.name, row.seeds) for row in grid.rows] == [("standard", 1), ("gated", 1)]
    spec = next(t for t in accuracy_tables() if t.name == "synthetic-val")
    table = accuracy_table(spec, measured([default, gated]), published)
    assert cell(table, "HEViTPose-nano", "Mean").text == "60.0"


@pytest.mark.parametrize(
    ("cells", "shown"),
    [({"0": 0, "5": 5}, "3"), ({"peow-0": 0}, "default"), ({"3": 0}, "default")],
)
def test_the_default_is_named_by_its_value_where_that_says_something(make, cells, shown):
    records = [make.evaluation("default")]
    records += [
        make.evaluation(name, grid="peow", axes={"model.peow": value}, id_config={"peow": value})
        for name, value in cells.items()
    ]
    assert ablation.build(records, "peow").rows[0].name == shown


def test_a_range_without_people_is_no_measurement(make):
    record = replace(make.evaluation(), metrics={"Mean": 60.0, "AP": -1.0})
    table = grid_table(ablation.build([record], "attention"))
    assert cell(table, "default", "ap").text == "not measured"


def test_a_key_that_came_later_separates_nothing(make):
    """Of two seeds one was recorded before ``evaluation.max_detections`` and ``start_from``."""
    before, after = make.evaluation("mhsa", 0), make.evaluation("mhsa", 1)
    later = {"evaluation": {**after.config.get("evaluation", {}), "max_detections": 20}}
    later["training"] = {**after.config.get("training", {}), "start_from": None}
    after = replace(after, config={**after.config, **later})
    assert setting(before) == setting(after)
    other = replace(after, config={**after.config, "evaluation": {"max_detections": 100}})
    assert setting(other) != setting(after)


def test_records_of_an_older_result_version_are_marked(make):
    now, then = make.complexity(), make.complexity("mhsa")
    then = replace(then, inputs=then.inputs | {"version": 0})
    before = replace(make.evaluation(), inputs={"source": "of the first ids"})
    assert older_records([now, then, before]) == {then.id, before.id}
    table = mark(grid_table(ablation.build([now, then], "attention")), frozenset([then.id]))
    assert cell(table, "mhsa", "params_m").notes == (NOTE,)
    assert NOTE not in cell(table, "cgsr (default)", "params_m").notes


def test_an_evaluation_shows_what_its_training_cost(make):
    trained = replace(
        make.evaluation("mhsa"), kind="training", id="d" * 20, metrics={}, weights="0" * 64
    )
    of_it = replace(make.evaluation("mhsa"), training=trained.id, train=None, curve=[])
    found = check([("a.json", of_it), ("b.json", trained)])
    (shown,) = found.of("evaluation")
    assert (shown.train, shown.curve) == (trained.train, trained.curve)


def test_a_condition_of_a_cell_has_the_costs_of_its_network(make):
    plain = [make.complexity("mhsa"), make.latency("mhsa"), make.evaluation("mhsa")]
    dark = replace(
        make.evaluation("mhsa", id_config={"codec": {"decode": "dark"}}),
        cell="dark",
        condition="dark",
    )
    table = grid_table(ablation.build([*plain, dark], "attention"))
    assert cell(table, "dark", "params_m").text == cell(table, "mhsa", "params_m").text == "0.401"


def test_the_line_under_a_picture_of_several_grids_is_about_all_of_them(make):
    views = []
    for grid, cell, noisy in (("attention", "mhsa", False), ("ffn", "gated", True)):
        timed = make.latency(cell, grid=grid)
        timed = replace(timed, latency=replace(timed.latency, noisy=noisy))
        own = [make.complexity(cell, grid=grid), timed, make.evaluation(cell, grid=grid)]
        views.append(ablation.build(own, grid))
    plot = tradeoff(views)
    assert [len(panel["points"]) for panel in plot.data["panels"]] == [2, 2]
    assert "; 1 noisy (IQR" in plot.data["note"]


@pytest.mark.parametrize(
    ("axis", "levels", "rows"),
    [
        ("model.attention", ["cgsr", "mhsa"], ["cgsr", "mhsa"]),
        ("model.num_heads", [2, 4], ["2", "4"]),  # nano's own, not the larger variants'
        ("model.groups", [[2, 2, 2], [4, 4, 4]], ["default", "4-4-4"]),
        ("codec.decoder", ["default", "dark"], ["default", "dark"]),
        ("model.cascade", [True, False], ["default", "off"]),
    ],
)
def test_the_default_is_one_row(make, monkeypatch, tmp_path, axis, levels, rows):
    """Also where the grid's file lists its value, whichever variant and section it is of."""
    grid = {"question": "?", "axes": {axis: levels}}
    (tmp_path / "attention.yaml").write_text(yaml.safe_dump(grid))
    monkeypatch.setattr(grid_files, "GRIDS", tmp_path)
    other = rows[1]
    found = [make.evaluation(), make.evaluation(other, axes={axis: levels[1]})]
    views = dict(build.grid_views(Measured(tuple(found))))
    assert [row.name for row in views["ablation-attention"].rows] == rows


def test_a_named_cell_that_is_the_default_is_no_second_row(make, monkeypatch, tmp_path):
    cells = {"same": {"model.attention": "cgsr"}, "mhsa": {"model.attention": "mhsa"}}
    (tmp_path / "attention.yaml").write_text(yaml.safe_dump({"question": "?", "cells": cells}))
    monkeypatch.setattr(grid_files, "GRIDS", tmp_path)
    views = dict(build.grid_views(Measured((make.evaluation(), make.evaluation("mhsa")))))
    assert len(views["ablation-attention"].rows) == 2
