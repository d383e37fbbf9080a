// The states of a group's members, on raw sockets: no released client has
// methods for them. Across nodes they are in cluster.test.mjs.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Gateway, Proxy, Raw, everyGroup, everyState, subprotocol, unique } from "./harness.mjs";
import { decode, get, upstream } from "./protobuf.mjs";

let gateway;
before(async () => (gateway = await Gateway.start()));
after(() => gateway.close());

/** A member of the group "g" with the id of its connection. */
async function member(t, hub, { protocol = subprotocol.json, roles = everyState, ...access } = {}) {
  const socket = await gateway.raw(t, hub, { protocols: [protocol], roles, groups: ["g"], ...access });
  socket.connected = await socket.next("system");
  socket.id = socket.connected.connectionId;
  return socket;
}
const set = (socket, state) => socket.ask({ type: "setGroupState", group: "g", ...(state !== undefined && { state }) });

/** Subscribes: the acknowledgement must come first. Returns the snapshot's items. */
async function subscribe(socket, ackId = 1) {
  socket.send({ type: "subscribeGroupState", group: "g", ackId });
  const ack = await socket.frames.next((f) => f.type !== "pong");
  assert.deepEqual(ack, { type: "ack", ackId, success: true });
  const { type, group, items } = await socket.frames.next();
  assert.deepEqual([type, group], ["groupStateSnapshot", "g"]);
  return items;
}
/** The one item of the next update. */
async function update(socket) {
  const { group, items } = await socket.next("groupStateUpdate");
  assert.equal(group, "g");
  assert.equal(items.length, 1);
  return items[0];
}
/** Nothing comes before the answer to a ping. */
async function silent(socket) {
  socket.send({ type: "ping" });
  await socket.next("pong");
  assert.deepEqual(socket.frames.rest, []);
}

describe("group states", { concurrency: 4 }, () => {
  for (const protocol of [subprotocol.json, subprotocol.reliable]) {
    test(`${protocol}: set, subscribe, update, unsubscribe`, async (t) => {
      const hub = unique("h");
      const ann = await member(t, hub, { protocol, user: "ann" });
      const bob = await member(t, hub, { protocol });
      const from = Date.now() - 60_000;
      assert.equal(await set(ann, { typing: "1" }), undefined);
      const [first, ...others] = await subscribe(bob);
      assert.deepEqual(first, { connectionId: ann.id, userId: "ann", state: { typing: "1" }, updatedAt: first.updatedAt });
      assert.deepEqual(others, []);
      assert.ok(first.updatedAt > from && first.updatedAt < from + 120_000);
      assert.deepEqual(await subscribe(ann), [first]);
      assert.equal(await set(bob, {}), undefined);
      for (const socket of [ann, bob]) {
        const item = await update(socket);
        assert.deepEqual(item, { connectionId: bob.id, state: {}, updatedAt: item.updatedAt }, "also who made it");
      }
      let last = first.updatedAt;
      for (const state of [{ typing: "0", "ü": "é" }, undefined, { a: "1" }, null]) {
        assert.equal(await set(ann, state), undefined);
        const item = await update(bob);
        assert.deepEqual(item, { connectionId: ann.id, userId: "ann", ...(state && { state }), updatedAt: item.updatedAt });
        assert.deepEqual(await update(ann), item);
        assert.ok(item.updatedAt > last, "the time of a connection grows");
        last = item.updatedAt;
      }
      assert.equal(await bob.ask({ type: "unsubscribeGroupState", group: "g" }), undefined);
      await set(ann, { unheard: "1" });
      await update(ann);
      await silent(bob);
      assert.equal((await subscribe(bob, 2)).length, 2);
    });
  }

  test("updates have numbers on reliable, and come again after a recovery", async (t) => {
    const hub = unique("h");
    const proxy = await Proxy.start(t, gateway.endpoints[0]);
    const device = await member(t, hub, { protocol: subprotocol.reliable, endpoint: proxy.endpoint });
    const other = await member(t, hub);
    await subscribe(other);
    await set(device, { mine: "1" });
    await update(other);
    await subscribe(device);
    proxy.cut();
    await device.close();
    for (const n of ["1", "2"]) {
      await set(other, { n });
      await update(other);
    }
    const query = `&awps_connection_id=${device.id}&awps_reconnection_token=${encodeURIComponent(device.connected.reconnectionToken)}`;
    const again = new Raw(device.url + query, [subprotocol.reliable]);
    t.after(() => again.terminate());
    await again.opened;
    await again.next("system");
    const snapshot = await again.frames.next();
    assert.deepEqual([snapshot.type, snapshot.sequenceId, snapshot.items.length], ["groupStateSnapshot", 1, 1]);
    for (const n of ["1", "2"]) {
      const frame = await again.frames.next();
      assert.deepEqual([frame.type, frame.sequenceId, frame.items[0].state], ["groupStateUpdate", 1 + Number(n), { n }]);
    }
    await silent(other);
    await set(again, { mine: "2" });
    assert.deepEqual((await update(other)).state, { mine: "2" });
  });

  test("roles and membership", async (t) => {
    const hub = unique("h");
    const cases = [
      [everyGroup, "Forbidden", "Forbidden"],
      [["webpubsub.setGroupState"], undefined, "Forbidden"],
      [["webpubsub.getGroupState"], "Forbidden", undefined],
      [["webpubsub.setGroupState.g", "webpubsub.getGroupState.h"], undefined, "Forbidden"],
      [["webpubsub.setGroupState.?", "webpubsub.getGroupState.**"], undefined, undefined],
    ];
    for (const [roles, mayset, mayget] of cases) {
      const socket = await member(t, hub, { roles });
      assert.equal(await set(socket, { a: "1" }), mayset, roles);
      assert.equal(await socket.ask({ type: "subscribeGroupState", group: "g" }), mayget, roles);
      assert.equal(await socket.ask({ type: "unsubscribeGroupState", group: "g" }), undefined);
      socket.terminate();
    }
    const socket = await member(t, hub, { groups: [] });
    assert.equal(await set(socket, { a: "1" }), "Forbidden");
    assert.equal(await socket.ask({ type: "subscribeGroupState", group: "g" }), "Forbidden");
    await socket.ask({ type: "joinGroup", group: "g" });
    assert.equal(await set(socket, { a: "1" }), undefined);
  });

  test("512 bytes of keys and values", async (t) => {
    const socket = await member(t, unique("h"));
    assert.equal(await set(socket, { "é": "x".repeat(509) + "y" }), undefined);
    assert.equal(await set(socket, { "é": "x".repeat(509) + "é" }), "BadRequest");
    assert.equal((await subscribe(socket))[0].state["é"].at(-1), "y");
  });

  test("an ackId that succeeded", async (t) => {
    const socket = await member(t, unique("h"));
    for (const [ackId, type] of ["setGroupState", "subscribeGroupState", "unsubscribeGroupState"].entries()) {
      const frame = { type, group: "g", ackId, ...(ackId === 0 && { state: { a: "1" } }) };
      socket.send(frame);
      assert.equal((await socket.ackOf(ackId)).success, true);
      socket.send(frame);
      assert.equal((await socket.ackOf(ackId)).error.name, "Duplicate");
    }
  });

  test("leaving, being removed, closing and breaking end the state", async (t) => {
    const hub = unique("h");
    const watcher = await member(t, hub, { protocol: subprotocol.reliable });
    await subscribe(watcher);
    const service = gateway.service(hub);
    const ways = {
      leaves: (s) => s.ask({ type: "leaveGroup", group: "g" }),
      removed: (s) => service.group("g").removeConnection(s.id),
      "closed by the service": (s) => service.closeConnection(s.id),
      closes: (s) => s.socket.close(1000),
      breaks: (s) => s.terminate(),
    };
    for (const [name, end] of Object.entries(ways)) {
      const socket = await member(t, hub, { user: name });
      await set(socket, { here: "1" });
      const before = await update(watcher);
      assert.deepEqual(before.state, { here: "1" });
      await end(socket);
      const ended = await update(watcher);
      assert.deepEqual(ended, { connectionId: socket.id, userId: name, updatedAt: ended.updatedAt });
      assert.ok(ended.updatedAt > before.updatedAt);
    }
  });

  test("protobuf, by its bytes", async (t) => {
    const hub = unique("h");
    const json = await member(t, hub, { user: "ann" });
    await set(json, { k: "v" });
    for (const protocol of [subprotocol.protobuf, subprotocol.protobufReliable]) {
      const reliable = protocol === subprotocol.protobufReliable;
      const socket = await gateway.raw(t, hub, { protocols: [protocol], roles: everyState, groups: ["g"] });
      const id = get(await socket.frames.next(), 3, 1, 1).toString();
      const item = (bytes) => {
        const f = decode(bytes);
        const entries = f[3] && (decode(f[3][0])[1] ?? []).map((e) => decode(e)).map((e) => [e[1]?.[0].toString(), e[2]?.[0].toString()]);
        return { id: f[1][0].toString(), user: f[2]?.[0].toString(), entries, at: f[4][0] };
      };
      socket.send(upstream.subscribeState("g", 7));
      assert.deepEqual(await socket.frames.next(), Buffer.from([0x0a, 4, 8, 7, 16, 1]));
      const snapshot = decode(get(await socket.frames.next(), 10));
      assert.equal(snapshot[1][0].toString(), "g");
      assert.deepEqual(snapshot[3], reliable ? [1n] : undefined);
      assert.deepEqual(snapshot[2].map(item).map((i) => [i.id, i.user, i.entries]), [[json.id, "ann", [["k", "v"]]]]);
      socket.send(upstream.setState("g", { a: "1" }, 8));
      const next = async () => item(decode(get(await socket.frames.next((f) => get(f, 9)), 9))[2][0]);
      let update = await next();
      assert.deepEqual([update.id, update.user, update.entries], [id, undefined, [["a", "1"]]]);
      socket.send(upstream.setState("g", null, 9));
      update = await next();
      assert.deepEqual([update.id, update.entries], [id, undefined]);
      socket.send(upstream.unsubscribeState("g", 10));
      await socket.frames.next((f) => get(f, 1, 1) === 10n);
      socket.terminate();
    }
  });
});
