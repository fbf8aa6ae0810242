// One invoice: its parties, its amount, and why it was scored so.

import { Refused, get } from "./api.js";
import { badge, dollars, element, grouped, note, time } from "./dom.js";

export const title = "Invoice";

export async function show(content, id, signal) {
  const input = element("input", {
    name: "id", inputmode: "numeric", pattern: "-?[0-9]+", value: id, required: true, autocomplete: "off",
    title: "A whole number",
  });
  const submit = (event) => {
    event.preventDefault();
    location.hash = `#/invoice/${encodeURIComponent(input.value.trim())}`;
  };
  content.append(element("form", { class: "row", role: "search", onsubmit: submit },
    element("label", {}, "Invoice id", input), element("button", { type: "submit" }, "Find")));
  if (!id) {
    content.append(note("Enter the id of an invoice to see its parties, its amount and its risk decision."));
    input.focus();
    return;
  }
  const result = element("section", { "aria-live": "polite", "aria-label": "Result" });
  content.append(result);
  try {
    const { body, isStale } = await get(`/v1/invoices/${encodeURIComponent(id)}`, signal);
    result.append(...view(body, isStale));
  } catch (error) {
    if (!(error instanceof Refused) || ![400, 404].includes(error.status)) throw error;
    result.append(note(error.message, "caution"));
  }
}

function view(invoice, isStale) {
  const party = (business) => business === null
    ? element("span", { class: "dim" }, "unknown")
    : element("span", {}, business.name ? `${business.name} ` : "",
      element("a", { href: `#/business/${business.business_id}` }, `business ${business.business_id}`));
  return [
    isStale ? note("The database does not answer; this is what was known last.", "caution") : null,
    element("div", { class: "two" },
      element("section", { class: "card", "aria-labelledby": "facts" },
        element("h2", { id: "facts" }, `Invoice ${invoice.invoice_id}`),
        element("p", { class: "amount" }, grouped(invoice.amount_usd), element("span", { class: "dim" }, " USD")),
        element("dl", {},
          element("dt", {}, "Issued"), element("dd", {}, invoice.issue_date ? `${time(invoice.issue_date)} UTC` : "unknown"),
          element("dt", {}, "From"), element("dd", {}, party(invoice.issuer)),
          element("dt", {}, "To"), element("dd", {}, party(invoice.receiver)))),
      element("section", { class: "card", "aria-labelledby": "decision" },
        element("h2", { id: "decision" }, "Risk decision"), ...decision(invoice.decision))),
  ].filter((part) => part !== null);
}

function decision(found) {
  if (found === null) return [element("p", { class: "dim" }, "No decision on this invoice.")];
  const rules = found.rules.map((rule) =>
    element("li", {},
      element("span", { class: "points", "aria-label": `${rule.score} points` }, `+${rule.score}`),
      element("span", {}, rule.reason ?? rule.id, element("span", { class: "id" }, rule.id))));
  return [
    element("p", { class: "score" }, badge(found.status),
      element("meter", { min: 0, max: 100, low: 40, high: 70, optimum: 0, value: found.score, "aria-label": "Risk score" }),
      element("span", {}, `${found.score} of 100`)),
    rules.length ? element("ul", { class: "rules", "aria-label": "Rules that fired" }, rules)
      : element("p", { class: "dim" }, "No rule fired."),
    element("p", { class: "dim" }, `Decided ${time(found.decided_at)} UTC by rule set ${found.rule_set.slice(0, 12)}`),
  ];
}
