// Asking before something changes: what a verb would do now, worked out by the console; only that is then done.

import { $, list, make, percent, setText } from "./dom.js";

const TITLES = {
  promote: ["Promote to the next step?", "Promote"],
  pause: ["Pause the schedule?", "Pause"],
  resume: ["Resume?", "Resume"],
  set: ["Set a fixed share", "Set share"],
  rollback: ["Roll back?", "Roll back"],
  finish: ["Make the new version stable?", "Finish"],
};
/** How long typing is waited for. */
const TYPING_MS = 120;

let current = null;
let shown = null;
let latest = 0;

async function post(path, body) {
  try {
    const answer = await fetch(`console/${path}`, {
      method: "POST",
      headers: { "content-type": "application/json", "x-switchover-console": "1" },
      body: JSON.stringify(body),
    });
    if (answer.status === 401) location.reload();
    return await answer.json();
  } catch (error) {
    return { error: `The console cannot be reached, and nothing is known to have changed: ${error.message}` };
  }
}

function deed() {
  const { verb, rollout } = current;
  const body = { rollout: rollout.rollout, verb };
  if (verb === "set") Object.assign(body, { environment: $("ask-environment").value, percent: $("ask-percent").value });
  const from = verb === "resume" && $("ask-from")?.value;
  if (from) body.from = from;
  return body;
}

/** Opens the dialog for a verb. */
export async function ask(verb, rollout) {
  const { refused } = rollout.verbs.find((each) => each.verb === verb);
  current = { verb, rollout, refused };
  const [title, word] = TITLES[verb];
  setText($("ask-title"), title);
  setText($("ask-yes"), word);
  $("ask-yes").className = verb === "rollback" ? "primary danger" : "primary";
  $("ask-fields").replaceChildren(...(refused ? [] : fields(verb, rollout)));
  $("ask-changes").open = false;
  await look();
  $("ask").showModal();
  const first = $("ask-fields").querySelector("input") ?? $("ask-fields").querySelector("select") ?? ($("ask-yes").disabled ? $("ask-no") : $("ask-yes"));
  first.focus();
  if (first.select) first.select();
}

/** Follows what may be done, where the dialog is open. */
export function follow(rollout) {
  if (!$("ask").open || rollout.rollout !== current.rollout.rollout) return;
  const { refused } = rollout.verbs.find((each) => each.verb === current.verb);
  if (refused === current.refused) return;
  current = { ...current, rollout, refused };
  $("ask-fields").replaceChildren(...(refused ? [] : fields(current.verb, rollout)));
  look();
}

function fields(verb, rollout) {
  if (verb === "set") {
    const others = rollout.environments.filter((environment) => !environment.stable);
    const options = others.map((environment) => make("option", { value: environment.name }, environment.name));
    const target = others.find((environment) => environment.name === rollout.schedule?.environment) ?? others[0];
    const select = make("select", { id: "ask-environment" }, ...options);
    select.value = target?.name ?? "";
    const number = make("input", { id: "ask-percent", type: "number", min: 0, max: 100, step: "any", required: true, value: target?.share ?? 0 });
    return [make("label", {}, "Environment", select), make("label", {}, "Share in percent", number)];
  }
  if (verb === "resume" && rollout.course) {
    const steps = rollout.course.steps.map((step) => make("option", { value: step.share }, `from the step with ${percent(step.share)}`));
    const where = [make("option", { value: "" }, "where it stood"), make("option", { value: "0" }, "from the beginning"), ...steps];
    return [make("label", {}, "The schedule goes on", make("select", { id: "ask-from" }, ...where))];
  }
  return [];
}

/** Shows what the verb would do now. */
async function look(problem) {
  const turn = ++latest;
  shown = null;
  $("ask-yes").disabled = true;
  const answer = current.refused ? { error: current.refused } : await post("preview", deed());
  if (turn !== latest) return;
  const error = answer.error ?? problem;
  $("ask-error").hidden = !error;
  setText($("ask-error"), error ?? "");
  $("ask-body").hidden = Boolean(answer.error);
  setText($("ask-no"), answer.error ? "Close" : "Cancel");
  if (answer.error) return;
  const { outcome, effects, moves } = answer;
  $("ask-notes").replaceChildren(...outcome.notes.map((note) => make("li", {}, note)));
  list("ask-shares").replaceChildren(...effects.map(({ name, before, after }) =>
    make("tr", {}, make("th", { scope: "row" }, name), make("td", { class: "n" }, percent(before)), make("td", { class: "n" }, percent(after)))));
  setText($("ask-moves"), who(moves, effects));
  const changes = outcome.changes.map(({ path, before, after }) => make("li", {}, make("code", {}, `${path}: ${JSON.stringify(before)} → ${JSON.stringify(after)}`)));
  $("ask-changes").hidden = !changes.length;
  $("ask-changes").querySelector("ul").replaceChildren(...changes);
  shown = answer;
  $("ask-yes").disabled = !changes.length;
}

function who(moves, effects) {
  if (moves?.length) return `Who moves: ${moves.map(({ from, to, part }) => `${percent(part)} of the users from ${from} to ${to}`).join(", ")}; all others stay where they are.`;
  if (moves) return "Nobody moves.";
  const changes = effects.some(({ before, after }) => before !== after);
  return changes ? "Each request is decided by itself: users are not kept on one side." : "The shares stay as they are.";
}

async function confirm() {
  if (!shown || $("ask-yes").disabled) return;
  const confirmed = { sha256: shown.sha256, shares: shown.effects.map(({ after }) => after) };
  $("ask-yes").disabled = true;
  const answer = await post("change", { ...deed(), confirmed });
  if (answer.error) {
    await look(answer.error);
    return;
  }
  $("ask").close();
  setText($("told"), `Done: ${answer.outcome.notes.join("; ")}`);
}

let typing = 0;
$("ask-fields").addEventListener("input", () => {
  clearTimeout(typing);
  latest += 1;
  shown = null;
  $("ask-yes").disabled = true;
  typing = setTimeout(look, TYPING_MS);
});
$("ask").querySelector("form").addEventListener("submit", (event) => {
  event.preventDefault();
  confirm();
});
$("ask-no").addEventListener("click", () => $("ask").close());
