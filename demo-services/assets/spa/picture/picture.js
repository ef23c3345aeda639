// The picture of a call: asks the backend for its events while it runs, and plays them one after another.

import { send } from "../backend.js";
import { details } from "./details.js";
import { heads, row, words } from "./draw.js";
import { LANES, layout } from "./layout.js";

/** Between an answer and the next question for events, between two steps, and the longest wait for events, in milliseconds. */
const [ASK, STEP, WAIT] = [250, 250, 2000];
/** The last events may be noted a moment after the answer; asked for so often before it is taken as it is. */
const LAST = 4;

const still = matchMedia("(prefers-reduced-motion: reduce)");
/** Room for the panel beside the picture. */
const wide = matchMedia("(min-width: 66rem)");

export class Picture {
  #root;
  #parts;
  #flow = null;
  /** Of the questions that go on by themselves; another or none ends them. */
  #asking = null;
  #timer = 0;
  #settled = true;
  #drawing = layout();
  #events = 0;
  /** By the step's key: `{item, button, step, drawn}` of those on the page. */
  #shown = new Map();
  #opened = null;

  constructor(root) {
    this.#root = root;
    const part = name => root.querySelector(`[data-part="${name}"]`);
    this.#parts = Object.fromEntries(["heads", "story", "facts", "again", "hop", "aside", "hint", "empty"].map(name => [name, part(name)]));
    this.#parts.again.addEventListener("click", () => this.#play());
    root.addEventListener("keydown", event => event.key === "Escape" && this.#close());
    wide.addEventListener("change", () => this.#placePanel());
    this.#drawHeads(this.#drawing.lanes);
  }

  /** A new flow: its id for the call's `X-Flow`, or null where no events are kept. */
  async begin() {
    this.#forget();
    const answer = await send("/flows", "POST");
    const id = answer.ok ? answer.body?.flow : null;
    return typeof id === "string" ? id : null;
  }

  /** Takes up a flow that began before this page did. What has happened is there at once. */
  async resume(id) {
    this.#forget();
    this.#flow = id;
    await this.#ask();
    this.#reveal(true);
  }

  /** Draws the flow while its call runs. */
  follow(id) {
    this.#flow = id;
    this.#settled = false;
    this.#root.dataset.state = "running";
    this.#parts.again.hidden = true;
    this.#keepAsking();
  }

  /** One question after the other's answer: a slow backend is not asked more and more. */
  async #keepAsking() {
    const asking = Symbol("asking");
    this.#asking = asking;
    while (this.#asking === asking) {
      await this.#ask();
      await new Promise(resolve => { setTimeout(resolve, ASK); });
    }
  }

  /** The call has ended; `id` is the flow that its answer named. */
  async settle(id) {
    this.#asking = null;
    const flow = id ?? this.#flow;
    this.#flow = flow;
    for (let times = 0; flow && times < LAST; times++) {
      const drawn = await this.#ask();
      if (!drawn || flow !== this.#flow || this.#isComplete()) break;
      await new Promise(resolve => { setTimeout(resolve, ASK / 2); });
    }
    if (flow !== this.#flow) return;
    this.#settled = true;
    this.#reveal();
  }

  #forget() {
    this.#asking = null;
    clearTimeout(this.#timer);
    this.#close();
    this.#flow = null;
    this.#settled = true;
    this.#drawing = layout();
    this.#events = 0;
    this.#shown.clear();
    this.#parts.story.replaceChildren();
    this.#parts.facts.textContent = "";
    this.#parts.again.hidden = true;
    this.#parts.empty.hidden = false;
    this.#root.dataset.state = "idle";
  }

  /** Asks for the events; whether there were any to draw. */
  async #ask() {
    const flow = this.#flow;
    if (!flow) return false;
    const answer = await send(`/flows/${encodeURIComponent(flow)}`, "GET", undefined, {}, WAIT);
    if (!answer.ok || flow !== this.#flow || !Array.isArray(answer.body?.events)) return false;
    // An answer that was overtaken by a later one knows less.
    if (answer.body.events.length < this.#events) return true;
    this.#events = answer.body.events.length;
    this.#drawing = layout(answer.body);
    this.#drawHeads(this.#drawing.lanes);
    this.#tellFacts(this.#drawing.facts);
    this.#reveal();
    return true;
  }

  /** The browser has its answer. */
  #isComplete() {
    const calls = this.#drawing.steps.filter(step => step.event.kind === "call" && step.from === "browser");
    return calls.length > 0 && calls.every(call => call.answered);
  }

  /** Brings what is on the page up to date, and shows the next step now, those after it one by one. */
  #reveal(all = still.matches) {
    clearTimeout(this.#timer);
    const { steps, lanes } = this.#drawing;
    this.#parts.empty.hidden = steps.length > 0;
    let previous = null;
    let fresh = false;
    for (const step of steps) {
      if (!this.#shown.has(step.key)) {
        if (fresh && !all) break;
        fresh = true;
      }
      const item = this.#show(step, lanes);
      const next = previous ? previous.nextSibling : this.#parts.story.firstChild;
      // An item that is in its place is left alone: moving it would take the focus away.
      if (next !== item) this.#parts.story.insertBefore(item, next);
      previous = item;
    }
    if (this.#shown.size < steps.length) {
      this.#timer = setTimeout(() => this.#reveal(), STEP);
    } else if (this.#settled && steps.length > 0) {
      this.#root.dataset.state = "done";
      this.#parts.again.hidden = false;
    }
  }

  #show(step, lanes) {
    const drawn = JSON.stringify([step.tone, step.lock, Boolean(step.card), lanes]);
    const known = this.#shown.get(step.key);
    if (known?.drawn === drawn) {
      known.step = step;
      return known.item;
    }
    const entry = known ?? this.#makeEntry();
    entry.step = step;
    entry.drawn = drawn;
    const { kind } = step.event;
    Object.assign(entry.item.dataset, { kind, from: step.from, to: step.to, tone: step.tone });
    entry.button.replaceChildren(row(step, lanes), words(step));
    this.#shown.set(step.key, entry);
    if (this.#opened === entry) this.#fillPanel();
    return entry.item;
  }

  #makeEntry() {
    const entry = { item: document.createElement("li"), button: document.createElement("button") };
    entry.button.type = "button";
    entry.button.setAttribute("aria-expanded", "false");
    entry.button.setAttribute("aria-controls", this.#parts.hop.id);
    // No click of a pointer has the detail 0: whoever opens by keyboard goes into the panel, and back by Escape.
    entry.button.addEventListener("click", ({ detail }) => (this.#opened === entry ? this.#close() : this.#open(entry, detail === 0)));
    entry.item.append(entry.button);
    return entry;
  }

  #play() {
    this.#close();
    this.#shown.clear();
    this.#parts.story.replaceChildren();
    this.#parts.again.hidden = true;
    this.#root.dataset.state = "running";
    this.#reveal();
  }

  #open(entry, enter) {
    this.#close();
    this.#opened = entry;
    entry.button.setAttribute("aria-expanded", "true");
    this.#parts.hop.hidden = false;
    this.#parts.hint.hidden = true;
    this.#fillPanel();
    this.#placePanel();
    if (enter) this.#enterPanel();
  }

  #close() {
    if (!this.#opened) return;
    const { button } = this.#opened;
    const inside = this.#parts.hop.contains(document.activeElement);
    button.setAttribute("aria-expanded", "false");
    this.#opened = null;
    this.#parts.hop.hidden = true;
    this.#parts.hint.hidden = false;
    this.#placePanel();
    if (inside) button.focus();
  }

  #fillPanel() {
    const inside = this.#parts.hop.contains(document.activeElement);
    this.#parts.hop.replaceChildren(...details(this.#opened.step, this.#root.dataset.caFile));
    if (inside) this.#enterPanel();
  }

  #enterPanel() {
    this.#parts.hop.querySelector("h3").focus();
  }

  /** Beside the picture where there is room, else under the step that it belongs to. */
  #placePanel() {
    const home = this.#opened && !wide.matches ? this.#opened.item : this.#parts.aside;
    if (this.#parts.hop.parentNode !== home) home.append(this.#parts.hop);
  }

  #drawHeads(lanes) {
    if (this.#parts.heads.childElementCount !== lanes.length) this.#parts.heads.replaceChildren(...heads(lanes));
    this.#root.dataset.lanes = Math.min(lanes.length, LANES.length);
  }

  #tellFacts({ elapsed, tokenRequests, cached }) {
    const times = tokenRequests === 1 ? "1 token request" : `${tokenRequests} token requests`;
    const kept = cached > 0 ? `${cached} from a cache` : "";
    this.#parts.facts.textContent = [`Elapsed ${elapsed} ms`, times, kept].filter(Boolean).join(" · ");
  }
}
