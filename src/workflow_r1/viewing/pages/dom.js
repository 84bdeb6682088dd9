/**
 * Elements and texts. Every text on the page passes through `text()` and becomes a text node: nothing is ever read as HTML.
 * @module
 */

const SVG = "http://www.w3.org/2000/svg";

/** Characters that a reader cannot see or that change the order of others: they are shown by their number. */
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]|[\u{e0000}-\u{e007f}]/gu;

/** Longest text that is shown before a person asks for the rest. */
const LONG = 1500;

/**
 * A text from outside, with what cannot be seen made visible.
 * @param {unknown} value
 * @returns {string}
 */
export function visible(value) {
  return String(value ?? "").replace(UNSEEN, (one) => `\u27e8U+${one.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}\u27e9`);
}

/**
 * An element of HTML.
 * @param {string} tag
 * @param {Record<string, any>} [props] attributes; `on...` are handlers, false and null are left out
 * @param {...(Node|string|number|null|undefined|false|Array<any>)} children
 * @returns {HTMLElement}
 */
export function el(tag, props = {}, ...children) {
  return fill(document.createElement(tag), props, children);
}

/**
 * An element of SVG.
 * @param {string} tag
 * @param {Record<string, any>} [props]
 * @param {...any} children
 * @returns {SVGElement}
 */
export function svg(tag, props = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

function fill(node, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked" || name === "selected" || name === "open") node[name] = value;
    // Addresses are the page's own: a place in it, or a file that it has just made.
    else if (name === "href" && !/^(#|blob:)/.test(value)) throw new Error("expected a place in this page");
    else node.setAttribute(name, value === true ? "" : visible(value));
  }
  append(node, children);
  return node;
}

function append(node, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : document.createTextNode(visible(child)));
  }
}

/**
 * Replace the children of an element.
 * @param {Element} node
 * @param {...any} children
 */
export function replace(node, ...children) {
  node.replaceChildren();
  append(node, children);
}

/**
 * A text from outside, kept apart from its surroundings where it is written from right to left.
 * @param {string} value
 * @param {string} [name] class
 */
export function quoted(value, name = "") {
  return el("bdi", { class: name || null, dir: "auto" }, value);
}

/**
 * A text that may be very long: its beginning and its length, and the rest when it is asked for.
 * @param {string} value
 * @param {string} [name] class
 */
export function longText(value, name = "") {
  const box = el("div", { class: `text ${name}`, dir: "auto" });
  if (value.length <= LONG) {
    append(box, [value]);
    return box;
  }
  const rest = el(
    "button",
    {
      type: "button",
      class: "link",
      onclick: () => replace(box, value),
    },
    `show all ${number(value.length)} characters`,
  );
  append(box, [whole(value.slice(0, LONG)), " \u2026 ", rest]);
  return box;
}

/** Without half a character at its end. */
function whole(text) {
  return /[\ud800-\udbff]$/.test(text) ? text.slice(0, -1) : text;
}

/**
 * Say something to those who listen, and show it for a moment.
 * @param {string} text
 */
export function say(text) {
  const place = document.getElementById("said");
  replace(place, text);
  place.classList.add("shown");
  clearTimeout(say.timer);
  say.timer = setTimeout(() => place.classList.remove("shown"), 2500);
}

/**
 * A number with its thousands apart.
 * @param {number|null|undefined} value
 * @param {number} [digits] most digits after the point
 */
export function number(value, digits = 0) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "\u2013";
  return value.toLocaleString("en-US", { maximumFractionDigits: digits });
}

/** A number of any size in four digits or so. */
export function short(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "\u2013";
  const size = Math.abs(value);
  // Importance ratios hardly leave 1, and differ in their last digits.
  if (value !== 1 && Math.abs(value - 1) < 0.01) return number(value, 5);
  if (value !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(1);
  return number(value, size >= 100 ? 0 : size >= 10 ? 1 : 3);
}

/** A number with its sign. */
export function signed(value, digits = 2) {
  if (value === null || value === undefined) return "\u2013";
  if (value === 0) return "0";
  return `${value < 0 ? "\u2212" : "+"}${number(Math.abs(value), digits)}`;
}

/** A share in per cent. */
export function percent(value) {
  return value === null || value === undefined ? "\u2013" : `${number(100 * value, value > 0 && value < 0.01 ? 1 : 0)}%`;
}

/** Seconds in words. */
export function seconds(value) {
  if (value === null || value === undefined) return "\u2013";
  return value < 1 ? `${number(1000 * value, value < 0.01 ? 1 : 0)} ms` : `${number(value, 1)} s`;
}

/** An amount of money; costs of calls are small. */
export function money(value, currency) {
  return value === null || value === undefined ? "unknown" : `${number(value, 6)} ${currency}`;
}

/**
 * A table with a caption, in a box that scrolls by itself.
 * @param {string} caption
 * @param {string[]} head
 * @param {any[][]} rows cells: texts or nodes
 * @param {{names?: number}} [options] columns of words; the rest are numbers
 */
export function table(caption, head, rows, { names = 1 } = {}) {
  const name = `table-${(table.count = (table.count || 0) + 1)}`;
  return el(
    "div",
    { class: "wide", tabindex: 0, role: "region", "aria-labelledby": name },
    el(
      "table",
      {},
      el("caption", { id: name }, caption),
      el("thead", {}, el("tr", {}, head.map((text, at) => el("th", { scope: "col", class: at < names ? "name" : null }, text)))),
      el(
        "tbody",
        {},
        rows.map((cells) =>
          el(
            "tr",
            {},
            cells.map((cell, at) =>
              at === 0 ? el("th", { scope: "row", class: "name" }, cell) : el("td", { class: at < names ? "name" : null }, cell),
            ),
          ),
        ),
      ),
    ),
  );
}

/** A heading with its section. */
export function section(title, id, ...children) {
  return el("section", { "aria-labelledby": id }, el("h2", { id }, title), children);
}

/**
 * Give a person a file.
 * @param {string} name
 * @param {string} type
 * @param {BlobPart} content
 */
export function download(name, type, content) {
  const address = URL.createObjectURL(new Blob([content], { type }));
  el("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}
