// The lists of connections, users and groups, page by page.
import { ago, byId, call, el, link, number, problem, replace, table } from "./ui.js";

const columns = {
  connections: (go) => [
    ["Connection", (c) => el("code", {}, c.id)],
    ["User", (c) => (c.userId ? link(c.userId, () => go.messages(c.userId)) : "anonymous")],
    ["Subprotocol", (c) => c.subprotocol || "none"],
    ["Connected for", (c) => ago(c.since)],
    ["State", (c) => el("span", { class: `badge ${c.state === "live" ? "good" : "wait"}` }, c.state)],
    ["Groups", (c) => number(c.groups), "number"],
    ["Unacknowledged", (c) => number(c.unacknowledged), "number"],
  ],
  users: (go) => [
    ["User", (u) => link(u.id, () => go.messages(u.id))],
    ["Connections", (u) => number(u.connections), "number"],
    ["", (u) => link("send…", () => go.send(u.id)), "number"],
  ],
  groups: (go, hub) => [
    ["Group", (g) => link(g.name, () => showGroup(go, hub, g.name))],
    ["Connections on this node", (g) => number(g.connections), "number"],
  ],
};
const captions = { connections: "Connections", users: "Users", groups: "Groups" };

/** One list with its filter; pages keeps where each page began. */
export class List {
  constructor(name, go) {
    this.name = name;
    this.go = go;
    this.section = byId(name);
    this.form = this.section.querySelector("form");
    this.result = this.section.querySelector(".result");
    this.pages = [""];
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.pages = [""];
      this.refresh();
    });
  }

  async refresh() {
    const filter = Object.fromEntries(new FormData(this.form));
    const asked = this.pages.join("\n") + JSON.stringify(filter);
    this.asked = asked;
    try {
      const page = await call(this.name, { ...filter, after: this.pages.at(-1) });
      if (this.asked !== asked) return; // meanwhile another page was asked for
      this.show(page, filter);
    } catch (error) {
      this.result.replaceChildren(problem(error));
    }
  }

  show(page, filter) {
    const turn = (label, change, disabled) =>
      el("button", { type: "button", disabled, onclick: () => { change(); this.refresh(); } }, label);
    const empty = this.pages.length > 1 ? "There is nothing more." : "Nothing is here on this node.";
    const parts = [table(captions[this.name], columns[this.name](this.go, filter.hub), page.items, empty)];
    if (page.next || this.pages.length > 1) {
      parts.push(el("p", { class: "more" },
        turn("First", () => (this.pages = [""]), this.pages.length === 1),
        turn("Next", () => this.pages.push(page.next), !page.next),
        el("span", { class: "note" }, `Page ${this.pages.length}`)));
    }
    replace(this.result, ...parts);
  }
}

/** The members of a group on all nodes. */
async function showGroup(go, hub, name, after = "") {
  const box = byId("group");
  box.hidden = false;
  try {
    const group = await call("group", { hub, group: name, after });
    replace(box,
      el("h2", {}, group.name, " ", el("span", { class: "scope all" }, "all nodes")),
      el("p", {}, `${number(group.count)} ${group.count === 1 ? "connection" : "connections"}`),
      table("Members", [
        ["Connection", (m) => el("code", {}, m.id)],
        ["User", (m) => (m.userId ? link(m.userId, () => go.messages(m.userId)) : "anonymous")],
      ], group.items, "Nobody is in the group."),
      el("p", { class: "more" },
        group.next ? el("button", { type: "button", onclick: () => showGroup(go, hub, name, group.next) }, "Next") : undefined,
        el("button", { type: "button", onclick: () => (box.hidden = true) }, "Close")));
  } catch (error) {
    box.replaceChildren(problem(error));
  }
  box.scrollIntoView({ block: "nearest" });
}
