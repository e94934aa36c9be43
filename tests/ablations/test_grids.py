"""Grids: expansion, and everything that is refused before anything trains."""

from __future__ import annotations

import pathlib
import shlex
from dataclasses import fields, replace

import pytest

from ablations import cli
from ablations import grid as grids
from ablations.explain import describe
from ablations.grid import select_cells
from ablations.grid_file import MAIN_GRIDS
from ablations.options import Options, with_seeds
from ablations.plan import plan
from ablations.refusals import refused
from hevitpose.config import load_config
from hevitpose.config.conditions import CORRUPTIONS, LEVELS, parse_condition
from hevitpose.errors import UsageError
from hevitpose.models.spec import ATTENTIONS
from hevitpose.records.identity import config_hash


def base(variant: str = "nano", **options):
    return load_config(None, [f"model.name={variant}"], preset="quick", **options)


def names(grid: grids.Grid) -> list[str]:
    return [cell.name for cell in grid.cells]


class TestShipped:
    @pytest.mark.parametrize("variant", ["nano", "t", "s", "b"])
    def test_every_grid_fits_every_variant(self, variant):
        loaded = grids.load_grids(grids.available(), base(variant))
        assert {g.name for g in loaded} >= {
            *("attention", "attention_parts", "downsampling", "peow", "ffn", "head"),
            *("groups_heads_reduction", "input_size", "recipe", "small_peers"),
            "real_recipe",
        }
        for grid in loaded:
            assert grid.cells[0].is_default
            assert sum(cell.is_default for cell in grid.cells) == 1
            assert len({config_hash(cell.config) for cell in grid.cells}) == len(grid.cells) >= 5

    def test_a_primary_metric_is_named_before_the_run(self):
        for grid in grids.load_grids(grids.available(), base()):
            assert (grid.primary["synthetic"], grid.primary["other"]) == ("Mean", "AP")

    def test_embedded_default(self):
        loaded = grids.load_grids(MAIN_GRIDS, base())
        assert all(len(grid.cells) >= 6 for grid in loaded)
        distinct = {config_hash(cell.config) for grid in loaded for cell in grid.cells}
        assert len(distinct) <= 20

    def test_attention_has_every_one(self):
        (grid,) = grids.load_grids(["attention"], base())
        assert names(grid)[0] == "cgsr" and set(names(grid)) == set(ATTENTIONS)
        assert grid.select(["mhsa"]).cells[1].config.model.attention == "mhsa"
        with pytest.raises(UsageError, match=r"cell of grid attention 'mhs'; did you mean 'mhsa'"):
            grid.select(["mhs"])

    def test_default_is_the_variants_own(self):
        for variant, name in (("nano", "g222+h2+r421"), ("t", "g248+h4+r821")):
            (grid,) = grids.load_grids(["groups_heads_reduction"], base(variant))
            assert names(grid)[0] == name and len(grid.cells) == 27

    def test_robustness_trains_cells_of_the_main_grids_and_no_other(self):
        (grid,) = grids.load_grids(["robustness"], base())
        others = grids.load_grids(MAIN_GRIDS, base())
        plain = [cell for cell in grid.cells if cell.condition is None]
        known = {config_hash(cell.config) for other in others for cell in other.cells}
        assert {config_hash(cell.config) for cell in plain} <= known and len(plain) >= 18
        conditions = {cell.condition for cell in grid.cells} - {None}
        assert len(conditions) == 23 and len(grid.cells) == len(plain) * 24
        under = {cell.config.evaluation.condition for cell in grid.cells} - {None}
        assert {parse_condition(name).name for name in under} <= set(LEVELS)
        assert {f"{name}:3" for name in CORRUPTIONS} < under

    def test_input_multiples_are_the_networks(self):
        for reductions in ([8, 2, 1], [16, 2, 1], [3, 1, 1], [1, 1, 1]):
            config = base().with_overrides({"model.reductions": reductions})
            multiple = config.model.spec().side_multiple
            for side in range(32, 257, 32):
                sized = config.with_overrides({"data.input_size": [side, multiple]})
                fits = side % 32 == 0 and all(
                    side // stride % r == 0
                    for stride, r in zip((4, 8, 16), reductions, strict=True)
                )
                assert (refused(sized) is None) == fits


class TestExpansion:
    def load(self, path, **options):
        return grids.load_grids([path], base(**options))[0]

    def test_one_factor(self, grid):
        cells = self.load(grid("axes: {model.ffn_ratio: [1, 2, 4], model.peow: [0, 3]}")).cells
        # ratio 2 and PEOW 3 are the default, known by its first name
        assert [c.name for c in cells] == ["ffn_ratio-2", "ffn_ratio-1", "ffn_ratio-4", "peow-0"]
        assert dict(cells[1].overrides) == {"model.ffn_ratio": 1}

    def test_the_default_has_every_name_that_resolves_to_it(self, grid, tmp_path):
        body = "axes: {model.attention: [cgsr, mhsa]}\ncells: {same: {model.attention: cgsr}}\n"
        body += "evaluate: {dark: {of: same, codec.decoder: dark}}"
        found = self.load(grid(body))
        assert names(found) == ["cgsr", "mhsa", "dark"] and found.cells[0].aliases == ("same",)
        assert found.cells[2].of == "cgsr"
        (chosen,) = select_cells([found], ["same"])
        assert names(chosen) == names(found.select(["same"])) == ["cgsr"]
        with pytest.raises(UsageError, match="did you mean 'same'"):
            select_cells([found], ["sane"])
        told = describe(plan([found], [0]), [], tmp_path).splitlines()
        assert f"{found.name}/same = cgsr (default)" in told

    def test_merge_keys_are_refused_in_one_line(self, grid):
        body = "cells:\n  a: &a {model.peow: 0}\n  b: {<<: *a, model.ffn_ratio: 1}\n"
        with pytest.raises(UsageError) as caught:
            self.load(grid(body))
        (line,) = str(caught.value).splitlines()
        assert "b: merge keys (<<) are not read in a grid, write the keys out" in line

    def test_product(self, grid):
        body = "mode: product\naxes: {model.ffn_ratio: {a: 1, b: 4}, model.peow: {x: 0, y: 1}}"
        found = self.load(grid(body))
        assert names(found) == ["default", "a+x", "a+y", "b+x", "b+y"]
        spec = found.cells[4].config.model.spec()
        assert (spec.ffn_ratio, spec.peow) == (4, 1)

    def test_zip(self, grid):
        body = "mode: zip\naxes: {model.ffn_ratio: {a: 1, b: 4}, model.peow: {x: 0, y: 1}}"
        assert names(self.load(grid(body))) == ["default", "a+x", "b+y"]

    def test_old_names_of_keys_are_read(self, grid):
        body = "axes: {codec.decode: [dark]}\ncells: {u: {codec.encode: udp, codec.decode: udp}}\n"
        body += "evaluate: {no-flip-test: {codec.flip_test: false}}"
        cells = self.load(grid(body)).cells
        assert [c.name for c in cells] == ["default", "dark", "u", "no-flip-test"]
        assert dict(cells[2].overrides) == {"codec.method": "udp", "codec.decoder": "udp"}
        assert dict(cells[3].overrides) == {"evaluation.flip_test": False}

    @pytest.mark.parametrize(
        ("body", "rows"),
        [
            ("axes: {data.box_source: {gt: gt, det: d.json}}", ["gt", "det"]),
            ("cells: {det: {data.box_source: d.json}}", ["default", "det"]),
            ("evaluate: {det: {data.box_source: d.json}}", ["default", "det"]),
        ],
    )
    def test_other_boxes_are_another_evaluation(self, grid, body, rows):
        """They are in no config's hash, only in ids by their file's."""
        cells = self.load(grid(body)).cells
        assert [c.name for c in cells] == rows
        assert [c.config.data.box_source for c in cells] == ["gt", "d.json"]

    def test_the_same_boxes_twice_are_refused(self, grid):
        body = "evaluate: {det: {data.box_source: d.json}, same: {data.box_source: ./d.json}}"
        with pytest.raises(UsageError, match="condition 'same' is the same as 'det'"):
            self.load(grid(body))

    def test_named_cells_join_the_axes(self, grid):
        body = "axes: {model.ffn_ratio: [1]}\ncells: {two: {model.num_heads: 1, model.peow: 5}}"
        assert names(self.load(grid(body))) == ["default", "1", "two"]


class TestRefusals:
    def problems(self, path) -> list[str]:
        with pytest.raises(UsageError) as error:
            grids.load_grids([path], base())
        return str(error.value).splitlines()

    def test_values_without_effect(self, grid):
        """Each would be trained under ids of its own, and be the default again."""
        body = (
            "axes:\n"
            "  training.gamma: [0.2]\n"  # 6
            "cells:\n"
            "  still: {training.epochs: 3}\n"  # 8
            "  turned: {training.augmentation.rotation: 0,"
            " training.augmentation.rotation_probability: 0.5}\n"  # 9
            "  moved: {training.augmentation.rotation: 0}\n"
            "  same: {training.gamma: 0.1, model.peow: 5}\n"
            "  stepped: {training.schedule: step, training.gamma: 0.2}\n"
        )
        found = self.problems(grid(body))
        assert [p.partition(": cell ")[0][-1] for p in found] == ["6", "8", "9"], found
        assert "training.gamma has no effect, training.schedule=" in found[0]
        assert "training.epochs has no effect, training.steps=" in found[1]
        assert "rotation_probability has no effect, training.augmentation.rotation=0" in found[2]

    def test_all_at_once_with_lines(self, grid):
        body = (
            "surprise: 1\n"  # line 5
            "axes:\n"
            "  model.atention: [mhsa]\n"  # 7
            "  model.peow: []\n"  # 8
            "  data.workers: [1, 2]\n"  # 9
            "  seed: [0, 1]\n"  # 10
            "  training: [1]\n"  # 11
            "cells:\n"
            "  heads: {model.num_heads: 5}\n"  # 13
            "  one: {model.ffn_ratio: 1}\n"
            "  uno: {model.ffn_ratio: 1}\n"  # 15
            "  one: {model.ffn_ratio: 4}\n"  # 16
            "  kind: {model.ffn: gatted}\n"  # 17
            "  type: {training.lr: much}\n"  # 18
            "  other: {model.attention: mine}\n"  # 19
            "  size: {data.input_size: [100, 100]}\n"  # 20
            "  reduce: {model.reductions: [16, 2, 1], data.input_size: [96, 96]}\n"  # 21
            "  group: {model.groups: [5, 2, 2], model.attention: cga}\n"  # 22
        )
        found = self.problems(grid(body))
        expected = {
            5: "unknown key of a grid 'surprise'",
            7: "did you mean 'model.attention'",
            8: "model.peow: no values",
            9: "no part of a recipe",
            10: "use --seeds",
            11: "a section",
            13: "does not divide",
            15: "the same as 'one' (line 14)",
            16: "'one' is given twice (first in line 14)",
            17: "did you mean 'gated'",
            18: "training.lr",
            19: "unknown model.attention 'mine'",
            20: "multiple of 32",
            21: "multiples of 64",
            22: "does not divide",
        }
        assert len(found) == len(expected), "\n".join(found)
        for line, text in expected.items():
            (problem,) = [p for p in found if p.startswith(f"mini.yaml:{line}: ")]
            assert text in problem

    @pytest.mark.parametrize(
        ("body", "text"),
        [
            ("", "the grid has no cells"),
            ("mode: sum\naxes: {model.peow: [0]}", "unknown mode 'sum'"),
            (
                "mode: zip\naxes: {model.peow: [0, 1], model.num_heads: [1]}",
                "different lengths (2, 1)",
            ),
            ("mode: product\naxes: {model.peow: [0, 1], model.num_heads: []}", "is empty"),
            ("axes: [model.peow]", "axes: expected a mapping"),
            ("axes: {model.peow: 3}", "expected a list of values"),
            ("cells: {default: {model.peow: 0}}", "reserved"),
            ("cells: {'a,b': {model.peow: 0}}", "with a comma"),
            ("cells: [", "not yaml"),
            ("cells: {a: {codec.decode: dark, codec.decoder: dark}}", "are one key"),
        ],
    )
    def test_one_thing_wrong(self, grid, body, text):
        assert any(text in problem for problem in self.problems(grid(body)))

    def test_texts_are_required(self, tmp_path):
        path = tmp_path / "bare.yaml"
        path.write_text("axes: {model.peow: [0]}")
        assert len(self.problems(str(path))) == 4

    def test_a_grid_without_a_primary_metric_has_the_usual_one(self, grid):
        path = pathlib.Path(grid("axes: {model.peow: [0]}"))
        text = path.read_text()
        path.write_text("\n".join(x for x in text.splitlines() if not x.startswith("primary")))
        (loaded,) = grids.load_grids([str(path)], base())
        judged = {"synthetic": "Mean", "mpii": "Mean", "coco": "AP", "crowdpose": "AP"}
        assert loaded.primary.items() >= {**judged, "other": "AP"}.items()

    @pytest.mark.parametrize(
        ("primary", "expected"),
        [
            ("{other: PCKx}", "primary metric"),
            (
                "{other: AP, synthetic: PCKh}",
                "'PCKh' is no metric of synthetic, expected one of Mean",
            ),
            ("{cocoo: AP, other: AP}", "did you mean 'coco'"),
            ("{synthetic: Mean}", "expected other: METRIC"),
            ("Mean", "expected a mapping"),
        ],
    )
    def test_primary(self, tmp_path, primary, expected):
        path = tmp_path / "mini.yaml"
        path.write_text(
            "question: q\ncommand: c\nexpected: e\nfinding: f\n"
            f"primary: {primary}\naxes: {{model.peow: [0]}}\n"
        )
        (problem,) = self.problems(str(path))
        assert problem.startswith("mini.yaml:5: ") and expected in problem

    @pytest.mark.parametrize(
        ("form", "primary", "given", "says"),
        [
            ("mpii", "{other: AP}", [], None),  # as the shipped grids have it
            ("mpii", "{other: PCK}", [], None),
            (
                "mpii",
                "{other: PCKh}",
                [],
                "'PCKh' is no metric of .*own.yaml, expected one of PCK$",
            ),
            ("mpii", "{other: Mean}", [], "'Mean' is no metric"),
            ("coco", "{other: PCK}", [], None),
            ("coco", "{other: AR}", [], None),
            ("coco", "{other: Mean}", [], "expected one of AP, AR, PCK$"),
            ("coco", "{other: PCK}", ["data.box_source=d.json"], "d.json, expected one of AP, AR$"),
        ],
    )
    def test_the_primary_metric_is_one_that_the_dataset_gives(
        self, tmp_path, form, primary, given, says
    ):
        dataset = tmp_path / "own.yaml"
        dataset.write_text(
            "name: own\nkeypoints: [a, b]\nsigmas: [0.1, 0.1]\nflip_pairs: []\n"
            f"format: {form}\npck: {{name: PCK, by: bbox, threshold: 0.2}}\n"
            "splits: {val: {annotations: v.json, images: .}}\n"
        )
        path = tmp_path / "mini.yaml"
        path.write_text(
            "question: q\ncommand: c\nexpected: e\nfinding: f\n"
            f"primary: {primary}\naxes: {{model.peow: [0]}}\n"
        )
        of = base().with_overrides([f"data.dataset={dataset}", *given])
        if says is None:
            assert grids.load_grids([str(path)], of)
            return
        with pytest.raises(UsageError, match=f"mini.yaml:5: primary: .*{says}"):
            grids.load_grids([str(path)], of)

    def test_names(self, tmp_path):
        with pytest.raises(UsageError, match="did you mean 'attention'"):
            grids.load_grids(["attenton"], base())
        with pytest.raises(UsageError, match="No such file"):
            grids.load_grids([str(tmp_path / "absent.yaml")], base())

    def test_two_files_of_one_name_are_refused(self, grid, tmp_path):
        path = pathlib.Path(grid("cells: {a: {model.peow: 0}}"))
        other = tmp_path / "other" / path.name
        other.parent.mkdir()
        other.write_text(path.read_text())
        with pytest.raises(UsageError, match="two grids called 'mini'"):
            grids.load_grids([str(path), str(other)], base())
        twice = grids.load_grids([str(path), str(other.parent / ".." / path.name)], base())
        assert len(twice) == 1

    def test_bad_default(self):
        config = load_config(None, ["data.input_size=96,96", "model.name=t"], preset="quick")
        config = config.with_overrides({"model.reductions": [16, 2, 1]})
        with pytest.raises(UsageError, match=r"the default cell: data\.input_size"):
            grids.load_grids(["ffn"], config)


class TestOptions:
    def chosen(self, **given) -> list[grids.Grid]:
        options = Options(**given)
        loaded = grids.load_grids(options.grid_names or MAIN_GRIDS, options.base_config())
        return select_cells(loaded, options.cell_names) if options.cell_names else loaded

    def test_cells_of_several_grids(self):
        assert [names(g) for g in self.chosen(cells="mhsa,gated")] == [
            ["cgsr", "mhsa"],
            ["subsample-ope"],
            ["default", "gated"],
        ]
        with pytest.raises(UsageError, match="unknown cell 'mhs'"):
            self.chosen(cells="mhs")

    def test_users_attention_is_known_without_running_it(self, tmp_path, grid):
        module = tmp_path / "mine.py"
        module.write_text(
            "from hevitpose.models import register\n"
            "raise SystemExit('never run here')\n"
            "@register('attention', 'mine')\n"
            "def mine(dim): ...\n"
        )
        (chosen,) = self.chosen(imports=[module], grid=[grid("axes: {model.attention: [mine]}")])
        assert names(chosen) == ["default", "mine"]

    @pytest.mark.parametrize(
        ("given", "text"),
        [
            ({"words": ["seed=1"]}, "use --seeds"),
            ({"words": ["training.lrr=1"]}, "lrr"),
            ({"variant": "nona"}, "unknown model 'nona'"),
            ({"preset": "quik"}, "did you mean 'quick'"),
        ],
    )
    def test_refusals(self, given, text):
        with pytest.raises(UsageError, match=text):
            Options(**given).base_config()

    def test_a_path_keeps_its_letters(self):
        config = Options(data=pathlib.Path("/data/a,b #1")).base_config()
        assert config.data.root == pathlib.Path("/data/a,b #1")
        assert Options(threads=3, words=["training.threads=5"]).base_config().training.threads == 5

    def test_absent_import(self, tmp_path):
        with pytest.raises(UsageError, match="no such file"):
            Options(imports=[tmp_path / "absent.py"]).base_config()

    def test_every_option_of_the_command_line_is_a_field(self, monkeypatch):
        """And only those: what tests set is none."""
        given = []
        monkeypatch.setattr(cli, "session", lambda options: given.append(options) or 0)
        words = [
            "run",
            "ffn",
            "training.lr=1",
            "--grid",
            "head",
            "--cells",
            "a,b",
            "--seeds",
            "1,2",
        ]
        words += ["--seeds", "1,2", "--import", "mine.py", "--dry-run"]
        words += ["--gpus-per-run", "0.5", "--out", "there"]
        assert cli.main(words) == 0
        (options,) = given
        assert options == Options(
            words=["ffn", "training.lr=1"], grid=["head"], cells="a,b", seeds="1,2",
            imports=[pathlib.Path("mine.py")], dry_run=True, gpus_per_run=0.5,
            out=pathlib.Path("there"),
        )  # fmt: skip
        assert (options.grid_names, options.overrides) == (["ffn", "head"], ["training.lr=1"])
        assert (options.seed_numbers(), options.cell_names) == ([1, 2], ["a", "b"])
        assert cli.main(["run"]) == 0
        assert given[1] == Options()
        for name in ("--work", "--preload", "--tables"):
            assert cli.main(["run", name, "x"]) == 2

    def test_words_of_options_are_read_back(self, monkeypatch):
        given = []
        monkeypatch.setattr(cli, "session", lambda options: given.append(options) or 0)
        full = Options(
            words=["my grid.yaml", "training.lr=1e-3", "data.root=a b"], grid=["x.yml", "ffn"],
            cells="a,b c", variant="t", dataset="mpii", data=pathlib.Path("my data"),
            preset="short", cfg="mpii", out=pathlib.Path("there"), executor="ray", workers=3,
            threads=2, address="auto", gpus_per_run=0.5, timeout=9.0, match="flops",
            imports=[pathlib.Path("it's.py"), pathlib.Path("b.py")], tune="training.lr=1,2",
            dry_run=True, retry_failed=True, use_committed=True, debug=True,
        )  # fmt: skip
        for options, seeds in (
            (full, {"num_seeds": 5}),
            (replace(full, num_seeds=3), {"num_seeds": 5}),
            (replace(full, seeds="7,1"), {"seeds": "7,1,0,2,3", "num_seeds": None}),
            (Options(), {"num_seeds": 5}),
        ):
            line = shlex.join(with_seeds(options, 5))
            assert cli.main(["run", *shlex.split(line)]) == 0
            assert given.pop() == replace(options, **seeds)
        unset = {field.name for field in fields(full) if getattr(full, field.name) == field.default}
        assert unset == {"seeds", "num_seeds", "work", "preload", "tables"}

    @pytest.mark.parametrize("given", ["", ","])
    def test_cells_that_are_none(self, given):
        with pytest.raises(UsageError, match="expected names of cells"):
            _ = Options(cells=given).cell_names

    def test_seeds_that_no_generator_takes(self):
        assert Options(seeds=str(2**64 - 1)).seed_numbers() == [2**64 - 1]
        for seeds in (str(2**64), "9" * 5000):
            with pytest.raises(UsageError, match=f"seeds up to {2**64 - 1}"):
                Options(seeds=seeds).seed_numbers()


def test_a_record_says_the_condition_that_was_scored(options_for, grid):
    """By its name under ``evaluate:``, else by the config: an axis may be a condition too."""
    body = "axes: {evaluation.condition: ['fog:3']}\nevaluate: {dark: {codec.decoder: dark}}"
    options = options_for(grid(body))
    made = plan(grids.load_grids(options.grid_names, options.base_config()), [0])
    said = {job.cell: job.about()["condition"] for job in made.jobs if job.kind == "evaluation"}
    assert said == {"default": None, "fog:3": "fog:3", "dark": "dark"}
    others = [job.about() for job in made.jobs if job.kind != "evaluation"]
    assert others and all(about.get("condition") is None for about in others)
