"""The source hash: what changes it, and what must not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from hevitpose.errors import DataError, UsageError
from hevitpose.sourcehash import ROOT, Axis, Rules, source_hash
from hevitpose.spec import ATTENTIONS, DOWNSAMPLINGS, FFNS, HEADS

FILES = {
    "pkg/__init__.py": "",
    "pkg/main.py": '''
        """Docstring."""
        from __future__ import annotations
        from typing import TYPE_CHECKING
        from pkg import tools
        from pkg.api import make  # re-exported
        from pkg.settings import Settings
        if TYPE_CHECKING:
            from pkg.unused import Nothing

        LIMIT = 3

        def run(settings: Settings):
            """What it does."""
            made = make(settings.kind)
            for _ in range(LIMIT):
                tools.polish(made)
            if settings.route == "fast":
                return tools.fast(made)
            return tools.slow(made)

        def never():
            return 1
    ''',
    "pkg/api/__init__.py": "from pkg.api.build import make\nfrom .other import unrelated\n",
    "pkg/api/build.py": """
        from ..kinds import KINDS, register_kind
        from pkg import plugins

        def make(kind):
            return KINDS[kind]()
    """,
    "pkg/api/other.py": "def unrelated():\n    return 0\n",
    "pkg/kinds.py": """
        KINDS = {}

        def register_kind(name):
            def register(thing):
                KINDS[name] = thing
                return thing
            return register

        class Base:
            pass

        @register_kind("a")
        class A(Base):
            size = 1

        @register_kind("b")
        class B(Base):
            size = 2
    """,
    "pkg/plugins.py": "def helper():\n    return 0\n",
    "pkg/tools.py": """
        import pkg.kinds as k

        FINISH = {"matt": lambda: 1, "gloss": lambda: 2}
        QUICKER = {k.A: "quick A", k.B: "quick B", len: "any"}

        def polish(x):
            return FINISH["matt"]()

        def fast(x):
            return QUICKER.get(type(x), k.Base)

        def slow(x):
            if isinstance(x, k.B):
                return "slow B"
            elif type(x) is k.A and x.size:
                return "slow A"
            return x
    """,
    "pkg/settings.py": """
        class Settings:
            kind: str = "a"
            route: str = "fast"

            @property
            def twice(self):
                return self.kind * 2

            def check(self):
                return True
    """,
    "pkg/unused.py": "class Nothing: pass\n",
}
RULES = Rules(packages=("pkg",), schemas=("pkg.settings",))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return tmp_path


def axes(kind="a", route="fast", finish="matt") -> dict[str, Axis]:
    return {
        "kind": Axis.of(kind, "ab"),
        "route": Axis.of(route, ("fast", "slow")),
        "finish": Axis.of(finish, ("matt", "gloss")),
    }


def hashed(tree: Path, **kwargs):
    return source_hash(["pkg.main:run"], rules=RULES, root=tree, axes=axes(), **kwargs)


def edit(tree: Path, name: str, old: str, new: str) -> None:
    path = tree / name
    text = path.read_text()
    assert text.count(old) >= 1, f"{old!r} is not in {name}"
    path.write_text(text.replace(old, new, 1))
    stamp = time.time_ns() + 10**9  # a clock too coarse for two edits in a row must not hide one
    os.utime(path, ns=(stamp, stamp))


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("pkg/main.py", '"""What it does."""', '"""Says it differently."""'),
        ("pkg/main.py", '"""What it does."""', ""),
        ("pkg/main.py", '"""Docstring."""', "# a comment"),
        ("pkg/main.py", "LIMIT = 3", "\n\n\nLIMIT = 3  # tries"),
        ("pkg/main.py", "    return 1", "    return 2"),  # never()
        ("pkg/main.py", "tools.slow(made)", "tools.slow( made, )"),
        ("pkg/tools.py", "return x", "return -x"),  # slow(), ruled out by its axis
        ("pkg/tools.py", "lambda: 2", "lambda: 3"),  # gloss, likewise
        ("pkg/kinds.py", "size = 2", "size = 3"),  # B, likewise
        ("pkg/tools.py", "quick B", "quicker B"),  # of a class that is not reached
        ("pkg/kinds.py", "size = 1", 'size = 1\n    """Of it."""'),
        ("pkg/api/other.py", "return 0", "return 1"),
        ("pkg/plugins.py", "return 0", "return 1"),  # imported, nothing of it used
        ("pkg/unused.py", "pass", "x = 1"),
        ("pkg/settings.py", 'route: str = "fast"', 'route: str = "fast"\n    new: int = 0'),
        ("pkg/settings.py", "return True", "return False"),
    ],
)
def test_does_not_change(tree, name, old, new):
    before = hashed(tree)
    edit(tree, name, old, new)
    assert hashed(tree).hash == before.hash


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("pkg/main.py", "LIMIT = 3", "LIMIT = 4"),
        ("pkg/main.py", "tools.polish(made)", "tools.polish(None)"),
        ("pkg/tools.py", '["matt"]', '["gloss"]'),
        ("pkg/tools.py", "lambda: 1", "lambda: True"),  # 1 == True, and yet another constant
        ("pkg/kinds.py", "size = 1", "size = 0"),
        ("pkg/tools.py", "quick A", "quicker A"),
        ("pkg/tools.py", '"any"', '"all"'),  # its key is no class of ours
        ("pkg/kinds.py", "class Base:\n    pass", "class Base:\n    x = 1"),
        ("pkg/kinds.py", "KINDS[name] = thing", "KINDS[name] = None"),
        ("pkg/api/build.py", "KINDS[kind]()", "KINDS[kind](1)"),
        ("pkg/plugins.py", "def helper", "import pkg.kinds\npkg.kinds.KINDS['c'] = 1\ndef helper"),
        ("pkg/settings.py", "self.kind * 2", "self.kind * 3"),  # a property is a computation
    ],
)
def test_changes(tree, name, old, new):
    before = hashed(tree)
    if name == "pkg/plugins.py":  # an import for its effect counts once anything of it is used
        edit(tree, "pkg/api/build.py", "KINDS[kind]()", "plugins.helper(KINDS[kind]())")
        before = hashed(tree)
    edit(tree, name, old, new)
    after = hashed(tree)
    assert after.hash != before.hash
    assert [f for f in after.files if after.files[f] != before.files.get(f)] == [name]


def test_axes_narrow(tree):
    def definitions(**selected) -> set[str]:
        found = source_hash(["pkg.main:run"], rules=RULES, root=tree, axes=axes(**selected))
        return set(found.definitions)

    base = definitions()
    assert definitions(kind="b") - base == {"pkg.kinds:B", "pkg.tools:QUICKER[1:k.B]"}
    quick = {f"pkg.tools:QUICKER{entry}" for entry in ("", "[0:k.A]", "[2:len]")}
    slow = {"pkg.tools:slow", "pkg.tools:slow[1:k.A]"}
    assert definitions(route="slow") ^ base == {"pkg.tools:fast", *slow, *quick}
    wide = source_hash(["pkg.main:run"], rules=RULES, root=tree)  # nothing selected: everything
    assert {"pkg.kinds:A", "pkg.kinds:B", "pkg.tools:fast", "pkg.tools:slow"} <= set(
        wide.definitions
    )


def test_branches_of_classes(tree):
    def slow() -> str:
        entries = ["pkg.main:run"]
        return source_hash(entries, rules=RULES, root=tree, axes=axes(route="slow")).hash

    before = slow()
    edit(tree, "pkg/tools.py", "slow B", "slower B")
    assert slow() == before  # B is not reached
    edit(tree, "pkg/tools.py", "slow A", "slower A")
    assert slow() != before


def test_users_file_counts_as_a_whole(tree, tmp_path):
    mine = tmp_path / "mine.py"
    mine.write_text("from pkg.kinds import register_kind\n@register_kind('a')\ndef f(): return 1\n")
    before = hashed(tree, files=[mine])
    assert "mine.py" in before.files and before.hash != hashed(tree).hash
    edit(tmp_path, "mine.py", "return 1", "return 1  # one")
    assert hashed(tree, files=[mine]).hash == before.hash
    edit(tmp_path, "mine.py", "return 1", "return 2")
    assert hashed(tree, files=[mine]).hash != before.hash


def test_refusals(tree, tmp_path):
    for entry in ("pkg.main:walk", "pkg.gone", "elsewhere:run"):
        with pytest.raises(UsageError, match="there is no"):
            source_hash([entry], rules=RULES, root=tree)
    edit(tree, "pkg/tools.py", "def polish(x):", "def polish(x:")
    with pytest.raises(DataError, match=r"tools\.py:\d+: not Python"):
        hashed(tree)
    with pytest.raises(DataError, match="cannot be read"):
        hashed(tree, files=[tmp_path / "absent.py"])


def copy_package(root: Path) -> None:
    """The project's own sources below another folder, to be edited there."""
    bare = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "hevitpose", root / "hevitpose", ignore=bare)


class TestProject:
    """The rules as they meet the project's own models."""

    RULES = Rules(
        skip=("hevitpose.errors", "hevitpose.progress", "hevitpose.models.peers"),
        schemas=("hevitpose.config", "hevitpose.spec"),
    )

    def definitions(self, root: Path = ROOT, **selected) -> tuple[str, set[str]]:
        chosen = {
            "attention": "cgsr",
            "ffn": "standard",
            "downsampling": "subsample-ope",
            "head": "deconv",
        }
        known = {"attention": ATTENTIONS, "ffn": FFNS, "downsampling": DOWNSAMPLINGS, "head": HEADS}
        found = source_hash(
            ["hevitpose.models:create_model"],
            rules=self.RULES,
            axes={axis: Axis.of((chosen | selected)[axis], known[axis]) for axis in known},
            root=root,
        )
        return found.hash, {d.removeprefix("hevitpose.models.") for d in found.definitions}

    def test_alternatives_are_apart(self):
        _, base = self.definitions()
        assert {"attention:CGSRAttention", "ffn:FFN", "downsample:SubsampleOPE"} <= base
        others = {"attention:MHSA", "ffn:GatedFFN", "downsample:PatchMerging", "head:_bilinear"}
        assert not others & base
        assert "attention:MHSA" in self.definitions(attention="mhsa")[1]
        assert "attention:CGSRAttention" not in self.definitions(attention="mhsa")[1]
        assert "downsample:PatchMerging" in self.definitions(downsampling="patch-merging")[1]
        assert "head:_bilinear" in self.definitions(head="bilinear")[1]

    def test_a_run_without_the_axes_before_changes_nothing(self, tmp_path):
        """A peer's run has no attention axis; what it read is not what this one reads."""
        copy_package(tmp_path)
        source_hash(["hevitpose.models:create_model"], rules=self.RULES, root=tmp_path)
        assert self.definitions(tmp_path) == self.definitions()

    def test_editing_gated_reruns_only_gated(self, tmp_path):
        copy_package(tmp_path)
        base, gated = self.definitions(tmp_path), self.definitions(tmp_path, ffn="gated")
        assert base[0] == self.definitions()[0]
        edit(tmp_path, "hevitpose/models/ffn.py", "chunk(2, dim=1)", "chunk(2, 1)")
        assert self.definitions(tmp_path)[0] == base[0]
        assert self.definitions(tmp_path, ffn="gated")[0] != gated[0]


def test_torch_free():
    code = "import hevitpose.sourcehash, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
