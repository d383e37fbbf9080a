// The console of a node, with devices of the official client connected to it.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { desktop, fits, Gateway, patience, phone, scenario, shot, texts, unique, until } from "./harness.mjs";

const token = "the console token of the browser tests, 0123456789";
let gateway;
before(async () => {
  gateway = await Gateway.start({ nodes: 1, ConsoleToken: token });
});
after(() => gateway?.close());

const consoleURL = () => `${gateway.endpoints[0]}/console/`;

/** A signed-in page at one of the sections. */
async function signedIn(tabs, section = "overview") {
  const page = await tabs.open(consoleURL());
  await page.getByLabel("Console token").fill(token);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.locator(".tabs").waitFor();
  if (section !== "overview") await goTo(page, section);
  return page;
}

async function goTo(page, section) {
  await page.locator(`.tabs a[href="#${section}"]`).click();
  await page.locator(`section#${section}`).waitFor();
}

/** The rows of a section's table as lists of cells. */
const rows = (page, section, accepts, what) =>
  until(async () => {
    const list = await page.locator(`section#${section} :is(.result, #hubs) tbody tr`).evaluateAll((trs) =>
      trs.map((tr) => [...tr.cells].map((td) => td.innerText.trim())));
    return accepts(list) && list;
  }, what, patience);

/** A device of a user that answers commands. */
async function device(t, user, hub = "default", access = {}) {
  const d = await gateway.connect(t, hub, { user, start: false, ...access });
  d.client.on("server-message", ({ message: { data } }) => {
    if (data.kind === "command") d.client.sendEvent("response", { requestId: data.requestId, data: { pong: data.data } }, "json");
  });
  await d.start();
  return d;
}

async function send(page, kind, user, payload) {
  await goTo(page, "send");
  await page.locator(`#send-form input[value=${kind}] + span`).click();
  await page.locator("#send-form").getByLabel("User").fill(user);
  await page.locator("#send-form").getByLabel("Payload").fill(payload);
  await page.locator("#send-form").getByRole("button", { name: "Send" }).click();
}

const status = (page, value) => page.locator(`#sent article[data-status=${value}]`).waitFor();

test("a wrong token is refused, the right one opens, signing out closes", scenario(desktop, async (tabs) => {
  tabs.allow(/status of 401/);
  const page = await tabs.open(consoleURL());
  await shot(page, "console-login");
  await page.getByLabel("Console token").fill(`${token}x`);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("alert").getByText("not the token").waitFor();
  assert.deepEqual(await tabs.context.cookies(), []);
  await page.getByLabel("Console token").fill(token);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Overview" }).waitFor();
  assert.equal(new URL(page.url()).pathname, "/console/");

  const [cookie, ...others] = await tabs.context.cookies();
  assert.equal(others.length, 0);
  assert.deepEqual([cookie.httpOnly, cookie.sameSite, cookie.path], [true, "Strict", "/console"]);
  assert.ok(!tabs.requests.some((url) => url.includes("token=")), "no token in any URL");
  assert.equal(await page.evaluate(() => document.cookie), "");

  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByLabel("Console token").waitFor();
  assert.deepEqual(await tabs.context.cookies(), []);
  const answer = await page.evaluate(async () => (await fetch("api/overview")).status);
  assert.equal(answer, 401);
}));

test("a session that ended leads back to the form", scenario(desktop, async (tabs) => {
  tabs.allow(/status of 401/);
  const page = await signedIn(tabs);
  await tabs.context.clearCookies();
  await page.getByLabel("Console token").waitFor();
}));

test("overview, connections, users, groups and members are those that are there", scenario(desktop, async (tabs, t) => {
  const hub = unique("Room");
  const users = ["ann", "ann", "bob"];
  const devices = [];
  for (const user of users) devices.push(await device(t, user, hub, { groups: ["all", `of ${user}`] }));
  const page = await signedIn(tabs);
  const [hubRow] = await rows(page, "overview", (l) => l.some((r) => r[0] === hub.toLowerCase()), "the hub")
    .then((l) => l.filter((r) => r[0] === hub.toLowerCase()));
  assert.deepEqual(hubRow.slice(1), ["3", "3", "2", "3"]);
  await until(async () => Number(await page.locator("#tile-connections").innerText()) >= 3, "connections", patience);
  assert.equal(await page.locator("#tile-nodes").innerText(), "1");

  await goTo(page, "connections");
  await page.locator("#connections").getByLabel("Hub").fill(hub);
  await page.locator("#connections").getByRole("button", { name: "Show" }).click();
  const list = await rows(page, "connections", (l) => l.length === 3, "three connections");
  assert.deepEqual(list.map((r) => r[0]).sort(), devices.map((d) => d.id).sort());
  assert.deepEqual(list.map((r) => r[1]).sort(), users);
  assert.ok(list.every((r) => r[2] === "json.reliable.webpubsub.azure.v1" && r[4] === "live" && r[5] === "2"), JSON.stringify(list));
  await shot(page, "console-connections");
  await page.locator("#connections").getByLabel("User").fill("bob");
  await page.locator("#connections").getByRole("button", { name: "Show" }).click();
  assert.deepEqual((await rows(page, "connections", (l) => l.length === 1, "one connection"))[0][1], "bob");

  await goTo(page, "users");
  await page.locator("#users").getByLabel("Hub").fill(hub);
  await page.locator("#users").getByRole("button", { name: "Show" }).click();
  assert.deepEqual((await rows(page, "users", (l) => l.length === 2, "two users")).map((r) => r.slice(0, 2)), [["ann", "2"], ["bob", "1"]]);

  await goTo(page, "groups");
  await page.locator("#groups").getByLabel("Hub").fill(hub);
  await page.locator("#groups").getByRole("button", { name: "Show" }).click();
  assert.deepEqual(await rows(page, "groups", (l) => l.length === 3, "three groups"), [["all", "3"], ["of ann", "2"], ["of bob", "1"]]);
  await page.getByRole("button", { name: "of ann" }).click();
  await page.locator("#group").getByText("2 connections").waitFor();
  await shot(page, "console-groups");

  // Who leaves is gone from the page, without a click.
  await devices[2].stopAndWait();
  await gateway.service(hub).closeConnection(devices[2].id);
  assert.deepEqual(await rows(page, "groups", (l) => l.length === 2, "two groups"), [["all", "2"], ["of ann", "2"]]);
}));

test("long lists come in pages", scenario(desktop, async (tabs, t) => {
  const hub = unique("pages");
  const groups = Array.from({ length: 60 }, (_, i) => `group ${String(i).padStart(2, "0")}`);
  await device(t, "ann", hub, { groups });
  const page = await signedIn(tabs, "groups");
  await page.locator("#groups").getByLabel("Hub").fill(hub);
  await page.locator("#groups").getByRole("button", { name: "Show" }).click();
  const first = await rows(page, "groups", (l) => l.length === 50, "the first page");
  await page.locator("#groups").getByRole("button", { name: "Next" }).click();
  const second = await rows(page, "groups", (l) => l.length === 10, "the second page");
  assert.deepEqual([...first, ...second].map((r) => r[0]), groups);
  await page.locator("#groups").getByRole("button", { name: "First" }).click();
  await rows(page, "groups", (l) => l.length === 50, "the first page again");
}));

test("messages of the three kinds are sent, and what becomes of them is shown", scenario(desktop, async (tabs, t) => {
  const user = unique("user");
  const page = await signedIn(tabs, "send");
  await send(page, "realtime", user, `"nobody hears this"`);
  await page.locator("#sent").getByText("nobody got it").waitFor();

  // Reliable: it waits, a device comes, and the page shows the acknowledgement.
  await send(page, "reliable", user, `{"text": "you have mail"}`);
  await status(page, "PENDING");
  await shot(page, "console-send-pending");
  const d = await device(t, user);
  await status(page, "FINISHED");
  assert.equal((await d.server.next()).data.payload.text, "you have mail");
  assert.deepEqual(await page.locator("#sent .steps li.done").evaluateAll((l) => l.map((li) => li.firstChild.data)),
    ["stored", "sent to a device", "acknowledged"]);

  await send(page, "realtime", user, `{"now": true}`);
  await page.locator("#sent").getByText("Handed to the nodes").waitFor();
  assert.deepEqual((await d.server.next()).data, { now: true });

  // Command: the answer comes back to the page.
  await send(page, "command", user, `{"ping": 7}`);
  await status(page, "FINISHED");
  const [, answer] = await texts(page.locator("#sent pre"), (l) => l.length === 2, "payload and answer");
  assert.deepEqual(JSON.parse(answer), { pong: { ping: 7 } });
  await shot(page, "console-send-command");

  await send(page, "reliable", user, "{no json");
  await page.locator("#sent").getByText("The payload is not valid JSON").waitFor();
  await page.getByLabel("Send as text, not as JSON").check();
  await page.locator("#send-form").getByRole("button", { name: "Send" }).click();
  await status(page, "FINISHED");
  // The one that was refused is the page's own doing.
  tabs.allow(/status of 400/);
}));

test("what waits for a user is listed with its states", scenario(desktop, async (tabs, t) => {
  const user = unique("away");
  for (let i = 0; i < 21; i++) await gateway.call("reliable", { user, payload: { n: i } });
  const { messageId } = await gateway.call("command", { user, type: "DRAW", payload: { shape: "circle" }, noWait: true, timeoutMs: 60_000 });
  const page = await signedIn(tabs, "messages");
  await page.locator("#messages-form").getByLabel("User").fill(user);
  await page.locator("#messages-form").getByRole("button", { name: "Show" }).click();
  await page.locator("#messages article").nth(19).waitFor();
  await page.locator("#messages").getByText("not connected").waitFor();
  assert.equal(await page.locator("#messages article").count(), 20);
  await page.getByRole("button", { name: "Next" }).click();
  const command = page.locator(`#messages article[data-id="${messageId}"]`);
  await command.waitFor();
  assert.equal(await page.locator("#messages article").count(), 2);
  assert.equal(await command.getAttribute("data-status"), "PENDING");
  assert.match(await command.innerText(), /DRAW[\s\S]*circle[\s\S]*waits until/);
  await shot(page, "console-messages");

  // They finish while the page looks on.
  await device(t, user);
  await page.getByRole("button", { name: "First" }).click();
  await page.getByText("Nothing waits").waitFor();
  await page.locator("#messages-form select").selectOption("all");
  await page.locator(`#messages article[data-id="${messageId}"][data-status=FINISHED]`).waitFor();
  await shot(page, "console-messages-all");
}));

test("hostile names, payloads and answers are text", scenario(desktop, async (tabs, t) => {
  const evil = (n) => `"><img src=x onerror=alert(${n})><script>alert(${n})</script>${unique("</td>")}`;
  const [user, group, answer] = [evil(1), evil(2), evil(3)];
  const hub = "default";
  const d = await gateway.connect(t, hub, { user, groups: [group] });
  d.client.on("server-message", ({ message: { data } }) => {
    if (data.kind === "command") {
      d.client.sendEvent("response", { requestId: data.requestId, error: { code: answer, message: answer } }, "json");
    }
  });
  const page = await signedIn(tabs);
  for (const [section, text] of [["connections", user], ["users", user], ["groups", group]]) {
    await goTo(page, section);
    await page.locator(`#${section}`).getByRole("button", { name: text, exact: true }).waitFor();
  }
  await page.locator("#groups").getByRole("button", { name: group, exact: true }).click();
  await page.locator("#group").getByRole("heading", { name: group }).waitFor();
  await page.locator("#group").getByRole("button", { name: user, exact: true }).click(); // leads to the messages
  await page.locator("#messages-result").getByText(user).waitFor();

  await goTo(page, "send");
  await page.locator("#send-form input[value=command] + span").click();
  await page.getByLabel("Type of the command").fill(evil(4));
  await send(page, "command", user, JSON.stringify(evil(5)));
  await status(page, "FINISHED");
  await page.locator("#sent").getByText("The device answered with an error").waitFor();
  await texts(page.locator("#sent pre"), (l) => l.length === 2 && l[1].includes("onerror=alert(3)"), "the answer");
  await shot(page, "console-hostile");
  for (const section of ["connections", "users", "groups", "messages", "send"]) {
    assert.equal(await page.locator(`#${section} img, #${section} script`).count(), 0, section);
  }
}));

test("on a phone nothing is wider than the screen", scenario({ ...phone, colorScheme: "dark" }, async (tabs, t) => {
  const user = unique(`a user with a long name ${"x".repeat(80)} `);
  await device(t, user, "default", { groups: [`a group ${"y".repeat(200)}`] });
  const login = await tabs.open(consoleURL());
  await login.getByLabel("Console token").waitFor();
  await fits(login);
  const page = await signedIn(tabs);
  await page.locator("#hubs td").first().waitFor();
  await fits(page);
  await until(async () => (await page.locator("#chart path.out").getAttribute("d").catch(() => null))?.includes("L"), "a line in the chart", patience);
  await shot(page, "console-phone-overview");
  for (const section of ["connections", "users", "groups"]) {
    await goTo(page, section);
    await page.locator(`#${section} tbody tr`).first().waitFor();
    await fits(page);
    await shot(page, `console-phone-${section}`);
  }
  await gateway.call("reliable", { user: unique("x"), payload: 1 });
  await send(page, "command", user, JSON.stringify({ long: "z".repeat(500) }));
  await status(page, "FINISHED");
  await fits(page);
  await shot(page, "console-phone-send");
  await goTo(page, "messages");
  await page.locator("#messages-form").getByLabel("User").fill(user);
  await page.locator("#messages-form select").selectOption("all");
  await page.locator("#messages article").first().waitFor();
  await fits(page);
  await shot(page, "console-phone-messages");
}));

test("rates follow what is sent", scenario(desktop, async (tabs, t) => {
  const user = unique("busy");
  const d = await device(t, user);
  const page = await signedIn(tabs);
  let sending = true;
  const flood = (async () => {
    while (sending) {
      await gateway.call("realtime", { user, payload: 1 });
      await d.server.next();
      // The client acknowledges once a second; more than a thousand frames in
      // between are too many.
      await new Promise((resolve) => setTimeout(resolve, 15));
    }
  })();
  try {
    await until(async () => Number((await page.locator("#tile-out").innerText()).replace(",", "")) > 1, "a rate", patience);
    await until(async () => ((await page.locator("#chart path.out").getAttribute("d")) ?? "").split("L").length > 3, "a line", patience);
    await shot(page, "console-overview");
  } finally {
    sending = false;
    await flood;
  }
  await until(async () => (await page.locator("#tile-out").innerText()) === "0", "nothing is sent any more", patience);
}));
