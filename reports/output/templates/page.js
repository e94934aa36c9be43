"use strict";
(() => {
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const { tables, runs, parts } = JSON.parse($("#data").textContent);
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

  // Tables, which Tabulator sorts, filters and folds on a phone
  const phone = matchMedia("(max-width: 700px)").matches;
  const grids = new Map();
  const content = (cell) => {
    const place = Number(cell.getColumn().getField());
    const { text, kind, bold, run, count, notes } = cell.getData().cells[place];
    const node = el("span", { class: `${kind ?? ""} ${bold ? "best" : ""}` });
    node.append(run ? el("a", { href: `#run-${run}`, title: count > 1 ? `${count} records` : "" }, text) : text ?? "");
    if (notes) node.append(el("sup", {}, notes));
    return node;
  };
  const heading = (column) => () => {
    const button = el("button", { type: "button", class: "sort" }, column.title);
    if (column.arrow) button.append(" ", el("span", { role: "img", "aria-label": column.way === "up" ? "higher is better" : "lower is better" }, column.arrow));
    return button;
  };
  const folded = (cells) => {
    const list = el("dl", { class: "pairs" });
    for (const { title, value } of cells) list.append(el("dt", {}, title), el("dd", {}, value));
    return list;
  };
  const unfold = { title: "", field: "unfold", formatter: "responsiveCollapse", headerSort: false, width: 44, minWidth: 44, resizable: false, responsive: 0 };
  const makeGrid = (name, columns, rows, options = {}) => {
    // A phone shows the first column and this one; the rest unfolds below its row.
    const main = columns.find((column) => column.way === "up");
    const made = columns.map((column, i) => ({
      title: column.title, field: String(i), formatter: content, titleFormatter: heading(column), hozAlign: column.numeric ? "right" : "left",
      // What was not measured is last, whichever way.
      sorter: column.numeric ? "number" : "alphanum", sorterParams: { alignEmptyValues: "bottom" }, headerSortStartingDir: column.way === "up" ? "desc" : "asc",
      variableHeight: true, maxInitialWidth: i ? 280 : phone ? 170 : 320, minWidth: 48, responsive: i === 0 ? 0 : column === main ? 1 : 2, frozen: !phone && i === 0,
    }));
    const data = rows.map((cells) => ({
      ...Object.fromEntries(cells.map((cell, i) => [String(i), columns[i].numeric ? cell.value ?? null : cell.text ?? ""])),
      cells, words: cells.map((cell) => cell.text ?? "").join(" "),
    }));
    return new Tabulator($(`#grid-${name}`), {
      data, columns: phone ? [unfold, ...made] : made, layout: "fitDataFill", renderVertical: "basic", renderHorizontal: "basic", nestedFieldSeparator: false,
      responsiveLayout: phone ? "collapse" : false, responsiveLayoutCollapseStartOpen: false, responsiveLayoutCollapseFormatter: folded,
      placeholder: "No row has all of these words", ...options,
    });
  };
  const texts = (run) => [
    { text: run.id.slice(0, 8), run: run.id }, { text: run.kind }, { text: run.model }, { text: run.cell }, { text: String(run.seed ?? ""), value: run.seed },
    { text: run.older ? `${run.result} (older code)` : run.result, kind: run.status === "ok" ? "" : "failed" }, { text: run.date },
  ];
  const runColumns = ["Run", "Kind", "Model", "Grid/cell", "Seed", "Result", "Date"].map((title) => ({ title, way: title === "Result" ? "up" : "", numeric: title === "Seed" }));
  const makers = new Map(tables.map((table) => [table.name, () => makeGrid(table.name, table.columns, table.rows)]));
  makers.set("runs", () => makeGrid("runs", runColumns, runs.map(texts), { initialSort: [{ column: "6", dir: "desc" }], pagination: true, paginationSize: 20, paginationCounter: "rows", paginationButtonCount: phone ? 1 : 5 }));
  const make = (name) => { if (!grids.has(name)) grids.set(name, makers.get(name)()); };
  // All at once take ten seconds, so each is made when it is about to be seen.
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) make(entry.target.dataset.name);
  }, { rootMargin: "600px" });
  $$(".grid").forEach((holder) => seen.observe(holder));
  addEventListener("beforeprint", () => [...makers.keys()].forEach(make));
  $$("input.search").forEach((input) => input.addEventListener("input", () => {
    const grid = grids.get(input.dataset.grid);
    if (input.value.trim()) grid.setFilter("words", "keywords", input.value.trim(), { matchAll: true });
    else grid.clearFilter();
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

  // One run
  $("#names").append(...runs.map((run) => el("option", { value: run.name })));
  const detailsOf = (run) => {
    const at = (places) => Object.fromEntries(Object.entries(places).map(([key, place]) => [key, parts[place]]));
    const { config, config_parts, parts: shared, ...own } = run.details;
    return { ...own, ...at(shared), config: { ...config, ...at(config_parts) } };
  };
  const flatten = (value, prefix = "", into = {}) => {
    for (const [key, item] of Object.entries(value ?? {})) {
      if (item !== null && typeof item === "object" && !Array.isArray(item)) flatten(item, `${prefix}${key}.`, into);
      else into[prefix + key] = item;
    }
    return into;
  };
  const show = (value) => (typeof value === "number" && !Number.isInteger(value) ? String(Number(value.toPrecision(6))) : typeof value === "string" ? value : JSON.stringify(value));
  const some = (data, ...keys) => Object.fromEntries(keys.filter((key) => data[key] !== undefined).map((key) => [key, data[key]]));
  const brief = (value) => String(Number(value.toPrecision(3)));
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
    const px = (v) => 70 + 470 * (x1 > x0 ? (v - x0) / (x1 - x0) : 0.5);
    const py = (v) => 170 - 150 * (y1 > y0 ? (v - y0) / (y1 - y0) : 0.5);
    const picture = svg("svg", { viewBox: "0 0 560 200", class: "curve", role: "img", "aria-label": `${name}: ${show(ys[0])} at step ${xs[0]} to ${show(ys[ys.length - 1])} at step ${xs[xs.length - 1]}` });
    picture.append(svg("polyline", { points: points.map((r) => `${px(x(r))},${py(r[name])}`).join(" ") }));
    for (const [tx, ty, text, anchor] of [[66, 24, brief(y1), "end"], [66, 172, brief(y0), "end"], [70, 192, show(x0), "start"], [540, 192, `step ${show(x1)}`, "end"], [70, 12, name, "start"]]) {
      picture.append(svg("text", { x: tx, y: ty, "text-anchor": anchor }, text));
    }
    return picture;
  };
  const showRun = (id) => {
    const run = byId.get(id);
    const section = $("#run");
    section.hidden = false;
    section.replaceChildren(el("h2", {}, `Run ${id}`));
    if (run) section.append(...about(run));
    else section.append(el("p", {}, "No such record."));
    section.scrollIntoView();
    section.focus({ preventScroll: true });
  };
  const button = (text, action) => {
    const node = el("button", { type: "button" }, text);
    node.addEventListener("click", action);
    return node;
  };
  const about = (run) => {
    const data = detailsOf(run);
    const nodes = [el("p", {}, `${run.kind} of ${run.model} ${run.cell} ${run.seed === null ? "" : `seed ${run.seed}`}: ${run.status === "ok" ? run.result : run.status}${run.older ? " (older code: what it reaches has changed since)" : ""}`)];
    const part = (title, ...content) => nodes.push(el("h3", {}, title), ...content);
    const values = (title, value) => { if (value && Object.keys(value).length) part(title, pairs(value)); };
    if (data.error) part("Error", el("pre", {}, data.error));
    part("Repeat it", el("pre", { class: "command" }, data.command));
    const siblings = runs.filter((r) => r.group === run.group && r.id !== run.id).sort((a, b) => a.seed - b.seed);
    if (siblings.length) nodes.push(el("p", {}, "Other seeds: ", ...siblings.slice(0, 40).flatMap((r) => [el("a", { href: `#run-${r.id}` }, `seed ${r.seed}`), " "])));
    const picture = data.curve ? curve(data.curve) : null;
    if (picture) part("Curve", picture);
    values("Metrics", data.metrics);
    values("Intervals", data.intervals);
    values("Latency", data.latency);
    values("Counts", data.params ? { params: data.params, gflops: data.flops } : null);
    values("Data and evaluation", some(data, "dataset", "flip_test", "decoder", "selection"));
    values("Config", data.config);
    values("Environment", some(data, "machine", "versions", "code", "threads", "precision", "started_at", "seconds", "peak_memory", "train"));
    const close = () => { $("#run").hidden = true; history.replaceState(null, "", "#runs"); $("#runs").scrollIntoView(); };
    const other = () => { $("#compare-a").value = run.name; $("#compare").scrollIntoView(); $("#compare-b").focus(); };
    return [...nodes, el("p", {}, button("Compare with another run", other), " ", button("Close", close))];
  };

  // Comparison of two runs
  // No statistics here: differences, intervals and ratios are texts that Python wrote.
  const named = (text) => {
    const given = text.trim();
    const exact = runs.find((r) => r.name === given) ?? byId.get(given);
    if (exact) return [exact];
    const split = (words) => words.toLowerCase().split(/[\s,/]+/).filter(Boolean);
    const words = split(given);
    return words.length ? runs.filter((r) => r.id.startsWith(given) || words.every((word) => split(r.name).some((part) => part.startsWith(word)))) : [];
  };
  const gap = (a, b, name) => {
    for (const [cell, other, way] of [[b, a, "second - first"], [a, b, "first - second"]]) {
      const found = (cell.against ?? []).find((x) => x.group === other.group && x.differences[name]);
      if (found) return `${way}: ${found.differences[name]}, grid ${found.grid}`;
    }
    return "";
  };
  const row = (name, first, second, text) => {
    const line = el("tr", {}, el("td", {}, name), el("td", {}, first), el("td", {}, second));
    return text ? [line, el("tr", { class: "said" }, el("td", { colspan: 3 }, text))] : [line];
  };
  const table = (titles, rows) => el("div", { class: "scroll" }, el("table", {}, el("thead", {}, el("tr", {}, ...titles.map((t) => el("th", { scope: "col" }, t)))), el("tbody", {}, ...rows)));
  const seedRows = (a, b, name) => {
    if (a.group === b.group || a.kind !== "evaluation" || b.kind !== "evaluation") return [];
    const of = (group) => new Map(runs.filter((r) => r.group === group && r.status === "ok" && name in r.metrics).map((r) => [r.seed, r]));
    const first = of(a.group), second = of(b.group);
    return [...first.keys()].filter((seed) => second.has(seed)).sort((x, y) => x - y)
      .flatMap((seed) => row(`${name}, seed ${seed}`, first.get(seed).metrics[name], second.get(seed).metrics[name]));
  };
  const timedRatio = (a, b) => {
    if (!a.timing || !b.timing || a.timing.conditions !== b.timing.conditions) return "timed under different conditions: no ratio";
    if (a.timing.to === b.timing.contender) return `first / second: ${a.timing.ratio}`;
    if (b.timing.to === a.timing.contender) return `second / first: ${b.timing.ratio}`;
    return "not timed in turn: no ratio";
  };
  const results = (a, b) => {
    const [da, db] = [detailsOf(a), detailsOf(b)];
    const names = Object.keys(a.metrics).filter((name) => name in b.metrics);
    const rows = names.flatMap((name) => row(name, a.metrics[name], b.metrics[name], gap(a, b, name)));
    if (names.length) rows.push(...seedRows(a, b, names.includes("Mean") ? "Mean" : names[0]));
    for (const [name, x, y, text] of [["params", da.params, db.params], ["GFLOPs (mmcv)", da.flops?.mmcv, db.flops?.mmcv], ["p50, ms", da.latency?.p50, db.latency?.p50, timedRatio(a, b)]]) {
      if (x && y) rows.push(...row(name, show(x), show(y), text));
    }
    return rows;
  };
  const differences = (a, b) => {
    const [x, y] = [a, b].map((run) => {
      const data = detailsOf(run);
      return flatten({ model: run.model, latency: data.latency?.conditions, ...some(data, "config", "versions", "machine", "code") });
    });
    return [...new Set([...Object.keys(x), ...Object.keys(y)])].filter((key) => JSON.stringify(x[key]) !== JSON.stringify(y[key]))
      .map((key) => el("tr", {}, el("td", {}, key), ...[x, y].map((side) => el("td", {}, key in side ? show(side[key]) : "–"))));
  };
  const compare = () => {
    const sides = [$("#compare-a"), $("#compare-b")];
    const found = sides.map((input) => named(input.value));
    const wrong = found.findIndex((list) => list.length !== 1);
    if (wrong >= 0) {
      const list = found[wrong];
      $("#comparison").replaceChildren(el("p", {}, list.length ? `${list.length} runs match "${sides[wrong].value}"; choose one:` : `No run is named "${sides[wrong].value}".`),
        el("p", {}, ...list.slice(0, 20).flatMap((run) => [button(run.name, () => { sides[wrong].value = run.name; compare(); }), " "])));
      return;
    }
    const [a, b] = found.map(([run]) => run);
    history.replaceState(null, "", `#compare-${a.id}-${b.id}`);
    const rows = results(a, b), differ = differences(a, b);
    const told = rows.some((line) => line.className === "said");
    $("#comparison").replaceChildren(el("h3", {}, "Results"),
      rows.length ? table(["Metric", "First", "Second"], rows) : el("p", {}, "These two share no metric."),
      told ? "" : el("p", {}, "No intervals: only a cell and the default of its grid are compared by one."),
      el("h3", {}, "What differs"),
      differ.length ? table(["Key", "First", "Second"], differ) : el("p", {}, "Nothing in config, environment or conditions."));
  };
  $("#compare-form").addEventListener("submit", (event) => { event.preventDefault(); compare(); });

  const route = () => {
    const hash = decodeURIComponent(location.hash.slice(1));
    const run = hash.match(/^run-([0-9a-f]+)$/);
    const two = hash.match(/^compare-([0-9a-f]+)-([0-9a-f]+)$/);
    if (run) showRun(run[1]);
    if (two) {
      [$("#compare-a").value, $("#compare-b").value] = [two[1], two[2]].map((id) => byId.get(id)?.name ?? id);
      compare();
      $("#compare").scrollIntoView();
    }
  };
  addEventListener("hashchange", route);
  route();
})();
