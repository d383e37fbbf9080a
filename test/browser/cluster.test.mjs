// Two nodes, of which one is killed, under a page with nothing but the official
// client.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { barePage, desktop, Gateway, patience, Proxy, scenario, unique, until } from "./harness.mjs";

let gateway;
before(async () => {
  gateway = await Gateway.start({ nodes: 2 });
});
after(() => gateway?.close());

/** Connects the official client in the page, and keeps what it raises. */
function connect(page, url) {
  return page.evaluate(async (url) => {
    const state = (globalThis.state = { connections: [], disconnected: 0, reliable: [], group: [] });
    const client = (globalThis.client = new official.WebPubSubClient({ getClientAccessUrl: async () => url }));
    client.on("connected", (e) => state.connections.push(e.connectionId));
    client.on("disconnected", () => state.disconnected++);
    client.on("group-message", (e) => state.group.push(e.message.data));
    client.on("server-message", ({ message: { data } }) => {
      if (data.kind === "reliable") state.reliable.push({ id: data.id, payload: data.payload });
      if (data.kind === "command") client.sendEvent("response", { requestId: data.requestId, data: { answer: data.data } }, "json");
    });
    await client.start();
    await client.joinGroup("room");
  }, url);
}

/** What the page has seen, once accepts says yes to it. */
const seen = (page, accepts, what) =>
  until(async () => {
    const state = await page.evaluate(() => globalThis.state);
    return accepts(state) && state;
  }, what, 3 * patience);

// One address in front of the nodes, as a balancer is.
async function start(tabs, t, user) {
  tabs.allow(/WebSocket connection to/); // while the node is gone
  const proxy = await Proxy.start(t, gateway.endpoints[0]);
  const page = await tabs.open(await barePage(t));
  await page.waitForFunction(() => globalThis.official);
  await connect(page, await gateway.url("default", { endpoint: proxy.endpoint, user, roles: ["webpubsub.joinLeaveGroup", "webpubsub.sendToGroup"] }));
  return { proxy, page };
}

test("a page recovers its connection on the other node when the first one stops", scenario(desktop, async (tabs, t) => {
  const user = unique("user");
  const { proxy, page } = await start(tabs, t, user);
  await gateway.call("reliable", { user, payload: 1 });
  await seen(page, (s) => s.reliable.length === 1, "the first message");
  proxy.route(gateway.endpoints[1]);
  await gateway.stop(0);
  await gateway.call("reliable", { user, payload: 2 }, 1);
  await gateway.service("default", { endpoint: gateway.endpoints[1] }).group("room").sendToAll({ after: "stop" });
  const state = await seen(page, (s) => s.reliable.length === 2 && s.group.length === 1, "what came later");
  assert.deepEqual(state.reliable.map((m) => m.payload), [1, 2]);
  assert.equal(state.connections.length, 1, "it is the same connection");
  assert.equal(state.disconnected, 0);
  await gateway.start(0);
}));

test("a page goes on at the other node when the first one is killed, and loses nothing that is stored", scenario(desktop, async (tabs, t) => {
  const user = unique("user");
  const { proxy, page } = await start(tabs, t, user);
  const [connection] = (await seen(page, (s) => s.connections.length === 1, "the connection")).connections;
  for (let i = 1; i <= 3; i++) await gateway.call("reliable", { user, payload: i });
  await seen(page, (s) => s.reliable.length === 3, "the first messages");

  proxy.route(gateway.endpoints[1]);
  await gateway.kill(0);
  for (let i = 4; i <= 6; i++) await gateway.call("reliable", { user, payload: i }, 1);
  // What the killed node knew is gone: it is another connection. The client raises
  // "connected" when it is in its groups again, which may be after the messages.
  const state = await seen(page, (s) => new Set(s.reliable.map((m) => m.id)).size === 6 && s.connections.length === 2, "all messages, on another connection");
  assert.notEqual(state.connections[1], connection);
  // At least once, as promised: what the client had not confirmed to the killed
  // node may come again. Each first arrival is in order.
  const first = state.reliable.filter((m, i) => state.reliable.findIndex((o) => o.id === m.id) === i);
  assert.deepEqual(first.map((m) => m.payload), [1, 2, 3, 4, 5, 6]);

  // It answers commands, and is in its group again, by itself.
  const { response } = await gateway.call("command", { user, type: "ASK", payload: "still there?", timeoutMs: 30_000 }, 1);
  assert.deepEqual(response, { answer: "still there?" });
  const service = gateway.service("default", { endpoint: gateway.endpoints[1] });
  await until(async () => {
    await service.group("room").sendToAll({ after: "kill" });
    return (await page.evaluate(() => globalThis.state.group.length)) > 0;
  }, "a message to the group", patience);
  await gateway.start(0);
}));
