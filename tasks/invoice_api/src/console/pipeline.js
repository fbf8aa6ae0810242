// What the pipeline did last and whether it is proven.

import { get } from "./api.js";
import { badge, element, grouped, note, table, time } from "./dom.js";

export const title = "Pipeline";

const REFRESH_MS = 5000;
const COLUMNS = [
  ["Table", false, (row) => row.table],
  ["Proof", false, (row) => badge(row.proof)],
  ["Last run (UTC)", false, (row) => time(row.last_run)],
  ["Newest partition", false, (row) => row.newest_partition?.replace(/^\w+=/, "") ?? "–"],
  ["Partitions", true, (row) => grouped(row.partitions)],
  ["Rows", true, (row) => grouped(row.rows)],
  ["Objects", true, (row) => grouped(row.objects)],
];

export async function show(content, _, signal) {
  while (!signal.aborted) {
    const { body } = await get("/v1/pipeline", signal);
    if (signal.aborted) return;
    content.replaceChildren(...view(body));
    await new Promise((done) => setTimeout(done, REFRESH_MS));
  }
}

function view({ tables, stream, decisions, cache }) {
  const unknown = (value, unit = "") => (value === null ? "not known yet" : `${grouped(value)}${unit}`);
  const facts = (pairs) => element("dl", {}, pairs.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
  const isEmpty = tables.every((row) => row.proof === "empty");
  const differing = tables.flatMap((row) => row.differing.map((partition) => `${row.table} ${partition}`));
  return [
    isEmpty ? note("The lake is empty. Run query_source, aggregate_by_business and write_partitioned_parquet.") : null,
    differing.length ? note(`Not what was recorded: ${differing.join(", ")}. Run the tasks again.`, "bad") : null,
    element("section", { class: "card", "aria-label": "Tables of the lake" },
      table("Proven: every object is the one that was recorded when its rows, sum and hashes matched the source.", COLUMNS, tables)),
    element("div", { class: "two" },
      element("section", { class: "card", "aria-labelledby": "stream" }, element("h2", { id: "stream" }, "Change stream"),
        stream === null ? element("p", { class: "dim" }, "Not followed: cached invoices are renewed by their age alone.")
          : facts([["Events seen", grouped(stream.events)], ["Events behind", unknown(stream.events_behind)],
            ["Lag of the last event", unknown(stream.lag_ms, " ms")], ["Not understood", grouped(stream.undecodable)]]),
        facts([["Decisions", decisions.followed ? `${grouped(decisions.seen)} seen` : "none in this database"]])),
      element("section", { class: "card", "aria-labelledby": "cache" }, element("h2", { id: "cache" }, "Cache"),
        facts([["Database", badge(cache.source)], ["Redis", badge(cache.redis)],
          ["Invoices in memory", grouped(cache.entries)], ["Served from memory", grouped(cache.local_hits)],
          ["Served from Redis", grouped(cache.redis_hits)], ["Read in the database", grouped(cache.source_loads)]]))),
  ].filter((part) => part !== null);
}
