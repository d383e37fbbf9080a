// What this library adds: realtime and reliable messages and commands reach the
// official client as messages from the server, and its own sequenceAck
// acknowledges them.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { WebPubSubJsonProtocol } from "@azure/web-pubsub-client";
import { Gateway, Proxy, refusal, unique, until } from "./harness.mjs";

const hub = "default"; // the hub of the three sends
let gateway;
before(async () => (gateway = await Gateway.start()));
after(() => gateway.close());

const finished = (id, status = "FINISHED") =>
  until(async () => {
    const message = await gateway.call("message", { id });
    return message.Status === status && message;
  }, `${id} is ${status}`);

/** Answers every command with what answer makes of it; returns those it saw. */
function answerCommands(device, answer) {
  const seen = [];
  device.client.on("server-message", async ({ message: { data } }) => {
    if (data?.kind !== "command") return;
    seen.push(data);
    await device.client.sendEvent("response", { requestId: data.requestId, ...(await answer(data)) }, "json");
  });
  return seen;
}

describe("realtime", { concurrency: 4 }, () => {
  test("json, text and binary arrive as they are, on every subprotocol", async (t) => {
    const user = unique("u");
    const devices = [await gateway.connect(t, hub, { user }), await gateway.connect(t, hub, { user, protocol: WebPubSubJsonProtocol() })];
    const simple = await gateway.raw(t, hub, { user });
    await gateway.call("realtime", { user, payload: { n: [1, "ä"] } });
    await gateway.call("realtime", { user, payload: "text", dataType: "text" });
    await gateway.call("realtime", { user, payload: "AP8=", dataType: "binary" });
    for (const device of devices) {
      const [a, b, c] = await device.server.take(3);
      assert.deepEqual([a.dataType, a.data, b.dataType, b.data, c.dataType], ["json", { n: [1, "ä"] }, "text", "text", "binary"]);
      assert.deepEqual(Buffer.from(c.data), Buffer.from([0, 255]));
    }
    assert.deepEqual(await simple.frames.take(3), ['{"n":[1,"ä"]}', "text", Buffer.from([0, 255])]);
  });

  test("only the user, in order, and online says so", async (t) => {
    const [user, other] = [unique("u"), unique("u")];
    assert.equal(await gateway.call("online", { user }), false);
    const device = await gateway.connect(t, hub, { user });
    const bystander = await gateway.connect(t, hub, { user: other });
    assert.equal(await gateway.call("online", { user }), true);
    for (let i = 0; i < 30; i++) await gateway.call("realtime", { user, payload: i });
    assert.deepEqual((await device.server.take(30)).map((m) => m.data), Array.from({ length: 30 }, (_, i) => i));
    await gateway.call("realtime", { user: other, payload: "end" });
    assert.equal((await bystander.server.next()).data, "end");
  });
});

describe("reliable", { concurrency: 4 }, () => {
  test("an envelope; the client's own sequenceAck finishes the row", async (t) => {
    const user = unique("u");
    const device = await gateway.connect(t, hub, { user });
    const id = await gateway.call("reliable", { user, payload: { order: 7 } });
    const { dataType, data } = await device.server.next();
    assert.equal(dataType, "json");
    assert.deepEqual([data.kind, data.id, data.seq, data.payload], ["reliable", id, 1, { order: 7 }]);
    assert.equal(data.sender.type, "server");
    assert.ok(!Number.isNaN(Date.parse(data.sentAt)));
    const row = await finished(id);
    assert.ok(Date.parse(row.DeliveringAt) <= Date.parse(row.FinishedAt));
  });

  test("a burst arrives in the order of seq, once, and is finished", async (t) => {
    const user = unique("u");
    const device = await gateway.connect(t, hub, { user });
    const ids = [];
    for (let i = 0; i < 40; i++) ids.push(await gateway.call("reliable", { user, payload: i }));
    const got = await device.server.take(40);
    assert.deepEqual(got.map((m) => m.data.payload), Array.from({ length: 40 }, (_, i) => i));
    assert.deepEqual(got.map((m) => m.data.id), ids);
    for (const id of ids) await finished(id);
    assert.deepEqual(device.server.rest, []);
  });

  test("an offline user gets everything on return, in order", async (t) => {
    const user = unique("u");
    const ids = [];
    for (let i = 0; i < 25; i++) ids.push(await gateway.call("reliable", { user, payload: i }));
    assert.equal((await gateway.call("message", { id: ids[0] })).Status, "PENDING");
    const device = await gateway.connect(t, hub, { user });
    assert.deepEqual((await device.server.take(25)).map((m) => m.data.id), ids);
    for (const id of ids) await finished(id);
  });

  test("more than a window waits for an offline user", async (t) => {
    const user = unique("u");
    const total = 700; // beyond the 512 that a node leaves without acknowledgement
    const sends = [];
    for (let i = 0; i < total; i++) sends.push(gateway.call("reliable", { user, payload: i }));
    const ids = new Set(await Promise.all(sends));
    const device = await gateway.connect(t, hub, { user });
    const got = await device.server.take(total, 30_000);
    assert.deepEqual(new Set(got.map((m) => m.data.id)), ids);
    const seqs = got.map((m) => m.data.seq);
    assert.deepEqual(seqs, [...seqs].sort((a, b) => a - b));
  });

  test("sent the moment several devices connect: each of them gets it", async (t) => {
    const round = async () => {
      const user = unique("u");
      const devices = await Promise.all([1, 2, 3].map(() => gateway.connect(t, hub, { user })));
      const id = await gateway.call("reliable", { user, payload: 1 });
      for (const device of devices) assert.equal((await device.server.next()).data.id, id);
    };
    for (let i = 0; i < 6; i++) await Promise.all(Array.from({ length: 10 }, round));
  });

  test("what was finished does not come again, what was not does", async (t) => {
    const user = unique("u");
    const plain = { user, protocol: WebPubSubJsonProtocol() }; // acknowledges only with the event ack
    const first = await gateway.connect(t, hub, plain);
    const ids = [];
    for (let i = 0; i < 3; i++) ids.push(await gateway.call("reliable", { user, payload: i }));
    await first.server.take(3);
    await first.client.sendEvent("ack", { ids: [ids[1]] }, "json");
    await finished(ids[1]);
    await first.stopAndWait();
    const second = await gateway.connect(t, hub, plain);
    assert.deepEqual((await second.server.take(2)).map((m) => m.data.id), [ids[0], ids[2]]);
    await second.client.sendEvent("ack", { ids }, "json");
    await finished(ids[0]);
    await finished(ids[2]);
  });

  test("sent again after its retry interval until it is acknowledged", async (t) => {
    const user = unique("u");
    const device = await gateway.connect(t, hub, { user, protocol: WebPubSubJsonProtocol() });
    const id = await gateway.call("reliable", { user, payload: 1, retryMs: 300 });
    assert.equal((await device.server.next()).data.id, id);
    assert.equal((await device.server.next()).data.id, id);
    await device.client.sendEvent("ack", { ids: [id] }, "json");
    await finished(id);
  });

  test("not to other hubs, users and devices without a subprotocol", async (t) => {
    const user = unique("u");
    const otherHub = unique("h");
    const elsewhere = await gateway.connect(t, otherHub, { user });
    const simple = await gateway.raw(t, hub, { user });
    const device = await gateway.connect(t, hub, { user });
    const id = await gateway.call("reliable", { user, payload: "r" });
    assert.equal((await device.server.next()).data.id, id);
    await gateway.call("realtime", { user, payload: "end", dataType: "text" });
    assert.equal(await simple.frames.next(), "end");
    await gateway.call("sendToUser", { hub: otherHub, user, payload: "end", dataType: "text" });
    assert.equal((await elsewhere.server.next()).data, "end");
  });

  test("the connection breaks before the acknowledgement: once, and finished", async (t) => {
    const user = unique("u");
    const proxy = await Proxy.start(t, gateway.endpoints[gateway.deviceNode]);
    const device = await gateway.connect(t, hub, { user, endpoint: proxy.endpoint });
    const ids = [];
    for (let i = 0; i < 10; i++) {
      ids.push(await gateway.call("reliable", { user, payload: i }));
      if (i % 4 === 3) proxy.cut();
    }
    assert.deepEqual((await device.server.take(10)).map((m) => m.data.id), ids);
    for (const id of ids) await finished(id);
    assert.deepEqual(device.server.rest, []);
    assert.deepEqual(device.connected.rest, [], "it was one connection all the time");
  });

  test("the process of the node is killed: nothing that was sent is lost", async (t) => {
    const own = await Gateway.start();
    t.after(() => own.close());
    const user = unique("u");
    const plain = WebPubSubJsonProtocol();
    const device = await own.connect(t, hub, { user, protocol: plain });
    const first = await own.call("reliable", { user, payload: "before" });
    assert.equal((await device.server.next()).data.id, first);
    await own.kill(own.deviceNode);
    await device.disconnected.next();
    if (own.endpoints.length > 1) await own.call("reliable", { user, payload: "meanwhile" });
    await own.start(own.deviceNode);
    await device.connected.next();
    const after = await own.call("reliable", { user, payload: "after" });
    const payloads = new Set();
    const want = own.endpoints.length > 1 ? 3 : 2;
    while (payloads.size < want) payloads.add((await device.server.next()).data.payload);
    await device.client.sendEvent("ack", { ids: [first, after] }, "json");
  });
});

describe("commands", { concurrency: 4 }, () => {
  test("the device's answer comes back", async (t) => {
    const user = unique("u");
    const device = await gateway.connect(t, hub, { user });
    const seen = answerCommands(device, (c) => ({ data: { echo: c.data, type: c.type } }));
    const result = await gateway.call("command", { user, type: "CLIENT_SERVER:CREATE", payload: { a: 1 } });
    assert.deepEqual(result.response, { echo: { a: 1 }, type: "CLIENT_SERVER:CREATE" });
    assert.equal(seen[0].id, result.messageId);
    assert.ok(Date.parse(seen[0].expiresAt) > Date.now());
    await finished(result.messageId);
  });

  test("the device's error", async (t) => {
    const user = unique("u");
    const device = await gateway.connect(t, hub, { user });
    answerCommands(device, () => ({ error: { code: "BUSY", message: "later" } }));
    const result = await gateway.call("command", { user, type: "T", payload: {} });
    assert.deepEqual(result.deviceError, { code: "BUSY", message: "later" });
  });

  test("no answer: timed out, and a late answer is kept", async (t) => {
    const user = unique("u");
    const device = await gateway.connect(t, hub, { user });
    const result = await gateway.call("command", { user, type: "T", payload: {}, timeoutMs: 1200 });
    assert.equal(result.timedOut, true);
    const { data } = await device.server.next();
    await finished(result.messageId, "TIMED_OUT");
    await device.client.sendEvent("response", { requestId: data.requestId, data: "late" }, "json");
    const late = await until(async () => {
      const r = await gateway.call("await", { id: result.messageId });
      return r.response !== undefined && r;
    }, "the late answer");
    assert.deepEqual([late.response, late.late], ["late", true]);
  });

  test("REQUEST_DELIVERED after the client's sequenceAck, FINISHED after the answer", async (t) => {
    const user = unique("u");
    const device = await gateway.connect(t, hub, { user });
    const { messageId } = await gateway.call("command", { user, type: "T", payload: {}, noWait: true });
    const { data } = await device.server.next();
    await finished(messageId, "REQUEST_DELIVERED");
    await device.client.sendEvent("response", { requestId: data.requestId, data: 1 }, "json");
    assert.equal((await gateway.call("await", { id: messageId })).response, 1);
    await finished(messageId);
  });

  test("an offline user answers on return; the caller waited", async (t) => {
    const user = unique("u");
    const waiting = gateway.call("command", { user, type: "T", payload: 5 });
    const device = await gateway.connect(t, hub, { user, start: false });
    answerCommands(device, (c) => ({ data: c.data * 2 }));
    await device.start();
    assert.equal((await waiting).response, 10);
  });

  test("several devices: the first answer wins, the others are told nothing bad", async (t) => {
    const user = unique("u");
    const devices = await Promise.all([1, 2, 3].map(() => gateway.connect(t, hub, { user })));
    const waiting = gateway.call("command", { user, type: "T", payload: {} });
    const commands = await Promise.all(devices.map((d) => d.server.next()));
    await devices[0].client.sendEvent("response", { requestId: commands[0].data.requestId, data: "first" }, "json");
    assert.equal((await waiting).response, "first");
    await devices[1].client.sendEvent("response", { requestId: commands[1].data.requestId, data: "second" }, "json");
    const { messageId } = await waiting;
    assert.equal((await gateway.call("await", { id: messageId })).response, "first");
  });

  test("a requestId of somebody else, or of nobody", async (t) => {
    const [user, thief] = [unique("u"), unique("u")];
    const victim = await gateway.connect(t, hub, { user });
    const other = await gateway.connect(t, hub, { user: thief });
    const { messageId } = await gateway.call("command", { user, type: "T", payload: {}, noWait: true });
    const { requestId } = (await victim.server.next()).data;
    assert.equal(await refusal(other.client.sendEvent("response", { requestId, data: "stolen" }, "json")), "NotFound");
    assert.equal(await refusal(other.client.sendEvent("response", { requestId: "unknown", data: 1 }, "json")), "NotFound");
    assert.equal(await refusal(other.client.sendEvent("response", { data: 1 }, "json")), "BadRequest");
    await victim.client.sendEvent("response", { requestId, data: "mine" }, "json");
    assert.equal((await gateway.call("await", { id: messageId })).response, "mine");
  });

  test("a device with the plain protocol answers too", async (t) => {
    const user = unique("u");
    const device = await gateway.connect(t, hub, { user, protocol: WebPubSubJsonProtocol() });
    answerCommands(device, () => ({ data: "plain" }));
    assert.equal((await gateway.call("command", { user, type: "T", payload: {} })).response, "plain");
  });

  test("the connection breaks while the caller waits: the answer still arrives", async (t) => {
    const user = unique("u");
    const proxy = await Proxy.start(t, gateway.endpoints[gateway.deviceNode]);
    const device = await gateway.connect(t, hub, { user, endpoint: proxy.endpoint, options: { messageRetryOptions: { maxRetries: 5 } } });
    const waiting = gateway.call("command", { user, type: "T", payload: {} });
    const { data } = await device.server.next();
    proxy.cut();
    await device.client.sendEvent("response", { requestId: data.requestId, data: "after" }, "json");
    assert.equal((await waiting).response, "after");
  });
});
