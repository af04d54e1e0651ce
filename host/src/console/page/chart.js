// The schedule as a drawing: the share over the schedule's own clock, and where the clock is.

const SVG = "http://www.w3.org/2000/svg";
const LEAST_WIDTH = 240;
const HEIGHT = 220;
const BOX = { left: 44, right: 16, top: 22, bottom: 30 };

function node(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

export function duration(ms) {
  const parts = [];
  let left = Math.max(0, Math.round(ms / 1000));
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["m", 60], ["s", 1]]) {
    if (left >= size && parts.length < 2) {
      parts.push(`${Math.floor(left / size)} ${unit}`);
      left %= size;
    } else if (parts.length) break;
  }
  return parts.join(" ") || "0 s";
}

/** The share by the schedule at an instant of its clock. */
export function shareAt(course, ms) {
  let [since, share] = [0, 0];
  for (const step of course.steps) {
    if (step.after_ms > ms) {
      if (!course.linear || ms < 0) return share;
      return share + ((step.share - share) * (ms - since)) / (step.after_ms - since);
    }
    [since, share] = [step.after_ms, step.share];
  }
  return share;
}

/** Draws a course, so wide; `dots` are measured shares as [clock in ms, percent]. */
export function draw(course, environment, dots, room) {
  const width = Math.max(room, LEAST_WIDTH);
  const last = course.steps.at(-1).after_ms;
  const end = Math.max(last * 1.08, 1);
  const x = (ms) => BOX.left + (Math.min(Math.max(ms, 0), end) / end) * (width - BOX.left - BOX.right);
  const y = (share) => HEIGHT - BOX.bottom - (share / 100) * (HEIGHT - BOX.top - BOX.bottom);
  const svg = node("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-labelledby": "course-title course-text" });
  for (const share of [0, 25, 50, 75, 100]) {
    svg.append(node("line", { class: "grid", x1: BOX.left, x2: width - BOX.right, y1: y(share), y2: y(share) }));
    svg.append(node("text", { class: "axis", x: BOX.left - 8, y: y(share) + 4, "text-anchor": "end" }, `${share} %`));
  }
  const points = [[0, 0]];
  for (const step of course.steps) {
    if (!course.linear) points.push([step.after_ms, points.at(-1)[1]]);
    points.push([step.after_ms, step.share]);
  }
  points.push([end, points.at(-1)[1]]);
  const line = points.map(([ms, share]) => `${x(ms).toFixed(1)},${y(share).toFixed(1)}`);
  const floor = y(0);
  svg.append(node("polygon", { class: `area ${environment}`, points: `${x(0)},${floor} ${line.join(" ")} ${x(end)},${floor}` }));
  svg.append(node("polyline", { class: `course ${environment}`, points: line.join(" ") }));
  let free = -Infinity;
  for (const step of course.steps) {
    const done = step.after_ms <= course.clock_ms;
    svg.append(node("circle", { class: `step ${environment} ${done ? "done" : ""}`, cx: x(step.after_ms), cy: y(step.share), r: 4 }));
    // Names that would run into each other are left out; the text below tells the next step.
    if (x(step.after_ms) < free) continue;
    free = x(step.after_ms) + 52;
    svg.append(node("text", { class: "axis", x: x(step.after_ms), y: HEIGHT - 10, "text-anchor": "middle" }, duration(step.after_ms)));
  }
  for (const [ms, share] of dots) svg.append(node("circle", { class: "dot", cx: x(ms), cy: y(share), r: 1.6 }));
  const now = x(course.clock_ms);
  svg.append(node("line", { class: "now", x1: now, x2: now, y1: BOX.top - 6, y2: floor }));
  const anchor = now > width - 90 ? "end" : now < 90 ? "start" : "middle";
  const word = course.held ? "stands still" : "now";
  svg.append(node("text", { class: "now-text", x: now, y: BOX.top - 10, "text-anchor": anchor }, `${word} · ${Math.round(shareAt(course, course.clock_ms) * 100) / 100} %`));
  return svg;
}
