// The console: one page, whose parts ask the node again while they are seen.
import { ago, byId, call, el, number, problem, replace, say, table } from "./ui.js";
import { List } from "./lists.js";
import { message, over } from "./message.js";

const interval = 2000;
const names = ["overview", "connections", "users", "groups", "messages", "send"];
const go = {
  messages(user) {
    byId("messages-form").elements.user.value = user;
    messages.after = [""];
    location.hash = "messages";
  },
  send(user) {
    byId("send-form").elements.user.value = user;
    location.hash = "send";
  },
};

// Overview

const samples = []; // {at, in, out} as they were counted, of the last two minutes
const span = 120_000;

/** Messages per second between neighbouring samples. */
function rates(kind) {
  const list = [];
  for (let i = 1; i < samples.length; i++) {
    const seconds = (samples[i].at - samples[i - 1].at) / 1000;
    if (seconds > 0) list.push({ at: samples[i].at, rate: Math.max(0, samples[i][kind] - samples[i - 1][kind]) / seconds });
  }
  return list;
}

function draw() {
  const now = samples.at(-1).at;
  const lines = { in: rates("in"), out: rates("out") };
  const top = Math.max(1, ...lines.in.map((r) => r.rate), ...lines.out.map((r) => r.rate));
  const svg = byId("chart");
  const make = (tag, attributes) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    return node;
  };
  const path = (kind) => {
    const points = lines[kind].map(({ at, rate }) => `${(600 - ((now - at) / span) * 600).toFixed(1)} ${(117 - (rate / top) * 110).toFixed(1)}`);
    return make("path", { class: kind, d: points.length > 0 ? `M${points.join("L")}` : "" });
  };
  svg.replaceChildren(...[7, 62, 117].map((y) => make("line", { x1: 0, x2: 600, y1: y, y2: y })), path("in"), path("out"));
  say(byId("chart-top"), `highest ${number(top)}/s`);
  for (const kind of ["in", "out"]) say(byId(`tile-${kind}`), lines[kind].length > 0 ? number(lines[kind].at(-1).rate) : "–");
}

let node;
async function overview() {
  const o = await call("overview");
  if (node !== o.id) samples.length = 0; // another node answers, with counters of its own
  node = o.id;
  samples.push({ at: Date.parse(o.now), in: o.in, out: o.out });
  while (samples.length > 2 && samples.at(-1).at - samples[0].at > span) samples.shift();
  say(byId("where"), `node ${o.id} · up ${ago(o.since)}`);
  say(byId("tile-connections"), number(o.connections));
  say(byId("tile-nodes"), o.nodes === null ? "?" : number(o.nodes));
  byId("cluster-problem").hidden = !o.problem;
  say(byId("cluster-problem"), o.problem ? `Not all nodes could be asked: ${o.problem}` : "");
  draw();
  replace(byId("hubs"), table("Hubs", [
    ["Hub", (h) => h.name],
    ["Connections", (h) => number(h.connections), "number"],
    ["on all nodes", (h) => (h.everywhere === null ? "?" : number(h.everywhere)), "number"],
    ["Users", (h) => number(h.users), "number"],
    ["Groups", (h) => number(h.groups), "number"],
  ], o.hubs, "Nobody is connected to this node."));
  for (const input of document.querySelectorAll("input[name=hub]")) {
    if (input.value === "" && document.activeElement !== input) input.value = o.defaultHub;
  }
}

// Messages of a user

const messages = {
  after: [""],
  async refresh() {
    const form = byId("messages-form");
    const { user, view } = Object.fromEntries(new FormData(form));
    if (!user) return;
    const result = byId("messages-result");
    try {
      const page = await call("messages", { user, view, after: this.after.at(-1) });
      if (user !== form.elements.user.value || view !== form.elements.view.value) return;
      const state = JSON.stringify([page, view, this.after]);
      if (state === this.shown) return; // it may be being read
      this.shown = state;
      const turn = (label, change, disabled) =>
        el("button", { type: "button", disabled, onclick: () => { change(); this.refresh(); } }, label);
      const none = view === "all" ? "No message is stored." : "Nothing waits: every message is finished.";
      replace(result,
        el("p", {}, el("strong", {}, page.userId), " ",
          el("span", { class: `badge ${page.online ? "good" : ""}` }, page.online ? "connected" : "not connected")),
        ...(page.items.length > 0 ? page.items.map(message) : [el("p", { class: "card empty" }, none)]),
        el("p", { class: "more" },
          ...(page.next || this.after.length > 1
            ? [turn("First", () => (this.after = [""]), this.after.length === 1), turn("Next", () => this.after.push(page.next), !page.next)]
            : [])));
    } catch (error) {
      this.shown = undefined;
      result.replaceChildren(problem(error));
    }
  },
};
byId("messages-form").addEventListener("submit", (event) => {
  event.preventDefault();
  messages.after = [""];
  messages.refresh();
});
byId("messages-form").elements.view.addEventListener("change", () => {
  messages.after = [""];
  messages.refresh();
});

// Send

const hints = {
  realtime: "To whoever is connected now; nothing is stored.",
  reliable: "Stored, and delivered until a device acknowledges it.",
  command: "Stored; a device answers it within the timeout.",
};
const sendForm = byId("send-form");
function kindChanged() {
  const kind = sendForm.elements.kind.value;
  say(byId("kind-hint"), hints[kind]);
  byId("command-fields").hidden = kind !== "command";
}
sendForm.addEventListener("change", kindChanged);

let watched = 0; // the send whose result is shown
sendForm.addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = Object.fromEntries(new FormData(sendForm));
  const watching = ++watched;
  const box = byId("sent");
  const show = (...content) => box.replaceChildren(el("h2", {}, "What becomes of it"), ...content);
  show(el("p", { class: "empty" }, "Sending…"));
  try {
    const receipt = await call("send", {}, { ...form, text: "text" in form, timeoutSeconds: Number(form.timeoutSeconds) });
    if (watching !== watched) return;
    if (!receipt.id) {
      const said = receipt.online ? "Handed to the nodes that hold the user." : "The user has no connection: nobody got it.";
      show(el("p", {}, el("span", { class: `badge ${receipt.online ? "good" : "wait"}` }, receipt.online ? "sent" : "nobody there"), " ", said));
      return;
    }
    await watch(receipt.id, watching, show);
  } catch (error) {
    if (watching === watched) show(problem(error));
  }
});

/** Looks at a message until it is over, or another one is sent. */
async function watch(id, watching, show) {
  let last;
  for (let wait = 250; watching === watched; wait = Math.min(interval, wait * 1.3)) {
    if (!document.hidden) {
      const m = await call("message", { id });
      if (watching !== watched) return;
      const state = JSON.stringify(m);
      if (state !== last) show(message(m));
      last = state;
      if (over(m)) return;
    }
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

// The page

const lists = Object.fromEntries(["connections", "users", "groups"].map((name) => [name, new List(name, go)]));
let shown;

async function refresh() {
  try {
    await overview();
    byId("where").classList.remove("bad");
    if (lists[shown]) await lists[shown].refresh();
    if (shown === "messages") await messages.refresh();
  } catch (error) {
    say(byId("where"), `no answer: ${error.message}`);
    byId("where").classList.add("bad");
  }
}

function route() {
  const name = location.hash.slice(1);
  if (name === "view" && shown) return; // the link that skips to the content
  shown = names.includes(name) ? name : "overview";
  for (const n of names) byId(n).hidden = n !== shown;
  for (const a of document.querySelectorAll(".tabs a")) {
    if (a.hash.slice(1) === shown) {
      a.setAttribute("aria-current", "page");
      a.scrollIntoView({ block: "nearest", inline: "center" });
    } else a.removeAttribute("aria-current");
  }
  refresh();
}
addEventListener("hashchange", () => {
  route();
  scrollTo(0, 0);
});

async function loop() {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, interval));
    if (!document.hidden) await refresh();
  }
}
kindChanged();
route();
loop();
