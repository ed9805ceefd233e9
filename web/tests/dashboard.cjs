// The dashboard of a running node, in headless Chromium.
//
//   NODE_PATH=target/browser/node_modules node web/tests/dashboard.cjs URL look FOLDER   all that must hold; screenshots
//   NODE_PATH=target/browser/node_modules node web/tests/dashboard.cjs URL wait TEXT     until the list of alerts has a text
"use strict";
const assert = require("node:assert/strict");
const fs = require("node:fs");
const { chromium } = require("playwright-core");

const [url, task, argument] = process.argv.slice(2);
// Tiles that show one metric each: their id, its name, and how it is shown.
const TILES = JSON.parse(process.env.DASHBOARD_TILES ?? "[]");
const SECTIONS = ["System Health", "Application Performance", "Game Engine", "Resource Utilization"];
const SIZES = { desktop: { width: 1440, height: 900 }, phone: { width: 390, height: 844 } };
const BYTES_MAX = 300 * 1024;

// A page on which whatever is not as it should be is noted.
async function blank(browser, options) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.noted = [];
  page.on("console", (message) => page.noted.push(`console ${message.type()}: ${message.text()}`));
  page.on("pageerror", (error) => page.noted.push(`error: ${error.message}`));
  page.on("request", (request) => {
    if (!request.url().startsWith(url) && !request.url().startsWith("data:")) page.noted.push(`asks ${request.url()}`);
  });
  return page;
}

async function open(browser, options) {
  const page = await blank(browser, options);
  // The stream that the page follows, for a look at what the page does when it breaks off.
  await page.addInitScript(() => {
    const Own = window.EventSource;
    window.EventSource = class extends Own {
      constructor(address) {
        super(address);
        window.followed = this;
      }
    };
  });
  const began = Date.now();
  await page.goto(url);
  await page.locator("#tile-height canvas").waitFor();
  page.first = Date.now() - began;
  await page.waitForFunction(() => document.querySelector("#state").textContent !== "connecting");
  return page;
}

const metrics = async () => {
  const lines = (await (await fetch(`${url}metrics`)).text()).split("\n").filter((line) => line && !line.startsWith("#"));
  return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(" ")), Number(line.slice(line.lastIndexOf(" ") + 1))]));
};
const value = (page, id) => page.locator(`#tile-${id} .value`).textContent();
const number = async (page, id) => Number((await value(page, id)).replace(/[^0-9.]/g, ""));

const UNITS = { "": 1, "%": 0.01, s: 1, ms: 1e-3, "µs": 1e-6, B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40 };
const LEVELS = ["low", "medium", "high"];

// A value as the page writes it; null for one that is not there.
function meant(text) {
  if (text === "–") return null;
  if (LEVELS.includes(text)) return LEVELS.indexOf(text);
  const [, digits, unit] = text.match(/^(-?[\d.,]+) ?([^/]*)(?:\/s)?$/) ?? assert.fail(`what is ${text}?`);
  return Number(digits.replaceAll(",", "")) * (UNITS[unit] ?? assert.fail(`what is ${text}?`));
}

// A metric in an answer of /metrics, of labelled ones all together; null for one that is not there.
function total(answer, name) {
  const found = [...answer].filter(([line]) => line === name || line.startsWith(`${name}{`));
  return found.length === 0 ? null : found.reduce((sum, [, value]) => sum + value, 0);
}

// A quantile of what was measured between two answers, as Prometheus has it; null where nothing was.
function quantile(share, name, before, after) {
  const ends = [...after.keys()].filter((line) => line.startsWith(`${name}_bucket{`));
  const counts = ends.map((line) => [Number(line.match(/le="([^"]+)"/)[1].replace("+Inf", "Infinity")), after.get(line) - before.get(line)]);
  const all = counts.at(-1)?.[1] ?? 0;
  if (all === 0) return null;
  const place = counts.findIndex(([, count]) => count >= share * all);
  const [low, below] = place === 0 ? [0, 0] : counts[place - 1];
  const [high, count] = counts[place];
  return high === Infinity ? low : low + ((high - low) * (share * all - below)) / (count - below);
}

// Whether a tile shows what these answers say, the newest last: within a hundredth for what is written in three digits, and
// within a third for what is measured over the last seconds, which are others for whoever asks.
function isTrue({ metric, how, share, seconds }, shown, answers) {
  const newest = answers.at(-1);
  if (how === "now") {
    const near = answers.slice(-3).map((answer) => total(answer, metric));
    if (near.includes(null) || shown === null) return near.includes(null) && shown === null;
    const [low, high] = [Math.min(...near), Math.max(...near)];
    return shown >= low - 0.01 * Math.abs(low) - 1e-4 && shown <= high + 0.01 * Math.abs(high) + 1e-4;
  }
  const past = answers.findLast((answer) => newest.at - answer.at >= 1000 * seconds);
  if (past === undefined) return false;
  const wanted = how === "rate"
    ? (1000 * (total(newest, metric) - total(past, metric))) / (newest.at - past.at)
    : quantile(share, metric, past, newest);
  if (wanted === null || shown === null) return wanted === shown;
  return Math.abs(shown - wanted) <= Math.max(wanted, shown) / 3 + (how === "rate" ? 0.05 : 1e-5);
}

// Each of them shows what /metrics says, at some time: what moves between the two is looked at again.
async function compare(page) {
  assert.ok(TILES.length > 25, `${TILES.length} tiles are of one metric`);
  const waiting = new Map(TILES.map((tile) => [tile.id, tile]));
  const answers = [];
  const ask = async () => answers.push(Object.assign(await metrics(), { at: Date.now() }));
  for (let tries = 0; waiting.size > 0; tries++) {
    await ask();
    await page.waitForTimeout(500);
    const texts = await page.locator(".tile").evaluateAll((tiles) => tiles.map((tile) => [tile.id, tile.querySelector(".value").textContent]));
    await ask();
    const shown = new Map(texts.map(([id, text]) => [id.replace(/^tile-/, ""), text]));
    for (const [id, tile] of waiting) if (isTrue(tile, meant(shown.get(id)), answers)) waiting.delete(id);
    assert.ok(tries < 120, `not what /metrics says: ${[...waiting].map(([id, { metric }]) => `${id} shows ${shown.get(id)}, ${metric} is ${total(answers.at(-1), metric)}`).join("; ")}`);
    await page.waitForTimeout(500);
  }
}

// A page that hears nothing more says so, and nothing that is good.
async function silent(page) {
  const found = await page.evaluate(() => {
    const state = document.querySelector("#state");
    window.followed.onerror();
    return [state.textContent, state.dataset.level, document.querySelector("#lost").hidden];
  });
  assert.deepEqual(found, ["no word", "unknown", false]);
  await page.waitForFunction(() => document.querySelector("#state").textContent === "ready" && document.querySelector("#lost").hidden);
}

// A stream that stays open and brings nothing, as of a machine that hangs, is no node that is ready; the page takes another.
async function unheard(browser) {
  const page = await open(browser, { viewport: SIZES.desktop });
  await page.evaluate(() => {
    window.swallowed = window.followed;
    window.followed.onmessage = () => {};
  });
  await page.locator("#state", { hasText: /^no word$/ }).waitFor();
  const found = await page.evaluate(() => [
    document.querySelector("#state").dataset.level,
    document.querySelector("#lost").hidden,
    document.body.classList.contains("stale"),
  ]);
  assert.deepEqual(found, ["unknown", false, true]);
  await page.locator("#state", { hasText: /^ready$/ }).waitFor();
  const after = await page.evaluate(() => [document.querySelector("#lost").hidden, window.followed === window.swallowed]);
  assert.deepEqual(after, [true, false]);
  assert.deepEqual(page.noted, []);
  await page.context().close();
}

async function values(page) {
  assert.deepEqual(await page.locator("h2").allTextContents(), ["Active alerts", ...SECTIONS]);
  const tiles = await page.locator(".tile").count();
  assert.equal(await page.locator(".tile canvas").count(), tiles, "a chart for each value");
  await compare(page);
  const texts = await page.locator(".tile .value").allTextContents();
  assert.ok(texts.filter((text) => text !== "–").length > tiles * 0.8, `filled: ${texts}`);
  const height = await number(page, "height");
  await page.waitForFunction((old) => Number(document.querySelector("#tile-height .value").textContent.replace(/\D/g, "")) > old, height);
  for (const limit of ["connections", "cpu", "memory", "tick"]) {
    assert.match(await page.locator(`#tile-${limit} .limit`).textContent(), /of |target/, `${limit} has its limit beside it`);
  }
}

async function accessible(page) {
  await page.evaluate(fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8"));
  const { violations } = await page.evaluate(() => axe.run());
  assert.deepEqual(violations.map(({ id, nodes }) => `${id}: ${nodes[0].html}`), []);
}

async function look(browser) {
  for (const [name, viewport] of Object.entries(SIZES)) {
    for (const colorScheme of ["light", "dark"]) {
      const page = await open(browser, { viewport, colorScheme, deviceScaleFactor: name === "phone" ? 2 : 1 });
      if (name === "desktop" && colorScheme === "light") {
        await values(page);
        await silent(page);
      }
      await accessible(page);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(wide <= 0, `${name}: ${wide} pixels stand out`);
      await page.screenshot({ path: `${argument}/${name}-${colorScheme}.png`, fullPage: name === "desktop" });
      assert.deepEqual(page.noted, [], "nothing on the console, and nobody else is asked");
      const parts = ["navigation", "resource"];
      page.bytes = await page.evaluate(
        (parts) => parts.flatMap((part) => performance.getEntriesByType(part)).reduce((sum, { transferSize }) => sum + transferSize, 0), parts);
      assert.ok(page.bytes > 50_000 && page.bytes < BYTES_MAX, `${page.bytes} bytes`);
      console.log(`${name} ${colorScheme}: ${page.bytes} bytes, first chart after ${page.first} ms`);
      await page.context().close();
    }
  }
}

// A page that is told what a test makes up, by what the node said last.
async function told(browser) {
  const page = await open(browser, { viewport: SIZES.desktop });
  const event = await page.evaluate(async () => {
    window.followed.close();
    return (await fetch("api/now")).json();
  });
  return [page, (more) => page.evaluate((event) => take(event), { ...event, ...more }), event.time_ms];
}

// Whoever is on the way to a page of the run-book stays on it while the alert is on.
async function focused(browser) {
  const [page, tell, began] = await told(browser);
  const alert = { rule: "MemoryHigh", level: "warning", title: "memory", since_ms: began - 2000, page: "runbook/memory-high.md" };
  // Its value is another one every second.
  const on = (second) => ({ ...alert, why: `${90 + second} %` });
  const at = (second) => tell({ time_ms: began + 1000 * second, reasons: [`the thread has not moved for ${second} s`], alerts: [on(second)] });
  const link = page.locator("#alerts a");
  await at(1);
  await link.focus();
  for (let second = 2; second < 5; second++) {
    await at(second);
    assert.match(await page.locator("#alerts").textContent(), new RegExp(`moved for ${second} s.*memory: ${90 + second} %.*, ${second + 2} s; what to do`));
    assert.ok(await link.evaluate((link) => link === document.activeElement), `the link has the focus after ${second} s`);
  }
  const before = { rule: "DiskFull", level: "critical", title: "disk", why: "full", since_ms: began, page: "runbook/disk-full.md" };
  await tell({ reasons: [], alerts: [before, on(5)] });
  assert.ok(await link.nth(1).evaluate((link) => link === document.activeElement), "a new alert takes no focus");
  await tell({ reasons: [], alerts: [] });
  assert.equal(await page.locator("#alerts").textContent(), "No alert is on.");
  assert.deepEqual(page.noted, []);
  await page.context().close();
}

// The charts go on when the clock of the node is set back, and join nothing over what nobody heard of.
async function timed(browser) {
  const [page, tell, began] = await told(browser);
  const drawn = () => page.evaluate(() => {
    const { values, plot } = tiles.get("height");
    return { times: [...times], values: [...values], drawn: plot.data[0].length };
  });
  const isOne = ({ times, values, drawn }) => {
    assert.ok(times.every((time, at) => at === 0 || time > times[at - 1]), `in order: ${times}`);
    assert.deepEqual([values.length, drawn], [times.length, times.length]);
  };
  await tell({ time_ms: began + 1000, values: { height: 1 } });
  const before = await drawn();
  isOne(before);
  await tell({ time_ms: null, uptime_s: null, values: {}, limits: {} });
  assert.deepEqual(await drawn(), before, "a node without a reading yet takes nothing away");
  const back = began - 3_600_000;
  for (const second of [0, 1]) await tell({ time_ms: back + 1000 * second, values: { height: 2 + second } });
  const after = await drawn();
  isOne(after);
  assert.deepEqual(after.values.slice(-3), [1, 2, 3], "what came before and after");
  assert.equal(after.times.at(-1), (back + 1000) / 1000);
  await tell({ time_ms: back + 61_000, values: { height: 4 } });
  const gap = await drawn();
  isOne(gap);
  assert.deepEqual(gap.values.slice(-3), [3, null, 4], "nothing joins them");
  await tell({ time_ms: back + 86_400_000, values: { height: 5 } });
  assert.deepEqual((await drawn()).values, [5], "only the last minutes are shown");
  assert.deepEqual(page.noted, []);
  await page.context().close();
}

// A page for which there is no place says so, of a node that is well, and goes on asking it.
async function crowded(browser) {
  const page = await blank(browser, { viewport: SIZES.desktop });
  await page.route(`${url}events`, (route) => route.fulfill({ status: 503, body: "as many pages follow this node as may\n" }));
  await page.goto(url);
  await page.locator("#lost", { hasText: "as many pages follow this node as may" }).waitFor();
  await page.locator("#state", { hasText: /^ready$/ }).waitFor();
  const height = await number(page, "height");
  await page.waitForFunction((old) => Number(document.querySelector("#tile-height .value").textContent.replace(/\D/g, "")) > old, height);
  assert.equal(await page.locator("body.stale").count(), 0, "what it shows is not old");
  // Its place is free again.
  await page.unroute(`${url}events`);
  await page.locator("#lost").waitFor({ state: "hidden" });
  assert.ok(page.noted.every((text) => text.includes("503")), `${page.noted}`);
  await page.context().close();
}

// What the alerts lead to, on a phone.
async function runbook(browser) {
  for (const name of ["memory-high", "thread-frozen", "scrape-down"]) {
    const page = await blank(browser, { viewport: SIZES.phone });
    await page.goto(`${url}runbook/${name}`);
    await accessible(page);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(wide <= 0, `${name}: ${wide} pixels stand out`);
    assert.deepEqual(page.noted, [], name);
    await page.context().close();
  }
}

async function main() {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
  try {
    if (task === "look") {
      await look(browser);
      for (const part of [focused, timed, crowded, unheard]) await part(browser);
      return await runbook(browser);
    }
    const page = await open(browser, { viewport: SIZES.desktop });
    await page.locator("#alerts", { hasText: argument }).waitFor({ timeout: 60_000 });
    if (process.argv[5]) await page.screenshot({ path: process.argv[5], fullPage: true });
  } finally {
    await browser.close();
  }
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
