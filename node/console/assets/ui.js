// What the page is made of. Everything that comes from devices or services is
// set as text, never as HTML.

/** Makes an element; children are nodes or text. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((c) => c !== undefined && c !== null));
  return node;
}

export const byId = (id) => document.getElementById(id);

/** Replaces what is in a node; the button or box that has the focus keeps it. */
export function replace(node, ...children) {
  const places = () => [...node.querySelectorAll("button, pre")];
  const focused = places().indexOf(document.activeElement);
  node.replaceChildren(...children);
  if (focused >= 0) places()[focused]?.focus({ preventScroll: true });
}

/** Shows a text where it changed, so that readers are not told the same again. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export const number = (n) => new Intl.NumberFormat("en", { maximumFractionDigits: n < 10 ? 1 : 0 }).format(n);

export const bytes = (n) => (n < 1024 ? `${n} bytes` : n < 1 << 20 ? `${number(n / 1024)} KiB` : `${number(n / (1 << 20))} MiB`);

/** A time as people read it, with the whole of it when pointed at. */
export function time(text) {
  const at = new Date(text);
  const today = at.toDateString() === new Date().toDateString();
  const shown = today ? at.toLocaleTimeString() : at.toLocaleString();
  return el("time", { datetime: text, title: text }, shown);
}

export function ago(text) {
  const seconds = Math.max(0, (Date.now() - new Date(text)) / 1000);
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (seconds >= size) return `${Math.floor(seconds / size)} ${unit}`;
  }
  return `${Math.floor(seconds)} s`;
}

/** The answer of the console, or an error with its text. */
export async function call(path, parameters = {}, body) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, v]) => v !== "" && v !== undefined));
  const response = await fetch(`api/${path}?${query}`, {
    method: body === undefined ? "GET" : "POST",
    headers: body === undefined ? {} : { "Content-Type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
    signal: AbortSignal.timeout(15_000),
  });
  if (response.status === 401) {
    location.reload(); // the session has ended
    throw new Error("Sign in again.");
  }
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

/** Columns: [label, cell(item), class]. Narrow screens show each row as a card. */
export function table(caption, columns, items, empty) {
  if (items.length === 0) return el("p", { class: "card empty" }, empty);
  const row = (item) =>
    el("tr", {}, ...columns.map(([label, cell, kind]) => el("td", { "data-label": label, class: kind }, el("span", {}, cell(item)))));
  return el("div", { class: "table" },
    el("table", { "aria-label": caption },
      el("thead", {}, el("tr", {}, ...columns.map(([label, , kind]) => el("th", { scope: "col", class: kind }, label)))),
      el("tbody", {}, ...items.map(row))));
}

export const link = (text, onclick) => el("button", { type: "button", class: "link", onclick }, text);
export const problem = (error) => el("p", { class: "error", role: "alert" }, error.message);
