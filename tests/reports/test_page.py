"""The page, in a real headless Chromium where there is one."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from hevitpose.records import RecordStore
from reports.__main__ import main
from reports.build import ROOT
from reports.build import make as make_book
from reports.output.page import VENDORED, csp_hash, script_json, write_site

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)

#: The page in a frame as wide as a phone: a headless window is never narrower than 500 pixels.
FRAME = """<!DOCTYPE html><meta charset="utf-8"><body style="margin: 0">
<iframe src="PAGE" style="border: 0; width: WIDTHpx; height: 800px"></iframe>
<script>
addEventListener("message", (event) => {
  const out = document.createElement("pre");
  out.id = "seen"; out.textContent = event.data;
  document.body.append(out);
});
</script>"""
#: What a visitor does, and what they then see.
VISIT = r"""
const seen = {};
const wait = (test) => new Promise((resolve, reject) => {
  const start = Date.now();
  const look = () => {
    if (test()) resolve();
    else if (Date.now() - start > 8000) reject(new Error(`never: ${test}`));
    else setTimeout(look, 20);
  };
  look();
});
const q = (s) => document.querySelector(s);
const rows = (name) => [...document.querySelectorAll(`#grid-${name} .tabulator-row`)];
const column = (name, i) => rows(name)
  .map((r) => r.querySelector(`.tabulator-cell[tabulator-field="${i}"]`).textContent);
const type = (name, text) => {
  const input = q(`input[data-grid="${name}"]`);
  input.value = text; input.dispatchEvent(new Event("input"));
};
const shown = async (name) => {
  q(`#grid-${name}`).scrollIntoView();
  await wait(() => rows(name).length);
};
(async () => {
  const name = "ablation-attention";
  await shown(name);
  const place = 4;
  const head = () => q(`#grid-${name} .tabulator-col[tabulator-field="${place}"]`);
  head().querySelector("button").click();
  await wait(() => head().getAttribute("aria-sort") === "descending");
  seen.descending = column(name, place);
  head().querySelector("button").click();
  await wait(() => head().getAttribute("aria-sort") === "ascending");
  seen.ascending = column(name, place);
  type(name, "mhsa worse");
  await wait(() => rows(name).length === 1);
  seen.filtered = column(name, 0);
  type(name, "");
  await wait(() => rows(name).length > 1);
  const unfold = rows(name)[0].querySelector(".tabulator-responsive-collapse-toggle");
  seen.folds = !!unfold && unfold.getBoundingClientRect().width > 0;
  if (seen.folds) {
    unfold.click();
    seen.unfolded = rows(name)[0].querySelector(".tabulator-responsive-collapse").textContent;
  }
  const point = q("#plot-ablation-attention .point");
  point.dispatchEvent(new MouseEvent("mousemove", { clientX: 50, clientY: 50 }));
  seen.tip = q("#tip").hidden ? null : q("#tip").textContent;
  point.dispatchEvent(new MouseEvent("mouseleave"));
  seen.tipAfter = q("#tip").hidden;
  point.focus();
  seen.tipByKeyboard = !q("#tip").hidden;
  point.blur();
  const picture = q("#gallery svg image");
  seen.picture = picture.getAttribute("xlink:href").slice(0, 22);
  q("#gallery .point").focus();
  seen.galleryTip = q("#tip").textContent;
  document.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", bubbles: true }));
  seen.tipAfterEscape = q("#tip").hidden;
  seen.galleryRun = q("#gallery figcaption a").getAttribute("href");
  await shown("runs");
  seen.firstPage = rows("runs").length;
  type("runs", "evaluation mhsa");
  await wait(() => rows("runs").length === 5);
  const seed = () => q('#grid-runs .tabulator-col[tabulator-field="4"]');
  const seeds = () => column("runs", 4).map(Number);
  seed().querySelector("button").click();
  await wait(() => seed().getAttribute("aria-sort") === "ascending");
  seen.seeds = seeds();
  seed().querySelector("button").click();
  await wait(() => seed().getAttribute("aria-sort") === "descending");
  seen.seedsDown = seeds();
  type("runs", "window failed");
  await wait(() => rows("runs").length === 1);
  rows("runs")[0].querySelector("a").click();
  await wait(() => q("#run h3")?.textContent === "Error");
  seen.failure = q("#run").textContent;
  const [a, b] = IDS;
  location.hash = `run-${a}`;
  await wait(() => q("#run h2").textContent === `Run ${a}`);
  seen.command = q("#run .command").textContent;
  seen.run = q("#run").textContent;
  seen.curve = !!q("#run svg.curve polyline");
  q("#compare-a").value = a.slice(0, 12); q("#compare-b").value = b;
  q("#compare-form button").click();
  await wait(() => q("#comparison table"));
  seen.comparison = q("#comparison").textContent;
  seen.address = location.hash;
  q("#compare-a").value = "default evaluation";
  q("#compare-form button").click();
  seen.ambiguous = q("#comparison").textContent;
  const names = [...q("#names").options].map((o) => o.value);
  seen.uniqueNames = new Set(names).size === names.length;
  q("#compare-a").value = names.find((n) => n.startsWith("default seed 1, evaluation"));
  q("#compare-b").value = "mhsa seed 1 evaluation";
  q("#compare-form button").click();
  seen.byName = q("#comparison").textContent;
  const before = document.documentElement.dataset.theme;
  q("#theme").click();
  seen.themes = [before, document.documentElement.dataset.theme];
  seen.overflow = document.documentElement.scrollWidth - innerWidth;
  seen.injected = typeof window.hacked !== "undefined" ||
    !!q(".grid img, #run img, #comparison img, footer img");
  seen.duplicateIds = [...document.querySelectorAll("[id]")].map((e) => e.id)
    .filter((id, i, all) => all.indexOf(id) !== i).slice(0, 3);
  seen.unnamed = [...document.querySelectorAll("button, input, a")].filter((e) =>
    !(e.textContent.trim() || e.getAttribute("aria-label") || e.closest("label"))).length;
})().catch((error) => { seen.error = `${error} ${error.stack}`; })
  .finally(() => parent.postMessage(JSON.stringify(seen), "*"));
"""


@pytest.fixture(scope="module")
def site(make, write_gallery, tmp_path_factory):
    root = tmp_path_factory.mktemp("site")
    store = RecordStore(root / "runs" / "records")
    records = make.grid()
    for record in records:
        store.add(record)
    write_gallery(root / "runs" / "gallery", next(r for r in records if r.kind == "evaluation"))
    store.add_failure(make.failed("window", error="<img src=x onerror='window.hacked=1'></script>"))
    (root / "runs" / "records" / "<img src=x>.json").write_text("{}")
    given = ["--measured", root / "none", "--runs", root / "runs", "--out", root / "out"]
    assert main([str(part) for part in given]) == 0
    ids = [next(r.id for r in records if r.kind == "evaluation" and r.cell == c and r.seed == 0)
           for c in ("default", "mhsa")]  # fmt: skip
    return root / "out" / "site", ids


def test_nothing_is_asked_of_the_network(site):
    folder, _ = site
    text = (folder / "index.html").read_text()
    loads = re.findall(r'(?:\bsrc|<link[^>]*\bhref)="([^"]*)"', text)
    assert all(target.startswith("data:") for target in loads)
    assert "url(http" not in text and "@import" not in text
    assert "default-src 'none'" in text


@pytest.mark.slow
def test_a_thousand_records(tmp_path):
    """Of the committed ones: at most 10 s of a processor and 8 MB."""
    measured = tmp_path / "measured"
    measured.mkdir()
    paths = sorted((ROOT / "results" / "measured").rglob("*.json"))[:1000]
    if len(paths) < 1000:
        pytest.skip(f"{len(paths)} committed records")
    for path in paths:
        (measured / path.name).symlink_to(path)
    figures = tmp_path / "figures"
    book = make_book([measured])
    for plot in book.plots:  # their drawing is not the page's
        figures.mkdir(exist_ok=True)
        (figures / f"{plot.name}.svg").write_text("<svg></svg>")
    start = time.process_time()
    write_site(make_book([measured]), tmp_path / "page", figures, home="../index.html")
    assert time.process_time() - start < 10
    size = sum(path.stat().st_size for path in (tmp_path / "page").rglob("*.*"))
    drawn = sum(path.stat().st_size for path in (ROOT / "results/rendered/figures").glob("*.svg"))
    assert size + drawn < 8e6
    text = (tmp_path / "page" / "index.html").read_text()
    assert '<a href="../index.html">Documentation</a>' in text


def test_the_library_is_the_published_one():
    folder = VENDORED
    listed = dict(
        re.findall(r"\| `([0-9a-f]{64})` \| `([^`]+)` \|", (folder / "README.md").read_text())
    )
    digests = {
        hashlib.sha256((folder / name).read_bytes()).hexdigest(): name for name in listed.values()
    }
    assert listed == digests and len(listed) == 2
    assert "MIT License" in (folder / "LICENSE").read_text()


def test_hostile_text_is_escaped(site):
    folder, _ = site
    for path in folder.rglob("*.*"):
        assert "<img src=x" not in path.read_text(), path
    footer = (folder / "index.html").read_text().partition("<footer>")[2]
    assert "&lt;img src=x&gt;.json: foreign file" in footer
    assert "1 file left out of the tables:" in footer


def test_script_json_cannot_end_a_script():
    text = str(script_json({"a": "</script><!-- \u2028 & 'x'"}))
    assert "<" not in text and "\u2028" not in text
    assert json.loads(text) == {"a": "</script><!-- \u2028 & 'x'"}


def visit(folder: Path, tmp_path: Path, ids: list[str], width: int) -> tuple[dict, str]:
    script = VISIT.replace("IDS", json.dumps(ids))
    text = (folder / "index.html").read_text()
    allowed = text.replace("script-src ", f"script-src {csp_hash(script)} ", 1)
    page, frame = tmp_path / "visited.html", tmp_path / "frame.html"
    page.write_text(allowed.replace("</body>", f"<script>{script}</script></body>"))
    frame.write_text(FRAME.replace("PAGE", page.name).replace("WIDTH", str(width)))
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        "--no-first-run", "--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}",
        "--window-size=1300,900", "--virtual-time-budget=60000", "--dump-dom", frame.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    found = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.S)
    assert found, done.stderr[-2000:]
    unescaped = found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    console = "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)
    return json.loads(unescaped), console


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium in PATH: the page is not opened")
@pytest.mark.parametrize("width", [1280, 375])
def test_a_visit(site, tmp_path, width):
    folder, ids = site
    seen, console = visit(folder, tmp_path, ids, width)
    assert "error" not in seen, seen["error"]
    assert console == ""
    down = [float(text.split()[0]) for text in seen["descending"] if text[0].isdigit()]
    assert len(down) == 4 and down == sorted(down, reverse=True)
    up = [float(text.split()[0]) for text in seen["ascending"] if text[0].isdigit()]
    assert up == sorted(down)
    assert seen["descending"][-1] in ("oom", "failed", "not measured")  # last in both directions
    assert seen["ascending"][-1] in ("oom", "failed", "not measured")
    assert seen["filtered"] == ["mhsa"]
    assert seen["folds"] == (width == 375)
    if seen["folds"]:
        assert "Params (M)" in seen["unfolded"]
    assert "n = 5" in seen["tip"] and seen["tipAfter"] and seen["tipByKeyboard"]
    assert seen["picture"] == "data:image/jpeg;base64"
    assert seen["galleryTip"] == "left wrist: 0.12 head sizes from the truth, score 0.81"
    assert seen["tipAfterEscape"]
    assert re.fullmatch("#run-[0-9a-f]{20}", seen["galleryRun"])
    assert seen["firstPage"] == 20
    assert "<img src=x onerror" in seen["failure"]  # as text
    assert seen["seeds"] == [0, 1, 2, 3, 4] and seen["seedsDown"] == [4, 3, 2, 1, 0]
    assert "hevitpose train --cfg synthetic preset=quick seed=0" in seen["command"]
    assert "git checkout 0123456789" in seen["command"]
    assert "example cpu" in seen["run"] and "torch" in seen["run"] and seen["curve"]
    assert "config.model.attention" in seen["comparison"]
    # -3 per seed but for the wobble; what the table says, word for word
    assert re.search(
        r"Mean\s*[\d.]+\s*[\d.]+\s*second - first: −\d\.\d\d ± \d\.\d\d \(worse\), grid attention",
        seen["comparison"],
    )
    assert "Mean, seed 4" in seen["comparison"]
    assert seen["address"] == f"#compare-{ids[0]}-{ids[1]}"
    assert "5 runs match" in seen["ambiguous"] and seen["uniqueNames"]
    assert "config.model.attention" in seen["byName"]
    assert seen["themes"] == ["light", "dark"]
    assert seen["overflow"] <= 0
    assert not seen["injected"]
    assert seen["duplicateIds"] == []
    assert seen["unnamed"] == 0
