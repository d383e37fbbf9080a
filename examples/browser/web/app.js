// The page of one person. The official client does the rest: it acknowledges
// what arrives, and comes back by itself after a break.
import { WebPubSubClient } from "./web-pubsub-client.js";

const byId = (id) => document.getElementById(id);
const user = new URLSearchParams(location.search).get("user")?.trim();

/** Asks the backend, and throws what it answers instead. */
async function ask(path, body) {
  const response = await fetch(path, body && { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

/** Adds a line to a list. What others wrote is set as text, never as HTML. */
function add(list, kind, head, text) {
  const line = document.createElement("li");
  line.className = kind;
  const title = document.createElement("b");
  title.textContent = head;
  line.append(title, text);
  list.append(line);
  while (list.children.length > 200) list.firstChild.remove();
  list.scrollTop = list.scrollHeight;
  return line;
}

const client = new WebPubSubClient({
  getClientAccessUrl: async () => (await ask(`connect?user=${encodeURIComponent(user)}`)).url,
});

// Online and offline

let wanted = true; // whether this person wants to be online
function show(state) {
  byId("state").textContent = byId("state").dataset.state = state;
  byId("toggle").textContent = wanted ? "Go offline" : "Go online";
  byId("toggle").disabled = state === "connecting";
  if (state !== "online") byId("present").replaceChildren();
}
client.on("connected", ({ connectionId }) => {
  byId("state").title = `connection ${connectionId}`;
  show("online");
});
client.on("disconnected", () => show(wanted ? "reconnecting" : "offline"));
client.on("stopped", () => {
  show("offline");
  if (wanted) connect(); // the client gave up, this person did not
});

async function connect() {
  for (let wait = 500; wanted; wait = Math.min(8000, wait * 2)) {
    show("connecting");
    try {
      return await client.start();
    } catch {
      show("reconnecting"); // the backend is away
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }
}
byId("toggle").addEventListener("click", () => {
  wanted = !wanted;
  if (wanted) connect();
  else client.stop();
  show(wanted ? "connecting" : "offline");
});

// The lobby

client.on("group-message", ({ message: { data, fromUserId } }) => {
  // What the backend sends to a group is from nobody.
  if (!fromUserId && Array.isArray(data?.present)) byId("present").replaceChildren(...data.present.map(person));
  else if (typeof data?.text === "string") add(byId("lobby"), fromUserId === user ? "mine" : "", fromUserId, data.text);
});

function person(name) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = name === user ? `${name} (you)` : name;
  button.title = `Write to ${name}`;
  button.addEventListener("click", () => {
    byId("send").elements.to.value = name;
    byId("send").elements.text.focus();
  });
  return button;
}

byId("chat").addEventListener("submit", async (event) => {
  event.preventDefault();
  const input = event.target.elements.text;
  byId("chat-error").hidden = true;
  try {
    await client.sendToGroup("lobby", { text: input.value }, "json");
    input.value = "";
  } catch {
    byId("chat-error").textContent = "It was not sent: you are not connected.";
    byId("chat-error").hidden = false;
  }
});

// For this person alone

const seen = new Set(); // ids of messages: one may come twice, and is shown once
client.on("server-message", ({ message: { data } }) => {
  const { kind } = data;
  if (kind === "reliable" || kind === "command") {
    if (seen.has(data.id)) return;
    seen.add(data.id);
    if (seen.size > 1000) seen.delete(seen.values().next().value);
  }
  if (kind === "command") question(data);
  else if (kind === "reliable") add(byId("inbox"), "reliable", `${data.payload.from}, reliable`, data.payload.text);
  else if (data.from) add(byId("inbox"), "realtime", `${data.from}, realtime`, data.text);
});

/** A command is a question, which this person or the page answers. */
function question(command) {
  const line = add(byId("inbox"), "command", `${command.data.from} asks`, command.data.text);
  const answer = async (text) => {
    const said = document.createElement("p");
    said.className = "answered";
    try {
      await client.sendEvent("response", { requestId: command.requestId, data: { from: user, text } }, "json");
      form.remove();
      said.textContent = `You answered: ${text}`;
    } catch {
      said.textContent = "Not answered: you are not connected, or it is too late.";
    }
    line.querySelector(".answered")?.remove();
    line.append(said);
  };
  const form = document.createElement("form");
  form.className = "row";
  const input = document.createElement("input");
  input.required = true;
  input.setAttribute("aria-label", `Answer to ${command.data.from}`);
  const button = document.createElement("button");
  button.textContent = "Answer";
  form.append(input, button);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    answer(input.value);
  });
  line.append(form);
  byId("inbox").scrollTop = byId("inbox").scrollHeight;
  if (byId("automatic").checked) answer(`I got “${command.data.text}” at ${new Date().toLocaleTimeString()}`);
}

// To another person

byId("send").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target;
  const order = { from: user, ...Object.fromEntries(new FormData(form)) };
  form.elements.text.value = "";
  const line = add(byId("sent"), order.kind, `to ${order.to}, ${order.kind === "command" ? "question" : order.kind}`, `${order.text} `);
  const outcome = document.createElement("i");
  line.append(outcome);
  outcome.textContent = order.kind === "command" ? "… waiting for the answer" : "…";
  try {
    const result = await ask("send", order);
    if (order.kind === "realtime") outcome.textContent = "→ sent to whoever is there";
    else if (order.kind === "command") outcome.textContent = result.error ? `→ failed: ${result.error}` : `→ ${result.answer.from}: ${result.answer.text}`;
    else await follow(result.id, outcome);
  } catch (error) {
    outcome.textContent = `→ ${error.message}`;
  }
});

/** Follows a reliable message until a device has acknowledged it. */
async function follow(id, outcome) {
  for (let wait = 200; outcome.isConnected; wait = Math.min(3000, wait * 1.5)) {
    const { status } = await ask(`status?id=${encodeURIComponent(id)}`).catch(() => ({})); // ask again: it is stored
    if (status) outcome.textContent = status === "FINISHED" ? "→ received" : "→ stored, not received yet";
    if (status === "FINISHED") return;
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

if (user) {
  document.title = `${user} · Gateway in two tabs`;
  byId("me").textContent = user;
  byId("send").elements.to.value = user === "ada" ? "bob" : "ada";
  byId("app").hidden = false;
  connect();
} else byId("welcome").hidden = false;
