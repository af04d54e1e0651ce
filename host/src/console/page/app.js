// The console's page: shows each state as it comes, and asks before it changes something.

import { ask, follow } from "./ask.js";
import { draw, duration } from "./chart.js";
import { costs } from "./costs.js";
import { $, cells, count, list, make, percent, reconcile, setText, time } from "./dom.js";

const PHASES = {
  fixed: ["fixed shares", ""],
  waiting: ["starts later", "warn"],
  running: ["the schedule runs", "good"],
  paused: ["paused", "warn"],
  at_the_end: ["at its end", "good"],
  rolled_back: ["rolled back", "bad"],
};
const CONDITIONS = {
  asked: ["asking", ""],
  current: ["current", "good"],
  behind: ["behind", "warn"],
  down: ["down", "bad"],
};
const LIMITS = {
  max_error_rate: (value) => ["failures above", percent(value * 100)],
  worse_than_stable_by: (value) => ["more failures than stable by", percent(value * 100)],
  max_p50: (value) => ["median above", value],
  max_p95: (value) => ["p95 above", value],
  max_p99: (value) => ["p99 above", value],
  window: (value) => ["counted over", value],
  min_requests: (value) => ["only from", `${value} requests on`],
};
/** How many there are beside stable's. */
const COLOURS = 7;
/** A proxy takes a moment to follow; only a longer one is worth an alert. */
const PATIENCE_MS = 3000;
/** Without a state for so long, the connection is lost. */
const SILENCE_MS = 5000;
/** When nobody sees the page for so long, proxies are left alone. */
const HIDDEN_MS = 5000;

let state = null;
let chosen = null;
let events = null;
let silence = 0;
let hidden = 0;
/** Nobody looks, and so nobody is asked. */
let still = false;
const behindSince = new Map();
const measured = new Map();

function rollout() {
  return state?.rollouts.find((own) => own.rollout === chosen) ?? state?.rollouts[0];
}

function show(next) {
  state = next;
  const own = rollout();
  $("main").removeAttribute("aria-busy");
  setText($("document"), state.document.path);
  setText($("window"), `measured over the last ${state.window_s} s`);
  setText($("version"), state.document.version ? `the document is ${state.document.version}` : "");
  choices();
  alerts(own);
  proxies(own);
  costs(state.costs, state.proxies);
  audit();
  if (!own) return;
  chosen = own.rollout;
  setText($("name"), own.rollout);
  document.title = `${own.rollout} – Switchover console`;
  phase(own);
  buttons(own);
  bars(own);
  environments(own);
  course(own);
  tripwire(own);
  follow(own);
}

function choices() {
  const select = $("rollout");
  $("choose").hidden = state.rollouts.length < 2;
  const ids = state.rollouts.map((own) => own.rollout);
  if (ids.join("\n") === [...select.options].map((option) => option.value).join("\n")) return;
  select.replaceChildren(...ids.map((id) => make("option", { value: id, selected: id === chosen }, id)));
}

function stable(own) {
  return own.environments.find((environment) => environment.stable).name;
}

function phase(own) {
  const trips = own.rollback ? 0 : own.tripwire?.tripped.length;
  const [words, kind] = trips ? [`tripped on ${trips} of ${state.proxies.length} proxies`, "bad"] : PHASES[own.phase];
  setText($("phase-pill"), words);
  $("phase-pill").className = `pill ${kind}`;
  const { schedule } = own;
  const parts = [];
  if (schedule) {
    parts.push(`${schedule.environment} is at step ${schedule.reached} of ${schedule.steps}`);
    if (own.phase === "rolled_back") parts.push(`everything goes to ${stable(own)}`);
    else if (schedule.next) parts.push(`${schedule.next.share} % follows in ${duration(new Date(schedule.next.at) - new Date(state.now))}`);
    else if (schedule.held_since) parts.push(`its clock stands still since ${time(schedule.held_since)}`);
  } else if (own.rollback) parts.push(`everything goes to ${stable(own)}`);
  setText($("phase-more"), parts.join(" · "));
}

function buttons(own) {
  const possible = new Set(own.verbs.filter((verb) => !verb.refused).map((verb) => verb.verb));
  // After a trip there is no usual next step: the operator says which.
  const tripped = own.tripwire?.tripped.length && !own.rollback;
  const next = tripped ? null : own.phase === "paused" || own.phase === "rolled_back" ? "resume" : ["finish", "promote"].find((verb) => possible.has(verb));
  for (const button of document.querySelectorAll("[data-verb]")) {
    const verb = own.verbs.find((each) => each.verb === button.dataset.verb);
    const off = Boolean(verb.refused);
    if (button.getAttribute("aria-disabled") !== String(off)) button.setAttribute("aria-disabled", String(off));
    button.title = verb.refused ?? "";
    button.classList.toggle("next", button.dataset.verb === next && !off);
  }
}

/** The class of an environment's colour: stable has the first to itself. */
function colour(own, name) {
  const others = own.environments.filter((environment) => !environment.stable).map((environment) => environment.name);
  const place = others.indexOf(name);
  return `e${place < 0 ? 0 : (place % COLOURS) + 1}`;
}

function bars(own) {
  const configured = own.environments.map((environment) => [environment.name, environment.share]);
  bar("configured", own, configured);
  const known = own.live.some((live) => live.measured !== null);
  bar("measured", own, known ? own.live.map((live) => [live.name, live.measured]) : []);
}

function bar(id, own, shares) {
  const parts = shares.filter(([, share]) => share > 0);
  const items = parts.length ? parts : [["", 0]];
  reconcile($(id), items, ([name]) => name, () => make("span"), (part, [name, share]) => {
    part.className = name ? `part ${colour(own, name)}` : "none";
    part.style.flexGrow = share;
    // From right to left: what has no room goes, the name first.
    const words = name ? [`${Math.round(share * 10) / 10} %`, `${name}\u00a0`] : ["no requests"];
    if (part.textContent !== words.join("")) part.replaceChildren(...words.map((word) => make("span", {}, word)));
  });
  const words = shares.map(([name, share]) => `${name} ${percent(share)}`);
  setText($(`${id}-text`), words.join(", ") || "no requests");
}

function environments(own) {
  const rows = own.environments.map((environment, index) => [environment, own.live[index]]);
  reconcile(list("environments"), rows, ([environment]) => environment.name, () => make("tr", { role: "row" }), (row, [environment, live]) => {
    const name = make("span", { class: `swatch ${colour(own, environment.name)}` }, environment.name + (environment.stable ? " (stable)" : ""));
    const [healthy, asked] = live.healthy ?? [];
    const health = asked === undefined ? "not probed" : healthy === asked ? "healthy" : healthy ? `${healthy} of ${asked} find it healthy` : "unhealthy";
    const bad = own.tripwire?.environment === environment.name && live.success !== null && 1 - live.success > (own.tripwire.limits.max_error_rate ?? 1);
    cells(row, [
      ["Environment", name],
      ["Version", environment.version ?? "–"],
      ["Configured", percent(environment.share), "n"],
      ["Measured", percent(live.measured), "n"],
      ["Requests/s", count(live.requests_per_second), "n"],
      ["Success", live.success === null ? "–" : percent(live.success * 100), bad ? "n bad" : "n"],
      ["p50", latency(live.p50_ms), "n"],
      ["p95", latency(live.p95_ms), "n"],
      ["p99", latency(live.p99_ms), "n"],
      ["Health", health, healthy < asked ? "bad" : ""],
    ]);
  });
}

function latency(ms) {
  return ms === null ? "–" : ms >= 1000 ? `${(ms / 1000).toFixed(2)} s` : `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
}

function course(own) {
  const card = $("course-card");
  const { course: curve, schedule } = own;
  if (!curve) {
    $("course").replaceChildren();
    setText($("course-text"), "There is no schedule: the shares stand as they are.");
    card.dataset.drawn = "";
    return;
  }
  const dots = remember(own, curve, schedule.environment);
  // Drawn anew only where a pixel may differ.
  const width = $("course").clientWidth;
  const drawn = JSON.stringify([own.rollout, width, curve.steps, curve.held, Math.round((1000 * curve.clock_ms) / curve.steps.at(-1).after_ms), dots.length]);
  if (card.dataset.drawn !== drawn) {
    card.dataset.drawn = drawn;
    $("course").replaceChildren(draw(curve, colour(own, schedule.environment), dots, width));
  }
  const steps = curve.steps.map((step) => `${step.share} % after ${duration(step.after_ms)}`);
  setText($("course-text"), `${schedule.environment} gets ${steps.join(", ")}${curve.linear ? ", rising evenly" : ""}; started ${time(schedule.start)}.`);
}

/** Measured shares by the schedule's clock, as many as can be told apart. */
function remember(own, curve, environment) {
  const key = `${own.rollout} ${own.schedule.start}`;
  if (!measured.has(key)) measured.clear();
  const dots = measured.get(key) ?? [];
  measured.set(key, dots);
  const live = own.live.find((each) => each.name === environment);
  const last = dots.at(-1)?.[0] ?? -Infinity;
  if (live.measured !== null && !curve.held && curve.clock_ms - last >= curve.steps.at(-1).after_ms / 250) dots.push([curve.clock_ms, live.measured]);
  return dots;
}

function tripwire(own) {
  const wire = own.tripwire;
  if (!wire) {
    setText($("tripwire"), "The document has none: nothing rolls back by itself.");
    $("tripwire").className = "";
    $("limits").replaceChildren();
    return;
  }
  const tripped = wire.tripped.length;
  setText($("tripwire"), tripped ? `Tripped on ${tripped} of ${state.proxies.length} proxies.` : `Armed: it watches ${wire.environment}.`);
  const limits = Object.entries(LIMITS).filter(([name]) => wire.limits[name] !== undefined && wire.limits[name] !== null);
  const crossed = new Set(wire.tripped.flatMap((trip) => trip.causes));
  $("tripwire").className = tripped ? "bad" : "";
  reconcile($("limits"), limits, ([name]) => name, () => make("li"), (item, [name, words]) => {
    const [before, value] = words(wire.limits[name]);
    setText(item, `${before} ${value}${crossed.has(name) ? ": crossed" : ""}`);
    item.className = crossed.has(name) ? "bad" : "";
  });
}

function alerts(own) {
  const found = [];
  if (state.document.error) found.push(["bad", `The document cannot be used as it is; shown is what it said before.\n${state.document.error}`]);
  for (const trip of own?.tripwire?.tripped ?? []) {
    const why = trip.causes.length ? ` over ${trip.causes.join(", ")}` : "";
    found.push(["bad", `${trip.proxy} has tripped${why}: there, everything goes to ${stable(own)} until you resume.`]);
  }
  if (own?.rollback) {
    const line = state.audit.find((each) => each.verb === "rollback" && each.after.rollout === own.rollout && !each.failed);
    const proxy = line?.arguments?.reason?.tripped?.proxy;
    found.push(["warn", `${own.rollout} is rolled back${line ? ` by ${line.who}, ${time(line.time)}` : ""}${proxy ? `, because ${proxy} had tripped` : ""}: everything goes to ${stable(own)} until you resume.`]);
  }
  const down = state.proxies.filter((proxy) => proxy.condition === "down").length;
  if (down) found.push(["warn", `${down} of ${state.proxies.length} proxies give no figures.`]);
  const late = state.proxies.filter(isLate);
  if (late.length) found.push(["warn", `${late.length} of ${state.proxies.length} proxies do not run this document: ${late.map((proxy) => proxy.proxy).join(", ")}.`]);
  reconcile($("alerts"), found, ([, text]) => text, () => make("p"), (item, [kind, text]) => {
    item.className = `alert ${kind}`;
    setText(item, text);
  });
}

function isLate(proxy) {
  if (proxy.condition !== "behind") behindSince.delete(proxy.proxy);
  else if (!behindSince.has(proxy.proxy)) behindSince.set(proxy.proxy, Date.now());
  return proxy.condition === "behind" && Date.now() - behindSince.get(proxy.proxy) >= PATIENCE_MS;
}

function proxies(own) {
  reconcile(list("proxies"), state.proxies, (proxy) => proxy.proxy, () => make("tr", { role: "row" }), (row, proxy) => {
    const [words, kind] = CONDITIONS[proxy.condition];
    const condition = make("span", {}, make("span", { class: `pill ${kind}` }, words));
    if (proxy.error) condition.append(make("small", {}, proxy.error));
    const one = proxy.rollouts.find((each) => each.rollout === own?.rollout);
    const shares = (one?.in_force ?? []).map((share, index) => share === null ? null : `${own.environments[index].name} ${percent(share)}`);
    const armed = one?.tripped === true ? "tripped" : one?.tripped === false ? "armed" : "–";
    cells(row, [
      ["Proxy", proxy.proxy],
      ["State", condition],
      ["Document", make("code", {}, proxy.documents.join(" ") || "–")],
      ["In force", shares.filter(Boolean).join(", ") || "–"],
      ["Tripwire", armed, one?.tripped ? "bad" : ""],
      ["Requests/s", count(proxy.requests_per_second), "n"],
    ]);
  });
  if (!state.proxies.length) list("proxies").replaceChildren(make("tr", { role: "row" }, make("td", { role: "cell", colSpan: 6 }, "No proxy was named: start the console with --admin URL.")));
}

function audit() {
  const lines = state.audit.length ? state.audit : [null];
  reconcile($("audit"), lines, (line) => line ? JSON.stringify(line) : "", () => make("li"), (item, line) => {
    if (item.childNodes.length) return;
    if (!line) return item.append(make("span", { class: "quiet" }, "None yet."));
    const changes = line.changes.map(({ path, before, after }) => `${path} ${short(before)} → ${short(after)}`);
    const what = make("span", { class: "what" }, make("b", {}, line.verb), ` ${changes.join(", ")}`);
    if (line.failed) what.append(make("span", { class: "failed" }, ` not done: ${line.failed}`));
    item.append(make("time", { dateTime: line.time }, time(line.time)), make("span", { class: "who" }, line.who), what);
  });
}

function short(value) {
  const text = value === null || value === undefined ? "none" : typeof value === "string" ? value : JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}

function link(kind, words) {
  $("link").className = kind;
  setText($("link-text"), words);
}

function listen() {
  close();
  events = new EventSource("console/events");
  events.onmessage = (event) => {
    alive();
    link("live", "live");
    show(JSON.parse(event.data));
  };
  events.onerror = lost;
  alive();
}

function alive() {
  clearTimeout(silence);
  silence = setTimeout(lost, SILENCE_MS);
}

async function lost() {
  close();
  link("lost", "connection lost, trying again");
  const answer = await fetch("console").catch(() => null);
  if (answer?.status === 401) return location.reload();
  // Nobody may look any more since the answer was asked for.
  if (!still) silence = setTimeout(listen, 1000);
}

function close() {
  events?.close();
  events = null;
  clearTimeout(silence);
}

document.addEventListener("visibilitychange", () => {
  clearTimeout(hidden);
  if (document.hidden) {
    hidden = setTimeout(() => {
      still = true;
      close();
      link("", "stands still while nobody looks");
    }, HIDDEN_MS);
    return;
  }
  still = false;
  if (!events) listen();
});
addEventListener("resize", () => state && show(state));
$("rollout").addEventListener("change", (event) => {
  chosen = event.target.value;
  show(state);
});
for (const button of document.querySelectorAll("[data-verb]")) {
  button.addEventListener("click", () => rollout() && ask(button.dataset.verb, rollout()));
}
listen();
