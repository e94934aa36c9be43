"""Pages that are made from the code when the site is built: configuration and command line.

A key's meaning is the comment at its field, an option's is its help, so that neither is written
twice. Nothing is committed; what a page says cannot be stale.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import re
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer
from mkdocs.structure.files import File, Files
from pydantic import BaseModel

from hevitpose.config import PRESETS, Config, shipped
from hevitpose.config.schema import NETWORK_FIELDS
from hevitpose.config.section import ids_of
from hevitpose.models.spec import PARTS, HEViTPoseSpec

_ROOT = Path(__file__).parents[1]
#: Command lines that are argparse's, of which ``--help`` is shown.
_PARSED = ("reports", "bench/latency.py", "bench/complexity.py", "bench/reconstruction.py")


def on_files(files: Files, config: Any) -> Files:
    """Add ``reference/configuration.md`` and ``reference/cli.md``."""
    for name, text in (("configuration", configuration()), ("cli", command_line())):
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    return files


def table(heads: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> list[str]:
    """Rows as Markdown."""
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    return [*lines, *("| " + " | ".join(row) + " |" for row in rows), ""]


def cell(text: str) -> str:
    """Text that a cell of a table can hold."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


# Configuration -----------------------------------------------------------------------------------


def configuration() -> str:
    """Every key of a config with its type, range, default and meaning."""
    lines = [
        "# Configuration",
        "",
        "Every key, from the schema. Yaml files nest them (`training: {lr: 1.0e-3}`), the command",
        "line joins them with dots (`training.lr=1e-3`). Unknown keys and values out of range are",
        "errors before anything runs. *Decides* says in which id a key's value is: a training's,",
        "an evaluation's, or neither, so that changing it repeats nothing.",
        "",
        "Shipped configs for `--cfg`: " + ", ".join(f"`{name}`" for name in shipped()) + ".",
        "Presets, `preset=NAME`:",
        "",
        *table(("Preset", ""), ((f"`{name}`", cell(_says(name))) for name in PRESETS)),
    ]
    top = [name for name, field in Config.model_fields.items() if not _section(field)]
    lines += ["## Top level", "", *_keys(Config, "", top)]
    for name, field in Config.model_fields.items():
        section = _section(field)
        if section is not None:
            lines += _section_lines(section, name)
    return "\n".join(lines)


def _says(preset: str) -> str:
    """The comment that a preset's file begins with."""
    text = (_ROOT / "hevitpose/config/yaml/presets" / f"{preset}.yaml").read_text(encoding="utf-8")
    return " ".join(re.findall(r"^# (.*)$", text.partition("\n\n")[0], re.M))


def _section(field: Any) -> type[BaseModel] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _section_lines(section: type[BaseModel], name: str) -> list[str]:
    lines = [f"## {name}", ""]
    if name == "model":
        own = [key for key in section.model_fields if key in NETWORK_FIELDS]
        lines += _keys(section, "model.", own)
        lines += [
            "Options of the network. A variant (T, S, B, nano) sets some of them; the rest are",
            "what is shown by default. Peers have none of these.",
            "",
            *_keys(section, "model.", [k for k in section.model_fields if k not in own]),
        ]
        return lines
    plain = [key for key, field in section.model_fields.items() if _section(field) is None]
    lines += _keys(section, f"{name}.", plain)
    for key, field in section.model_fields.items():
        inner = _section(field)
        if inner is not None:
            lines += _section_lines(inner, f"{name}.{key}")
    return lines


def _keys(section: type[BaseModel], prefix: str, names: list[str]) -> list[str]:
    said = comments(HEViTPoseSpec)
    for base in reversed(section.__mro__):
        if issubclass(base, BaseModel) and base is not BaseModel:
            said |= comments(base)
    spec = HEViTPoseSpec.__dataclass_fields__

    def rows() -> Iterator[tuple[str, ...]]:
        for name in names:
            field = section.model_fields[name]
            option = prefix == "model." and name in spec  # null means the variant's own
            default = getattr(HEViTPoseSpec, name, None) if option else field.default
            shown = "the variant's" if option and default is None else f"`{_value(default)}`"
            kind = _type(field).removesuffix(" or null") if option else _type(field)
            if option and name in PARTS:
                kind = ", ".join(f"`{part}`" for part in PARTS[name]) + ", or yours"
            decides = " and ".join(ids_of(field)) or "–"
            meaning = re.sub(r"^None: ", "null: ", said.get(name, ""))
            yield f"`{prefix}{name}`", cell(kind), shown, decides, cell(meaning)

    return table(("Key", "Type", "Default", "Decides", ""), rows())


def comments(owner: type) -> dict[str, str]:
    """The comment of each field of a class: behind it, or in the lines above it."""
    try:
        source = inspect.getsource(owner)
    except (OSError, TypeError):  # made by create_model
        return {}
    found, above = {}, []
    for line in source.splitlines():
        if alone := re.fullmatch(r" {4}# (.*)", line):
            above.append(alone[1])
        elif field := re.match(r" {4}(\w+): [^#]*(?:  # (.*))?$", line):
            found[field[1]] = field[2] or " ".join(above)
            above = []
        else:
            above = []
    return {name: text for name, text in found.items() if text}


def _type(field: Any) -> str:
    limits = [
        f"{sign} {getattr(part, name):g}"
        for part in field.metadata
        for name, sign in (("gt", ">"), ("ge", "≥"), ("lt", "<"), ("le", "≤"))
        if getattr(part, name, None) is not None
    ]
    return ", ".join([_name(field.annotation), *limits])


def _name(kind: Any) -> str:
    """A type as a reader of yaml would say it."""
    if get_origin(kind) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(kind))
    if get_origin(kind) in (types.UnionType, typing.Union):
        return " or ".join("null" if part is type(None) else _name(part) for part in get_args(kind))
    if get_origin(kind) is tuple:
        parts = get_args(kind)
        if Ellipsis in parts:
            return f"list of {_name(parts[0])}"
        return f"{len(parts)} × {_name(parts[0])}"
    return {str: "text", bool: "true or false", Path: "path"}.get(kind, kind.__name__)


def _value(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_value, value))}]"
    return (
        "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    )


# Command line ------------------------------------------------------------------------------------


def command_line() -> str:
    """Every command with its arguments and options."""
    from ablations.cli import app as ablations
    from hevitpose.cli import app as hevitpose

    lines = [
        "# Command line",
        "",
        "Every command, from the parsers. An error is one line; the exit code is 2 for a request",
        "that cannot be met, 1 for a failure, otherwise 0. `nox -s ablation -- ...` is",
        "`python -m ablations run ...`, and `nox -s report -- ...` is `python -m reports ...`. The",
        "other scripts of `bench/` have `--help`.",
        "",
    ]
    for name, app in (("hevitpose", hevitpose), ("python -m ablations", ablations)):
        lines += _commands(typer.main.get_command(app), name)
    for name in _PARSED:
        shown = f"python {name}" if "/" in name else f"python -m {name}"
        lines += [f"## {shown}", "", "```text", _help(name).rstrip(), "```", ""]
    return "\n".join(lines)


def _commands(command: Any, name: str) -> Iterator[str]:
    """A command and those below it."""
    below = getattr(command, "commands", {})
    yield from (f"## {name}", "", _paragraph(command.help), "")
    options = [p for p in command.params if p.name != "help"]
    if options:
        yield from table(("Option", "Default", ""), map(_option, options))
    for each in below:
        yield from _commands(below[each], f"{name} {each}")


def _paragraph(text: str | None) -> str:
    return " ".join((text or "").split()).replace("<", "&lt;")


def _option(option: Any) -> tuple[str, ...]:
    if option.param_type_name == "argument":
        names = cell(f"`{option.metavar or option.name.upper()}`")
    else:
        names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    shown = getattr(option, "show_default", None)
    default = shown if isinstance(shown, str) else option.default
    if default is None or isinstance(default, bool) or callable(default) or default in ([], ()):
        default = "required" if option.required else ""
    return (
        names,
        f"`{default}`" if default not in ("", "required") else default,
        cell(getattr(option, "help", None) or ""),
    )


def _help(name: str) -> str:
    """What ``--help`` prints."""
    if name == "reports":
        return importlib.import_module("reports.__main__").parser().format_help()
    module = importlib.import_module(name.removesuffix(".py").replace("/", "."))
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        module.parse(["--help"])
    return said.getvalue()
