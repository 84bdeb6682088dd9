/**
 * The atlas of workflows: which sequences of operators a run had at its start, in its middle and at its end.
 * @module
 */
import { el, money, percent, short, svg } from "./dom.js";
import { colourOf, operatorChip } from "./rows.js";

/**
 * @param {any} atlas
 * @param {{source: number, currency: string}} context
 */
export function showAtlas(atlas, { source, currency }) {
  const most = Math.max(0.0001, ...atlas.parts.flatMap((part) => part.workflows.map((one) => one.share)));
  const depth = Math.min(6, Math.max(1, ...atlas.parts.flatMap((part) => part.workflows.map((one) => one.operators.length + 1))));
  return [
    el("p", { class: "note" }, "A flow begins at the left with the first call and parts where the next operators differ; heights are shares of trajectories, and the green of its end is the share of right answers."),
    el("div", { class: "atlas" }, atlas.parts.map((part) => {
      const spans = part.first_step === null ? "" : part.first_step === part.last_step ? `step ${part.first_step}` : `steps ${part.first_step} to ${part.last_step}`;
      const within = part.first_step === null ? "" : `&step=${part.first_step}-${part.last_step}`;
      return el(
        "section",
        { class: "part" },
        el("h3", {}, { start: "Start", middle: "Middle", end: "End", all: "All" }[part.name] ?? part.name, el("span", { class: "note" }, ` ${spans}`)),
        el("p", { class: "note" }, `${part.num_workflows} different workflows in ${part.num} trajectories; the most frequent has ${percent(part.workflows[0]?.share ?? 0)}.`),
        drawTree(part, depth),
        el(
          "ol",
          { class: "workflows" },
          part.workflows.map((one) =>
            el(
              "li",
              {},
              el("a", { class: "chain", href: `#/list/${source}?workflow=${encodeURIComponent(one.operators.join(">"))}${within}`, "aria-label": `${one.operators.join(", then ") || "no operator"}: its trajectories` },
                one.operators.length ? one.operators.map((name, at) => [at > 0 && el("span", { class: "then", "aria-hidden": "true" }, "\u203a"), operatorChip(name)]) : el("span", { class: "chip" }, "answers at once")),
              meter(one.share / most),
              el("p", { class: "note" }, `${percent(one.share)}, right ${percent(one.success)}, reward ${short(one.mean_reward)}, ${money(one.mean_cost, currency)}, ${short(one.mean_seconds)} s`),
            ),
          ),
        ),
      );
    })),
  ];
}

function meter(share) {
  return svg("svg", { class: "meter", viewBox: "0 0 100 4", width: "100%", height: 4, preserveAspectRatio: "none", "aria-hidden": "true" }, svg("rect", { class: "bed", width: 100, height: 4 }), svg("rect", { class: "fill", width: Math.max(1, 100 * share), height: 4 }));
}

/**
 * The workflows of a part as one flow: they leave the question on the left, and part where their operators differ.
 * The height of a block is the share of its trajectories, the edge of its colour says how many of them were right.
 */
function drawTree(part, depth) {
  const width = 74;
  const high = 150;
  const root = { share: 0, right: 0, next: new Map() };
  for (const one of part.workflows) {
    let node = root;
    node.share += one.share;
    for (const name of [...one.operators.slice(0, depth - 1), "\u2713"]) {
      if (!node.next.has(name)) node.next.set(name, { name, share: 0, right: 0, next: new Map() });
      node = node.next.get(name);
      node.share += one.share;
      node.right += one.share * (one.success ?? 0);
    }
  }
  const marks = [];
  const scale = high / Math.max(root.share, 0.0001);
  (function place(node, level, top) {
    let at = top;
    for (const next of node.next.values()) {
      const height = next.share * scale;
      const success = next.right / next.share;
      const isEnd = next.name === "\u2713";
      const label = isEnd ? `answer ${percent(success)} right` : next.name;
      const fits = height >= 13;
      marks.push(
        svg("g", { class: isEnd ? "end" : `block colour-${colourOf(next.name)}` },
          svg("rect", { x: level * width + 1, y: at + 0.5, width: width - 2, height: Math.max(0.8, height - 1), rx: 3 }),
          isEnd && svg("rect", { class: "right", x: level * width + 1, y: at + 0.5, width: Math.max(0, (width - 2) * success), height: Math.max(0.8, height - 1), rx: 3 }),
          fits && svg("text", { x: level * width + 6, y: at + height / 2 + 4 }, isEnd ? percent(success) : clipName(next.name)),
          svg("title", {}, `${label}: ${percent(next.share)} of the trajectories`)),
      );
      place(next, level + 1, at);
      at += height;
    }
  })(root, 0, 0);
  return svg("svg", { class: "tree", viewBox: `0 0 ${depth * width} ${high}`, width: "100%", role: "img", "aria-label": `Flow of the ${part.name}: ${part.workflows.slice(0, 4).map((one) => `${one.operators.join(", ") || "no operator"} ${percent(one.share)}`).join("; ")}` }, marks);
}

function clipName(name) {
  return name.length > 10 ? `${name.slice(0, 9)}\u2026` : name;
}
