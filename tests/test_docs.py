"""What the docs show works as shown, every command parses, the site builds without a warning."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nox.registry
import pytest
import torch
import yaml

from hevitpose import create_model
from hevitpose.config import load_config
from tests.commands import typer_command

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")])


def blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / name).read_text(), re.S)


# Examples --------------------------------------------------------------------------------------


def test_the_example_attention_runs_and_is_a_grid(tmp_path):
    from ablations.grid import load_grids

    (tmp_path / "my_attention.py").write_text(blocks("attention.md", "python")[0])
    (tmp_path / "my_grid.yaml").write_text(blocks("attention.md", "yaml")[0])
    exec(compile(blocks("attention.md", "python")[0], "my_attention.py", "exec"), {})
    model = create_model("nano", num_keypoints=16, attention="pooled")
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 16, 16, 16)
    base = load_config("synthetic").model_copy(update={"imports": (tmp_path / "my_attention.py",)})
    grids = load_grids([str(tmp_path / "my_grid.yaml")], base)
    assert "pooled" in {cell.name for cell in grids[0].cells}


def test_the_example_grid_is_one(tmp_path):
    from ablations.grid import load_grids

    (tmp_path / "my_grid.yaml").write_text(blocks("ablations.md", "yaml")[0])
    (grid,) = load_grids([str(tmp_path / "my_grid.yaml")], load_config("synthetic"))
    names = ["default", "deeper", "wider", "no-flip-test", "wider-dark"]
    assert [cell.name for cell in grid.cells] == names


def test_the_example_dataset_is_one():
    from hevitpose.data.readers.custom import CustomDataset

    layout = CustomDataset.model_validate(yaml.safe_load(blocks("dataset.md", "yaml")[0])).layout()
    assert layout.flip_pairs == ((2, 3),)


def test_the_first_example_runs():
    for code in blocks("start.md", "python"):
        exec(compile(code, "start.md", "exec"), {})


# Commands --------------------------------------------------------------------------------------

_PROMPT = re.compile(r"^\w*\$ ")
_OURS = re.compile(r"(^|[\s/])(hevitpose|nox|torchrun|python3?)\s")


def commands(text: str) -> Iterator[str]:
    """Commands of a page: lines of blocks without a language, and code in the text."""
    fence = re.compile(r"^```(\w*)\n(.*?)^```", re.S | re.M)
    for language, block in fence.findall(text):
        if language in ("", "bash"):
            for line in block.replace("\\\n", " ").splitlines():
                yield from _PROMPT.sub("", line).split(" && ")
    yield from re.findall(r"`([^`\n]+)`", fence.sub("", text))


def words_of(command: str) -> list[str]:
    return [word for word in shlex.split(command, comments=True) if word != "..."]


def shown() -> list[tuple[str, str]]:
    """(page, command) of everything shown that runs something of ours."""
    found = []
    for page in PAGES:
        for command in commands(page.read_text(encoding="utf-8")):
            if _OURS.search(f"{command} ") and len(words_of(command)) > 1:
                found.append((str(page.relative_to(ROOT)), command.strip()))
    return list(dict.fromkeys(found))


def parse(command: str) -> str:
    """Have the real parser read a command, run nothing; the program's name, or '' if not ours."""
    words = words_of(command)
    if words[0] == "import":
        return ""
    for number, word in enumerate(words):
        name, rest = Path(word).name, words[number + 1 :]
        module = words[number - 1] == "-m" if number else False
        if name == "hevitpose" or (module and word == "hevitpose.cli"):
            return parse_hevitpose(rest)
        if module and word in ("ablations", "reports"):
            return (parse_ablations if word == "ablations" else parse_reports)(rest)
        if name == "nox" and not number:
            return parse_nox(rest)
        if word.startswith("bench/") and word.endswith(".py"):
            return parse_bench(word, rest)
        if module:
            assert importlib.util.find_spec(word), f"python -m {word}: no such module"
            return ""
    return ""


def parse_hevitpose(words: list[str]) -> str:
    from hevitpose.cli import app

    def called(cfg=None, overrides=None, **_):
        if cfg is not None:
            load_config(cfg, overrides or [])

    try:
        typer_command(app, called)(words)
    except Exception as error:
        # The text may name a command without its arguments.
        if len(words) > 1 or type(error).__name__ != "MissingParameter":
            raise
    return "hevitpose"


def parse_ablations(words: list[str]) -> str:
    cli = importlib.import_module("ablations.cli")
    grids = importlib.import_module("ablations.grid")

    def called(words=None, grid=None, cells=None, **_):
        words = words or []
        load_config(None, [word for word in words if "=" in word], preset="quick")
        for name in (*(grid or []), *(word for word in words if "=" not in word)):
            assert name in grids.available() or name.endswith(".yaml"), f"no grid {name}"

    typer_command(cli.app, called)(words)
    return "ablations"


def parse_reports(words: list[str]) -> str:
    importlib.import_module("reports.__main__").parser().parse_args(words)
    return "reports"


def parse_bench(script: str, words: list[str]) -> str:
    assert (ROOT / script).is_file(), f"{script} does not exist"
    importlib.import_module(script.removesuffix(".py").replace("/", ".")).parse(words)
    return script


def parse_nox(words: list[str]) -> str:
    own, rest = words, []
    if "--" in words:
        own, rest = words[: words.index("--")], words[words.index("--") + 1 :]
    flag, session = own
    assert flag == "-s" and session in nox.registry.get(), f"nox {own}: no such session"
    forwarded = {
        "ablation": lambda words: parse_ablations(["run", *words]),
        "report": parse_reports,
    }
    if session in forwarded:
        forwarded[session](rest)
    return f"nox {session}"


@pytest.mark.parametrize(("page", "command"), shown(), ids=lambda value: value)
@pytest.mark.usefixtures("noxfile")  # its sessions are known once it is loaded
def test_every_command_shown_is_one(page, command, capsys):
    parse(command)


def test_commands_are_found_and_of_every_kind():
    programs = [parse(command) for _, command in shown()]
    assert len(programs) > 60
    assert {
        *("hevitpose", "ablations", "nox tests", "nox ablation", "nox report", "nox docs"),
        *("bench/latency.py", "bench/complexity.py", "bench/reconstruction.py"),
    } <= set(programs)


@pytest.mark.parametrize(
    "command",
    [
        "hevitpose train --cfg coco --nothing 3",
        "hevitpose train --cfg coco training.nothing=3",
        "hevitpose nothing",
        "nox -s nothing",
        "nox -s ablation -- --grid nothing",
        "nox -s report -- --nothing",
        "python bench/latency.py --nothing",
        "python bench/nothing.py",
        "python -m ablations run --nothing 3",
        "srun --nodes 2 .venv/bin/hevitpose train --nothing",
        "torchrun -m hevitpose.cli train --nothing",
    ],
)
def test_a_command_that_is_none_is_noticed(command, capsys):
    with pytest.raises((Exception, SystemExit)):
        parse(command)


# The site --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site, and what its building said."""
    pytest.importorskip("mkdocs", reason="mkdocs is not installed (pip install -e '.[dev]')")
    folder = tmp_path_factory.mktemp("site")
    ran = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    return folder, ran


@pytest.mark.slow
def test_the_site_builds_without_a_warning(site):
    # Not with --quiet, which hides warnings from --strict as well.
    _, ran = site
    said = [line for line in (ran.stdout + ran.stderr).splitlines() if not line.startswith("INFO")]
    assert (ran.returncode, said) == (0, [])


@pytest.mark.slow
def test_pages_ask_nothing_of_other_hosts(site):
    """Links to read lead elsewhere; what a browser loads by itself does not."""
    folder, _ = site
    pages = list(folder.rglob("*.html"))
    assert len(pages) > 20
    loaded = re.compile(
        r"<(?:script|img|iframe|source)[^>]+src=\"?https?:|<link[^>]+href=\"?https?:(?!.*canonical)"
        r"|@import|url\(\"?https?:"
    )
    for page in [*pages, *folder.rglob("*.css")]:
        assert not loaded.search(page.read_text(encoding="utf-8")), page.name


@pytest.mark.slow
def test_docstrings_come_out_as_text(site):
    folder, _ = site
    for page in (folder / "api").glob("*.html"):
        html = page.read_text(encoding="utf-8")
        prose = re.sub(r"<(pre|details).*?</\1>", "", html, flags=re.S)
        assert not re.search(r":(func|class|data|meth|mod|attr):", prose), page.name
    assert (
        'id="hevitpose.cost.complexity.count"' in (folder / "api" / "complexity.html").read_text()
    )


def test_the_reference_names_what_is_public():
    """Every object that a page picks exists, and is one of its module's public names."""
    picked = 0
    for page in (DOCS / "api").glob("*.md"):
        for target, options in re.findall(
            r"^::: (\S+)\n((?: {4}.*\n)*)", page.read_text(encoding="utf-8"), re.M
        ):
            names = re.findall(r"members: \[(.*)\]", options)
            names = names[0].split(", ") if names else []
            if (
                importlib.util.find_spec(target.rpartition(".")[0]).submodule_search_locations
                is None
            ):
                target, _, name = target.rpartition(".")  # not in a package: an object of a module
                names = [name]
            module = importlib.import_module(target)
            for name in names:
                assert not name.startswith("_") and hasattr(module, name), (page.name, target, name)
            picked += len(names)
    assert picked > 30
