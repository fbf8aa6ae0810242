// A business's months as a chart and a table, and its newest invoices.

import { get } from "./api.js";
import { dollars, element, grouped, note, table, time } from "./dom.js";

export const title = "Business";

const MONTH_COLUMNS = [
  ["Month", false, (month) => month.month.slice(0, 7)],
  ["Issued", true, (month) => dollars(month.total_amount_issued)],
  ["Invoices", true, (month) => (month.is_published ? grouped(month.issued_count) : "–")],
  ["Received", true, (month) => dollars(month.total_amount_received)],
  ["Invoices", true, (month) => (month.is_published ? grouped(month.received_count) : "–")],
  ["Counterparties", true, (month) => (month.is_published ? grouped(month.counterparties) : "–")],
];
const other = (party) => (party === null ? "unknown" : element("a", { href: `#/business/${party.business_id}` }, party.name ?? String(party.business_id)));
const INVOICE_COLUMNS = [
  ["Invoice", false, (invoice) => element("a", { href: `#/invoice/${invoice.invoice_id}` }, String(invoice.invoice_id))],
  ["Issued (UTC)", false, (invoice) => time(invoice.issue_date)],
  ["From", false, (invoice) => other(invoice.issuer)],
  ["To", false, (invoice) => other(invoice.receiver)],
  ["Amount", true, (invoice) => dollars(invoice.amount_usd)],
];

export async function show(content, argument, signal) {
  const [id, count = "12"] = argument.split("/");
  const input = element("input", { name: "id", inputmode: "numeric", pattern: "-?[0-9]+", value: id, required: true, title: "A whole number" });
  const months = element("select", { name: "n" },
    ["6", "12", "24", "36"].map((n) => element("option", { value: n, selected: n === count }, `${n} months`)));
  const go = (event) => {
    event.preventDefault();
    location.hash = `#/business/${encodeURIComponent(input.value.trim())}/${months.value}`;
  };
  content.append(element("form", { class: "row", role: "search", onsubmit: go },
    element("label", {}, "Business id", input), element("label", {}, "Window", months),
    element("button", { type: "submit" }, "Show")));
  if (!id) {
    content.append(note("Enter the id of a business to see what it issued and received per month."));
    input.focus();
    return;
  }
  const path = `/v1/businesses/${encodeURIComponent(id)}`;
  const [statistics, page] = await Promise.all([
    get(`${path}/months?n=${encodeURIComponent(count)}`, signal),
    get(`${path}/invoices?limit=20`, signal).catch((error) => ({ error })),
  ]);
  const { body } = statistics;
  content.append(element("h2", {}, body.name ? `${body.name} · business ${body.business_id}` : `Business ${body.business_id}`));
  if (body.months.length === 0) {
    content.append(note("The lake has no month yet. Run query_source, aggregate_by_business and write_partitioned_parquet."));
  } else {
    content.append(chartCard(body.months, signal), element("section", { class: "card", "aria-label": "Months" },
      table("Statistics per month, from the lake. A dash: not published.", MONTH_COLUMNS, [...body.months].reverse())));
  }
  content.append(page.error ? note(page.error.message, "bad") : element("section", { class: "card", "aria-label": "Newest invoices" },
    page.body.invoices.length ? table("Newest invoices, as the database has them now.", INVOICE_COLUMNS, page.body.invoices)
      : element("p", { class: "dim" }, "No invoices.")));
}

/** Bars side by side: issued and received. The table below says the same to those who can't see it. */
function chartCard(months, signal) {
  const place = element("div", { class: "chart", role: "img", "aria-label": "Amounts issued and received per month; the table below has the same figures." });
  const card = element("section", { class: "card" },
    element("ul", { class: "legend", "aria-hidden": "true" },
      element("li", {}, element("span"), "issued, USD"), element("li", { class: "second" }, element("span"), "received, USD")),
    place);
  const draw = () => {
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(name).trim();
    const axis = { stroke: color("--dim"), grid: { stroke: color("--line"), width: 1 }, ticks: { stroke: color("--line") } };
    // Pixels need no cents: floats are for drawing only.
    const heights = (key) => months.map((month) => (month[key] === null ? null : Number(month[key])));
    const bars = (align) => uPlot.paths.bars({ size: [0.36, 60], align, gap: 1 });
    const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
    const options = {
      width: place.clientWidth, height: 280, legend: { show: false }, cursor: { show: false },
      scales: { x: { time: false, range: [-0.6, months.length - 0.4] }, y: { range: (_, min, max) => [Math.min(0, min), max > 0 ? max * 1.08 : 1] } },
      axes: [
        { ...axis, grid: { show: false }, splits: () => months.map((_, index) => index), space: 56,
          values: (_, splits) => splits.map((index) => (splits.length > 8 && place.clientWidth < 500 && index % 3 ? "" : months[index]?.month.slice(2, 7))) },
        { ...axis, size: 64, values: (_, splits) => splits.map((value) => short.format(value)) },
      ],
      series: [{},
        { fill: color("--accent"), stroke: color("--accent"), width: 0, points: { show: false }, paths: bars(-1) },
        { fill: color("--second"), stroke: color("--second"), width: 0, points: { show: false }, paths: bars(1) }],
    };
    const data = [months.map((_, index) => index), heights("total_amount_issued"), heights("total_amount_received")];
    place.replaceChildren();
    new uPlot(options, data, place);
  };
  const observer = new ResizeObserver(() => place.clientWidth > 0 && draw());
  observer.observe(place);
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  scheme.addEventListener("change", draw, { signal });
  signal.addEventListener("abort", () => observer.disconnect());
  return card;
}
