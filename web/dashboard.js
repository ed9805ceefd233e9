"use strict";
// The page of a node: what it consists of and its last minutes come from /api, and every second an event. All text that comes
// from the node is set as text, never as markup.

// Seconds that the charts show, and between two readings that nothing joins.
const SPAN = 600;
const GAP = 5;
// How long nothing may come from a node that tells something every second, or every other where it takes no readings.
const SILENCE_MS = 5000;
const tiles = new Map();
const times = [];
const byId = (id) => document.getElementById(id);

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function scaled(value, steps) {
  const [size, unit] = steps.find(([size]) => Math.abs(value) >= size) ?? steps[steps.length - 1];
  const number = value / size;
  const digits = number === 0 || Math.abs(number) >= 100 ? 0 : Math.abs(number) >= 10 ? 1 : 2;
  return number.toLocaleString("en", { maximumFractionDigits: digits }) + unit;
}

function written(value, tile) {
  if (value === null || value === undefined) return "–";
  const per = tile.per_second ? "/s" : "";
  switch (tile.unit) {
    case "bytes": return scaled(value, [[2 ** 40, " TiB"], [2 ** 30, " GiB"], [2 ** 20, " MiB"], [2 ** 10, " KiB"], [1, " B"]]) + per;
    case "seconds": return scaled(value, [[1, " s"], [1e-3, " ms"], [1e-6, " µs"]]);
    case "level": return ["low", "medium", "high"][Math.round(value)];
    case "ratio": return scaled(value * 100, [[1, " %"]]);
    default: return scaled(value, [[1, ""]]) + per;
  }
}

function chart(tile) {
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const room = tile.room.getBoundingClientRect();
  const options = {
    width: Math.max(40, room.width),
    height: room.height,
    padding: [4, 0, 4, 0],
    cursor: { show: false },
    legend: { show: false },
    axes: [{ show: false }, { show: false }],
    scales: { x: { time: false }, y: { range: (_, low, high) => [Math.min(0, low ?? 0), high > 0 ? high * 1.05 : 1] } },
    series: [{}, { stroke: () => color("--line"), fill: () => color("--fill"), width: 1.5, spanGaps: false, points: { show: false } }],
  };
  tile.plot = new uPlot(options, [times, tile.values], tile.room);
  new ResizeObserver(() => {
    const { width, height } = tile.room.getBoundingClientRect();
    if (width > 0) tile.plot.setSize({ width, height });
  }).observe(tile.room);
}

function build(page, history) {
  document.title = `BitCraps · ${page.title}`;
  byId("name").textContent = page.title;
  page.sections.forEach((section, number) => {
    const grid = element("div", { class: "tiles" });
    for (const tile of section.tiles) {
      tile.values = [];
      tile.value = element("span", { class: "value" }, "–");
      tile.bound = element("span", { class: "limit" });
      tile.share = element("i");
      tile.room = element("div", { class: "chart", role: "img", "aria-label": `${tile.title}, the last minutes` });
      tile.card = element("article", { class: "tile", id: `tile-${tile.id}` },
        element("h3", {}, tile.title),
        element("p", { class: "now" }, tile.value, " ", tile.bound),
        ...(tile.limit ? [element("div", { class: "bar", "aria-hidden": "true" }, tile.share)] : []),
        tile.room);
      grid.append(tile.card);
      tiles.set(tile.id, tile);
    }
    const title = element("h2", { id: `section-${number}` }, section.title);
    byId("sections").append(element("section", { "aria-labelledby": `section-${number}` }, title, grid));
  });
  history.times_ms.forEach((ms, at) => place(ms / 1000, (id) => history.values[id][at]));
  tiles.forEach(chart);
}

// Puts a reading behind those that are there.
function place(time, valueOf) {
  const push = (time, valueOf) => {
    times.push(time);
    for (const [id, tile] of tiles) tile.values.push(valueOf(id) ?? null);
  };
  const last = times[times.length - 1];
  // The node's clock was set back: what was drawn stays as it is, right before this.
  if (time < last) times.forEach((old, at) => (times[at] = old - last + time - 1));
  // What nobody heard of is no line from the reading before it to the one after it.
  if (time > last + GAP) push(last + 1, () => null);
  push(time, valueOf);
  while (times.length > SPAN || times[0] < time - SPAN) {
    times.shift();
    for (const tile of tiles.values()) tile.values.shift();
  }
}

// Where a value is by its limit, in words too: colour alone tells nothing to some.
function judge(tile, value, limit) {
  if (!tile.limit || limit === null || limit === undefined) return ["", "none"];
  const bound = written(limit, tile);
  if (value === null || value === undefined) return [tile.limit === "most" ? `of ${bound}` : `target ${bound}`, "none"];
  const share = limit > 0 ? value / limit : value > 0 ? Infinity : 0;
  if (tile.limit === "target") {
    return share > 1 ? [`above the target ${bound}`, "warning"] : [`target ${bound}`, "none"];
  }
  const text = `of ${bound}, ${Math.round(100 * Math.min(share, 9.99))} %`;
  return [text, share > 0.95 ? "critical" : share > 0.8 ? "warning" : "none"];
}

function show(tile, value, limit) {
  tile.value.textContent = written(value, tile);
  const [text, level] = judge(tile, value, limit);
  tile.bound.textContent = text;
  tile.card.dataset.level = level;
  if (tile.limit) tile.share.style.width = limit > 0 && value > 0 ? `${Math.min(100, (100 * value) / limit)}%` : "0";
  tile.room.setAttribute("aria-label", `${tile.title}, the last minutes; now ${tile.value.textContent} ${text}`);
}

function span(seconds) {
  const [days, hours, minutes] = [seconds / 86400, (seconds / 3600) % 24, (seconds / 60) % 60].map(Math.floor);
  if (days > 0) return `${days} d ${hours} h`;
  if (hours > 0) return `${hours} h ${minutes} min`;
  return minutes > 0 ? `${minutes} min ${seconds % 60} s` : `${seconds} s`;
}

// A row of the list of alerts; `about` tells it from others.
function row(level, about, title, ...text) {
  const made = element("li", { "data-level": level }, element("b", {}, title), " ", ...text);
  made.about = `${level} ${about}`;
  return made;
}

function showAlerts(event) {
  const wanted = event.reasons.map((reason) => row("critical", reason, "Not ready", reason));
  for (const alert of event.alerts ?? []) {
    const since = new Date(alert.since_ms);
    const age = span(Math.max(0, Math.round((event.time_ms - alert.since_ms) / 1000)));
    // The value and the age are other ones every second, and nothing new: the row is that of its rule.
    wanted.push(row(alert.level, alert.rule, alert.level, element("span", {}, `${alert.title}: ${alert.why} `),
      element("small", {}, element("span", {}, `since ${since.toLocaleTimeString()}, ${age}; `),
        element("a", { href: alert.page.replace(/\.md$/, "") }, "what to do"))));
  }
  if (event.untold > 0) {
    const times = Math.max(1, Math.round(event.untold));
    wanted.push(row("warning", "untold", "Untold", element("span", {},
      `in ten minutes a webhook, a command or a letter did not take an alert ${times === 1 ? "once" : `${times} times`}; the log says why`)));
  }
  if (wanted.length === 0) wanted.push(element("li", { "data-level": "none" }, "No alert is on."));
  const list = byId("alerts");
  // A row that is about what it was about stays, and with it whoever is on its link.
  const rows = wanted.map((made) => [...list.children].find((old) => old.about === made.about) ?? made);
  for (const old of [...list.children]) if (!rows.includes(old)) old.remove();
  rows.forEach((kept, at) => {
    if (list.children[at] !== kept) list.insertBefore(kept, list.children[at] ?? null);
    const [said, says] = [kept, wanted[at]].map((of) => of.querySelectorAll("span"));
    said.forEach((old, place) => {
      if (old.textContent !== says[place].textContent) old.textContent = says[place].textContent;
    });
  });
}

function take(event) {
  const state = byId("state");
  const said = event.ready ? "ready" : "not ready";
  if (state.textContent !== said) state.textContent = said;
  state.dataset.level = event.ready ? "good" : "bad";
  const height = event.values.height?.toLocaleString("en") ?? "–";
  byId("facts").textContent = `height ${height} · up ${span(event.uptime_s ?? 0)}`;
  showAlerts(event);
  const time = event.time_ms / 1000;
  // A node that has just begun has no reading yet, and so no time: nothing is drawn of it.
  if (event.time_ms !== null && time !== times[times.length - 1]) place(time, (id) => event.values[id]);
  for (const [id, tile] of tiles) {
    show(tile, event.values[id], event.limits[id]);
    if (!document.hidden) tile.plot.setData([times, tile.values]);
  }
}

// What the node says is new; a text says what is amiss all the same.
function heard(event, amiss = "") {
  const lost = byId("lost");
  if (lost.textContent !== amiss) lost.textContent = amiss;
  lost.hidden = amiss === "";
  heardAt = performance.now();
  document.body.classList.remove("stale");
  take(event);
}

function silent() {
  const lost = byId("lost");
  if (!document.body.classList.contains("stale")) {
    const since = new Date(Date.now() - (performance.now() - heardAt));
    lost.textContent = `No word from the node since ${since.toLocaleTimeString()}; what follows is old.`;
  }
  lost.hidden = false;
  document.body.classList.add("stale");
  byId("state").textContent = "no word";
  byId("state").dataset.level = "unknown";
}

// When the node was last heard, and asked for its events, by a clock that nobody sets; and the stream of them.
let heardAt = performance.now();
let askedAt = heardAt;
let stream;

// A machine that hangs, and a link that swallows all, end no stream: only that nothing comes any more tells of them.
function listen() {
  const now = performance.now();
  if (now - heardAt > SILENCE_MS) silent();
  // Nor may such a stream ever bring anything again.
  if (now - Math.max(heardAt, askedAt) > 2 * SILENCE_MS && stream.readyState === EventSource.OPEN) {
    stream.close();
    follow();
  }
}

const NO_STREAM = "No stream for this page: as many pages follow this node as may, or a proxy lets none through. It asks every few seconds.";

function follow() {
  askedAt = performance.now();
  const events = new EventSource("events");
  stream = events;
  events.onmessage = (message) => heard(JSON.parse(message.data));
  events.onerror = async () => {
    // A browser tries again by itself, unless the answer was no stream: then the node may be well, and have no place.
    if (events.readyState !== EventSource.CLOSED) return silent();
    setTimeout(follow, 3000);
    try {
      heard(await answer("api/now"), NO_STREAM);
    } catch {
      silent();
    }
  };
}

async function answer(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path} is answered ${response.status}`);
  return response.json();
}

async function begin() {
  const [page, history] = await Promise.all(["api/page", "api/history"].map(answer));
  build(page, history);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => tiles.forEach((tile) => tile.plot.redraw()));
  heardAt = performance.now();
  follow();
  setInterval(listen, 1000);
}

begin().catch((error) => {
  const lost = byId("lost");
  lost.textContent = `The node does not answer (${error.message}); this page tries again.`;
  lost.hidden = false;
  setTimeout(() => location.reload(), 3000);
});
