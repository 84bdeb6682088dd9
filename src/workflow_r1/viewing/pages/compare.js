/**
 * Runs, spans of steps or methods beside each other: curves with bands over seeds, differences, questions, graphs.
 * @module
 */
import { drawChart, dropCharts } from "./curves.js";
import { el, number, percent, quoted, replace, section, short, signed, table } from "./dom.js";
import { drawFlow } from "./graph.js";
import { chartsOf } from "./run.js";
import { operatorChip, outcomeChip } from "./rows.js";

const CURVES = ["Right answers", "Success", "Reward", "Turns", "Length", "Entropy", "Importance ratio", "Time of a step", "Money"];

/**
 * @param {HTMLElement} main
 * @param {import("./app.js").App} app
 * @param {URLSearchParams} query `side`, several times
 */
export function showCompare(main, app, query) {
  let left = false;
  const usual = app.defaultSides();
  const sides = query.getAll("side").length > 1 ? query.getAll("side") : usual;
  const body = el("div");
  replace(main, el("h1", {}, "Compare"), chooser(), body);
  draw();

  function chooser() {
    const offers = app.sides();
    const select = (at) =>
      el("select", { "aria-label": `Side ${at + 1}`, onchange: (event) => {
        const next = [...sides];
        if (event.target.value) next[at] = event.target.value;
        else next.splice(at, 1);
        app.visit(`#/compare?${new URLSearchParams(next.map((side) => ["side", side]))}`);
      } }, at >= 2 && el("option", { value: "" }, "(leave out)"), [...offers, ...(sides[at] && !offers.some(([value]) => value === sides[at]) ? [[sides[at], sides[at]]] : [])].map(([value, label]) => el("option", { value, selected: value === sides[at] }, label)));
    const add = el("select", { "aria-label": "One more side", onchange: (event) => event.target.value && app.visit(`#/compare?${new URLSearchParams([...sides, event.target.value].map((side) => ["side", side]))}`) }, el("option", { value: "" }, "one more"), offers.map(([value, label]) => el("option", { value }, label)));
    return el("form", { class: "sides", onsubmit: (event) => event.preventDefault() }, sides.map((_, at) => [at > 0 && el("span", { class: "note" }, at === 1 ? "against" : "and"), select(at)]), sides.length < 6 && add);
  }

  async function draw() {
    if (sides.length < 2) return replace(body, el("p", { class: "note hint" }, "Give `workflow-r1 watch` two runs, or choose two spans of steps."));
    const [found, summaries] = await Promise.all([
      app.backend.compare(sides).catch((error) => ({ problem: error.message })),
      Promise.all([...new Set(sides.map((side) => Number.parseInt(side, 10)))].map((source) => app.summary(source).then((summary) => ({ source, summary })).catch(() => null))),
    ]);
    if (left) return undefined;
    if (found.problem) return replace(body, el("p", { class: "problem" }, found.problem));
    dropCharts();
    return replace(body, section("Differences", "differences", differences(found)), curves(summaries.filter(Boolean)), section("Question by question", "questions", questions(found)));
  }

  function differences(found) {
    const [first] = found.sides;
    const interval = (one, digits = 3) => (one ? `${number(one.estimate, digits)} [${number(one.low, digits)}, ${number(one.high, digits)}]` : "\u2013");
    const differs = (one) => {
      if (!one) return "\u2013";
      const clear = one.low > 0 || one.high < 0;
      return el(clear ? "b" : "span", { title: one.is_paired ? `paired over ${one.num_common} questions` : `${one.num_common === 1 ? "a single" : "no"} common question: the means are compared` }, `${signed(one.estimate, 3)} [${number(one.low, 3)}, ${number(one.high, 3)}]`);
    };
    return [
      el("p", { class: "note" }, `Means over questions with 95% intervals. Differences are from ${first.label}: paired where both sides have at least two questions in common (${number(found.num_common)} are common to all), bold where the interval leaves 0 out. They cover the choice of questions, not that of seeds.`),
      table("Means and differences", ["Figure", ...found.sides.map((side) => side.label), ...found.sides.slice(1).map((side) => `${side.label} \u2212 ${first.label}`)],
        [["trajectories", ...found.sides.map((side) => number(side.num_trajectories)), ...found.sides.slice(1).map(() => "")], ["questions", ...found.sides.map((side) => number(side.num_questions)), ...found.sides.slice(1).map(() => "")], ["infrastructure failed", ...found.sides.map((side) => number(side.num_failed)), ...found.sides.slice(1).map(() => "")],
          ...found.figures.map((figure) => [figure.name, ...figure.means.map((one) => interval(one)), ...figure.differences.slice(1).map(differs)])]),
    ];
  }

  function curves(known) {
    const runs = known.filter(({ summary }) => summary.metrics.step.length > 0);
    if (new Set(runs.map(({ source }) => source)).size < 2) return null;
    // Runs that differ in their seeds alone are one curve with a band.
    const kinds = new Map();
    for (const { summary } of runs) {
      const key = summary.same_but_seed || summary.title;
      if (!kinds.has(key)) kinds.set(key, []);
      kinds.get(key).push(summary);
    }
    const steps = [...new Set(runs.flatMap(({ summary }) => summary.metrics.step))].sort((one, other) => one - other);
    const charts = [];
    for (const title of CURVES) {
      const lines = [...kinds.values()].map((summaries) => band(title, summaries, steps)).filter(Boolean);
      if (lines.length) charts.push(drawChart({ title, steps, lines, group: "compare" }));
    }
    const told = [...kinds.values()].some((summaries) => summaries.length > 1) ? "A line is the mean over runs that differ in their seed alone, its band reaches from the lowest to the highest of them." : "No two of these runs differ in their seed alone, so that no band is drawn.";
    return section("Curves", "curves", el("p", { class: "note" }, told), el("div", { class: "charts" }, charts));
  }

  function band(title, summaries, steps) {
    const lines = summaries.map((summary) => ({ summary, line: chartsOf(summary).find((chart) => chart.title === title)?.lines[0] })).filter(({ line }) => line);
    if (!lines.length) return null;
    const at = steps.map((step) => lines.map(({ summary, line }) => line.values[summary.metrics.step.indexOf(step)]).filter((value) => value !== null && value !== undefined));
    const label = lines.length > 1 ? `${summaries[0].name}, ${lines.length} seeds` : summaries[0].title;
    const values = at.map((found) => (found.length ? found.reduce((sum, value) => sum + value, 0) / found.length : null));
    if (lines.length < 2) return { label, values };
    return { label, values, low: at.map((found) => (found.length ? Math.min(...found) : null)), high: at.map((found) => (found.length ? Math.max(...found) : null)) };
  }

  function questions(found) {
    if (!found.questions.length) return el("p", { class: "note" }, "These sides have no question in common.");
    const link = (side, id) => `#/list/${found.sides[side].source}?id=${encodeURIComponent(id)}`;
    const rows = found.questions.map((one) => [
      quoted(one.text),
      quoted(one.class),
      ...one.cells.map((cell, side) => (cell ? el(cell.place ? "a" : "span", { href: cell.place ? link(side, cell.id) : null }, cell.num === 1 ? (cell.right ? "right" : "wrong") : `${cell.right}/${cell.num}`, cell.answer !== null && [" ", quoted(cell.answer.slice(0, 40), "note")]) : "\u2013")),
      one.cells.some((cell) => cell?.place) && el("button", { type: "button", class: "link", onclick: (event) => beside(one, found, event.target.closest("tr")) }, "graphs"),
    ]);
    return [el("p", { class: "note" }, `The ${number(found.questions.length)} on which they differ most.`), table("Right answers by question", ["Question", "Class", ...found.sides.map((side) => side.label), ""], rows, { names: 2 })];
  }

  async function beside(one, found, row) {
    if (row.nextElementSibling?.classList.contains("graphs")) return row.nextElementSibling.remove();
    const boxes = one.cells.map((cell, side) => ({ cell, side })).filter(({ cell }) => cell?.place);
    const told = await Promise.all(boxes.map(async ({ cell, side }) => (await app.backend.trajectories(found.sides[side].source, [cell.place]))[0]));
    const holder = el("tr", { class: "graphs" }, el("td", { colspan: row.children.length }, el("div", { class: "graph-row" }, told.map((each, at) => el("div", {}, el("h3", {}, found.sides[boxes[at].side].label), each.unreadable ? el("p", { class: "problem" }, each.unreadable) : [el("p", {}, outcomeChip(each.outcome ?? "unknown"), " ", quoted(each.answer ?? "no answer")), drawFlow(each.flow)])))));
    return row.after(holder);
  }

  return { update() {}, keys: {}, moved: () => false, leave: () => { left = true; dropCharts(); } };
}

/**
 * Two trajectories of one question beside each other.
 * @param {HTMLElement} main
 * @param {import("./app.js").App} app
 * @param {number} source
 * @param {URLSearchParams} query `before` and `after`, ids
 */
export function showPair(main, app, source, query) {
  let left = false;
  let drawn = false;
  async function update() {
    const rows = app.rows(source);
    const pair = ["before", "after"].map((name) => rows.byId.get(query.get(name) ?? ""));
    if (drawn) return;
    if (pair.some((row) => !row)) {
      if (rows.isWhole) replace(main, el("p", { class: "note hint" }, "This run does not hold both trajectories."));
      return;
    }
    drawn = true;
    const told = await app.backend.trajectories(source, pair.map((row) => [row.file, row.place]));
    if (left) return;
    replace(
      main,
      el("h1", { dir: "auto" }, pair[0].question),
      el("div", { class: "graph-row" }, told.map((one, at) => el("section", {}, el("h2", {}, `${at ? "After" : "Before"}: step ${pair[at].step}`),
        el("p", {}, outcomeChip(pair[at].outcome), " ", quoted(one.answer ?? "no answer"), " ", el("a", { href: `#/list/${source}?id=${encodeURIComponent(pair[at].id)}` }, "open")),
        one.unreadable ? el("p", { class: "problem" }, one.unreadable) : [el("p", { class: "chain" }, pair[at].operators.map(operatorChip)), drawFlow(one.flow), el("p", { class: "note" }, `reward ${short(pair[at].reward)}, ${percent(one.reward?.parts.f1 ?? null)} F1`)]))),
    );
  }
  update();
  return { update, keys: {}, moved: () => false, leave: () => { left = true; } };
}
