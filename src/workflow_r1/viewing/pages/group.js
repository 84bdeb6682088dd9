/**
 * The trajectories of one question side by side: their rewards, and where they part.
 * @module
 */
import { el, longText, number, quoted, replace, short, signed } from "./dom.js";
import { drawFlow } from "./graph.js";
import { operatorChip, outcomeChip } from "./rows.js";

/**
 * @param {HTMLElement} main
 * @param {import("./app.js").App} app
 * @param {number} source
 * @param {URLSearchParams} query `id` of a trajectory of the group
 */
export function showGroup(main, app, source, query) {
  let left = false;
  let drawn = "";
  const id = query.get("id");

  async function update() {
    const rows = app.rows(source);
    const row = rows.byId.get(id);
    if (!row) {
      if (rows.isWhole) replace(main, el("p", { class: "note hint" }, "This run holds no trajectory of this name."));
      return;
    }
    const members = rows.group(row.group).slice(0, 64);
    const key = `${rows.generation} ${members.map((one) => one.id).join(" ")}`;
    if (key === drawn) return;
    drawn = key;
    const told = await app.backend.trajectories(source, members.map((one) => [one.file, one.place])).catch(() => []);
    if (left) return;
    const whole = told.map((one, at) => ({ one, row: members[at] })).filter(({ one }) => !one.unreadable);
    whole.sort((one, other) => (other.row.reward ?? -99) - (one.row.reward ?? -99));
    draw(row, whole, told.length - whole.length);
  }

  function draw(row, members, numUnreadable) {
    const link = (one) => `#/list/${source}?id=${encodeURIComponent(one.id)}`;
    const rewards = members.map(({ one }) => one.reward?.total).filter((value) => value !== undefined);
    const same = new Set(rewards).size <= 1;
    const parting = partings(members.map(({ one }) => one));
    const depth = Math.max(0, ...members.map(({ one }) => one.turns.length));
    const golden = members[0]?.one.question.golden ?? [];
    replace(
      main,
      el("article", { class: "group" },
        el("p", { class: "crumbs" }, row.step !== null && el("a", { href: `#/list/${source}?step=${row.step}` }, `step ${row.step}`), el("span", {}, quoted(row.class ?? "")), el("a", { href: link(row) }, "back to the trajectory")),
        el("h2", { dir: "auto" }, members[0]?.one.question.text ?? row.question),
        el("p", {}, "Golden: ", golden.length ? golden.slice(0, 6).map((gold, at) => [at > 0 && ", ", quoted(gold.text)]) : "none"),
        el("p", { class: "note" }, `${number(members.length)} trajectories. ${same ? "All rewards are equal: this group teaches nothing." : ""} ${parting.told}`, numUnreadable > 0 && ` ${numUnreadable} cannot be read.`),
        el("div", { class: "wide", tabindex: 0, role: "region", "aria-label": "Trajectories side by side" },
          el("table", { class: "members" },
            el("thead", {}, el("tr", {}, el("td", {}), members.map(({ one }, at) => el("th", { scope: "col" }, el("a", { href: link(one) }, `No. ${at + 1}`), " ", outcomeChip(one.outcome ?? "unknown"))))),
            el("tbody", {},
              line("reward", members, ({ one }) => (one.reward ? short(one.reward.total) : "none")),
              members.some(({ one }) => one.advantage !== null) && line("advantage", members, ({ one }) => signed(one.advantage)),
              line("answer", members, ({ one }) => (one.answer === null ? el("span", { class: "note" }, "none") : quoted(one.answer.slice(0, 120)))),
              Array.from({ length: depth }, (_, at) =>
                line(`turn ${at + 1}`, members, ({ one }, place) => cell(one.turns[at], parting.letters[at][place]), at === parting.actions ? "parts" : null),
              ),
              line("workflow", members, ({ one }) => drawFlow(one.flow)),
            ))),
        el("p", { class: "note" }, "Cells with the same letter did the same up to that turn; the marked row is the first in which their actions differ."),
      ),
    );
  }

  update();
  return { update, keys: {}, moved: () => false, leave: () => { left = true; } };
}

function line(name, members, show, mark = null) {
  return el("tr", { class: mark }, el("th", { scope: "row" }, name), members.map((member, at) => el("td", {}, show(member, at))));
}

function cell(turn, letter) {
  if (!turn) return el("span", { class: "note" }, "\u2013");
  return [
    el("span", { class: `letter letter-${letter.charCodeAt(0) % 6}`, title: "same letter, same actions so far" }, letter),
    turn.calls.map((call) => el("div", {}, operatorChip(call.operator), longText(call.input.slice(0, 300), "input"), el("div", { class: "note", dir: "auto" }, `\u2192 ${call.observation.slice(0, 160)}`))),
    turn.answer !== null && el("div", {}, el("span", { class: "chip answer-chip" }, "answer"), " ", quoted(turn.answer.slice(0, 120))),
    !turn.calls.length && turn.answer === null && el("span", { class: "chip outcome-malformed" }, "malformed"),
    turn.think && el("details", {}, el("summary", { class: "note" }, "think"), longText(turn.think, "note")),
  ];
}

/** Where trajectories part: by turn a letter for each that tells whose actions were the same so far. */
function partings(members) {
  const depth = Math.max(0, ...members.map((one) => one.turns.length));
  const act = (turn) => (turn ? JSON.stringify([turn.calls.map((call) => [call.operator, call.input]), turn.answer]) : "");
  const paths = members.map(() => "");
  const letters = [];
  let actions = -1;
  let words = -1;
  for (let at = 0; at < depth; at++) {
    members.forEach((one, place) => (paths[place] += `\n${act(one.turns[at])}`));
    const names = new Map();
    for (const path of paths) if (!names.has(path)) names.set(path, names.size < 26 ? String.fromCharCode(65 + names.size) : "\u2026");
    letters.push(paths.map((path) => names.get(path)));
    if (actions < 0 && names.size > 1) actions = at;
    if (words < 0 && new Set(members.map((one) => one.turns[at]?.text)).size > 1) words = at;
  }
  const told = actions < 0 ? (words < 0 ? "They are all alike." : `Their words part at turn ${words + 1}, their actions never.`) : `Their words part at turn ${words + 1}, their actions at turn ${actions + 1}.`;
  return { letters, actions, told };
}
