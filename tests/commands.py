"""Commands read by the real parsers, and not run."""

from __future__ import annotations

from collections.abc import Callable

import typer


def typer_command(app: typer.Typer, called: Callable[..., None]) -> Callable[[list[str]], None]:
    """The app's own parsing, with every command's function replaced by ``called``."""
    root = typer.main.get_command(app)

    def replace(command):
        for child in getattr(command, "commands", {}).values():
            replace(child)
        if not hasattr(command, "commands"):
            command.callback = called

    replace(root)
    return lambda words: root.main(args=words, prog_name="hevitpose", standalone_mode=False)
