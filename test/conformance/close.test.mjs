// Scenario 8: closing with a reason, and keeping somebody out.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Gateway, everyGroup, subprotocol, unique } from "./harness.mjs";

let gateway;
before(async () => (gateway = await Gateway.start()));
after(() => gateway.close());

describe("close", { concurrency: 4 }, () => {
  test("the reason reaches the client's disconnected event; it connects anew and joins again", async (t) => {
    const hub = unique("h");
    const device = await gateway.connect(t, hub, { user: "u", roles: everyGroup });
    await device.client.joinGroup("g");
    const first = device.id;
    await gateway.service(hub).closeConnection(first, { reason: "maintenance, ä" });
    const gone = await device.disconnected.next();
    assert.equal(gone.connectionId, first);
    assert.equal(gone.message.message, "Application server closed the connection. Reason: maintenance, ä");
    const told = await gateway.events.next((e) => e.kind === "disconnected" && e.hub === hub);
    assert.equal(told.connectionId, first);
    assert.notEqual((await device.connected.next()).connectionId, first);
    await gateway.call("sendToGroup", { hub, group: "g", payload: "back" });
    assert.equal((await device.group.next()).data, "back");
  });

  test("without a reason", async (t) => {
    const hub = unique("h");
    const device = await gateway.connect(t, hub, { options: { autoReconnect: false } });
    await gateway.service(hub).closeConnection(device.id);
    assert.equal((await device.disconnected.next()).message.message, "Application server closed the connection.");
    await device.stopped.next();
  });

  test("a ban: closed, and refused from then on", async (t) => {
    const [hub, user] = [unique("h"), unique("banned")];
    const device = await gateway.connect(t, hub, { user, options: { reconnectRetryOptions: { maxRetries: 1, retryDelayInMs: 50 } } });
    await gateway.all("refuse", { user, status: 403 });
    await gateway.service(hub).closeUserConnections(user, { reason: "banned" });
    assert.match((await device.disconnected.next()).message.message, /banned/);
    await device.stopped.next();
    assert.deepEqual(device.connected.rest, []);
    assert.equal(await gateway.call("userExists", { hub, user }), false);
  });

  for (const [name, protocol] of Object.entries(subprotocol)) {
    test(`on the wire, ${name}: the frame, then 1000 with an empty reason`, async (t) => {
      const hub = unique("h");
      const socket = await gateway.raw(t, hub, { protocols: [protocol], user: "u" });
      await socket.frames.next();
      await gateway.service(hub).closeAllConnections({ reason: "r".repeat(500) });
      const frame = await socket.frames.next();
      if (name.startsWith("protobuf")) assert.ok(frame.includes("r".repeat(500)));
      else assert.deepEqual([frame.type, frame.event, frame.message.endsWith("r".repeat(500))], ["system", "disconnected", true]);
      assert.deepEqual(await socket.close(), { code: 1000, reason: "" });
    });
  }

  test("other hubs are not touched", async (t) => {
    const [hub, other] = [unique("h"), unique("h")];
    const a = await gateway.connect(t, hub, { user: "u", options: { autoReconnect: false } });
    const b = await gateway.connect(t, other, { user: "u" });
    await gateway.service(hub).closeUserConnections("u");
    await a.disconnected.next();
    await gateway.call("sendToUser", { hub: other, user: "u", payload: 1 });
    assert.equal((await b.server.next()).data, 1);
    assert.deepEqual(b.disconnected.rest, []);
  });
});
