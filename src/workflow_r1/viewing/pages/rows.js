/**
 * The rows of a run's trajectories, and which of them a list shows.
 * @module
 */
import { el, visible } from "./dom.js";

/** Outcomes, in the order in which they are listed: a word and a sign for each, since not everybody tells colours apart. */
export const OUTCOMES = {
  right: { word: "right", sign: "\u2713" },
  wrong: { word: "wrong", sign: "\u2717" },
  no_answer: { word: "no answer", sign: "\u2205" },
  malformed: { word: "malformed", sign: "\u00b6" },
  out_of_budget: { word: "out of budget", sign: "\u25d4" },
  failed: { word: "infrastructure failed", sign: "\u26a0" },
  unknown: { word: "not judged", sign: "?" },
};

/** What a call did to the answer. */
export const EFFECTS = {
  wrong_to_right: { word: "wrong to right", sign: "\u2197" },
  right_to_wrong: { word: "right to wrong", sign: "\u2198" },
  no_change: { word: "no change", sign: "=" },
  unknown: { word: "unknown", sign: "" },
};

/**
 * @typedef {Object} Row
 * @property {number} file
 * @property {number} place
 * @property {string} id
 * @property {string} group
 * @property {string} question
 * @property {string} outcome
 * @property {number|null} step
 * @property {number|null} reward
 * @property {string[]} operators
 */

/** The rows of one source, which may grow. */
export class Rows {
  constructor() {
    this.clear(-1);
  }

  /** Forget everything. */
  clear(generation) {
    this.generation = generation;
    /** @type {Row[]} */
    this.all = [];
    this.byId = new Map();
    this.byGroup = new Map();
    this.seen = [];
    this.files = [];
    this.totals = [];
  }

  /** Whether all rows that the source has are here. */
  get isWhole() {
    return this.totals.every((total, file) => (this.seen[file] ?? 0) >= total);
  }

  /** Take in a reply with columns. */
  add(reply) {
    if (reply.generation !== this.generation) this.clear(reply.generation);
    this.files = reply.files;
    this.totals = reply.totals;
    const text = (at) => (at < 0 ? null : reply.strings[at]);
    const operators = reply.strings.map((joined) => (joined ? joined.split("\t") : []));
    for (const part of reply.parts) {
      const known = this.seen[part.file] ?? 0;
      for (let at = Math.max(0, known - part.start); at < part.id.length; at++) {
        this.keep({
          file: part.file,
          place: part.start + at,
          id: part.id[at],
          group: text(part.group[at]),
          questionId: text(part.question_id[at]),
          question: text(part.question[at]),
          class: text(part.class[at]),
          step: part.step[at],
          version: part.version[at],
          outcome: text(part.outcome[at]) ?? "unknown",
          stop: text(part.stop[at]),
          reward: part.reward[at],
          answer: text(part.answer[at]),
          operators: part.operators[at] < 0 ? [] : operators[part.operators[at]],
          turns: part.turns[at],
          tokens: part.tokens[at],
          seconds: part.seconds[at],
          cost: part.cost[at],
        });
      }
      this.seen[part.file] = Math.max(known, part.start + part.id.length);
    }
  }

  keep(row) {
    const before = this.byId.get(row.id);
    // A later row of the same answer, after a crash, takes the place of an earlier one.
    if (before) before.replaced = true;
    this.all.push(row);
    this.byId.set(row.id, row);
    if (!this.byGroup.has(row.group)) this.byGroup.set(row.group, []);
    this.byGroup.get(row.group).push(row);
  }

  /** Rows of a group. */
  group(id) {
    return (this.byGroup.get(id) ?? []).filter((row) => !row.replaced);
  }

  /**
   * Rows that a filter lets through.
   * @param {URLSearchParams} filter
   * @param {{found?: Set<string>|null, effects?: Map<string, any[]>}} known places that a search found; effects by place
   * @returns {Row[]}
   */
  filter(filter, { found = null, effects = new Map() } = {}) {
    const outcome = filter.get("outcome");
    const kind = filter.get("class");
    const operator = filter.get("operator");
    const effect = filter.get("effect");
    const file = filter.get("file");
    const workflow = filter.get("workflow");
    const [first, last] = steps(filter.get("step"));
    const words = (filter.get("q") ?? "").trim().toLowerCase();
    return this.all.filter(
      (row) =>
        !row.replaced &&
        (!outcome || row.outcome === outcome) &&
        (!kind || row.class === kind) &&
        (!file || row.file === Number(file)) &&
        (first === null || (row.step !== null && row.step >= first && row.step <= last)) &&
        (!operator || row.operators.includes(operator)) &&
        (workflow === null || row.operators.join(">") === workflow) &&
        (!effect || (effects.get(placeOf(row)) ?? []).some((each) => each[1] === effect)) &&
        (!words ||
          `${row.question}\n${row.answer ?? ""}\n${row.id}`.toLowerCase().includes(words) ||
          Boolean(found?.has(placeOf(row)))),
    );
  }

  /** Values of a column with their numbers, the most frequent first. */
  counts(key) {
    const counts = new Map();
    for (const row of this.all) {
      if (row.replaced) continue;
      for (const value of [row[key]].flat()) counts.set(value, (counts.get(value) ?? 0) + 1);
    }
    return [...counts].sort((one, other) => other[1] - one[1]);
  }

  /** First and last step; null where no row has one. */
  get span() {
    let first = Infinity;
    let last = -Infinity;
    for (const row of this.all) {
      if (row.step === null) continue;
      first = Math.min(first, row.step);
      last = Math.max(last, row.step);
    }
    return last < first ? null : [first, last];
  }
}

/** Key of a row's place. */
export function placeOf(row) {
  return `${row.file}.${row.place}`;
}

/** Read `3` or `3-7`; nulls for anything else. */
export function steps(text) {
  const found = /^\s*(\d+)(?:\s*-\s*(\d+))?\s*$/.exec(text ?? "");
  return found ? [Number(found[1]), Number(found[2] ?? found[1])] : [null, null];
}

/** A sign and a word for an outcome. */
export function outcomeChip(outcome) {
  const { word, sign } = OUTCOMES[outcome] ?? OUTCOMES.unknown;
  return el("span", { class: `chip outcome-${outcome in OUTCOMES ? outcome : "unknown"}` }, el("span", { "aria-hidden": "true" }, `${sign} `), word);
}

/** A chip for an operator. */
export function operatorChip(name) {
  return el("span", { class: `chip operator colour-${colourOf(name)}` }, name);
}

/** Number of the colour of an operator: the pool's have their own, others share the rest. */
export function colourOf(name) {
  const pool = ["AnswerGenerate", "Search", "Review", "Revise", "MultiAnswerGenerate", "ScEnsemble", "PromptOptimizer", "Custom"];
  if (name === "(invalid)") return "invalid";
  const at = pool.indexOf(name);
  if (at >= 0) return at;
  let sum = 0;
  for (const one of visible(name)) sum = (sum * 31 + one.codePointAt(0)) % 997;
  return 8 + (sum % 4);
}
