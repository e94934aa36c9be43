"""Records, what travels with them, leases, and what reports read beside them."""

from __future__ import annotations

import csv
import io
import json
import shutil
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import yaml

from ablations.match import Costs
from hevitpose import records as made
from hevitpose.leases import Leases
from reports import build, published
from reports.claims import load_claims
from tests.fuzz.campaign import Make, Reading, cli, target
from tests.fuzz.mutation import VALUES, put, put_json, put_yaml, to_json, tree
from tests.reports.conftest import Factory, _write_gallery

EXAMPLES = Path(__file__).parents[2] / "records" / "examples"


def _good() -> list[dict[str, Any]]:
    """Records of every kind, as their files hold them, and older ones."""
    factory = Factory()
    found = [
        factory.evaluation(),
        factory.evaluation("mhsa", 1, 55.0),
        factory.complexity(),
        factory.latency(),
        factory.failed(),
    ]
    old = [json.loads(path.read_text()) for path in sorted(EXAMPLES.glob("*.json"))]
    return [record.to_dict() for record in found] + old


def _record(rng: Random, content: dict[str, Any]) -> tuple[str, Any]:
    """A mutated record and the name it would have; its id is right again, mostly."""
    changed = tree(rng, content, most=3)
    if isinstance(changed, dict) and isinstance(changed.get("inputs"), dict) and rng.random() < 0.8:
        try:
            changed["id"] = made.digest(changed["inputs"])
        except (TypeError, ValueError, OverflowError):
            pass
    identity = changed.get("id") if isinstance(changed, dict) else None
    name = identity if isinstance(identity, str) and identity.isalnum() else content["id"]
    failed = isinstance(changed, dict) and changed.get("status", "ok") != "ok"
    return f"{name[:100]}{'.1.failed' if failed else ''}.json", changed


@target(2)
def records(shared: Path) -> Make:
    """``records list``, ``show``, ``export``, ``import`` and ``promote``."""
    good = _good()

    def make(rng: Random, folder: Path) -> list[Reading]:
        store = folder / "records"
        for content in rng.sample(good, 2):
            name, changed = _record(rng, content)
            put(rng, store / name, to_json(rng, changed), 0.1)
        some = [path.name[:20] for path in store.iterdir()]
        return [
            partial(cli, "records", "list", "--store", store, "--failed"),
            *(partial(cli, "records", "show", one, "--store", store) for one in some),
            partial(cli, "records", "export", folder / "out.jsonl", "--store", store, "--failed"),
            partial(cli, "records", "import", store, "--store", folder / "other"),
            partial(cli, "records", "promote", some[0], "--store", store, "--to", folder / "to"),
        ]

    return make


@target()
def exports(shared: Path) -> Make:
    """``records import`` of a file."""
    good = [record for record in _good() if record.get("schema_version") == 3]

    def make(rng: Random, folder: Path) -> list[Reading]:
        header = {"format": "hevitpose-records", "schema_version": 3, "records": 2}
        lines = [to_json(rng, tree(rng, header) if rng.random() < 0.3 else header)]
        for content in rng.sample(good, 2):
            lines.append(to_json(rng, _record(rng, content)[1]).replace(b"\n", b" "))
        path = put(rng, folder / "in.jsonl", b"\n".join(lines) + b"\n", 0.2)
        store = folder / "records"
        return [
            partial(cli, "records", "import", path, "--store", store),
            partial(cli, "records", "list", "--store", store),
        ]

    return make


@target(0.3)
def report(shared: Path) -> Make:
    """``python -m reports``: every table of some records, good and odd."""
    good = _good()

    def make(rng: Random, folder: Path) -> list[Reading]:
        store = folder / "records"
        for content in rng.sample(good, 4):
            name, changed = _record(rng, content)
            put(rng, store / name, to_json(rng, changed), 0.02)
        return [lambda: build.make([store]).texts()]

    return make


@target(0.5)
def galleries(shared: Path) -> Make:
    """``gallery.json`` beside the records of a report."""
    from reports.figures import gallery
    from reports.load import check

    record = Factory().evaluation()
    _write_gallery(shared / "gallery", record)
    content = json.loads((shared / "gallery/gallery.json").read_text())
    measured = check([("a", record)])

    def make(rng: Random, folder: Path) -> list[Reading]:
        shutil.copytree(shared / "gallery", folder / "gallery")
        (folder / "gallery/gallery.json").unlink()
        put_json(rng, folder / "gallery/gallery.json", content)
        if rng.random() < 0.1:
            (folder / "gallery/people.jpg").unlink()
            put(rng, folder / "gallery/people.jpg", b"\xff\xd8", 0.5)
        return [lambda: _one_line_each(gallery.load(folder / "gallery", measured)[1])]

    return make


def _one_line_each(problems: Any) -> None:
    for problem in problems:
        assert len(str(problem).splitlines()) == 1, problem


@target(0.5)
def published_numbers(shared: Path) -> Make:
    """Numbers of papers: csv and yaml."""
    source = published.ROOT
    sources, cautions, claims = (
        yaml.safe_load((source / f"{name}.yaml").read_text())
        for name in ("sources", "cautions", "claims")
    )
    few = dict(list(sources.items())[:3])
    text = (source / "numbers.csv").read_text()

    def make(rng: Random, folder: Path) -> list[Reading]:
        for name in ("sources", "cautions", "claims"):
            shutil.copy(source / f"{name}.yaml", folder / f"{name}.yaml")
        shutil.copy(source / "numbers.csv", folder / "numbers.csv")
        name = rng.choice(("sources", "cautions", "claims", "numbers"))
        (folder / f"{name}.{'csv' if name == 'numbers' else 'yaml'}").unlink()
        if name == "numbers":
            put(rng, folder / "numbers.csv", _csv(rng, text), 0.3)
        else:
            content = {"sources": few, "cautions": cautions, "claims": claims}[name]
            put_yaml(rng, folder / f"{name}.yaml", content)
        return [partial(published.load, folder), partial(load_claims, folder)]

    return make


def _csv(rng: Random, text: str) -> bytes:
    rows = list(csv.reader(io.StringIO(text)))
    rows = [rows[0], *rng.sample(rows[1:], 5)]
    for _ in range(rng.randint(1, 3)):
        row = rng.choice(rows)
        value = rng.choice([value for value in VALUES if not isinstance(value, (dict, list))])
        row[rng.randrange(len(row))] = str(value)
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue().encode("utf-8", "surrogatepass")


@target(0.5)
def counted_costs(shared: Path) -> Make:
    """``costs.json`` of ``--match``: what was counted before, or nothing."""

    def make(rng: Random, folder: Path) -> list[Reading]:
        put_json(rng, folder / "costs.json", {"0" * 20: [401_234, 123_400_000]})
        return [lambda: Costs(folder)]

    return make


@target(0.5)
def leases(shared: Path) -> Make:
    """Lease files of other machines."""
    owner = {"host": "elsewhere", "pid": 7, "since": "2025-01-02T03:04:05+00:00"}

    def make(rng: Random, folder: Path) -> list[Reading]:
        put_json(rng, folder / "a.lease", owner)
        put_json(rng, folder / "b.lease", owner)
        held = Leases(folder)

        def take() -> None:
            text = held.holder("a")
            assert len(text.splitlines()) == 1, text
            text.encode()
            try:
                held.acquire("a")
            finally:
                held.close()

        return [take]

    return make
