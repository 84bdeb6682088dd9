/**
 * One trajectory: its answers beside the golden ones, its turns with their figures, and its graph.
 * @module
 */
import { download, el, longText, money, number, quoted, say, seconds, short, signed, svg } from "./dom.js";
import { drawFlow } from "./graph.js";
import { EFFECTS, operatorChip, outcomeChip } from "./rows.js";

/**
 * @param {any} one a trajectory as the server describes it
 * @param {{summary: any, links: {group: string, step: string}, copy: () => Promise<string>}} context
 * @returns {HTMLElement}
 */
export function showTrajectory(one, { summary, links, copy }) {
  if (one.unreadable) return el("article", { class: "trajectory" }, el("p", { class: "problem" }, one.unreadable));
  const box = el("article", { class: "trajectory", "aria-labelledby": "asked" });
  const toTurn = (node) => {
    const turn = box.querySelector(`#turn-${node.turn}`);
    turn?.scrollIntoView({ behavior: "smooth", block: "start" });
    turn?.focus({ preventScroll: true });
  };
  box.append(
    head(one, summary, links, copy),
    answers(one),
    el(
      "div",
      { class: "beside" },
      el(
        "ol",
        { class: "turns", "aria-label": "Turns" },
        one.turns.map((turn) => showTurn(turn, one, summary)),
        one.error && el("li", { class: "turn" }, el("p", { class: "problem" }, one.error)),
      ),
      el("div", { class: "stay" }, el("h3", {}, "Workflow"), drawFlow(one.flow, { onpick: toTurn, name: "workflow" }), legend(one.flow)),
    ),
    more(one),
  );
  return box;
}

function head(one, summary, links, copy) {
  const parts = one.reward ? Object.entries(one.reward.parts).map(([name, value]) => `${name.replaceAll("_", " ")} ${short(value)}`) : [];
  const figures = [
    ["reward", one.reward ? short(one.reward.total) : "none", parts.join(", ")],
    ["advantage", one.advantage === null ? null : signed(one.advantage), "of every turn, from its group's rewards"],
    ["turns", number(one.turns.length)],
    ["policy tokens", number(one.turns.reduce((sum, turn) => sum + turn.tokens, 0))],
    ["time", seconds(one.seconds)],
    ["LLM calls", number(one.usage.llm_calls ?? 0)],
    ["cost", "cost" in one.usage ? money(one.usage.cost, summary.currency) : `0 ${summary.currency}`],
  ].filter(([, value]) => value !== null);
  return el(
    "header",
    { class: "head" },
    el("p", { class: "crumbs" }, outcomeChip(one.outcome ?? "unknown"),
      one.step !== null && el("a", { href: links.step }, `step ${one.step}`),
      el("span", {}, quoted(one.question.class)),
      el("a", { href: links.group }, "its group"),
      one.stop_reason !== "answered" && el("span", {}, `ended: ${one.stop_reason.replaceAll("_", " ")}`)),
    el("h2", { id: "asked", dir: "auto" }, one.question.text),
    el("dl", { class: "figures" }, figures.map(([name, value, title]) => el("div", { title }, el("dt", {}, name), el("dd", {}, value)))),
    el(
      "p",
      { class: "actions" },
      el("button", { type: "button", "data-key": "c", onclick: async () => say((await toClipboard(await copy())) ? "Copied as JSON" : "Saved as JSON") }, "Copy as JSON"),
      el("button", { type: "button", "data-key": "l", onclick: async () => say((await toClipboard(location.href)) ? "Link copied" : location.href) }, "Copy link"),
    ),
  );
}

async function toClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // A page on a disk may not reach the clipboard.
    if (text.startsWith("{")) download("trajectory.json", "application/json", text);
    return false;
  }
}

function answers(one) {
  const golden = one.question.golden;
  const isRight = (gold) => one.normalised !== null && gold.normalised === one.normalised;
  return el(
    "div",
    { class: "answers" },
    el("div", {}, el("h3", {}, "Answer"), one.answer === null ? el("p", { class: "note" }, "none") : answer(one.answer, one.normalised)),
    el("div", {}, el("h3", {}, golden.length === 1 ? "Golden answer" : "Golden answers"),
      golden.length ? golden.map((gold) => answer(gold.text, gold.normalised, isRight(gold))) : el("p", { class: "note" }, "none")),
  );
}

function answer(text, normalised, same = false) {
  return el("p", { class: same ? "answer same" : "answer" }, quoted(text.slice(0, 400), "said"),
    el("span", { class: "note" }, " compared as "), el("code", { dir: "auto" }, normalised.slice(0, 400)), same && el("span", { class: "note" }, " \u2014 equal"));
}

function showTurn(turn, one, summary) {
  const ratio = ratioOf(summary, one.step, turn.index);
  const figures = [
    [`${number(turn.tokens)} tokens`],
    turn.logprob !== null && [`log-prob ${short(turn.logprob)}`, "mean over the turn's tokens, in nats, when it was sampled"],
    ratio !== null && [`ratio ${ratio.toFixed(4)}`, `importance ratio: mean over all turns ${turn.index} of step ${one.step}; none is kept for one trajectory`],
    one.advantage !== null && [`advantage ${signed(one.advantage)}`, "the trajectory's, which every turn of it shares"],
    turn.reward !== null && [`reward ${short(turn.reward)}`],
    turn.calls.length > 0 && [seconds(turn.seconds), "of its operator calls"],
    turn.usage.cost > 0 && [money(turn.usage.cost, summary.currency)],
    turn.policy_version !== null && [`version ${turn.policy_version}`],
    turn.finish_reason === "length" && ["cut off at its limit"],
  ].filter(Boolean);
  const said = turn.think !== null && (turn.calls.length || turn.answer !== null);
  return el(
    "li",
    { class: "turn", id: `turn-${turn.index}`, tabindex: -1 },
    el("p", { class: "turn-head" }, el("strong", {}, `Turn ${turn.index}`), figures.map(([text, title]) => el("span", { title }, text)),
      !turn.well_formed && el("span", { class: "chip outcome-malformed" }, "malformed")),
    said ? el("div", { class: "think" }, el("span", { class: "tag" }, "think"), longText(turn.think)) : longText(turn.text, "raw"),
    turn.calls.map(showCall),
    turn.answer !== null && el("div", { class: "call" }, el("p", {}, el("span", { class: "chip answer-chip" }, "answer")), longText(turn.answer, "said")),
    turn.observation && el("div", { class: "observation" }, el("span", { class: "tag" }, "reply"), longText(turn.observation)),
    turn.logprobs.length > 1 && strip(turn.logprobs),
  );
}

function showCall(call) {
  const effect = EFFECTS[call.effect];
  return el(
    "div",
    { class: call.valid ? "call" : "call invalid" },
    el("p", {}, operatorChip(call.operator), !call.valid && el("span", { class: "chip outcome-malformed" }, "invalid"),
      effect?.sign && call.effect !== "no_change" && el("span", { class: `chip effect-${call.effect}` }, `${effect.sign} ${effect.word}`),
      call.reward !== null && el("span", { class: "note" }, `reward ${short(call.reward)}`),
      el("span", { class: "note" }, usageText(call))),
    longText(call.input, "input"),
    el("div", { class: "observation" }, el("span", { class: "tag" }, "observation"), longText(call.observation)),
  );
}

function usageText(call) {
  const { llm_calls = 0, searches = 0, prompt_tokens = 0, completion_tokens = 0, unreported_calls = 0 } = call.usage;
  const tokens = unreported_calls ? "tokens unknown" : `${number(prompt_tokens)}+${number(completion_tokens)} tokens`;
  const parts = [];
  if (llm_calls) parts.push(`${llm_calls} LLM call${llm_calls > 1 ? "s" : ""}, ${tokens}`);
  if (searches) parts.push(`${searches} search${searches > 1 ? "es" : ""}`);
  parts.push(seconds(call.seconds));
  return parts.join(", ");
}

/** The log-probability of each token as a bar that hangs down. */
function strip(logprobs) {
  const width = Math.min(4, 520 / logprobs.length);
  const deepest = 4;
  return svg(
    "svg",
    { class: "strip", viewBox: `0 0 ${logprobs.length * width} 16`, width: logprobs.length * width, height: 16, preserveAspectRatio: "none", role: "img",
      "aria-label": `log-probabilities of ${logprobs.length} tokens, the lowest ${short(Math.min(...logprobs))}` },
    svg("title", {}, "log-probability of each token: the deeper the bar, the less likely; cut at \u22124 nats"),
    svg("path", { d: logprobs.map((value, at) => `M${at * width} 0h${Math.max(0.5, width - 0.6)}v${Math.max(0.7, (16 * Math.min(deepest, -value)) / deepest)}h-${Math.max(0.5, width - 0.6)}z`).join("") }),
  );
}

function ratioOf(summary, step, turn) {
  const { metrics } = summary;
  const at = metrics.step.indexOf(step);
  return at < 0 ? null : metrics.series[`update/turn_${turn}/ratio_mean`]?.[at] ?? null;
}

function legend(flow) {
  const kinds = new Set(flow.edges.map((edge) => edge.kind));
  return el("p", { class: "note legend" },
    kinds.has("data") && el("span", {}, el("span", { class: "line data" }), "data, with the words that it was traced by"),
    kinds.has("order") && el("span", {}, el("span", { class: "line order" }), "order alone"));
}

function more(one) {
  const rows = [
    ["trajectory", one.id], ["group", one.group_id], ["question", one.question.id],
    ["from", [one.question.dataset, one.question.split].filter(Boolean).join(", ")],
    ["policy", `${one.policy}, version ${one.policy_version}`], ["seed", one.seed], ["prompt tokens", number(one.prompt_tokens)],
    ...Object.entries(one.question.metadata),
  ].filter(([, value]) => value !== "");
  return el(
    "details",
    { class: "more" },
    el("summary", {}, "Prompt and origin"),
    el("dl", { class: "pairs" }, rows.map(([name, value]) => [el("dt", {}, name), el("dd", { dir: "auto" }, value)])),
    one.prompt.map((message) => el("div", { class: "think" }, el("span", { class: "tag" }, message.role), longText(message.content))),
  );
}
