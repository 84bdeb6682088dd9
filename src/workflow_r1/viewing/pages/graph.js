/**
 * The workflow of a trajectory as a graph: dagre places its nodes, the rest is drawn here.
 * @module
 */
import { download, el, svg, visible } from "./dom.js";
import { OUTCOMES, colourOf } from "./rows.js";

const NODE_HEIGHT = 34;
const CHAR = 7.2;

/**
 * Draw the flow of data of a trajectory.
 * @param {{nodes: any[], edges: any[]}} flow
 * @param {{onpick?: (node: any) => void, name?: string}} [options] called when a node is chosen; name of its file
 * @returns {HTMLElement}
 */
export function drawFlow(flow, { onpick, name = "workflow" } = {}) {
  const graph = new dagre.graphlib.Graph({ multigraph: true });
  graph.setGraph({ rankdir: "TB", nodesep: 26, ranksep: 44, marginx: 8, marginy: 8 });
  graph.setDefaultEdgeLabel(() => ({}));
  const words = new Map(flow.nodes.map((node) => [node.id, labelOf(node)]));
  for (const node of flow.nodes) {
    graph.setNode(node.id, { width: Math.max(64, words.get(node.id).length * CHAR + 26), height: NODE_HEIGHT });
  }
  const known = flow.edges.filter((edge) => words.has(edge.source) && words.has(edge.target));
  known.forEach((edge, at) => {
    const text = clip(edge.text, 30);
    graph.setEdge(edge.source, edge.target, text ? { width: text.length * 5.6 + 8, height: 14, labelpos: "c" } : {}, String(at));
  });
  dagre.layout(graph);
  const { width = 100, height = 100 } = graph.graph();
  const marker = `arrow-${(drawFlow.count = (drawFlow.count || 0) + 1)}`;
  const picture = svg(
    "svg",
    {
      class: "flow",
      viewBox: `0 0 ${Math.ceil(width)} ${Math.ceil(height)}`,
      width: Math.ceil(width),
      height: Math.ceil(height),
      role: "group",
      "aria-label": `Workflow: ${tell(flow, words)}`,
    },
    svg(
      "defs",
      {},
      svg("marker", { id: marker, viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto-start-reverse" },
        svg("path", { d: "M0 0L8 4L0 8z", class: "head" })),
    ),
    known.map((edge, at) => drawEdge(edge, graph.edge(edge.source, edge.target, String(at)), marker)),
    flow.nodes.map((node) => drawNode(node, words.get(node.id), graph.node(node.id), onpick)),
  );
  const save = el(
    "button",
    { type: "button", class: "link save", onclick: () => download(`${name}.svg`, "image/svg+xml", standalone(picture)) },
    "Save as SVG",
  );
  return el("figure", { class: "graph" }, el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Graph of the workflow" }, picture), save);
}

function drawNode(node, label, { x, y, width, height }, onpick) {
  const state = node.kind === "answer" ? `outcome-${node.state in OUTCOMES ? node.state : "unknown"}` : node.state || "plain";
  const colour = node.kind === "call" ? ` colour-${node.state === "invalid" ? "invalid" : colourOf(node.label)}` : "";
  const round = node.kind === "question" || node.kind === "answer" ? height / 2 : node.kind === "thought" ? 2 : 7;
  const can = onpick && node.turn !== null;
  const pick = () => onpick(node);
  return svg(
    "g",
    {
      class: `node ${node.kind} ${state}${colour}${can ? " pick" : ""}`,
      transform: `translate(${x - width / 2} ${y - height / 2})`,
      tabindex: can ? 0 : null,
      role: can ? "button" : null,
      "aria-label": can ? `${label}, go to turn ${node.turn}` : null,
      onclick: can ? pick : null,
      onkeydown: can ? (event) => (event.key === "Enter" || event.key === " ") && (event.preventDefault(), pick()) : null,
    },
    svg("rect", { width, height, rx: round }),
    svg("text", { x: width / 2, y: height / 2 + 4.5, "text-anchor": "middle" }, label),
  );
}

function drawEdge(edge, placed, marker) {
  const path = placed.points.map((point, at) => `${at ? "L" : "M"}${round(point.x)} ${round(point.y)}`);
  const text = clip(edge.text, 30);
  return svg(
    "g",
    { class: `edge ${edge.kind === "order" ? "order" : "data"}` },
    svg("path", { d: smooth(placed.points) || path.join(""), "marker-end": `url(#${marker})` }),
    text && placed.x !== undefined && svg("text", { x: round(placed.x), y: round(placed.y) + 3.5, "text-anchor": "middle" }, text),
    edge.text && svg("title", {}, edge.text),
  );
}

/** A curve through the points of an edge. */
function smooth(points) {
  if (points.length < 3) return "";
  let path = `M${round(points[0].x)} ${round(points[0].y)}`;
  for (let at = 1; at < points.length - 1; at++) {
    const end = at === points.length - 2 ? points[at + 1] : middle(points[at], points[at + 1]);
    path += `Q${round(points[at].x)} ${round(points[at].y)} ${round(end.x)} ${round(end.y)}`;
  }
  return path;
}

const middle = (one, other) => ({ x: (one.x + other.x) / 2, y: (one.y + other.y) / 2 });
const round = (value) => Math.round(value * 10) / 10;

function labelOf(node) {
  const label = clip(node.label, 30);
  if (node.kind === "answer") return `${(OUTCOMES[node.state] ?? OUTCOMES.unknown).sign} ${label}`;
  return node.kind === "call" && node.state === "invalid" ? `${label} (invalid)` : label;
}

function clip(text, most) {
  const shown = [...visible(text).replace(/\s+/g, " ").trim()];
  return shown.length > most ? `${shown.slice(0, most - 1).join("")}\u2026` : shown.join("");
}

/** The graph in words, for those who cannot see it. */
function tell(flow, words) {
  return flow.edges
    .filter((edge) => words.has(edge.source) && words.has(edge.target))
    .map((edge) => `${words.get(edge.source)} to ${words.get(edge.target)}`)
    .join("; ");
}

/** The picture as a file of its own: its colours as they are on the page now. */
function standalone(picture) {
  const copy = /** @type {SVGElement} */ (picture.cloneNode(true));
  const shown = picture.querySelectorAll("rect, path, text");
  copy.querySelectorAll("rect, path, text").forEach((node, at) => {
    const style = getComputedStyle(shown[at]);
    for (const name of ["fill", "stroke", "stroke-width", "stroke-dasharray", "font-size", "font-family", "font-weight"]) {
      node.setAttribute(name, style.getPropertyValue(name));
    }
  });
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  return new XMLSerializer().serializeToString(copy);
}
