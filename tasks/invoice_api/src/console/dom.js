// Small builders of elements. Text is always text: nothing here parses HTML.

/** element("a", {href: "#/"}, "text", child, …); null children are left out. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== null && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

/** `1234567.50` as `1,234,567.50`: grouped by text, so that no digit is lost. */
export function grouped(text) {
  if (text === null || text === undefined) return "–";
  const [, sign, whole, fraction] = /^(-?)(\d+)(\..*)?$/.exec(String(text)) ?? [null, "", String(text), ""];
  return (sign ? "−" : "") + whole.replace(/\B(?=(\d{3})+$)/g, ",") + (fraction ?? "");
}

export const dollars = (text) => (text === null || text === undefined ? "–" : `${grouped(text)} USD`);

/** `2026-01-31 09:05:07` in UTC. */
export const time = (text) => (text ? text.slice(0, 19).replace("T", " ") : "–");

const TONES = { approve: "good", review: "caution", block: "bad", proven: "good", differs: "bad", up: "good",
  down: "bad", "catching up": "caution" };
const WORDS = { approve: "approved", block: "blocked", review: "to review" };

export const badge = (word) => element("span", { class: `badge ${TONES[word] ?? ""}` }, WORDS[word] ?? word);

export const note = (text, tone = "") =>
  element("p", { class: `note ${tone}`, role: tone === "bad" ? "alert" : "status" }, text);

/** columns: [heading, is a number, cell of a row]; the first cell of a row names it. */
export function table(caption, columns, rows) {
  const head = columns.map(([heading, isNumber]) => element("th", { scope: "col", class: isNumber ? "number" : null }, heading));
  const body = element("tbody", {}, rows.map((row) => tableRow(columns, row)));
  return element("div", { class: "scroll" },
    element("table", { class: "stack" }, element("caption", {}, caption), element("thead", {}, element("tr", {}, head)), body));
}

export function tableRow(columns, row, attributes = {}) {
  const cells = columns.map(([heading, isNumber, cell], index) =>
    element(index === 0 ? "th" : "td",
      { class: isNumber ? "number" : null, "data-label": heading, scope: index === 0 ? "row" : null }, cell(row)));
  return element("tr", attributes, cells);
}
