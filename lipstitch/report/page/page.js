"use strict";

const root = document.documentElement;
const material = JSON.parse(document.getElementById("material").textContent);
const timeline = document.getElementById("timeline");
const clipList = document.getElementById("clips");
const cards = [...clipList.children];
const cardOf = new Map(cards.map((card) => [card.dataset.clip, card]));
root.classList.add("script");

// Theme: what the system says, until the button says otherwise. A page from disk may not be allowed to remember it.

const themes = ["automatic", "light", "dark"];
const themeButton = document.getElementById("theme");

function setTheme(theme) {
  if (theme === "automatic") delete root.dataset.theme;
  else root.dataset.theme = theme;
  themeButton.textContent = `Theme: ${theme}`;
}

themeButton.addEventListener("click", () => {
  const next = themes[(themes.indexOf(root.dataset.theme ?? "automatic") + 1) % themes.length];
  setTheme(next);
  try { localStorage.setItem("lipstitch-theme", next); } catch { /* it lasts as long as the page */ }
});
try { setTheme(themes.find((theme) => theme === localStorage.getItem("lipstitch-theme")) ?? "automatic"); } catch { /* as the system says */ }

// Timeline: as wide as the zoom says, and scrolled by the browser.

const STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200];
const TICK_PX = 90;
const MOST_PX_PER_SECOND = 1000;
const wholeSeconds = Number(material.times[material.num_frames]);
const axis = timeline.querySelector(".axis");
const readout = document.getElementById("readout");
let zoom = 1;

function clock(seconds, step) {
  const digits = step < 1 ? 1 : 0;
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60].map((part) => String(part).padStart(2, "0"));
  return [...parts, (seconds % 60).toFixed(digits).padStart(digits ? 4 : 2, "0")].join(":");
}

function drawAxis() {
  const width = axis.clientWidth;
  const step = STEPS.find((each) => each / wholeSeconds * width >= TICK_PX) ?? 14400;
  const seconds = (px) => px / width * wholeSeconds;
  const last = Math.min(seconds(timeline.scrollLeft + 2 * timeline.clientWidth), seconds(width - TICK_PX));
  const ticks = [];
  const first = Math.max(Math.floor(seconds(timeline.scrollLeft - timeline.clientWidth) / step), 0);
  for (let n = first; n === 0 || n * step < last; n++) {
    const tick = document.createElement("span");
    tick.style.left = `${100 * n * step / wholeSeconds}%`;
    tick.textContent = clock(Math.round(n * step * 10) / 10, step);
    ticks.push(tick);
  }
  axis.replaceChildren(...ticks);
}

// Keeps the moment at `px` from the timeline's left edge where it is.
function zoomTo(wanted, px = timeline.clientWidth / 2) {
  const most = Math.max(wholeSeconds * MOST_PX_PER_SECOND / timeline.clientWidth, 1);
  const moment = (timeline.scrollLeft + px) / zoom;
  zoom = Math.min(Math.max(wanted, 1), most);
  timeline.style.setProperty("--zoom", zoom);
  timeline.scrollLeft = moment * zoom - px;
  drawAxis();
}

const zooms = { in: () => zoomTo(zoom * 1.5), out: () => zoomTo(zoom / 1.5), all: () => zoomTo(1) };
for (const button of document.querySelectorAll("[data-zoom]")) button.addEventListener("click", zooms[button.dataset.zoom]);
timeline.addEventListener("keydown", (event) => {
  const zoomBy = { "+": zooms.in, "=": zooms.in, "-": zooms.out, "0": zooms.all }[event.key];
  if (zoomBy && !event.ctrlKey && !event.metaKey) { zoomBy(); event.preventDefault(); }
});
timeline.addEventListener("wheel", (event) => {
  if (!event.deltaY || !(event.ctrlKey || event.metaKey || document.activeElement === timeline)) return;
  zoomTo(zoom * Math.exp(-event.deltaY / 400), event.clientX - timeline.getBoundingClientRect().left);
  event.preventDefault();
}, { passive: false });
timeline.addEventListener("scroll", drawAxis, { passive: true });
new ResizeObserver(drawAxis).observe(timeline);

const tell = (event) => { if (event.target.title) readout.textContent = event.target.title; };
timeline.addEventListener("pointerover", tell);
timeline.addEventListener("click", (event) => {
  tell(event);
  const card = event.target.closest(".lane i") && !event.target.classList.contains("gap") && cardOf.get(event.target.dataset.key);
  if (!card) return;
  show(card);
  card.scrollIntoView({ block: "center" });
  card.querySelector("input").focus({ preventScroll: true });
});

for (const button of document.querySelectorAll("[data-reason]")) {
  button.addEventListener("click", () => {
    const isOn = button.getAttribute("aria-pressed") !== "true";
    for (const each of document.querySelectorAll("[data-reason]")) each.setAttribute("aria-pressed", isOn && each === button);
    for (const block of timeline.querySelectorAll(".gap")) block.classList.toggle("dim", isOn && block.dataset.key !== button.dataset.reason);
  });
}

// Filter and order of the clips. They stand in the page in the order "worst first".

const filter = document.getElementById("filter");
const plain = (text) => text.toLowerCase().replace(/\s+/g, " ").trim();
const texts = new Map(cards.map((card) => [card, plain(card.textContent)]));

function matches(card) {
  const outcomes = [...filter.querySelectorAll("[name=outcome]:checked")].map((box) => box.value);
  const method = filter.querySelector("#method").value;
  const phrase = plain(filter.querySelector("#search").value);
  return outcomes.includes(card.dataset.outcome)
    && (!method || card.dataset.methods.split(" ").includes(method))
    && texts.get(card).includes(phrase);
}

function applyFilter() {
  for (const card of cards) card.hidden = !matches(card);
  const shown = cards.filter((card) => !card.hidden).length;
  document.getElementById("count").textContent = `${shown} of ${cards.length} clips`;
}

// Shows a card that the filter may hide.
function show(card) {
  card.hidden = false;
}

function figure(card, name) {
  const cell = [...card.querySelectorAll("[data-figure]")].find((each) => each.dataset.figure === name);
  return cell ? Number(cell.textContent) : NaN;
}

function applyOrder() {
  const order = filter.querySelector("#order").value;
  const sorted = [...cards];
  if (order === "time") sorted.sort((a, b) => a.dataset.clip - b.dataset.clip);
  else if (order !== "worst") {
    const sign = order.startsWith("-") ? -1 : 1;
    const values = new Map(cards.map((card) => [card, figure(card, order.slice(1))]));
    const isMissing = (card) => Number(Number.isNaN(values.get(card)));
    sorted.sort((a, b) => isMissing(a) - isMissing(b) || sign * (values.get(a) - values.get(b)) || 0);
  }
  clipList.append(...sorted);
}

filter.addEventListener("input", applyFilter);
filter.querySelector("#order").addEventListener("change", applyOrder);
filter.addEventListener("submit", (event) => event.preventDefault());
applyFilter();

// The span file: every row of the job, and inside it a row for what is changed of some frames.

const basket = document.getElementById("basket");
const basketRows = basket.querySelector("tbody");
const SETTINGS = ["method", "strength", "quality"];

function basketRow(name, remove) {
  const row = document.getElementById("basket-row").content.cloneNode(true).firstElementChild;
  row.querySelector("th").textContent = name;
  for (const setting of SETTINGS) row.querySelector(`[name=${setting}]`).setAttribute("aria-label", `${setting} of ${name}`);
  const button = row.querySelector("button");
  button.setAttribute("aria-label", `Remove ${name}`);
  button.addEventListener("click", remove);
  return row;
}

const allRow = basketRow("all of them", empty);
allRow.querySelector("button").hidden = true;
allRow.addEventListener("input", (event) => {
  for (const row of clipRows()) row.querySelector(`[name=${event.target.name}]`).value = event.target.value;
});
basketRows.append(allRow);

const clipRows = () => [...basketRows.children].filter((row) => row !== allRow);

function collect(card, isCollected) {
  const clip = card.dataset.clip;
  basketRows.querySelector(`[data-clip="${clip}"]`)?.remove();
  if (isCollected) {
    const box = card.querySelector("input");
    const row = basketRow(`clip ${clip}`, () => { box.checked = false; collect(card, false); });
    row.dataset.clip = clip;
    for (const setting of SETTINGS) row.querySelector(`[name=${setting}]`).value = allRow.querySelector(`[name=${setting}]`).value;
    const later = clipRows().find((other) => Number(other.dataset.clip) > Number(clip));
    basketRows.insertBefore(row, later ?? null);
  }
  for (const block of timeline.querySelectorAll(`i:not(.gap)[data-key="${clip}"]`)) block.classList.toggle("collected", isCollected);
  countCollected();
}

function countCollected() {
  const rows = clipRows();
  const changed = rows.filter((row) => SETTINGS.some((setting) => row.querySelector(`[name=${setting}]`).value)).length;
  const isValid = basketRows.querySelector(":invalid") === null;
  basket.hidden = rows.length === 0;
  document.getElementById("collected").textContent = `${rows.length} ${rows.length === 1 ? "clip" : "clips"} collected, ${changed} to be changed`;
  document.getElementById("download").disabled = changed === 0 || !isValid;
}

function empty() {
  for (const box of clipList.querySelectorAll("[name=clip]:checked")) {
    box.checked = false;
    collect(box.closest("li"), false);
  }
}

clipList.addEventListener("change", (event) => {
  const wasEmpty = clipRows().length === 0;
  collect(event.target.closest("li"), event.target.checked);
  if (wasEmpty && window.innerHeight > 600) basket.querySelector("details").open = true;
});
basketRows.addEventListener("input", countCollected);
document.getElementById("empty").addEventListener("click", empty);

function changes() {
  return clipRows().map((row) => {
    const card = cardOf.get(row.dataset.clip);
    const chosen = Object.fromEntries(SETTINGS.map((setting) => [setting, row.querySelector(`[name=${setting}]`).value]));
    if (chosen.method === "keep") chosen.strength = chosen.quality = "";  // what is kept has neither
    return { start: Number(card.dataset.start), stop: Number(card.dataset.stop), chosen };
  }).filter((change) => Object.values(change.chosen).some(Boolean));
}

// Returns what is changed inside a row, earlier changes first; neighbours of which the same was chosen are one.
function changesOf(row, all) {
  if (row.kind !== "face") return [];
  const chosen = [];
  for (const change of all) {
    const start = Math.max(change.start, row.start_frame), stop = Math.min(change.stop, row.stop_frame);
    if (start >= stop) continue;
    const last = chosen.at(-1);
    if (last && last.stop_frame === start && JSON.stringify(last.chosen) === JSON.stringify(change.chosen)) last.stop_frame = stop;
    else chosen.push({ start_frame: start, stop_frame: stop, chosen: change.chosen, ...change.chosen });
  }
  return [...row.changes, ...chosen];
}

const quoted = (cell) => /[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell;

function spanFile() {
  const all = changes();
  const lines = [["start", "stop", "person", "kind", "method", "strength", "quality", "reason"]];
  for (const row of material.rows) {
    for (const part of [row, ...changesOf(row, all)]) {
      const made = SETTINGS.map((setting) => String(part[setting] ?? ""));
      lines.push([material.times[part.start_frame], material.times[part.stop_frame], String(row.person ?? ""), row.kind, ...made, part.reason ?? ""]);
    }
  }
  return lines.map((line) => line.map(quoted).join(",") + "\n").join("");
}

document.getElementById("download").addEventListener("click", (event) => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([spanFile()], { type: "text/csv" }));
  link.download = event.target.dataset.name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
});
for (const box of clipList.querySelectorAll("[name=clip]:checked")) collect(box.closest("li"), true);  // of a page that was reloaded
