/**
 * The page of a run: what it is, its alarms, curves, evaluations, workflows, and its configuration.
 * @module
 */
import { drawChart, dropCharts } from "./curves.js";
import { showAtlas } from "./atlas.js";
import { el, number, percent, quoted, replace, section, short, table } from "./dom.js";
import { EFFECTS, operatorChip, outcomeChip } from "./rows.js";

/**
 * @param {HTMLElement} main
 * @param {import("./app.js").App} app
 * @param {number} source
 */
export function showRun(main, app, source) {
  let left = false;
  let version = "";
  let summary = null;
  const parts = el("div", { class: "run" });
  const effectsBox = el("div");
  const pairsBox = el("div");
  let paired = "";
  replace(main, parts);

  async function update() {
    if (app.version(source) === version) return drawEffects();
    const now = app.version(source);
    const found = await app.summary(source);
    if (left) return;
    version = now;
    summary = found;
    draw();
  }

  function draw() {
    const place = window.scrollY;
    dropCharts();
    const pick = (step) => app.visit(`#/list/${source}?step=${step}`);
    const charts = chartsOf(summary).map((chart) => drawChart({ ...chart, alarms: summary.alarms, onpick: pick }));
    replace(
      parts,
      heading(summary, app, source),
      summary.alarms.length > 0 && section("Alarms", "alarms", alarms()),
      charts.length > 0 && section("Curves", "curves", el("p", { class: "note" }, "A click on a curve opens the trajectories of that step. Sampled figures are of training, with exploration; greedy ones are evaluations, with 95% intervals."), el("div", { class: "charts" }, charts), more()),
      summary.evaluations.length > 0 && section("Evaluations", "evaluations", evaluations(summary.evaluations)),
      summary.atlas.parts.length > 0 && section("Atlas of workflows", "atlas", showAtlas(summary.atlas, { source, currency: summary.currency })),
      section("What operators did to answers", "effects", effectsBox),
      summary.pairs.length > 0 && section("Before and after", "pairs", pairsBox),
      section("Configuration", "configuration", ...[["Configuration", summary.config], ["Card", summary.card], ["Machine and versions", summary.environment]].filter(([, text]) => text).map(([name, text]) => el("details", {}, el("summary", {}, name), el("pre", { tabindex: 0 }, text)))),
    );
    drawEffects();
    window.scrollTo(0, place);
  }

  function alarms() {
    return el("ul", { class: "alarms" }, summary.alarms.map((alarm) =>
      el("li", {}, el("a", { href: `#/list/${source}?step=${alarm.step}` }, `step ${alarm.step}`), el("span", { class: "chip" }, alarm.title), alarm.until !== null && el("span", { class: "note" }, ` over at step ${alarm.until}`), el("p", {}, quoted(alarm.message)), alarm.remedy && el("p", { class: "note" }, quoted(alarm.remedy)))));
  }

  function more() {
    const names = Object.keys(summary.metrics.series);
    const chosen = el("div", { class: "charts" });
    const select = el("select", { "aria-label": "Another curve", onchange: (event) => {
      const key = event.target.value;
      if (key) chosen.append(drawChart({ title: key, steps: summary.metrics.step, lines: [{ label: key.split("/").pop(), values: summary.metrics.series[key] }], alarms: summary.alarms, onpick: (step) => app.visit(`#/list/${source}?step=${step}`) }));
      event.target.value = "";
    } }, el("option", { value: "" }, `any other of ${names.length} quantities`), names.map((name) => el("option", { value: name }, name)));
    return [el("p", {}, select), chosen];
  }

  function pairs() {
    const rows = app.rows(source);
    const cell = (id) => {
      const row = rows.byId.get(id);
      if (!row) return "\u2013";
      return el("a", { class: "pair", href: `#/list/${source}?id=${encodeURIComponent(id)}` }, outcomeChip(row.outcome), ` step ${row.step} `, row.operators.map(operatorChip));
    };
    return [
      el("p", { class: "note" }, `${number(summary.num_pairs)} questions were asked in more than one step. The first trajectory of each, and the last:`),
      table("Before and after learning", ["Question", "Before", "After", ""], summary.pairs.map((pair) => [quoted(pair.question), cell(pair.before), cell(pair.after), el("a", { href: `#/pair/${source}?before=${encodeURIComponent(pair.before)}&after=${encodeURIComponent(pair.after)}` }, "side by side")]), { names: 4 }),
    ];
  }

  /** Their trajectories are known once their rows are here. */
  function drawPairs() {
    const key = `${version} ${app.rows(source).byId.size}`;
    if (key === paired) return;
    paired = key;
    if (summary.pairs.length) replace(pairsBox, pairs());
  }

  function drawEffects() {
    if (!summary) return;
    drawPairs();
    const effects = app.effects(source);
    const total = app.rows(source).byId.size;
    const counts = new Map();
    for (const calls of effects.byPlace.values()) {
      for (const [operator, kind, after] of calls) {
        if (!counts.has(operator)) counts.set(operator, { num: 0, right: 0, wrong: 0 });
        const row = counts.get(operator);
        row.num += 1;
        row[kind] = (row[kind] ?? 0) + 1;
        if (after !== null) row[after ? "right" : "wrong"] += 1;
      }
    }
    const sorted = [...counts].sort((one, other) => other[1].num - one[1].num);
    const link = (operator, kind, num) => (num ? el("a", { href: `#/list/${source}?operator=${encodeURIComponent(operator)}&effect=${kind}` }, number(num)) : "0");
    replace(
      effectsBox,
      el("p", { class: "note" }, "What the answer was before and after each call, as far as the golden answers tell: a call about a part of the question is unknown."),
      effects.whole || effects.busy
        ? table(effects.whole ? "All trajectories" : `${number(effects.byPlace.size)} of ${number(total)} trajectories read`, ["Operator", "calls", "wrong to right", "right to wrong", "no change", "unknown", "right after it", "wrong after it"],
            sorted.map(([operator, row]) => [operatorChip(operator), number(row.num), link(operator, "wrong_to_right", row.wrong_to_right), link(operator, "right_to_wrong", row.right_to_wrong), number(row.no_change ?? 0), number(row.unknown ?? 0), number(row.right), number(row.wrong)]))
        : el("button", { type: "button", onclick: () => { app.readEffects(source, () => !left, drawEffects); drawEffects(); } }, `Read all ${number(total)} trajectories`),
    );
    // What reads quickly is read at once.
    if (!effects.whole && !effects.busy && total > 0 && total <= 3000) {
      app.readEffects(source, () => !left, drawEffects);
      drawEffects();
    }
  }

  update();
  return { update, keys: {}, moved: () => false, leave: () => { left = true; dropCharts(); } };
}

/** What a run is, in a few lines. */
function heading(summary, app, source) {
  const steps = summary.metrics.step.filter((step) => step > 0).length;
  const total = app.total(source);
  const facts = [
    { training: "a training run", evaluation: "an evaluation", file: "a file of trajectories" }[summary.kind],
    steps && `${number(steps)} ${summary.num_steps ? `of ${number(summary.num_steps)} ` : ""}steps`,
    `${number(total)} trajectories`,
    summary.started && `started ${summary.started.replace("T", " ").replace(/\+00:00$/, " UTC")}`,
    summary.seed !== null && summary.seed !== undefined && `seed ${summary.seed}`,
  ].filter(Boolean);
  const measured = summary.evaluations.map((row) => [row.step, measureOf(row)]).filter(([, found]) => found);
  const [first, last] = [measured[0], measured.at(-1)];
  return el(
    "header",
    { class: "head" },
    el("h1", {}, quoted(summary.title)),
    el("p", { class: "note" }, facts.join(", ")),
    summary.simulation && el("p", { class: "simulation" }, "Simulation: at least one part is the embedded world's, so no figure here is of a real model or real questions."),
    summary.problems.map((problem) => el("p", { class: "problem", role: "note" }, quoted(problem))),
    measured.length > 1 && el("p", { class: "gist" }, `Held out, greedy: ${last[1].name} `, el("b", {}, percent(first[1].value)), ` at step ${first[0]}, `, el("b", {}, percent(last[1].value)), ` at step ${last[0]}`, last[1].low !== undefined && `, 95% interval ${percent(last[1].low)} to ${percent(last[1].high)}.`),
    el("p", {}, el("a", { class: "button", href: `#/list/${source}` }, `Look at the trajectories`)),
  );
}

function measureOf(row) {
  for (const [key, name] of [["exact_match", "exact match"], ["success", "success"], ["reward", "reward"]]) {
    const value = row[`evaluation/${key}`];
    if (value !== undefined && value !== null) return { key, name, value, low: row[`evaluation/${key}_low`], high: row[`evaluation/${key}_high`] };
  }
  return null;
}

function evaluations(rows) {
  const classes = [...new Set(rows.flatMap((row) => Object.keys(row)).map((key) => /^evaluation\/class\/(.+)\/(?:exact_match|success)$/.exec(key)?.[1]).filter(Boolean))].sort();
  const withInterval = (row, key) => {
    const value = row[key];
    if (value === undefined || value === null) return "\u2013";
    const [low, high] = [row[`${key}_low`], row[`${key}_high`]];
    return low === undefined ? short(value) : `${number(value, 3)} [${number(low, 3)}, ${number(high, 3)}]`;
  };
  const measure = rows.map(measureOf).find(Boolean) ?? { key: "reward", name: "reward" };
  return table(
    "Greedy, on held-out questions; 95% intervals (Wilson)",
    ["step", measure.name, ...classes, "reward", "turns", "LLM calls", "failed"],
    rows.map((row) => [row.step, withInterval(row, `evaluation/${measure.key}`), ...classes.map((name) => withInterval(row, `evaluation/class/${name}/${measure.key}`)), short(row["evaluation/reward"]), short(row["evaluation/turns"]), short(row["evaluation/llm_calls"]), number(row["evaluation/num_failed"])]),
  );
}

/** The charts of a run, each where its figures are there. */
export function chartsOf(summary) {
  const { step, series } = summary.metrics;
  const line = (key, label) => (series[key]?.some((value) => value !== null) ? { label, values: series[key] } : null);
  const all = (prefix, pick = (name) => name) =>
    Object.keys(series).filter((key) => key.startsWith(prefix)).map((key) => ({ key, name: pick(key.slice(prefix.length)) })).filter(({ name }) => name).map(({ key, name }) => line(key, name)).filter(Boolean);
  const turns = (end) => all("update/turn_", (rest) => (rest.endsWith(`/${end}`) ? `turn ${rest.split("/")[0]}` : null));
  const measure = ["exact_match", "success"].find((key) => series[`rollout/${key}`] || series[`evaluation/${key}`]);
  const greedy = measure && series[`evaluation/${measure}`] && { label: "greedy, held out", values: series[`evaluation/${measure}`], low: series[`evaluation/${measure}_low`], high: series[`evaluation/${measure}_high`], points: true };
  const used = (lines) => lines.filter((one) => one.values.some((value) => value)).sort((one, other) => sum(other.values) - sum(one.values));
  const sum = (values) => values.reduce((total, value) => total + (value ?? 0), 0);
  return [
    { title: measure === "success" ? "Success" : "Right answers", note: "sampled; greedy with 95% intervals", lines: [line(`rollout/${measure}`, "sampled"), greedy, line("rollout/f1", "sampled, F1"), line(`evaluation/sampled/${measure}`, "sampled, held out")] },
    { title: "Reward", note: "mean, and its parts", lines: [line("rollout/reward", "reward"), ...all("rollout/part/")] },
    { title: "Faults", note: "share of trajectories", lines: [line("rollout/malformed_rate", "malformed"), line("rollout/no_answer_rate", "no answer"), ...used(all("rollout/stop/", (name) => (name === "answered" ? null : name.replaceAll("_", " "))))] },
    { title: "Operator mix", note: "calls per trajectory", lines: used(all("rollout/calls/")) },
    { title: "Turns", note: "per trajectory", lines: [line("rollout/turns", "sampled"), series["evaluation/turns"] && { label: "greedy", values: series["evaluation/turns"], points: true }] },
    { title: "Length", note: "policy tokens per trajectory", lines: [line("rollout/policy_tokens", "tokens")] },
    { title: "Importance ratio", note: "mean by turn; 1 is the policy that sampled", lines: [line("update/ratio_mean", "all"), line("update/later/ratio_mean", "after the first optimiser step"), ...turns("ratio_mean")] },
    { title: "Clip fraction", note: "units whose gradient was cut, by turn", lines: [line("update/clip_fraction_low", "below"), line("update/clip_fraction_high", "above"), ...turns("clip_fraction")] },
    { title: "KL", note: "per token, in nats", lines: [line("update/approx_kl", "to the old policy"), line("update/kl", "to the reference"), line("update/sampler_kl", "to the sampler")] },
    { title: "Entropy", note: "per token, in nats", lines: [line("update/entropy", "entropy"), line("rollout/surprisal", "surprisal"), line("rollout/surprisal_right", "surprisal of right ones")] },
    { title: "Right trajectories", note: "change of their log-probability within a step; below 0 they become less likely", lines: [line("update/right_logprob_change", "all"), line("update/later/right_logprob_change", "after the first optimiser step")] },
    { title: "Operator entropy", note: "in nats; 0 where all calls name one", lines: [line("rollout/operator_entropy", "entropy")] },
    { title: "Thoughts", note: "mean characters of a think", lines: [line("rollout/think_chars", "characters")] },
    { title: "Repetition", note: "share of four-word sequences of the thoughts that occurred before", lines: [line("rollout/think_repetition", "repeated")] },
    { title: "Groups", note: "of a step; those without signal teach nothing", lines: [line("rollout/num_groups", "all"), line("rollout/num_groups_without_signal", "without signal")] },
    { title: "Speed", note: "policy tokens per second", lines: [line("time/sampled_tokens_per_second", "sampled"), line("time/update_tokens_per_second", "learned from")] },
    { title: "Time of a step", note: "seconds", lines: [line("time/rollout_seconds", "rollouts"), line("time/update_seconds", "update"), line("time/step_seconds", "all")] },
    { title: "Money", note: `${summary.currency} per trajectory`, lines: [line("rollout/cost", "cost")] },
    { title: "LLM calls", note: "of operators, per trajectory", lines: [line("rollout/llm_calls", "calls")] },
    { title: "Gradient and learning rate", note: "norm before clipping", lines: [line("update/grad_norm", "norm")] },
    { title: "Most frequent workflow", note: "its share of the step's trajectories; near 1 the policy knows one workflow only", lines: [line("rollout/workflow_share", "share") ?? dominant(summary.atlas, step)] },
  ]
    .map((chart) => ({ ...chart, steps: step, lines: chart.lines.filter(Boolean) }))
    .filter((chart) => chart.lines.length > 0 && step.length > 0);
}

function dominant(atlas, steps) {
  const shares = new Map(atlas.by_step.map((one) => [one.step, one.share]));
  return shares.size ? { label: "share", values: steps.map((step) => shares.get(step) ?? null) } : null;
}
