/**
 * Where the page gets its data: from the server that it came from, or from itself where it is a file on a disk.
 * Both answer the same questions.
 * @module
 */

/**
 * @typedef {Object} Backend
 * @property {boolean} live whether the data may grow
 * @property {() => Promise<any[]|null>} state null where nothing has changed
 * @property {(source: number) => Promise<any>} summary
 * @property {(source: number, seen: number[]) => Promise<any>} rows
 * @property {(source: number, places: number[][]) => Promise<any[]>} trajectories
 * @property {(source: number, place: number[]) => Promise<string>} stored
 * @property {(source: number, words: string, next: number[]) => Promise<any>} search
 * @property {(source: number, next: number[]) => Promise<any>} effects
 * @property {(sides: string[]) => Promise<any>} compare
 */

/** @returns {Backend} */
export function openBackend() {
  const embedded = document.getElementById("data");
  return embedded ? fileBackend(JSON.parse(embedded.textContent)) : serverBackend();
}

function serverBackend() {
  /** Tag of the last state, so that an unchanged one is not sent again. */
  let tag = "";
  async function get(path, query, headers = {}) {
    const asked = new URLSearchParams(query);
    const reply = await fetch(`/api/${path}?${asked}`, { headers, cache: "no-store" });
    if (reply.status === 304) return null;
    const body = await reply.json();
    if (!reply.ok) throw new Error(body.error || `the server answered ${reply.status}`);
    if (path === "state") tag = reply.headers.get("ETag") || "";
    return body;
  }
  return {
    live: true,
    state: () => get("state", {}, tag ? { "If-None-Match": tag } : {}),
    summary: (source) => get("summary", { source }),
    rows: (source, seen) => get("rows", { source, seen: seen.join(",") }),
    trajectories: (source, places) => get("trajectories", { source, at: places.map((place) => place.join(".")).join(",") }),
    stored: async (source, place) => (await get("stored", { source, at: place.join(".") })).text,
    search: (source, words, [file, start]) => get("search", { source, words, file, start }),
    effects: (source, [file, start]) => get("effects", { source, file, start }),
    compare: (sides) => get("compare", sides.map((side) => ["side", side])),
  };
}

function fileBackend(data) {
  /** Unpacked blocks of trajectories, by source and number. */
  const blocks = new Map();
  async function block(source, number) {
    const key = `${source}.${number}`;
    if (!blocks.has(key)) {
      const packed = Uint8Array.from(atob(data.sources[source].blocks[number]), (one) => one.charCodeAt(0));
      const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
      if (blocks.size > 40) blocks.clear();
      blocks.set(key, new Response(stream).json());
    }
    return blocks.get(key);
  }
  async function trajectory(source, [file, row]) {
    const { offsets, size } = data.sources[source];
    const at = (offsets[file] ?? 0) + row;
    return (await block(source, Math.floor(at / size)))[at % size] ?? { unreadable: "this file does not hold it" };
  }
  function textsOf(one) {
    const question = one.question;
    return [
      one.id, question.id, question.text, ...question.golden.map((gold) => gold.text), one.answer ?? "", one.error ?? "",
      ...one.turns.flatMap((turn) => [turn.text, turn.observation, ...turn.calls.map((call) => call.observation)]),
    ];
  }
  return {
    live: false,
    state: async () => data.state,
    summary: async (source) => data.sources[source].summary,
    rows: async (source) => data.sources[source].rows,
    trajectories: (source, places) => Promise.all(places.map((place) => trajectory(source, place))),
    stored: async (source, place) => JSON.stringify(await trajectory(source, place)),
    async search(source, words, [file, start]) {
      const { totals } = data.sources[source].rows;
      const wanted = words.trim().toLowerCase();
      const end = Math.min(totals[file] ?? 0, start + data.sources[source].size);
      const found = [];
      for (let row = start; row < end; row++) {
        const one = await trajectory(source, [file, row]);
        if (!one.unreadable && textsOf(one).some((text) => text.toLowerCase().includes(wanted))) found.push([file, row]);
      }
      const next = end < (totals[file] ?? 0) ? [file, end] : file + 1 < totals.length ? [file + 1, 0] : null;
      return { found, next };
    },
    effects: async (source) => ({ found: data.sources[source].effects, next: null }),
    compare: async (sides) => {
      const found = data.comparisons[sides.join(" ")];
      if (!found) throw new Error("this file holds other comparisons only: `workflow-r1 watch` compares any two");
      return found;
    },
  };
}
