// What models took and cost: the figures of `switchover report`.

import { $, cells, list, make, reconcile, setText } from "./dom.js";

export function costs(report, proxies) {
  $("costs-card").hidden = !report;
  if (!report) return;
  const rows = report.rows.length > 1 ? [...report.rows, report.total] : report.rows;
  reconcile(list("costs"), rows, (row) => (row === report.total ? "total" : `model ${row.name}`), () => make("tr", { role: "row" }), (line, row) => {
    line.className = row === report.total ? "total" : "";
    cells(line, [
      ["Model", row === report.total ? "all" : row.name || "(none)"],
      ["$ per million", prices(row.usd_per_million), "n"],
      ["Reference", prices(row.reference_usd_per_million), "n"],
      ["Answers", tokens(row.answers), "n"],
      ["Input", tokens(row.input_tokens), "n"],
      ["Cached", tokens(row.cached_input_tokens), "n"],
      ["Output", tokens(row.output_tokens), "n"],
      ["Cost", dollars(row.cost_microdollars), "n"],
      ["Saved", saved(row), "n"],
      ["A month", row.per_month ? dollars(row.per_month.cost_microdollars) : "–", "n"],
    ]);
  });
  const notes = [];
  if (!rows.length) notes.push("No answer has told what it took.");
  if (report.total.untold_answers) notes.push(`${tokens(report.total.untold_answers)} answers did not tell what they took: they are in no sum.`);
  const lost = proxies.filter((proxy) => proxy.condition === "down").length;
  if (lost) notes.push(`${lost} of ${proxies.length} proxies give no figures: theirs are in no sum.`);
  setText($("costs-text"), notes.join(" "));
}

/** From ten millions on in short, as in 12.35M; `switchover report` has all digits. */
function tokens(count) {
  return count.toLocaleString("en", count < 1e7 ? {} : { notation: "compact", maximumFractionDigits: 2 });
}

/** Prices that are all the same are one. */
function prices(own) {
  if (!own) return "–";
  const { input, cached_input: cached, output } = own;
  return input === output && input === cached ? String(input) : `${input} / ${cached} / ${output}`;
}

/** Cents, without rounding up; small sums with what they have. */
function dollars(micro) {
  const size = Math.abs(micro);
  const text = size > 0 && size < 1e6 ? (size / 1e6).toFixed(6) : (Math.floor(size / 1e4) / 100).toLocaleString("en", { minimumFractionDigits: 2 });
  return `${micro < 0 ? "-" : ""}$${text}`;
}

/** Against the reference prices. */
function saved(row) {
  const reference = row.reference_cost_microdollars;
  const difference = reference - row.cost_microdollars;
  return reference > 0 ? `${dollars(difference)} (${((difference / reference) * 100).toFixed(1)} %)` : "–";
}
