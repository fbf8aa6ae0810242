// Decisions as they are made.

import { listen } from "./api.js";
import { badge, dollars, element, note, tableRow, table, time } from "./dom.js";

export const title = "Live decisions";

const ROWS_MAX = 100;
const link = (kind, id) => (id === null ? "–" : element("a", { href: `#/${kind}/${id}` }, String(id)));
const COLUMNS = [
  ["Invoice", false, (item) => link("invoice", item.invoice_id)],
  ["Decided (UTC)", false, (item) => time(item.decided_at)],
  ["Status", false, (item) => badge(item.status)],
  ["Score", true, (item) => String(item.score)],
  ["Amount", true, (item) => dollars(item.amount_usd)],
  ["From", false, (item) => link("business", item.issuer_id)],
  ["To", false, (item) => link("business", item.receiver_id)],
  ["Why", false, (item) => element("span", {}, item.rules.map((rule) => rule.reason ?? rule.id).join("; ") || "no rule fired")],
];

export async function show(content, _, signal) {
  const option = (value, text) => element("option", { value }, text);
  const status = element("select", { name: "status" }, option("", "all"), option("block", "blocked"),
    option("review", "to review"), option("approve", "approved"), option("withdrawn", "withdrawn"));
  const score = element("input", { name: "min_score", class: "short", inputmode: "numeric", pattern: "[0-9]{0,3}", value: "" });
  const business = element("input", { name: "business_id", class: "short", inputmode: "numeric", pattern: "-?[0-9]*", value: "" });
  const pause = element("button", { type: "button", class: "quiet", "aria-pressed": "false" }, "Pause");
  const form = element("form", { class: "row", "aria-label": "Filters", onsubmit: (event) => event.preventDefault() },
    element("label", {}, "Status", status), element("label", {}, "Score at least", score),
    element("label", {}, "Business id", business), pause);
  const state = element("p", { class: "state", role: "status" }, "Connecting…");
  const list = table("The newest decision is on top.", COLUMNS, []);
  const body = list.querySelector("tbody");
  const empty = note("Nothing has been decided yet. Decisions appear here as soon as invoice_consumer makes them.");
  content.append(form, state, empty, element("section", { class: "card", "aria-label": "Decisions" }, list));
  list.parentElement.hidden = true;

  let isPaused = false;
  let waiting = [];
  const add = (item) => {
    empty.hidden = true;
    list.parentElement.hidden = false;
    body.prepend(tableRow(COLUMNS, item, { class: "new" }));
    while (body.children.length > ROWS_MAX) body.lastElementChild.remove();
  };
  pause.addEventListener("click", () => {
    isPaused = !isPaused;
    pause.setAttribute("aria-pressed", String(isPaused));
    pause.textContent = isPaused ? "Go on" : "Pause";
    if (!isPaused) waiting.forEach(add);
    waiting = [];
  });

  let filtering = new AbortController();
  let failed = null;
  const start = () => {
    filtering.abort();
    filtering = new AbortController();
    const query = new URLSearchParams();
    for (const field of [status, score, business]) if (field.value.trim()) query.set(field.name, field.value.trim());
    body.replaceChildren();
    list.parentElement.hidden = true;
    empty.hidden = false;
    waiting = [];
    const suffix = query.size ? `?${query}` : "";
    const both = AbortSignal.any([signal, filtering.signal]);
    const onOpen = (isOpen) => state.replaceChildren(badge(isOpen ? "up" : "down"), isOpen ? "Listening" : "Reconnecting…");
    const onEvent = (event) => {
      if (event.event !== "decision") return;
      const text = event.data.replace(/("[a-z_]*_id":)(-?\d{16,})/g, '$1"$2"');
      const item = JSON.parse(text);
      if (isPaused) waiting = [...waiting, item].slice(-ROWS_MAX);
      else add(item);
    };
    listen(`/v1/decisions/stream${suffix}`, both, onOpen, onEvent).catch((error) => failed(error));
  };
  form.addEventListener("change", () => form.reportValidity() && start());
  start();
  await new Promise((done, fail) => {
    failed = fail;
    signal.addEventListener("abort", done);
  });
}
