// Scenarios 4 and 5: broken connections, restarts, recoveries that are refused,
// a device that does not acknowledge.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Gateway, Proxy, Raw, everyGroup, handshakeStatus, refusal, subprotocol, suite, unique } from "./harness.mjs";

let gateway;
before(async () => (gateway = await Gateway.start({ RecoveryWindow: 5000 })));
after(() => gateway.close());

const viaProxy = async (t, hub, access) => {
  const proxy = await Proxy.start(t, gateway.endpoints[gateway.deviceNode]);
  const device = await gateway.connect(t, hub, { endpoint: proxy.endpoint, ...access });
  return { proxy, device };
};

/** A raw reliable connection with its id and token. */
async function reliable(t, hub, access = {}) {
  const socket = await gateway.raw(t, hub, { protocols: [subprotocol.reliable], ...access });
  const { connectionId, reconnectionToken } = await socket.next("system");
  return { socket, id: connectionId, token: reconnectionToken };
}
async function recover(t, url, { id, token }, protocols = [subprotocol.reliable]) {
  const recovery = new URL(url);
  recovery.searchParams.append("awps_connection_id", id);
  recovery.searchParams.append("awps_reconnection_token", token);
  const socket = new Raw(recovery.href, protocols);
  t.after(() => socket.terminate());
  await socket.opened;
  return socket;
}
const message = (hub, payload) => gateway.call("sendToAll", { hub, payload });

describe("the connection breaks", { concurrency: 4 }, () => {
  test("no gap, no duplicate, groups and permissions kept, connected raised once", async (t) => {
    const hub = unique("h");
    const { proxy, device } = await viaProxy(t, hub, { user: "u" });
    await gateway.call("grantPermission", { hub, connection: device.id, permission: "joinLeaveGroup", group: "g" });
    await device.client.joinGroup("g");
    await gateway.call("addConnectionToGroup", { hub, connection: device.id, group: "by service" });
    const total = 120;
    for (let i = 0; i < total; i++) {
      await gateway.call("sendToGroup", { hub, group: i % 2 ? "g" : "by service", payload: i });
      if (i % 40 === 20) proxy.cut();
    }
    assert.deepEqual((await device.group.take(total, 30_000)).map((m) => m.data), Array.from({ length: total }, (_, i) => i));
    assert.deepEqual([device.group.rest, device.connected.rest, device.disconnected.rest], [[], [], []]);
    await device.client.joinGroup("g");
    const told = await gateway.events.next((e) => e.kind === "connected" && e.hub === hub);
    assert.equal(told.connectionId, device.id);
    assert.deepEqual(gateway.events.rest.filter((e) => e.hub === hub && e.kind !== "connect"), [], "the application saw one connection");
    assert.equal(gateway.events.rest.filter((e) => e.hub === hub && e.kind === "connect").length, 1);
  });

  test("the node's own sockets are reset", async (t) => {
    const own = await Gateway.start();
    t.after(() => own.close());
    const hub = unique("h");
    const device = await own.connect(t, hub, { groups: ["g"] });
    await own.call("sendToGroup", { hub, group: "g", payload: 1 });
    await device.group.next();
    await own.call("drop", {}, own.deviceNode);
    await own.call("sendToGroup", { hub, group: "g", payload: 2 });
    assert.equal((await device.group.next()).data, 2);
    assert.deepEqual([device.connected.rest, device.disconnected.rest], [[], []]);
  });

  test("requests on their way are rejected, ackIds are remembered over the recovery", async (t) => {
    const hub = unique("h");
    const { proxy, device } = await viaProxy(t, hub, { roles: everyGroup });
    await device.client.joinGroup("g", { ackId: 500 });
    const gate = unique("gate");
    const waiting = device.client.sendEvent("block", gate, "text", { ackId: 501 });
    waiting.catch(() => {}); // awaited below
    await gateway.events.next((e) => e.kind === "event" && e.connectionId === device.id);
    proxy.cut();
    await assert.rejects(waiting, /disconnected/);
    await gateway.all("release", { gate });
    assert.equal((await device.server.next()).data, "released", "the handler's answer is not lost");
    assert.equal((await device.client.joinGroup("g", { ackId: 500 })).isDuplicated, true);
    assert.equal((await device.client.sendEvent("quiet", "x", "text", { ackId: 501 })).isDuplicated, true);
  });

  test("a message whose time is over need not be replayed, the others are", async (t) => {
    const hub = unique("h");
    const { socket, id, token } = await reliable(t, hub, { user: "u" });
    socket.terminate();
    await gateway.call("sendToAll", { hub, payload: "short", ttlSeconds: 1 });
    await gateway.call("sendToAll", { hub, payload: "long", ttlSeconds: 300 });
    await new Promise((resolve) => setTimeout(resolve, 1500)); // the time to live itself
    const again = await recover(t, await gateway.url(hub), { id, token });
    const frame = await again.next("message");
    assert.equal(frame.data, "long");
    assert.deepEqual(again.frames.rest.filter((f) => f.type === "message"), []);
  });

  test("everything without sequenceAck is sent again, in order, with its numbers", async (t) => {
    const hub = unique("h");
    const { socket, id, token } = await reliable(t, hub);
    for (let i = 1; i <= 5; i++) await message(hub, i);
    for (let i = 1; i <= 5; i++) assert.equal((await socket.next("message")).sequenceId, i);
    socket.send({ type: "sequenceAck", sequenceId: 2 });
    socket.send({ type: "ping" });
    await socket.next("pong");
    socket.terminate();
    await message(hub, 6);
    const again = await recover(t, await gateway.url(hub), { id, token });
    const frames = await again.frames.take(5);
    assert.deepEqual([frames[0].event, frames[0].connectionId], ["connected", id]);
    assert.deepEqual(frames.slice(1).map((f) => [f.sequenceId, f.data]), [[3, 3], [4, 4], [5, 5], [6, 6]]);
  });

  test("a stale access token in the URL does not matter", async (t) => {
    const hub = unique("h");
    const { socket, id, token } = await reliable(t, hub, { user: "u" });
    socket.terminate();
    const stale = `${gateway.endpoints[gateway.deviceNode].replace("http", "ws")}/client/hubs/${hub}?access_token=expired.or.worse`;
    const again = await recover(t, stale, { id, token });
    assert.equal((await again.next("system")).connectionId, id);
  });

  test("the newest socket wins", async (t) => {
    const hub = unique("h");
    const { socket, id, token } = await reliable(t, hub);
    const again = await recover(t, await gateway.url(hub), { id, token });
    await again.next("system");
    assert.notEqual((await socket.close()).code, 1000);
    await message(hub, "x");
    assert.equal((await again.next("message")).data, "x");
    assert.equal(await gateway.call("connectionExists", { hub, connection: id }), true);
  });

  test("the token is good for several recoveries", async (t) => {
    const hub = unique("h");
    const { socket, id, token } = await reliable(t, hub);
    socket.terminate();
    for (let i = 0; i < 3; i++) {
      const again = await recover(t, await gateway.url(hub), { id, token });
      const connected = await again.next("system");
      assert.equal(connected.connectionId, id);
      assert.equal(typeof connected.reconnectionToken, "string");
      again.terminate();
    }
  });

  test("the window passes: disconnected once, then 1008", async (t) => {
    const hub = unique("h");
    const { socket, id, token } = await reliable(t, hub, { user: "u" });
    socket.terminate();
    const gone = await gateway.events.next((e) => e.kind === "disconnected" && e.connectionId === id);
    assert.equal(gone.userId, "u");
    const again = await recover(t, await gateway.url(hub), { id, token });
    assert.equal((await again.close()).code, 1008);
    assert.deepEqual(gateway.events.rest.filter((e) => e.kind === "disconnected" && e.connectionId === id), []);
  });

  test("a connection of the plain protocol is over at once", async (t) => {
    const hub = unique("h");
    const socket = await gateway.raw(t, hub, { protocols: [subprotocol.json], user: "u" });
    const { connectionId } = await socket.next("system");
    socket.terminate();
    await gateway.events.next((e) => e.kind === "disconnected" && e.connectionId === connectionId);
    assert.equal(await gateway.call("connectionExists", { hub, connection: connectionId }), false);
  });
});

describe("recoveries that are refused: a finished handshake, then 1008", { concurrency: 4 }, () => {
  const refused = async (t, url, session, protocols) => {
    const socket = await recover(t, url, session, protocols);
    assert.equal(socket.socket.protocol, protocols?.[0] ?? subprotocol.reliable, "the subprotocol is echoed");
    assert.equal((await socket.close()).code, 1008);
    assert.deepEqual(socket.frames.rest.filter((f) => f.type === "message" || f.event === "connected"), []);
  };
  test("unknown connection", async (t) => {
    const { token } = await reliable(t, "chat");
    await refused(t, await gateway.url("chat"), { id: "unknown", token });
  });
  test("forged token", async (t) => {
    const { id, token } = await reliable(t, "chat");
    await refused(t, await gateway.url("chat"), { id, token: "forged" });
    await refused(t, await gateway.url("chat"), { id, token: token.slice(0, -2) + (token.endsWith("AA") ? "BB" : "AA") });
  });
  test("token of another connection", async (t) => {
    const [a, b] = [await reliable(t, "chat"), await reliable(t, "chat")];
    await refused(t, await gateway.url("chat"), { id: a.id, token: b.token });
  });
  test("another hub", async (t) => {
    const { id, token } = await reliable(t, "chat");
    await refused(t, await gateway.url("other"), { id, token });
  });
  test("another subprotocol", async (t) => {
    const { id, token } = await reliable(t, "chat");
    await refused(t, await gateway.url("chat"), { id, token }, [subprotocol.protobufReliable]);
    await refused(t, await gateway.url("chat"), { id, token }, [subprotocol.json]);
  });
  test("closed by the service", async (t) => {
    const { socket, id, token } = await reliable(t, "chat");
    await gateway.call("closeConnection", { hub: "chat", connection: id });
    await socket.close();
    await refused(t, await gateway.url("chat"), { id, token });
  });
  test("closed by the device with 1000", async (t) => {
    const { socket, id, token } = await reliable(t, "chat");
    socket.socket.close(1000);
    await socket.close();
    await gateway.events.next((e) => e.kind === "disconnected" && e.connectionId === id);
    await refused(t, await gateway.url("chat"), { id, token });
  });
  test("closed by the device without a code: it lingers", async (t) => {
    const { socket, id, token } = await reliable(t, "chat");
    socket.socket.close();
    await socket.close();
    const again = await recover(t, await gateway.url("chat"), { id, token });
    assert.equal((await again.next("system")).connectionId, id);
  });
  test("one of the two parameters is no recovery", async () => {
    assert.equal(await handshakeStatus(`${await gateway.url("chat")}&awps_connection_id=x`, [subprotocol.reliable]), 101);
  });
});

describe("a device that does not acknowledge", () => {
  test("1001 messages: closed, and not recoverable", async (t) => {
    const hub = unique("h");
    const { socket, id, token } = await reliable(t, hub);
    const sends = [];
    for (let i = 0; i < 1001; i++) sends.push(message(hub, i));
    await Promise.all(sends);
    const closed = await socket.close();
    assert.notEqual(closed.code, 1000);
    const again = await recover(t, await gateway.url(hub), { id, token });
    assert.equal((await again.close()).code, 1008);
    assert.equal(socket.frames.rest.filter((f) => f.type === "message").length, 1000);
  });
  test("1001 messages while it is away: not recoverable", async (t) => {
    const hub = unique("h");
    const { socket, id, token } = await reliable(t, hub);
    socket.terminate();
    const sends = [];
    for (let i = 0; i < 1001; i++) sends.push(message(hub, i));
    await Promise.all(sends);
    const again = await recover(t, await gateway.url(hub), { id, token });
    assert.equal((await again.close()).code, 1008);
  });
  test("the official client acknowledges once a second: 1500 messages in three", async (t) => {
    const hub = unique("h");
    const device = await gateway.connect(t, hub);
    for (let batch = 0; batch < 15; batch++) {
      await Promise.all(Array.from({ length: 100 }, () => message(hub, "x")));
      await device.server.take(100);
      await new Promise((resolve) => setTimeout(resolve, 200)); // the rate is the subject
    }
    assert.deepEqual(device.disconnected.rest, []);
  });
});

describe("the node goes away", () => {
  for (const how of ["kill", "stop"]) {
    test(`${how}, then start: 1008, a new connection, groups joined again`, async (t) => {
      const own = await Gateway.start();
      t.after(() => own.close());
      const hub = unique("h");
      const device = await own.connect(t, hub, { user: "u", roles: everyGroup });
      await device.client.joinGroup("mine");
      await device.client.joinGroup("left");
      await device.client.leaveGroup("left");
      const first = device.id;
      await own[how](own.deviceNode);
      await own.start(own.deviceNode);
      const { connectionId } = await device.connected.next();
      assert.notEqual(connectionId, first);
      assert.equal((await device.disconnected.next()).connectionId, first);
      await own.call("sendToGroup", { hub, group: "left", payload: "no" });
      await own.call("sendToGroup", { hub, group: "mine", payload: "yes" });
      assert.equal((await device.group.next()).data, "yes");
      assert.deepEqual(device.rejoinFailed.rest, []);
      assert.equal(await own.call("connectionExists", { hub, connection: first }), false);
    });
  }

  test("a graceful end closes with 1001", { skip: suite === "cluster" && "as with one node" }, async (t) => {
    const own = await Gateway.start();
    t.after(() => own.close());
    const socket = await own.raw(t, "chat", { protocols: [subprotocol.json] });
    await socket.next("system");
    await own.stop(0);
    assert.equal((await socket.close()).code, 1001);
  });

  test("a right to rejoin that is gone is reported", async (t) => {
    const own = await Gateway.start();
    t.after(() => own.close());
    const hub = unique("h");
    const device = await own.connect(t, hub, { user: "u" });
    await own.call("grantPermission", { hub, connection: device.id, permission: "joinLeaveGroup", group: "g" });
    await device.client.joinGroup("g");
    await own.call("closeConnection", { hub, connection: device.id });
    assert.equal((await device.rejoinFailed.next()).group, "g");
    await device.connected.next();
    assert.equal(await refusal(device.client.joinGroup("g")), "Forbidden");
  });
});
