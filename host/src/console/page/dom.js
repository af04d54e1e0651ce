// Small helpers: elements, lists that keep their elements (and so the focus), and how values are written.

export const $ = (id) => document.getElementById(id);

export function list(id) {
  return $(id).tBodies[0];
}

export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key in element && key !== "role") element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Makes the children those of `items`, in their order; an item's element stays the same as long as its key does. */
export function reconcile(parent, items, key, create, update) {
  const old = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  items.forEach((item, index) => {
    const own = key(item);
    const element = old.get(own) ?? create();
    old.delete(own);
    element.dataset.key = own;
    update(element, item);
    if (parent.children[index] !== element) parent.insertBefore(element, parent.children[index] ?? null);
  });
  old.forEach((element) => element.remove());
}

/** Fills a table's row; a cell is touched only where it changes. */
export function cells(row, values) {
  values.forEach(([label, value, kind], index) => {
    const cell = row.cells[index] ?? row.appendChild(make(index ? "td" : "th", index ? { role: "cell" } : { role: "rowheader", scope: "row" }));
    cell.className = kind ?? "";
    if (index) cell.dataset.label = label;
    if (value instanceof Node) {
      if (cell.firstChild?.isEqualNode(value) && cell.childNodes.length === 1) return;
      cell.replaceChildren(value);
    } else setText(cell, value);
  });
}

export function percent(value) {
  if (value === null || value === undefined) return "–";
  return `${Math.round(value * 100) / 100} %`;
}

export function count(value) {
  if (value === null || value === undefined) return "–";
  return value < 10 ? String(Math.round(value * 10) / 10) : Math.round(value).toLocaleString("en");
}

export function time(instant) {
  return new Date(instant).toLocaleString("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" });
}
