/**
 * Curves over the steps of training, drawn by uPlot. A click, or Enter, opens the trajectories of a step.
 * @module
 */
import { download, el, number, replace, short, table } from "./dom.js";

/**
 * @typedef {Object} Line
 * @property {string} label
 * @property {(number|null)[]} values
 * @property {(number|null)[]} [low] lower end of an interval or a band
 * @property {(number|null)[]} [high]
 * @property {boolean} [points] drawn as points alone: it is known at some steps
 */

const COLOURS = 8;

/** Charts that stand on the page, to be freed when it is left. */
const standing = new Set();

/** Free all charts. */
export function dropCharts() {
  for (const chart of standing) chart.destroy();
  standing.clear();
}

/**
 * Draw a chart.
 * @param {{title: string, note?: string, steps: number[], lines: Line[], alarms?: any[], onpick?: (step: number) => void, group?: string}} options
 * @returns {HTMLElement}
 */
export function drawChart({ title, note, steps, lines, alarms = [], onpick, group = "steps" }) {
  const place = el("div", { class: "plot" });
  const readout = el("p", { class: "readout", "aria-hidden": "true" });
  const figures = el("details", { class: "numbers" }, el("summary", {}, "Figures"));
  const box = el(
    "figure",
    { class: "chart", tabindex: 0, role: "group", "aria-label": `${title}. ${lines.map((line) => tellLine(line, steps)).join("; ")}. The arrow keys move by step${onpick ? ", Enter opens its trajectories" : ""}.` },
    el("figcaption", {}, el("strong", {}, title), note && el("span", { class: "note" }, ` ${note}`)),
    place,
    readout,
    figures,
  );
  figures.addEventListener("toggle", () => {
    if (figures.open && !figures.querySelector("table")) {
      figures.append(el("button", { type: "button", class: "link", onclick: () => chart?.ctx.canvas.toBlob((blob) => download(`${title}.png`, "image/png", blob)) }, "Save as PNG"));
      figures.append(table(title, ["step", ...lines.map((line) => line.label)], steps.map((step, at) => [step, ...lines.map((line) => short(line.values[at]))])));
    }
  });
  let chart = null;
  // Its size is known once it stands on the page.
  const watcher = new ResizeObserver(() => {
    const width = Math.floor(place.clientWidth);
    if (!width) return;
    if (chart) chart.setSize({ width, height: 170 });
    else chart = make(width);
  });
  watcher.observe(place);

  function make(width) {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const ink = colour("--muted");
    const grid = { stroke: colour("--grid"), width: 1 };
    const series = [{}];
    const data = [steps];
    const bands = [];
    lines.forEach((line, at) => {
      const stroke = colour(`--line-${at % COLOURS}`);
      const isPoints = Boolean(line.points);
      series.push({
        label: line.label, stroke, width: isPoints ? 0 : 1.6, spanGaps: true,
        dash: at >= COLOURS ? [5, 3] : undefined,
        points: { show: isPoints || steps.length < 3, size: isPoints ? 7 : 5, fill: stroke },
      });
      data.push(line.values);
      if (line.low && !isPoints) {
        const index = series.length;
        for (const values of [line.high, line.low]) {
          series.push({ stroke: "transparent", width: 0, points: { show: false }, spanGaps: true });
          data.push(values);
        }
        bands.push({ series: [index, index + 1], fill: `${stroke}2e` });
      }
    });
    const made = new uPlot(
      {
        width, height: 170, series, bands,
        padding: [8, 8, 0, 0],
        legend: { show: false },
        scales: { x: { time: false }, y: { range: (_, low, high) => roomy(low, high, lines) } },
        cursor: { sync: { key: group }, drag: { x: false, y: false }, focus: { prox: 16 } },
        axes: [
          { stroke: ink, grid: { show: false }, ticks: { show: false }, size: 22, font: "11px system-ui", values: (_, values) => values.map((value) => (Number.isInteger(value) ? value : "")) },
          { stroke: ink, grid, ticks: { show: false }, size: 50, font: "11px system-ui", values: (_, values, at, space, step) => values.map((value) => tick(value, step)) },
        ],
        hooks: { setCursor: [(one) => tell(one.cursor.idx)], draw: [(one) => drawMore(one, colour)] },
      },
      data,
      place,
    );
    made.over.addEventListener("click", () => pick(made.cursor.idx));
    standing.add({ destroy: () => (watcher.disconnect(), made.destroy()) });
    tell(null);
    return made;
  }

  function drawMore(one, colour) {
    const { ctx, bbox } = one;
    ctx.save();
    ctx.lineWidth = 1;
    lines.forEach((line, at) => {
      if (!line.points || !line.low) return;
      ctx.strokeStyle = colour(`--line-${at % COLOURS}`);
      steps.forEach((step, place) => {
        if (line.low[place] === null || line.low[place] === undefined) return;
        const x = Math.round(one.valToPos(step, "x", true));
        ctx.beginPath();
        ctx.moveTo(x, one.valToPos(line.low[place], "y", true));
        ctx.lineTo(x, one.valToPos(line.high[place], "y", true));
        ctx.stroke();
      });
    });
    ctx.strokeStyle = colour("--alarm");
    ctx.setLineDash([3, 3]);
    for (const step of new Set(alarms.map((alarm) => alarm.step))) {
      if (step < steps[0] || step > steps.at(-1)) continue;
      const x = Math.round(one.valToPos(step, "x", true));
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
    }
    ctx.restore();
  }

  function tell(place) {
    const known = place !== null && place !== undefined;
    replace(
      readout,
      known && el("span", { class: "at" }, `step ${steps[place]}`),
      lines.map((line, at) => {
        const value = known ? line.values[place] : lastOf(line.values);
        const swatch = el("span", { class: `swatch line-${at % COLOURS}` });
        return el("span", {}, swatch, `${line.label} `, el("b", {}, short(value)));
      }),
    );
  }

  function pick(at) {
    if (onpick && at !== null && at !== undefined && steps[at] > 0) onpick(steps[at]);
  }

  let at = null;
  box.addEventListener("keydown", (event) => {
    if (event.target !== box || !chart) return;
    const to = { ArrowRight: Math.min(steps.length - 1, (at ?? -1) + 1), ArrowLeft: Math.max(0, (at ?? steps.length) - 1), Home: 0, End: steps.length - 1 }[event.key];
    if (to !== undefined) {
      event.preventDefault();
      at = to;
      chart.setCursor({ left: chart.valToPos(steps[at], "x"), top: 20 });
      tell(at);
    } else if (event.key === "Enter") pick(at);
  });
  return box;
}

function roomy(low, high, lines) {
  for (const line of lines) {
    for (const value of [...(line.low ?? []), ...(line.high ?? [])]) {
      if (value === null || value === undefined) continue;
      low = Math.min(low ?? value, value);
      high = Math.max(high ?? value, value);
    }
  }
  if (low === null || high === null || low === undefined) return [0, 1];
  if (low === 0 && high === 0) return [0, 1];
  const room = low === high ? Math.abs(low) * 0.1 : (high - low) * 0.08;
  // Shares and counts begin at 0 where that costs little.
  const bottom = low >= 0 && low < (high - low) * 1.5 ? 0 : low - room;
  return [bottom, high + room];
}

/** A number at an axis, with as many digits as its neighbours differ by. */
function tick(value, step) {
  const size = Math.abs(value);
  if (value !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(1);
  return number(value, Math.min(6, Math.max(0, Math.ceil(-Math.log10(step) - 1e-9))));
}

function lastOf(values) {
  for (let at = values.length - 1; at >= 0; at--) if (values[at] !== null && values[at] !== undefined) return values[at];
  return null;
}

function tellLine(line, steps) {
  const known = steps.map((step, at) => [step, line.values[at]]).filter(([, value]) => value !== null && value !== undefined);
  if (!known.length) return `${line.label}: no values`;
  const [first, last] = [known[0], known.at(-1)];
  return `${line.label}: ${short(first[1])} at step ${first[0]}, ${short(last[1])} at step ${last[0]}`;
}
