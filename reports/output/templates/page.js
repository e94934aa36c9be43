"use strict";
(() => {
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const { runs, chunk } = JSON.parse($("#data").textContent);
  const byId = new Map();
  for (const run of runs) if (run.status === "ok" || !byId.has(run.id)) byId.set(run.id, run);

  // Text only ever enters the page as text.
  const el = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children.map((c) => (c instanceof Node ? c : String(c))));
    return node;
  };

  // Light and dark
  const root = document.documentElement;
  const themeButton = $("#theme");
  const setTheme = (dark) => {
    root.dataset.theme = dark ? "dark" : "light";
    themeButton.textContent = dark ? "Light" : "Dark";
    themeButton.setAttribute("aria-pressed", String(dark));
  };
  setTheme(matchMedia("(prefers-color-scheme: dark)").matches);
  themeButton.addEventListener("click", () => setTheme(root.dataset.theme !== "dark"));

  // Sorting and filtering
  const sortTable = (header) => {
    const table = header.closest("table");
    const body = table.tBodies[0];
    const column = header.cellIndex;
    const before = header.getAttribute("aria-sort");
    const first = header.dataset.way === "up" ? "descending" : "ascending";
    const other = first === "ascending" ? "descending" : "ascending";
    const way = before === null ? first : before === first ? other : first;
    $$("th", table).forEach((th) => th.removeAttribute("aria-sort"));
    header.setAttribute("aria-sort", way);
    const sign = way === "ascending" ? 1 : -1;
    const key = (row) => {
      const cell = row.cells[column];
      return cell.dataset.sort === undefined ? null : Number(cell.dataset.sort);
    };
    const rows = [...body.rows].map((row, place) => ({ row, place, number: key(row), text: row.cells[column].textContent }));
    rows.sort((a, b) => {
      // What was not measured is last, whichever way.
      if ((a.number === null) !== (b.number === null)) return a.number === null ? 1 : -1;
      const order = a.number !== null ? a.number - b.number : a.text.localeCompare(b.text, "en", { numeric: true });
      return sign * order || a.place - b.place;
    });
    body.append(...rows.map((item) => item.row));
  };
  $$("th[data-way] > .sort").forEach((button) => button.addEventListener("click", () => sortTable(button.parentElement)));
  const matches = (text, query) => query.toLowerCase().split(/\s+/).filter(Boolean).every((word) => text.toLowerCase().includes(word));
  $$("input.filter").forEach((input) => input.addEventListener("input", () => {
    const section = input.closest("section");
    const rows = [...$("tbody", section).rows];
    let shown = 0;
    for (const row of rows) {
      row.hidden = !matches(row.textContent, input.value);
      shown += row.hidden ? 0 : 1;
    }
    $(".shown", section).textContent = input.value ? `${shown} of ${rows.length} rows` : "";
  }));

  // Values on hover and focus
  const tip = $("#tip");
  const showTip = (point, x, y) => {
    tip.textContent = point.getAttribute("aria-label");
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(x + 12, innerWidth - box.width - 4))}px`;
    tip.style.top = `${Math.max(4, y - box.height - 10)}px`;
  };
  $$(".point").forEach((point) => {
    $$("title", point).forEach((title) => title.remove());
    point.addEventListener("mousemove", (event) => showTip(point, event.clientX, event.clientY));
    point.addEventListener("mouseleave", () => { tip.hidden = true; });
    point.addEventListener("focus", () => {
      const box = point.getBoundingClientRect();
      showTip(point, box.right, box.top);
    });
    point.addEventListener("blur", () => { tip.hidden = true; });
  });
  addEventListener("keydown", (event) => { if (event.key === "Escape") tip.hidden = true; });

  // The list of runs
  const page = 20;
  let limit = page;
  const keys = ["id", "kind", "model", "cell", "seed", "result", "date"];
  let order = null;  // [key, 1 or -1]
  const listRuns = () => {
    const query = $("#run-filter").value;
    const found = runs.filter((r) => matches(`${r.id} ${r.kind} ${r.model} ${r.cell} ${r.status} seed ${r.seed}`, query));
    if (order) found.sort((a, b) => order[1] * String(a[order[0]] ?? "").localeCompare(String(b[order[0]] ?? ""), "en", { numeric: true }));
    const rows = found.slice(0, limit).map((r) => el("tr", {},
      el("td", {}, el("a", { href: `#run-${r.id}` }, r.id.slice(0, 8))), el("td", {}, r.kind), el("td", {}, r.model),
      el("td", {}, r.cell), el("td", {}, r.seed ?? ""), el("td", { class: r.status === "ok" ? "" : "failed" }, r.older ? `${r.result} (older code)` : r.result), el("td", {}, r.date)));
    $("#run-table tbody").replaceChildren(...rows);
    $("#run-count").textContent = `${found.length} of ${runs.length} runs`;
    $("#more").hidden = found.length <= limit;
  };
  $$("#run-table th").forEach((header, column) => $("button", header).addEventListener("click", () => {
    const way = header.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
    $$("#run-table th").forEach((th) => th.removeAttribute("aria-sort"));
    header.setAttribute("aria-sort", way);
    order = [keys[column], way === "ascending" ? 1 : -1];
    listRuns();
  }));
  $("#run-filter").addEventListener("input", () => { limit = page; listRuns(); });
  $("#more").addEventListener("click", () => { limit += 100; listRuns(); });
  listRuns();
  $("#ids").append(...runs.slice(0, 500).map((r) => el("option", { value: r.id }, `${r.kind} ${r.model} ${r.cell} ${r.seed ?? ""}`)));

  // Details, a file of runs at a time
  const details = new Map();
  const loading = new Map();
  window.hevitposeRuns = (data) => { for (const [key, value] of Object.entries(data)) details.set(key, value); };
  const load = (run) => {
    const file = Math.floor(run.n / chunk);
    if (!loading.has(file)) {
      loading.set(file, new Promise((resolve, reject) => {
        const script = el("script", { src: `runs/${file}.js` });
        script.onload = resolve;
        script.onerror = () => reject(new Error(`runs/${file}.js is missing beside this page`));
        document.head.append(script);
      }));
    }
    return loading.get(file).then(() => {
      const key = [...details.keys()].find((k) => k === run.id || k.startsWith(`${run.id}:`));
      if (key === undefined) throw new Error(`run ${run.id} is not in runs/${file}.js`);
      return details.get(key);
    });
  };
  const flatten = (value, prefix = "", into = {}) => {
    for (const [key, item] of Object.entries(value ?? {})) {
      if (item !== null && typeof item === "object" && !Array.isArray(item)) flatten(item, `${prefix}${key}.`, into);
      else into[prefix + key] = item;
    }
    return into;
  };
  const show = (value) => (typeof value === "number" && !Number.isInteger(value) ? String(Number(value.toPrecision(6))) : typeof value === "string" ? value : JSON.stringify(value));
  const pairs = (data) => {
    const list = el("dl", { class: "pairs" });
    for (const [key, value] of Object.entries(flatten(data))) list.append(el("dt", {}, key), el("dd", {}, show(value)));
    return list;
  };
  const svg = (tag, attributes, ...children) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  };
  const curve = (rows) => {
    const x = (row) => row.step ?? row.epoch;
    const name = ["Mean", "PCKh", "minival_pck", "AP", "loss"].find((n) => rows.filter((r) => Number.isFinite(r[n])).length > 1);
    const points = name ? rows.filter((r) => Number.isFinite(x(r)) && Number.isFinite(r[name])) : [];
    if (points.length < 2) return null;
    const xs = points.map(x), ys = points.map((r) => r[name]);
    const [x0, x1, y0, y1] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    const px = (v) => 50 + 490 * (x1 > x0 ? (v - x0) / (x1 - x0) : 0.5);
    const py = (v) => 170 - 150 * (y1 > y0 ? (v - y0) / (y1 - y0) : 0.5);
    const picture = svg("svg", { viewBox: "0 0 560 200", class: "curve", role: "img", "aria-label": `${name}: ${show(ys[0])} at step ${xs[0]} to ${show(ys[ys.length - 1])} at step ${xs[xs.length - 1]}` });
    picture.append(svg("polyline", { points: points.map((r) => `${px(x(r))},${py(r[name])}`).join(" ") }));
    for (const [tx, ty, text, anchor] of [[46, 24, show(y1), "end"], [46, 172, show(y0), "end"], [50, 192, show(x0), "start"], [540, 192, `step ${show(x1)}`, "end"], [50, 12, name, "start"]]) {
      picture.append(svg("text", { x: tx, y: ty, "text-anchor": anchor }, text));
    }
    return picture;
  };
  const showRun = async (id) => {
    const run = byId.get(id);
    const section = $("#run");
    section.hidden = false;
    section.replaceChildren(el("h2", {}, `Run ${id}`));
    if (!run) { section.append(el("p", {}, "No such record.")); return; }
    try {
      const data = await load(run);
      section.append(el("p", {}, `${run.kind} of ${run.model} ${run.cell} ${run.seed === null ? "" : `seed ${run.seed}`}: ${run.status === "ok" ? run.result : run.status}${run.older ? " (older code: what it reaches has changed since)" : ""}`));
      if (data.error) section.append(el("h3", {}, "Error"), el("pre", {}, data.error));
      section.append(el("h3", {}, "Repeat it"), el("pre", { class: "command" }, data.command));
      const siblings = runs.filter((r) => r.group === run.group && r.id !== run.id).sort((a, b) => a.seed - b.seed);
      if (siblings.length) {
        const list = el("p", {}, "Other seeds: ");
        siblings.slice(0, 40).forEach((r) => list.append(el("a", { href: `#run-${r.id}` }, `seed ${r.seed}`), " "));
        section.append(list);
      }
      const picture = data.curve ? curve(data.curve) : null;
      if (picture) section.append(el("h3", {}, "Curve"), picture);
      const part = (title, value) => { if (value && Object.keys(value).length) section.append(el("h3", {}, title), pairs(value)); };
      part("Metrics", data.metrics);
      part("Intervals", data.intervals);
      part("Latency", data.latency);
      part("Counts", data.params ? { params: data.params, gflops: data.flops } : null);
      part("Data and evaluation", { dataset: data.dataset, flip_test: data.flip_test ?? null, decoder: data.decoder ?? null, selection: data.selection ?? null });
      part("Config", data.config);
      part("Environment", { machine: data.machine, versions: data.versions, code: data.code, threads: data.threads ?? null, precision: data.precision ?? null, started_at: data.started_at, seconds: data.seconds, peak_memory: data.peak_memory ?? null, train: data.train });
      const close = el("button", { type: "button" }, "Close");
      close.addEventListener("click", () => { section.hidden = true; history.replaceState(null, "", "#runs"); $("#runs").scrollIntoView(); });
      section.append(close);
    } catch (error) {
      section.append(el("p", {}, error.message));
    }
    section.scrollIntoView();
    section.focus({ preventScroll: true });
  };

  // Comparison of two runs
  // No statistics here: differences, intervals and ratios are texts that Python wrote.
  const find = (text) => byId.get(text.trim()) ?? (text.trim() ? runs.find((r) => r.id.startsWith(text.trim())) : undefined);
  const scaled = (name, value) => (value * (/^(mean_pose_)?A[PR]/.test(name) ? 100 : 1)).toFixed(2);
  const told = (a, b, name) => {
    for (const [cell, other, way] of [[b, a, "second - first"], [a, b, "first - second"]]) {
      const found = (cell.against ?? []).find((x) => x.group === other.group && x.differences[name]);
      if (found) return `${way}: ${found.differences[name]}, grid ${found.grid}`;
    }
    return "no interval: not a cell and the default of one grid";
  };
  const metricRow = (name, a, b) => el("tr", {}, el("td", {}, name), el("td", { class: "number" }, scaled(name, a.metrics[name])), el("td", { class: "number" }, scaled(name, b.metrics[name])), el("td", {}, told(a, b, name)));
  const seedRows = (a, b, name) => {
    if (a.group === b.group || a.kind !== "evaluation" || b.kind !== "evaluation") return [];
    const of = (group) => new Map(runs.filter((r) => r.group === group && r.status === "ok" && Number.isFinite(r.metrics[name])).map((r) => [r.seed, r]));
    const first = of(a.group), second = of(b.group);
    return [...first.keys()].filter((seed) => second.has(seed)).sort((x, y) => x - y).map((seed) => el("tr", {}, el("td", {}, `${name}, seed ${seed}`), el("td", { class: "number" }, scaled(name, first.get(seed).metrics[name])), el("td", { class: "number" }, scaled(name, second.get(seed).metrics[name])), el("td", {}, "")));
  };
  const timedRatio = (a, b) => {
    if (!a.timing || !b.timing || a.timing.conditions !== b.timing.conditions) return "timed under different conditions: no ratio";
    if (a.timing.to === b.timing.contender) return `first / second: ${a.timing.ratio}`;
    if (b.timing.to === a.timing.contender) return `second / first: ${b.timing.ratio}`;
    return "not timed in turn: no ratio";
  };
  const compare = async () => {
    const out = $("#comparison");
    const a = find($("#compare-a").value), b = find($("#compare-b").value);
    if (!a || !b) { out.replaceChildren(el("p", {}, `No record starts with ${!a ? $("#compare-a").value : $("#compare-b").value}.`)); return; }
    try {
      const [da, db] = [await load(a), await load(b)];
      const head = (...titles) => el("thead", {}, el("tr", {}, ...titles.map((t) => el("th", { scope: "col" }, t))));
      const names = Object.keys(a.metrics).filter((name) => name in b.metrics);
      const metrics = el("table", {}, head("Metric", "First", "Second", "Difference"), el("tbody", {}, ...names.map((n) => metricRow(n, a, b)), ...(names.length ? seedRows(a, b, names.includes("Mean") ? "Mean" : names[0]) : [])));
      const ca = flatten({ model: a.model, config: da.config, latency: da.latency?.conditions, versions: da.versions, machine: da.machine, code: da.code });
      const cb = flatten({ model: b.model, config: db.config, latency: db.latency?.conditions, versions: db.versions, machine: db.machine, code: db.code });
      const keys = [...new Set([...Object.keys(ca), ...Object.keys(cb)])].filter((k) => JSON.stringify(ca[k]) !== JSON.stringify(cb[k]));
      const rows = keys.map((k) => el("tr", {}, el("td", {}, k), el("td", {}, k in ca ? show(ca[k]) : "–"), el("td", {}, k in cb ? show(cb[k]) : "–")));
      const cost = [["params", da.params, db.params, ""], ["GFLOPs (mmcv)", da.flops?.mmcv, db.flops?.mmcv, ""], ["p50, ms", da.latency?.p50, db.latency?.p50, timedRatio(a, b)]].filter(([, x, y]) => x && y)
        .map(([n, x, y, text]) => el("tr", {}, el("td", {}, n), el("td", { class: "number" }, show(x)), el("td", { class: "number" }, show(y)), el("td", {}, text)));
      if (cost.length) metrics.tBodies[0].append(...cost);
      out.replaceChildren(el("h3", {}, "Results"), el("div", { class: "scroll" }, metrics), el("h3", {}, "What differs"),
        rows.length ? el("div", { class: "scroll" }, el("table", {}, head("Key", "First", "Second"), el("tbody", {}, ...rows))) : el("p", {}, "Nothing in config, environment or conditions."));
      if (!metrics.tBodies[0].rows.length) out.prepend(el("p", {}, "These two share no metric."));
    } catch (error) {
      out.replaceChildren(el("p", {}, error.message));
    }
  };
  $("#compare-form").addEventListener("submit", (event) => {
    event.preventDefault();
    history.replaceState(null, "", `#compare-${$("#compare-a").value.trim()}-${$("#compare-b").value.trim()}`);
    compare();
  });

  const route = () => {
    const hash = decodeURIComponent(location.hash.slice(1));
    const run = hash.match(/^run-([0-9a-f]+)$/);
    const two = hash.match(/^compare-([0-9a-f]+)-([0-9a-f]+)$/);
    if (run) showRun(run[1]);
    if (two) { $("#compare-a").value = two[1]; $("#compare-b").value = two[2]; compare().then(() => $("#compare").scrollIntoView()); }
  };
  addEventListener("hashchange", route);
  route();
})();
