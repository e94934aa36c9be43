"""What a user's file imports of the user's own is part of the ids; nothing of it is run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hevitpose.config import load_config
from hevitpose.errors import HEViTPoseError
from hevitpose.models.imports import import_files
from hevitpose.records.identity import file_digest, imports_digests, model_inputs
from hevitpose.records.imported import own_modules

STOP = "raise SystemExit('never run here')\n"
#: Ways to import other files, and which files that runs.
WAYS = {
    "import helper": {"helper.py"},
    "import helper as h, os, torch, numpy.linalg": {"helper.py"},
    "from helper import SCALE": {"helper.py"},
    "def later():\n    from helper import SCALE": {"helper.py"},
    "try:\n    import helper\nexcept ImportError:\n    helper = None": {"helper.py"},
    "import pkg.sub": {"pkg/__init__.py", "pkg/sub.py", "pkg/deep/__init__.py", "pkg/deep/a.py"},
    "from pkg import other": {"pkg/__init__.py", "pkg/other.py"},
    "from pkg.deep.a import x": {"pkg/__init__.py", "pkg/deep/__init__.py", "pkg/deep/a.py"},
    "import space.one": {"space/one.py"},
    "import chain": {"chain.py", "helper.py"},
    "import circle": {"circle.py", "again.py"},
    "import importlib\nimportlib.import_module('helper')": {"helper.py"},
    "name = 'helper'\n__import__(name)": set(),
    "from . import helper": set(),  # the file is in no package, so that this fails when it runs
    "import absent, hevitpose.models, ablations.grid, json": set(),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    files = {
        "helper.py": "SCALE = 1\n",
        "chain.py": "import helper\nimport mine\n",
        "circle.py": "import again\n",
        "again.py": "import circle\n",
        "pkg/__init__.py": "",
        "pkg/other.py": "",
        "pkg/sub.py": "from .deep import a\nfrom ..above import b\n",
        "pkg/deep/__init__.py": "",
        "pkg/deep/a.py": "from .. import deep\n",
        "space/one.py": "",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(STOP + text)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("text", WAYS)
def test_ways_to_import(folder, text):
    mine = folder / "mine.py"
    mine.write_text(f"{STOP}{text}\n")
    assert {str(path.relative_to(folder)) for path in own_modules([mine])} == WAYS[text]
    assert not {"helper", "pkg", "chain"} & sys.modules.keys()


def test_an_edited_helper_is_another_network(folder):
    mine, helper = folder / "mine.py", folder / "helper.py"
    mine.write_text("from chain import x\n")
    config = load_config(None, preset="quick").model_copy(update={"imports": (mine,)})
    before = model_inputs(config, 16)["imports"]
    others = sorted(map(file_digest, (helper, folder / "chain.py")))
    assert before == [file_digest(mine), *others]
    helper.write_text("SCALE = 2\n")
    assert model_inputs(config, 16)["imports"] != before


def test_files_without_helpers_are_hashed_as_they_were(folder):
    """In the order of the command line; a named helper once."""
    mine, helper = folder / "mine.py", folder / "helper.py"
    mine.write_text("import torch\nfrom hevitpose.models import register\n")
    named = [mine, helper]
    assert imports_digests(named) == [*map(file_digest, named)]
    mine.write_text("import helper\n")
    assert imports_digests(named) == [*map(file_digest, named)]
    (folder / "mine.py").write_text("def\n")
    assert imports_digests([mine]) == [file_digest(mine)]


def test_a_module_beside_the_file_is_not_found_there(tmp_path):
    mine = tmp_path / "mine.py"
    for text, says in (
        ("import beside_it", f"; it is beside the file: set PYTHONPATH={tmp_path}$"),
        ("import nowhere_at_all", "named 'nowhere_at_all'$"),
    ):
        mine.write_text(text)
        (tmp_path / "beside_it.py").write_text("")
        with pytest.raises(HEViTPoseError, match=f"line 1: ModuleNotFoundError: .*{says}"):
            import_files([mine])


def test_ours_are_not_the_users():
    root = Path(__file__).resolve().parents[2]
    assert own_modules([root / "hevitpose" / "models" / "build.py"]) == []
