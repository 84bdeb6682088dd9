/**
 * The page as a whole: which view its address asks for, its data, and what is new.
 * @module
 */
import { openBackend } from "./data.js";
import { el, number, quoted, replace, say } from "./dom.js";
import { showCompare, showPair } from "./compare.js";
import { showGroup } from "./group.js";
import { showList } from "./list.js";
import { Rows } from "./rows.js";
import { showRun } from "./run.js";

/** Time between two questions for what is new, in milliseconds. */
const POLL = 2000;

const KEYS = [
  ["j, k", "next and previous trajectory"], ["/", "search"], ["g", "the group of the trajectory"], ["c", "copy the trajectory as JSON"],
  ["l", "copy a link to what is shown"], ["r", "the run"], ["t", "its trajectories"], ["m", "compare"], ["?", "these keys"],
];

export class App {
  constructor() {
    this.backend = openBackend();
    /** @type {any[]} */
    this.state = [];
    this.known = [];
    this.summaries = new Map();
    this.read = new Map();
    this.view = null;
    this.route = "";
    this.filterMilliseconds = 0;
    this.problem = "";
  }

  async start() {
    addEventListener("hashchange", () => this.show());
    addEventListener("keydown", (event) => this.key(event));
    await this.look();
    if (!this.view) this.show();
    if (this.backend.live) this.poll();
  }

  /** Ask for what is new, and fetch it. */
  async look() {
    try {
      const state = await this.backend.state();
      if (this.problem) {
        this.problem = "";
        this.header();
      }
      if (state === null) return;
      this.state = state;
      document.title = `${state.map((one) => one.title).join(", ")} \u2013 Workflow-R1`;
      state.forEach((_, source) => (this.known[source] ??= new Rows()));
      this.header();
      // The first view does not wait for all rows.
      if (this.view) this.view.update();
      else this.show();
      for (const source of state.keys()) await this.fetchRows(source);
    } catch (error) {
      this.problem = `${error.message}: shown is what was read before`;
      this.header();
    }
  }

  async fetchRows(source) {
    const rows = this.known[source];
    const { generation, rows: totals } = this.state[source];
    for (let round = 0; round < 1000; round++) {
      const isWhole = rows.generation === generation && totals.every((total, file) => (rows.seen[file] ?? 0) >= total);
      if (isWhole) return;
      rows.add(await this.backend.rows(source, rows.generation === generation ? rows.seen : []));
      if (rows.generation !== generation) return;
      this.view?.update();
    }
  }

  async poll() {
    for (;;) {
      await new Promise((done) => setTimeout(done, POLL));
      // A page that nobody sees asks nothing.
      if (document.visibilityState === "visible") await this.look();
    }
  }

  rows(source) {
    return (this.known[source] ??= new Rows());
  }

  total(source) {
    return (this.state[source]?.rows ?? []).reduce((sum, one) => sum + one, 0);
  }

  version(source) {
    return this.state[source]?.version ?? "";
  }

  /** Everything of a run but its trajectories; asked for anew where it changed. */
  async summary(source) {
    const version = this.version(source);
    const known = this.summaries.get(source);
    if (known?.version === version) return known.summary;
    const summary = await this.backend.summary(source);
    this.summaries.set(source, { version, summary });
    return summary;
  }

  /** What operators did to answers, as far as it was read. */
  effects(source) {
    const { generation } = this.rows(source);
    const known = this.read.get(source);
    if (known && known.generation === generation) {
      if (known.whole && known.total !== this.total(source)) known.whole = false;
      return known;
    }
    const made = { generation, byPlace: new Map(), next: [0, 0], whole: false, busy: false, total: 0 };
    this.read.set(source, made);
    return made;
  }

  /**
   * Read on, until all is read or nobody wants it any more.
   * @param {number} source
   * @param {() => boolean} wanted
   * @param {() => void} tell called after each slice
   */
  async readEffects(source, wanted, tell) {
    const effects = this.effects(source);
    if (effects.busy || effects.whole) return;
    effects.busy = true;
    try {
      while (wanted() && this.effects(source) === effects) {
        const reply = await this.backend.effects(source, effects.next);
        for (const [file, place, calls] of reply.found) effects.byPlace.set(`${file}.${place}`, calls);
        if (reply.next === null) {
          effects.whole = true;
          effects.total = this.total(source);
          // More may come: only the last file of a run at work grows.
          const last = this.state[source].rows.length - 1;
          effects.next = [Math.max(0, last), this.state[source].rows[last] ?? 0];
          break;
        }
        effects.next = reply.next;
        tell();
      }
    } catch (error) {
      say(error.message);
      effects.whole = true;
    } finally {
      effects.busy = false;
    }
    if (wanted()) tell();
  }

  /** Sides that a comparison offers: sources, methods of an evaluation, thirds of a run. */
  sides() {
    return this.state.flatMap((one, source) => {
      const { span } = one;
      const sides = [[String(source), one.title]];
      if (one.files.length > 1) sides.push(...one.files.map((label, file) => [`${source}/${file}`, `${one.title}: ${label}`]));
      if (span && span[1] > span[0]) {
        const third = Math.max(0, Math.floor((span[1] - span[0] + 1) / 3) - 1);
        sides.push([`${source}@${span[0]}-${span[0] + third}`, `${one.title}, steps ${span[0]} to ${span[0] + third}`], [`${source}@${span[1] - third}-${span[1]}`, `${one.title}, steps ${span[1] - third} to ${span[1]}`]);
      }
      return sides;
    });
  }

  defaultSides() {
    if (this.state.length > 1) return this.state.map((_, source) => String(source)).slice(0, 6);
    return this.sides().slice(1, 3).map(([value]) => value);
  }

  /**
   * Change the query of the address.
   * @param {Record<string, string|null>} changes null takes a key away
   * @param {{keep?: boolean, replace?: boolean}} [options]
   */
  go(changes, { keep = false, replace: over = false } = {}) {
    const [path, query] = parse();
    const next = keep ? query : new URLSearchParams();
    for (const [name, value] of Object.entries(changes)) {
      if (value === null) next.delete(name);
      else next.set(name, value);
    }
    const hash = `#/${path.join("/")}${next.size ? `?${next}` : ""}`;
    this.visit(hash, { replace: over });
  }

  /**
   * Show what an address names. It is shown at once, so that the next key already acts on it: the browser tells of a change
   * of `location.hash` only later, and a fast second key would move from the old place.
   * @param {string} hash
   * @param {{replace?: boolean}} [options] replace: the step back leads past the address before
   */
  visit(hash, { replace: over = false } = {}) {
    if (over) history.replaceState(null, "", hash);
    else if (hash !== location.hash) history.pushState(null, "", hash);
    this.show();
  }

  show() {
    if (!this.state.length) {
      replace(document.getElementById("main"), el("p", { class: "problem" }, this.problem || "There is nothing to show."));
      return;
    }
    const [path, query] = parse();
    const [name = "", number = "0"] = path;
    const source = Number(number);
    const kind = name || (this.state.length > 1 ? "compare" : "run");
    const route = `${kind}/${source}`;
    this.header();
    if (route === this.route && this.view?.moved(query)) return;
    this.route = route;
    this.view?.leave();
    const main = document.getElementById("main");
    main.className = kind;
    replace(main);
    window.scrollTo(0, 0);
    if (kind !== "compare" && !this.state[source]) {
      this.view = null;
      replace(main, el("p", { class: "problem" }, "There is no such run here."));
    } else if (kind === "list") this.view = showList(main, this, source, query);
    else if (kind === "group") this.view = showGroup(main, this, source, query);
    else if (kind === "pair") this.view = showPair(main, this, source, query);
    else if (kind === "compare") this.view = showCompare(main, this, query);
    else this.view = showRun(main, this, source);
  }

  header() {
    const [path] = parse();
    const [name = "", number_ = "0"] = path;
    const source = Number(number_) || 0;
    const kind = name || (this.state.length > 1 ? "compare" : "run");
    const tab = (view, label, hash) => el("a", { href: hash, "aria-current": kind === view ? "page" : null }, label);
    const pick = el("select", { "aria-label": "Run", onchange: (event) => this.visit(`#/${kind === "list" ? "list" : "run"}/${event.target.value}`) }, this.state.map((one, at) => el("option", { value: String(at), selected: at === source }, one.title)));
    const live = this.state[source]?.live;
    replace(
      document.getElementById("top"),
      el("a", { class: "brand", href: "#/" }, "Workflow-R1"),
      this.state.length > 1 ? pick : el("span", { class: "name" }, quoted(this.state[0]?.title ?? "")),
      el("nav", { "aria-label": "Views" }, tab("run", "Run", `#/run/${source}`), tab("list", `Trajectories (${number(this.total(source))})`, `#/list/${source}`), tab("compare", "Compare", "#/compare")),
      el("span", { class: "grow" }),
      this.problem && el("span", { class: "problem" }, this.problem),
      this.backend.live ? el("span", { class: live ? "live on" : "live" }, live ? "at work, updates by itself" : "not at work") : el("span", { class: "live" }, "saved page"),
      el("button", { type: "button", class: "link", onclick: () => this.help(), "aria-label": "Keys" }, "?"),
    );
  }

  help() {
    const dialog = /** @type {HTMLDialogElement} */ (el("dialog", { "aria-labelledby": "keys" }, el("h2", { id: "keys" }, "Keys"), el("dl", { class: "pairs" }, KEYS.map(([key, does]) => [el("dt", {}, key), el("dd", {}, does)])), el("button", { type: "button", onclick: () => dialog.close() }, "Close")));
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (event.target instanceof Element && event.target.closest("input, select, textarea, dialog")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const [path] = parse();
    const source = Number(path[1] ?? 0) || 0;
    const own = { r: () => this.visit(`#/run/${source}`), t: () => this.visit(`#/list/${source}`), m: () => this.visit("#/compare"), "?": () => this.help() };
    const act = this.view?.keys[event.key] ?? own[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }
}

/** The address: its path and its query. */
function parse() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  return [path.split("/").filter(Boolean), new URLSearchParams(query)];
}

const app = new App();
// For tests and for the curious: what the page holds.
globalThis.workflowR1 = app;
app.start();
