/**
 * The list of trajectories with its filters; beside it the one that was chosen.
 * @module
 */
import { el, number, quoted, replace, say, short } from "./dom.js";
import { showTrajectory } from "./conversation.js";
import { EFFECTS, OUTCOMES, operatorChip, outcomeChip, placeOf } from "./rows.js";

const ROW_HEIGHT = 58;

/**
 * Show the list.
 * @param {HTMLElement} main
 * @param {import("./app.js").App} app
 * @param {number} source
 * @param {URLSearchParams} query filters, and `id` of the chosen trajectory
 * @returns {{update: () => void, keys: Record<string, () => void>, moved: (query: URLSearchParams) => boolean, leave: () => void}}
 */
export function showList(main, app, source, query) {
  const rows = app.rows(source);
  let shown = [];
  let chosen = -1;
  let drawn = "";
  let onShow = "";
  let left = false;
  const search = { words: "", found: new Set(), busy: false, read: 0 };
  let effects = app.effects(source);

  const list = el("div", { class: "rows", role: "listbox", tabindex: 0, "aria-label": "Trajectories", onscroll: () => paint(), onkeydown: (event) => move(event) });
  const space = el("div", { class: "space", role: "presentation" });
  list.append(space);
  const count = el("p", { class: "note count", role: "status" });
  const detail = el("div", { class: "detail", id: "detail" });
  const controls = {};
  const filters = el("form", { class: "filters", role: "search", "aria-label": "Filters", onsubmit: (event) => event.preventDefault() });
  buildFilters();
  replace(main, el("div", { class: "split" }, el("div", { class: "side" }, filters, count, list), detail));
  update();

  function buildFilters() {
    const set = (name) => (event) => app.go({ [name]: event.target.value || null }, { keep: true });
    let waiting;
    controls.q = el("input", {
      type: "search", placeholder: "Search all texts  ( / )", "aria-label": "Search in all texts", value: query.get("q") ?? "",
      oninput: (event) => { clearTimeout(waiting); waiting = setTimeout(() => set("q")(event), 180); },
    });
    controls.step = el("input", { type: "text", inputmode: "numeric", placeholder: "step, e.g. 3 or 1-5", "aria-label": "Steps", value: query.get("step") ?? "", onchange: set("step") });
    for (const [name, label] of [["outcome", "Outcome"], ["class", "Class"], ["operator", "Operator"], ["effect", "An operator turned"], ["file", "Method"]]) {
      controls[name] = el("select", { "aria-label": label, onchange: set(name) });
    }
    const clear = el("button", { type: "button", class: "link", onclick: () => app.go(Object.fromEntries([...Object.keys(controls), "workflow", "id"].map((name) => [name, null])), { keep: true }) }, "Clear");
    filters.append(controls.q, controls.outcome, controls.class, controls.operator, controls.effect, controls.file, controls.step, clear);
  }

  function fillFilters() {
    options(controls.outcome, "any outcome", rows.counts("outcome").map(([value, num]) => [value, `${(OUTCOMES[value] ?? OUTCOMES.unknown).word} (${number(num)})`]), query.get("outcome"));
    options(controls.class, "any class", rows.counts("class").map(([value, num]) => [value, `${value} (${number(num)})`]), query.get("class"));
    options(controls.operator, "any operator", rows.counts("operators").map(([value, num]) => [value, `${value} (${number(num)} calls)`]), query.get("operator"));
    options(controls.effect, "any effect", ["right_to_wrong", "wrong_to_right", "no_change"].map((kind) => [kind, `an operator: ${EFFECTS[kind].word}`]), query.get("effect"));
    options(controls.file, "any method", rows.files.map((label, file) => [String(file), label]), query.get("file"));
    controls.file.hidden = rows.files.length < 2;
    controls.step.hidden = rows.span === null;
    for (const name of ["q", "step"]) {
      if (document.activeElement !== controls[name]) controls[name].value = query.get(name) ?? "";
    }
  }

  function update() {
    // Those of an earlier generation are gone with its rows.
    effects = app.effects(source);
    fillFilters();
    // Only the words that are looked for now count.
    if ((query.get("q") ?? "").trim() !== search.words) {
      search.words = (query.get("q") ?? "").trim();
      search.found = new Set();
      lookFor(search.words);
    }
    if (query.get("effect") && !effects.whole) app.readEffects(source, () => !left && query.get("effect") !== null, update);
    const start = performance.now();
    shown = rows.filter(query, { found: search.found, effects: effects.byPlace });
    app.filterMilliseconds = performance.now() - start;
    space.style.height = `${shown.length * ROW_HEIGHT}px`;
    const id = query.get("id");
    chosen = shown.findIndex((row) => row.id === id);
    drawn = "";
    paint();
    tell();
    show(id);
  }

  function tell() {
    const doing = [];
    if (!rows.isWhole) doing.push(`read ${number(rows.all.length)} of ${number(rows.totals.reduce((sum, one) => sum + one, 0))}`);
    if (search.busy) doing.push(`searching, ${number(search.read)} texts read`);
    if (query.get("effect") && !effects.whole) doing.push(`effects of ${number(effects.byPlace.size)} read`);
    replace(count, `${number(shown.length)} of ${number(rows.byId.size)} trajectories`, doing.length > 0 && ` (${doing.join("; ")})`);
  }

  async function lookFor(words) {
    search.busy = words !== "";
    search.read = 0;
    let next = words ? [0, 0] : null;
    while (next) {
      const reply = await app.backend.search(source, words, next).catch((error) => (say(error.message), { found: [], next: null }));
      if (left || words !== search.words) return;
      for (const place of reply.found) search.found.add(place.join("."));
      next = reply.next;
      search.read = next ? rows.seen.slice(0, next[0]).reduce((sum, one) => sum + one, 0) + next[1] : rows.all.length;
      search.busy = next !== null;
      if (reply.found.length || !next) update();
      else tell();
    }
  }

  /** Draw the rows that are in sight. */
  function paint() {
    const first = Math.max(0, Math.floor(list.scrollTop / ROW_HEIGHT) - 4);
    const last = Math.min(shown.length, first + Math.ceil((list.clientHeight || 600) / ROW_HEIGHT) + 8);
    const key = `${first}-${last}-${chosen}-${shown.length}`;
    if (key === drawn) return;
    drawn = key;
    replace(space, shown.slice(first, last).map((row, at) => option(row, first + at)));
    if (chosen >= 0) list.setAttribute("aria-activedescendant", `row-${chosen}`);
    else list.removeAttribute("aria-activedescendant");
  }

  function option(row, at) {
    const node = el(
      "div",
      { class: at === chosen ? "row chosen" : "row", role: "option", id: `row-${at}`, "aria-selected": at === chosen ? "true" : "false", "aria-setsize": shown.length, "aria-posinset": at + 1, onclick: () => choose(at) },
      el("div", { class: "row-top" }, outcomeChip(row.outcome), el("span", { class: "ask", dir: "auto" }, row.question)),
      el("div", { class: "row-low" }, row.step !== null && el("span", {}, `step ${row.step}`), row.reward !== null && el("span", {}, short(row.reward)),
        row.answer !== null && quoted(row.answer.slice(0, 60), "reply"), el("span", { class: "chain" }, row.operators.slice(0, 6).map(operatorChip), row.operators.length > 6 && el("span", {}, `+${row.operators.length - 6}`))),
    );
    node.style.top = `${at * ROW_HEIGHT}px`;
    return node;
  }

  function choose(at) {
    if (at < 0 || at >= shown.length) return;
    app.go({ id: shown[at].id }, { keep: true, replace: query.has("id") });
    if (matchMedia("(max-width: 60rem)").matches) detail.scrollIntoView({ block: "start" });
  }

  function move(event) {
    const page = Math.max(1, Math.floor(list.clientHeight / ROW_HEIGHT) - 1);
    const to = { ArrowDown: chosen + 1, ArrowUp: chosen - 1, PageDown: chosen + page, PageUp: chosen - page, Home: 0, End: shown.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    choose(Math.min(shown.length - 1, Math.max(0, to)));
  }

  async function show(id) {
    if (chosen >= 0) {
      const top = chosen * ROW_HEIGHT;
      if (top < list.scrollTop || top + ROW_HEIGHT > list.scrollTop + list.clientHeight) {
        list.scrollTop = Math.max(0, top - list.clientHeight / 3);
        paint();
      }
    }
    const row = id ? rows.byId.get(id) : null;
    const key = row ? `${id} ${rows.generation}` : `none ${id} ${rows.isWhole}`;
    if (key === onShow) return;
    onShow = key;
    if (!row) {
      replace(detail, el("p", { class: "note hint" }, id && rows.isWhole ? "This run holds no trajectory of this name: it may have been continued from an earlier step." : "Choose a trajectory: the arrow keys move, j and k too, / searches, ? lists all keys."));
      return;
    }
    const [one] = await app.backend.trajectories(source, [[row.file, row.place]]).catch((error) => [{ unreadable: error.message }]);
    if (left || onShow !== key) return;
    const summary = await app.summary(source);
    const links = { group: `#/group/${source}?id=${encodeURIComponent(row.id)}`, step: `#/list/${source}?step=${row.step}` };
    replace(detail, showTrajectory(one, { summary, links, copy: () => app.backend.stored(source, [row.file, row.place]) }));
    detail.scrollTop = 0;
  }

  return {
    update,
    moved(next) {
      query = next;
      update();
      return true;
    },
    leave() {
      left = true;
    },
    keys: {
      j: () => choose(chosen + 1),
      k: () => choose(Math.max(0, chosen - 1)),
      "/": () => controls.q.focus(),
      g: () => chosen >= 0 && app.visit(`#/group/${source}?id=${encodeURIComponent(shown[chosen].id)}`),
      c: () => detail.querySelector("[data-key=c]")?.click(),
      l: () => detail.querySelector("[data-key=l]")?.click(),
    },
  };
}

function options(select, any, pairs, value) {
  const key = JSON.stringify([pairs, value]);
  if (select.dataset.key === key) return;
  const known = pairs.some(([one]) => one === value);
  replace(select, el("option", { value: "" }, any), pairs.map(([one, label]) => el("option", { value: one }, label)), value && !known && el("option", { value }, value));
  select.value = value ?? "";
  select.dataset.key = key;
}
