"""``python -m reports``: renders tables, plots, README blocks and the page from records.

Without arguments from committed records (``results/measured``) into ``results/rendered``,
``docs/results`` and the README.
``--check`` writes nothing and exits with 1 when something is stale or a record is unusable.
``--runs DIR`` previews the records of a runs folder (with the committed ones) in ``--out``, and
touches no tracked file. A table or picture that is no longer made is removed from the folders that
are chosen without ``--out``; any other folder may hold files of yours.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

# Before numpy is loaded: threads of its matrices of a hundred rows only wait, a tenth of all time.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from hevitpose.errors import UsageError
from hevitpose.files import require_folder, write_atomically
from hevitpose.program import exit_code
from reports import published
from reports.build import ROOT, Book, contradictions, make
from reports.output import readme

MEASURED = ROOT / "results" / "measured"
GALLERY = "gallery"
OUT = ROOT / "results" / "rendered"
README = ROOT / "README.md"
#: Pages of the documentation that hold the tables which the README has in short.
PAGES = ROOT / "docs" / "results"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m reports", description=__doc__.split("\n")[0])
    made.add_argument("--check", action="store_true", help="write nothing; exit 1 if stale")
    made.add_argument("--runs", type=Path, metavar="DIR", help="preview this runs folder as well")
    made.add_argument("--out", type=Path, metavar="DIR", help="default: results/rendered")
    made.add_argument("--measured", type=Path, default=MEASURED, help=argparse.SUPPRESS)
    made.add_argument("--published", type=Path, default=published.ROOT, help=argparse.SUPPRESS)
    made.add_argument("--readme", type=Path, default=README, help=argparse.SUPPRESS)
    made.add_argument("--no-site", action="store_true", help="leave the page out")
    return made


def store_folder(runs: Path) -> Path:
    """The records of a runs folder: its ``records``, else itself.

    Raises:
        UsageError: it does not exist.
    """
    if not runs.is_dir():
        raise UsageError(f"--runs {runs}: no such folder")
    return runs / "records" if (runs / "records").is_dir() else runs


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    options = parser().parse_args(arguments)
    return exit_code(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    roots = [options.measured]
    preview = options.runs is not None
    if preview:
        if options.check:
            raise UsageError("--runs with --check: only committed records can be checked")
        roots.append(store_folder(options.runs))
    out = options.out or (options.runs / "report" if preview else OUT)
    owned = options.out is None or out.resolve() == OUT.resolve()
    if not options.check:
        require_folder(out, "--out")
    # Beside the records: results/gallery, or the runs folder's own.
    pictures = [options.measured.parent / GALLERY]
    if preview:
        pictures.insert(0, options.runs / GALLERY)
    book = make(roots, options.published, pictures)
    for problem in book.measured.problems:
        print(f"left out: {problem}", file=sys.stderr)
    # Findings speak of the project's own records.
    untrue = [] if preview or options.measured != MEASURED else list(contradictions(book))
    if not options.check:
        for line in untrue:
            print(f"warning: {line}", file=sys.stderr)
    if options.check:
        return _check(book, out, owned, _documents(options.readme), untrue)
    written = _write(book, out, owned)
    if not preview:
        written += sum(_write_document(book, path) for path in _documents(options.readme))
    if not options.no_site:
        from reports.output.page import write_site

        written += write_site(book, out / "site", out / "figures")
    print(
        f"{len(book.measured.everything)} records ({len(book.older)} of older code), "
        f"{len(book.tables)} tables, {len(book.plots)} plots; {written} files changed under {out}"
    )
    if book.measured.problems:
        print(f"{len(book.measured.problems)} files left out, named above", file=sys.stderr)
    return 0


def _write(book: Book, out: Path, owned: bool) -> int:
    """Tables and pictures; what is right already is left alone.

    What has no source is removed where the folder is ours alone (``owned``).
    """
    written = 0
    texts = book.texts()
    for name, text in texts.items():
        written += _write_text(out / "tables" / name, text)
    for name, text in book.drawings().items():
        written += _write_text(out / "figures" / name, text)
    for plot in book.plots:
        if not plot.is_fresh(*plot.paths(out / "figures")):
            written += len(plot.save(out / "figures"))
    if owned:
        for path in (*_old_tables(book, out), *_old_pictures(book, out)):
            path.unlink()
    return written


def _old_tables(book: Book, out: Path) -> list[Path]:
    """Tables that nothing makes any more, and whatever else looks like one."""
    return _others(out / "tables", book.texts().keys(), (".md", ".tex", ".csv"))


def _old_pictures(book: Book, out: Path) -> list[Path]:
    """Pictures that nothing makes any more, and whatever else looks like one."""
    return _others(out / "figures", _pictures(book), (".svg", ".png"))


def _pictures(book: Book) -> set[str]:
    """File names of everything drawn."""
    plots = {path.name for plot in book.plots for path in plot.paths(Path())}
    return plots | book.drawings().keys()


def _write_text(path: Path, text: str) -> int:
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return 0
    write_atomically(path, text)
    return 1


def _others(folder: Path, names: Collection[str], suffixes: tuple[str, ...]) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(
        path for path in folder.iterdir() if path.suffix in suffixes and path.name not in names
    )


def _documents(readme_path: Path) -> list[Path]:
    """The README, and beside the project's own the pages of results."""
    pages = sorted(PAGES.glob("*.md")) if readme_path == README else []
    return [path for path in (readme_path, *pages) if path.is_file()]


def _write_document(book: Book, path: Path) -> int:
    text = path.read_bytes().decode("utf-8")
    new = readme.render(text, book, path.name)
    for number in readme.uncited(new, book, path.name):
        print(f"warning: {number}", file=sys.stderr)
    if new == text:
        return 0
    write_atomically(path, new)
    return 1


def _check(
    book: Book, out: Path, owned: bool, documents: Sequence[Path], untrue: Sequence[str]
) -> int:
    """Compares what is there with what the records say; prints the differences."""
    lines: list[str] = []
    texts = book.texts()
    for folder, expected in (("tables", texts), ("figures", book.drawings())):
        current = {
            name: path.read_text(encoding="utf-8") if path.is_file() else None
            for name in expected
            for path in [out / folder / name]
        }
        lines += readme.stale(expected, current)
    old = (_old_tables(book, out), _old_pictures(book, out)) if owned else ([], [])
    lines += [f"{path.name}: no table of this name any more" for path in old[0]]
    for plot in book.plots:
        path = out / "figures" / f"{plot.name}.svg"
        if not plot.is_fresh(path):
            lines.append(f"{path.name}: {'stale' if path.exists() else 'absent'}")
    lines += [f"{path.name}: no plot of this name any more" for path in old[1]]
    for path in documents:
        text = path.read_bytes().decode("utf-8")
        new = readme.render(text, book, path.name)
        if new != text:
            lines += readme.difference(path.name, text, new)
        lines += [str(number) for number in readme.uncited(text, book, path.name)]
    for line in (*lines, *untrue):
        print(line)
    problems = len(book.measured.problems) + len(untrue)
    if lines:
        print("stale: run `nox -s report` and commit what changes")
    if problems:
        print(f"{problems} unusable files or untrue findings, named above")
    if not lines and not problems:
        print(f"up to date: {len(book.tables)} tables, {len(book.plots)} plots")
    return 1 if lines or problems else 0


if __name__ == "__main__":
    sys.exit(main())
