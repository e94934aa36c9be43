"""The page: one static ``index.html`` that opens from disk and asks the network for nothing.

Tables and pictures are in the page; the runs' details are in ``runs/N.js`` beside it, loaded when a
run is opened. Everything from records is escaped: by jinja2 in markup, and in data by writing
``<`` as an escape, so that no text can end a script.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from hevitpose import __version__
from hevitpose.config import load_config, shipped
from hevitpose.errors import UsageError
from hevitpose.files import write_atomically
from hevitpose.models.spec import VARIANTS
from hevitpose.records import Record
from reports.build import Book
from reports.captions import condition, machine_key
from reports.load import METRIC_ALIASES, h_by_w, input_size, is_plain_network, num_keypoints
from reports.output.text import ARROWS, Table
from reports.settings import flatten
from reports.tables.grid import gap_text

TEMPLATES = Path(__file__).parent / "templates"
#: Runs of one file of details.
CHUNK = 100
_NO_OVERRIDE = ("preset", "data.root", "data.workers", "devices", "nodes", "device", "imports")


def environment() -> jinja2.Environment:
    """Templates with autoescape, and undefined names as errors."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["script_json"] = script_json
    return made


def script_json(value: Any) -> Markup:
    """JSON that can stand inside a script element, whatever text it holds."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 (escaped above)


def write_site(book: Book, out: Path, figures: Path, home: str = "") -> int:
    """Writes the page; files that are right already are left alone.

    Args:
        book: what is shown.
        out: folder of the page; made if absent.
        figures: where the book's pictures are.
        home: address of the documentation as seen from the page, where it is part of one.

    Returns:
        How many files changed.
    """
    records = book.measured.records
    files = {
        f"runs/{start // CHUNK}.js": _details(records[start : start + CHUNK])
        for start in range(0, len(records), CHUNK)
    }
    files["index.html"] = _page(book, figures, home)
    changed = 0
    for name, text in files.items():
        path = out / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_atomically(path, text)
            changed += 1
    for path in (out / "runs").glob("*.js") if (out / "runs").is_dir() else ():
        if f"runs/{path.name}" not in files:
            path.unlink()
    return changed


def _page(book: Book, figures: Path, home: str) -> str:
    """The text of ``index.html``."""
    against, gallery = _against_defaults(book), book.plot("gallery")
    runs = [
        _index_entry(number, record)
        | ({"older": True} if record.id in book.older else {})
        | ({"against": against[record.id]} if record.id in against else {})
        for number, record in enumerate(book.measured.records)
    ]
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            style=Markup((TEMPLATES / "page.css").read_text(encoding="utf-8")),  # noqa: S704
            script=Markup((TEMPLATES / "page.js").read_text(encoding="utf-8")),  # noqa: S704
            tables=[_table(table) for table in book.tables],
            plots=[
                {"name": plot.name, "alt": plot.alt, "svg": inline_svg(figures, plot.name)}
                for plot in book.plots
                if plot is not gallery
            ],
            gallery=gallery
            and {
                "svg": inline_svg(figures, gallery.name),
                "alt": gallery.alt,
                "run": gallery.data["record"],
            },
            runs=runs,
            chunk=CHUNK,
            problems=[str(problem) for problem in book.measured.problems],
            counts={
                "records": len(runs),
                "failed": sum(1 for r in book.measured.records if r.status != "ok"),
                "published": len(book.published.numbers),
            },
            version=__version__,
            home=home,
        )
    )


def _table(table: Table) -> dict[str, Any]:
    numbers = {note: number for number, note in enumerate(table.footnotes, 1)}
    return {
        "name": table.name,
        "title": table.heading,
        "columns": [
            {"title": c.title, "arrow": ARROWS[c.direction].strip(), "way": c.direction,
             "numeric": c.numeric}
            for c in table.columns
        ],
        "rows": [
            [
                {
                    "text": cell.text,
                    "sort": "" if cell.value is None else repr(float(cell.value)),
                    "kind": cell.kind,
                    "bold": cell.bold,
                    "notes": ",".join(str(numbers[note]) for note in cell.notes),
                    "run": cell.records[0] if cell.records else "",
                    "count": len(cell.records),
                }
                for cell in row
            ]
            for row in table.rows
        ],
        "tail": table.tail,
        "footnotes": table.footnotes,
        "sources": table.sources,
    }  # fmt: skip


def inline_svg(folder: Path, name: str) -> Markup:
    """A picture of ours as markup, its ids made unique in the page."""
    text = (folder / f"{name}.svg").read_text(encoding="utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    prefix = re.sub(r"[^A-Za-z0-9]", "", name) + "-"
    text = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}\1"', text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{prefix}\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}\1)", text)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    return Markup(text)  # noqa: S704 (drawn by this project; tips are escaped in style.py)


# Runs ------------------------------------------------------------------------------------------


def group_of(record: Record) -> str:
    """What the seeds of one cell share."""
    if record.kind not in ("training", "evaluation"):
        return record.id
    text = record.config_hash or json.dumps(flatten(record.config), sort_keys=True, default=str)
    return hashlib.sha256(f"{record.cell_id}|{text}".encode()).hexdigest()[:12]


def _index_entry(number: int, record: Record) -> dict[str, Any]:
    latency = record.latency
    metrics = {METRIC_ALIASES.get(k, k): v for k, v in record.metrics.items() if v is not None}
    result = ""
    if record.status != "ok":
        result = record.status
    elif "Mean" in metrics:
        result = f"PCKh@0.5 {metrics['Mean']:.1f}"
    elif "AP" in metrics:
        result = f"AP {100 * metrics['AP']:.1f}"
    elif latency is not None and latency.p50 is not None:
        result = f"{latency.p50:.2f} ms"
    elif record.train is not None and record.train.loss is not None:
        result = f"loss {record.train.loss:.3g}"
    elif record.params is not None:
        result = f"{record.params / 1e6:.3f}M"
    return {
        "n": number,
        "id": record.id,
        "kind": record.kind,
        "status": record.status,
        "model": record.model,
        "cell": f"{record.grid}/{record.cell}" if record.grid else record.cell or "",
        "seed": record.seed,
        "date": record.started_at.strftime("%Y-%m-%d"),
        "result": result,
        "group": group_of(record),
        "metrics": metrics,
    } | ({"timing": _timing(record)} if latency is not None else {})


def _against_defaults(book: Book) -> dict[str, list[dict[str, Any]]]:
    """Per evaluation, what the tables say of its cell against a default: the page computes nothing.

    Returns:
        By record id: group of the default, the grid, and by metric difference and verdict as texts.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for _, grid in book.grids:
        default = grid.default
        if default is None or not default.accuracy:
            continue
        for row in grid.rows:
            texts = {
                name: f"{gap_text(family.comparisons[row.name])} "
                f"({family.comparisons[row.name].verdict})"
                for name, family in grid.families.items()
                if row.name in family.comparisons
            }
            for record in row.accuracy if texts else ():
                entry = {
                    "group": group_of(default.accuracy[0]),
                    "grid": f"{grid.name}: {condition(grid.facts)}",
                    "differences": texts,
                }
                found.setdefault(record.id, []).append(entry)
    return found


def _timing(record: Record) -> dict[str, Any]:
    """What joins interleaved timings: the contender's name and conditions, and the ratio's text."""
    assert record.latency is not None
    conditions = dict(record.latency.conditions)
    mode = conditions.pop("mode", None)
    ratio = record.latency.details.get("ratio")
    found = {
        "contender": f"{record.model}:{mode}",
        "conditions": json.dumps([conditions, machine_key(record)], sort_keys=True),
    }
    if isinstance(ratio, Mapping) and all(
        isinstance(ratio.get(key), (int, float)) for key in ("ratio", "low", "high")
    ):
        found["to"] = str(ratio.get("to"))
        found["ratio"] = (
            f"{ratio['ratio']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}], "
            f"{ratio.get('rounds')} rounds in turn, 95% interval"
        )
    return found


#: Fields of a record that its details show.
_SHOWN = frozenset(
    ("kind", "status", "error", "config", "metrics", "intervals", "latency", "params", "flops",
     "curve", "dataset", "train", "code", "machine", "versions", "started_at", "seconds",
     "flip_test", "decoder", "selection", "threads", "precision", "peak_memory", "source", "axes")
)  # fmt: skip


def _details(records: Iterable[Record]) -> str:
    """One file of details: a call that hands them to the page."""
    data = {}
    for record in records:
        key = record.id if record.status == "ok" else f"{record.id}:{record.started_at.isoformat()}"
        details = {key: value for key, value in record.to_dict().items() if key in _SHOWN}
        details["command"] = repeat_command(record)
        data[key] = {k: v for k, v in details.items() if v not in (None, {}, [])}
    return f"hevitposeRuns({script_json(data)});\n"


def repeat_command(record: Record) -> str:
    """The shell lines that make this record again, on this machine's data."""
    lines = []
    if record.code.commit:
        dirty = "  # the tree had changes that no commit holds" if record.code.dirty else ""
        lines.append(f"git checkout {shlex.quote(record.code.commit)}{dirty}")
    if record.kind in ("training", "evaluation"):
        lines.append(_train_command(record))
    elif record.grid or not is_plain_network(record):
        words = ["nox", "-s", "ablation", "--", "--grid", record.grid or "attention"]
        words += ["--cells", record.cell or "default"]
        if record.variant:
            words += ["--variant", record.variant]
        if record.config.get("preset"):
            words += ["--preset", str(record.config["preset"])]
        lines.append(shlex.join(words))
    elif record.kind == "complexity":
        words = ["hevitpose", "info", record.model, "--input", h_by_w(input_size(record))]
        lines.append(shlex.join([*words, "--keypoints", str(num_keypoints(record) or 17)]))
    else:
        lines.append(_latency_command(record))
    return "\n".join(lines)


def _train_command(record: Record) -> str:
    """``hevitpose train`` with every key that differs from the named config's own value."""
    config = flatten(record.config)
    dataset = str(config.get("data.dataset", "synthetic"))
    preset = config.get("preset")
    base = dataset if dataset in shipped() else "synthetic"
    given = [f"preset={preset}"] if preset else []
    known = _named_config(base, *given)
    if not known:
        given = []
    words = ["hevitpose", "train", "--cfg", base, *given]
    for key in sorted(config):
        value = config[key]
        if key in _NO_OVERRIDE or value is None or (key in known and known[key] == value):
            continue
        if key == "model.name" and record.model in VARIANTS:
            value = record.model
            if known.get(key) == value:
                continue
        words.append(f"{key}={json.dumps(value) if not isinstance(value, str) else value}")
    if "seed" not in config and record.seed is not None:
        words.append(f"seed={record.seed}")
    return shlex.join(words)


@cache
def _named_config(name: str, *overrides: str) -> dict[str, Any]:
    """A shipped config's values; none where this version knows no such preset."""
    try:
        return flatten(load_config(name, overrides).dump())
    except UsageError:
        return {}


def _latency_command(record: Record) -> str:
    assert record.latency is not None
    conditions: Mapping[str, Any] = record.latency.conditions
    words = ["python", "bench/latency.py", "--models", record.model]
    if str(conditions.get("device", "")).startswith("cuda"):
        words.append("--gpu")
    scope = {"model+decode": "decode", "end-to-end": "e2e"}
    for key, option in (
        ("mode", "--modes"), ("batch", "--batch"), ("input", "--input"), ("dtype", "--dtype"),
        ("layout", "--layout"), ("scope", "--scope"), ("threads", "--threads"),
    ):  # fmt: skip
        if conditions.get(key) is not None:
            value = str(conditions[key])
            words += [option, scope.get(value, value) if key == "scope" else value]
    words += ["--flip"] * bool(conditions.get("flip_test"))
    words += ["--tf32"] * bool(conditions.get("tf32"))
    words += ["--cold-l2"] * (conditions.get("l2") == "cold")
    keypoints = num_keypoints(record)
    return shlex.join([*words, *(["--keypoints", str(keypoints)] if keypoints else [])])
