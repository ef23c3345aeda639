// One row of the picture: an arrow between lanes for those who see it, the same in words for everybody else and for narrow screens.

import { label as full, name, sentence } from "./sentences.js";

const SVG = "http://www.w3.org/2000/svg";
/** Heights in pixels: of a row, and of the arrow in it. */
const [ROW, LINE] = [36, 26];
/** Characters on an arrow; the panel has all of them. */
const LONGEST = 40;

/** The names above the lanes. */
export function heads(lanes) {
  return lanes.map(lane => {
    const head = document.createElement("span");
    head.dataset.lane = lane;
    head.textContent = name(lane);
    return head;
  });
}

/** The drawing of a step: an `svg` as wide as its row. */
export function row(step, lanes) {
  const at = lane => `${((lanes.indexOf(lane) + .5) * 100) / lanes.length}%`;
  const svg = svgElement("svg", { "class": "row", height: ROW, width: "100%", "aria-hidden": "true", focusable: "false" });
  for (const lane of lanes) svg.append(svgElement("line", { "class": "life", x1: at(lane), x2: at(lane), y1: 0, y2: ROW }));
  const parts = step.from === step.to ? note(step, at) : step.event.kind === "no_answer" ? broken(step, at, lanes) : arrow(step, at, lanes);
  svg.append(...parts);
  return svg;
}

/** The step in words. */
export function words(step) {
  const text = document.createElement("span");
  text.className = "words";
  const way = document.createElement("b");
  way.textContent = step.from === step.to ? name(step.to) : `${name(step.from)} → ${name(step.to)}`;
  text.append(way, " ", sentence(step));
  return text;
}

function arrow(step, at, lanes) {
  const right = lanes.indexOf(step.from) < lanes.indexOf(step.to);
  const person = step.event.kind === "sign_in" || step.event.kind === "signed_in";
  const line = svgElement("line", { "class": person ? "arrow person" : "arrow", x1: at(step.from), x2: at(step.to), y1: LINE, y2: LINE, pathLength: person ? null : 1 });
  const head = place(at(step.to), [svgElement("path", { "class": "head", d: right ? "M-9-5 0 0-9 5Z" : "M9-5 0 0 9 5Z" })]);
  const parts = [line, head, text(step, middle(step, lanes))];
  if (step.card) parts.push(place(at(step.to), card()));
  if (step.lock) parts.push(place(at(person || step.event.kind.startsWith("token") ? "authority" : step.from), padlock(step.lock)));
  return parts;
}

function broken(step, at, lanes) {
  const half = middle(step, lanes);
  const line = svgElement("line", { "class": "arrow", x1: at(step.from), x2: half, y1: LINE, y2: LINE, pathLength: 1 });
  const cross = svgElement("path", { "class": "cross", d: "M-5-5 5 5M5-5-5 5" });
  return [line, place(half, [cross]), text(step, half)];
}

function label(step) {
  const text = full(step);
  return text.length > LONGEST ? `${text.slice(0, LONGEST - 1)}…` : text;
}

/** Something that a tier notes without speaking to another. */
function note(step, at) {
  const caption = svgElement("text", { "class": "label start", x: 0, y: 4 });
  caption.textContent = label(step);
  const group = svgElement("g", { transform: "translate(14 0)" });
  group.append(caption);
  return [place(at(step.to), [svgElement("circle", { "class": "dot", r: 4 }), group])];
}

function text(step, x) {
  const caption = svgElement("text", { "class": "label", x, y: LINE - 9 });
  caption.textContent = label(step);
  return caption;
}

function middle(step, lanes) {
  return `${((lanes.indexOf(step.from) + lanes.indexOf(step.to) + 1) * 50) / lanes.length}%`;
}

/** The token that was accepted. */
function card() {
  return [svgElement("rect", { "class": "card-icon", x: 6, y: -6, width: 16, height: 12, rx: 2 }), svgElement("path", { "class": "card-lines", d: "M9-2h10M9 2h6" })];
}

function padlock(state) {
  const shackle = state === "open" ? "M13-3v-5a4 4 0 0 1 8 0" : "M13-3v-4a4 4 0 0 1 8 0v4";
  return [svgElement("path", { "class": "shackle", d: shackle }), svgElement("rect", { "class": "lock-body", x: 10, y: -3, width: 14, height: 10, rx: 2 })];
}

/** Lengths in percent cannot be part of a path: this has its origin where the percentage is. */
function place(x, parts) {
  const origin = svgElement("svg", { x, y: LINE, width: 1, height: 1, overflow: "visible" });
  origin.append(...parts);
  return origin;
}

function svgElement(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [attribute, value] of Object.entries(attributes)) {
    if (value !== null) element.setAttribute(attribute, value);
  }
  return element;
}
