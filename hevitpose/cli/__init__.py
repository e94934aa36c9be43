"""The command line, ``hevitpose ...``: parse, call, print. Heavy modules load inside commands."""

from __future__ import annotations

import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from hevitpose import __version__
from hevitpose.cli import data, records, run, weights
from hevitpose.cli.common import note
from hevitpose.cli.diagnose import diagnose
from hevitpose.cli.predict import predict
from hevitpose.errors import HEViTPoseError, Notice
from hevitpose.program import ending

app = typer.Typer(
    help="HEViTPose: train, evaluate and measure a light vision transformer for human pose.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for _command in (
    *(run.info, run.train, run.valid, run.infer_testdev, predict),
    *(run.evaluate_predictions, diagnose),
    *(weights.export, weights.export_checkpoint, weights.import_weights),
):
    app.command()(_command)
app.add_typer(data.app, name="data")
app.add_typer(records.app, name="records")

_INTERRUPTED = 130  # what typer returns for Ctrl-C
#: Commands that, given again, go on in the middle of what they did.
_CONTINUE = ("train",)
_debug = False


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    global _debug
    _debug = debug
    if version:
        print(__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:  # as without any word
        typer.echo(context.get_help(), nl=False)
        raise typer.Exit(2)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 asked for something that cannot be."""
    sys.exit(execute(sys.argv[1:] if arguments is None else arguments))


def execute(arguments: list[str]) -> int:
    """Run the command line.

    Returns:
        The exit code. An error is one line on standard error, a traceback only with ``--debug``.
    """
    try:
        with ending(), notices_as_lines():
            result = app(args=arguments, prog_name="hevitpose", standalone_mode=False)
        if result != _INTERRUPTED:
            return result if isinstance(result, int) else 0
        raise KeyboardInterrupt
    except BrokenPipeError:
        return 1
    except (Exception, KeyboardInterrupt) as error:
        message, code = _explain(error, arguments)
        if not message:  # of a group without a command, which has shown its help
            return code
        if _debug:
            traceback.print_exception(error)
        print(f"error: {message}", file=sys.stderr)
        return code


@contextmanager
def notices_as_lines() -> Iterator[None]:
    """Show a :class:`~hevitpose.errors.Notice` as one line, other warnings as Python does."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", Notice)
        others = warnings.showwarning

        def show(message: Any, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, Notice):
                note(str(message))
            else:
                others(message, category, *where, **more)

        warnings.showwarning = show
        yield


def _explain(error: BaseException, arguments: list[str]) -> tuple[str, int]:
    """An error's one line, and its exit code."""
    if isinstance(error, HEViTPoseError):
        return str(error), error.exit_code
    if isinstance(error, KeyboardInterrupt):
        command = next((word for word in arguments if not word.startswith("-")), "")
        continues = command in _CONTINUE and "--no-resume" not in arguments
        goes_on = "; the same command continues where it stopped" if continues else ""
        return f"interrupted{goes_on}", 1
    if hasattr(error, "format_message"):  # typer's own usage errors
        return error.format_message(), getattr(error, "exit_code", 2)
    text = " ".join(str(error).split()) or "no message"
    return f"{type(error).__name__}: {text} (--debug shows where)", 1
