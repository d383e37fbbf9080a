// Scenario 10: two nodes behind one address. The suite "cluster" runs all other
// files with two nodes too, with services on the node that holds no device.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Gateway, Inbox, Proxy, Raw, everyGroup, everyState, refusal, subprotocol, unique, until, within } from "./harness.mjs";

let gateway;
before(async () => (gateway = await Gateway.start({ nodes: 2 })));
after(() => gateway.close());

/** A device behind a proxy that leads to the first node, and then elsewhere. */
async function movable(t, hub, access, own = gateway) {
  const proxy = await Proxy.start(t, own.endpoints[0]);
  const device = await own.connect(t, hub, { endpoint: proxy.endpoint, ...access });
  const move = (node) => {
    proxy.route(own.endpoints[node]);
    proxy.cut();
  };
  return { proxy, device, move };
}
const text = { contentType: "text/plain" };
const numbers = (n) => Array.from({ length: n }, (_, i) => i);

describe("recovery on the other node", { concurrency: 4 }, () => {
  test("nothing lost, nothing doubled; groups, permissions, ackIds, state move along", async (t) => {
    const hub = unique("h");
    const { device, move } = await movable(t, hub, { user: "u", roles: ["webpubsub.sendToGroup.g"] });
    await gateway.call("grantPermission", { hub, connection: device.id, permission: "joinLeaveGroup", group: "g" });
    await device.client.joinGroup("g", { ackId: 900 });
    await device.client.sendEvent("setState", "kept", "text");
    await gateway.call("sendToAll", { hub, payload: 0 }, 0);
    move(1);
    for (let i = 1; i < 60; i++) {
      const op = i % 2 ? "sendToAll" : "sendToGroup";
      await gateway.call(op, { hub, group: "g", payload: i }, i % 2);
    }
    const server = await device.server.take(31);
    const group = await device.group.take(29);
    assert.deepEqual(server.map((m) => m.data), [0, ...numbers(60).filter((i) => i % 2)]);
    assert.deepEqual(group.map((m) => m.data), numbers(60).filter((i) => i && i % 2 === 0));
    assert.deepEqual([...server, ...group].map((m) => m.sequenceId).sort((a, b) => a - b), numbers(60).map((i) => i + 1));
    assert.equal((await device.client.joinGroup("g", { ackId: 900 })).isDuplicated, true);
    await device.client.leaveGroup("g");
    assert.equal(await refusal(device.client.joinGroup("other")), "Forbidden");
    assert.equal((await device.client.invokeEvent("getState", "", "text")).data, "kept");
    assert.deepEqual([device.connected.rest, device.disconnected.rest], [[], []]);
    const connected = await gateway.events.next((e) => e.kind === "connected" && e.hub === hub);
    assert.equal(connected.connectionId, device.id);
    assert.deepEqual(gateway.events.rest.filter((e) => e.hub === hub && ["connected", "disconnected"].includes(e.kind)), []);
  });

  test("to and fro under load", async (t) => {
    const hub = unique("h");
    const { device, move } = await movable(t, hub, { user: "u", groups: ["g"] });
    const total = 300;
    const seen = [];
    device.client.on("group-message", (e) => seen.push(e.message.data));
    const sending = (async () => {
      for (let i = 0; i < total; i++) await gateway.call("sendToGroup", { hub, group: "g", payload: i }, 1);
    })();
    for (let i = 0; i < 6; i++) {
      await device.group.next((m) => m.data >= i * 40);
      move((i + 1) % 2);
    }
    await sending;
    const last = await device.group.next((m) => m.data === total - 1, 30_000);
    assert.equal(last.sequenceId, total, "each message has exactly one number");
    assert.deepEqual(seen, numbers(total));
    assert.deepEqual([device.connected.rest, device.disconnected.rest], [[], []]);
  });

  test("realtime, reliable messages and commands while it moves", async (t) => {
    const user = unique("u");
    const { device, move } = await movable(t, "default", { user });
    const ids = [];
    for (let i = 0; i < 40; i++) {
      ids.push(await gateway.call("reliable", { user, payload: i }, i % 2));
      await gateway.call("realtime", { user, payload: i, dataType: "json" }, (i + 1) % 2);
      if (i % 10 === 5) move(Math.floor(i / 10) % 2 ? 0 : 1);
    }
    const got = await device.server.take(80, 30_000);
    const envelopes = got.filter((m) => m.data?.kind === "reliable").map((m) => m.data.id);
    const realtime = got.filter((m) => typeof m.data === "number").map((m) => m.data);
    assert.deepEqual(new Set(envelopes), new Set(ids));
    assert.equal(envelopes.length, new Set(envelopes).size, "none twice");
    assert.deepEqual(realtime, numbers(40));
    for (const id of ids) await until(async () => (await gateway.call("message", { id })).Status === "FINISHED", "finished");
    const waiting = gateway.call("command", { user, type: "T", payload: 1 }, 0);
    const { data } = await device.server.next((m) => m.data?.kind === "command");
    move(1);
    await until(async () => device.client.sendEvent("response", { requestId: data.requestId, data: "moved" }, "json").then(() => true, () => false), "the answer");
    assert.equal((await waiting).response, "moved");
  });

  test("a stream goes on", async (t) => {
    const hub = unique("h");
    const { device, move } = await movable(t, hub, { user: "p", roles: everyGroup });
    const subscriber = await gateway.connect(t, hub, { groups: ["g"] });
    const writer = await device.client.openGroupStream("g");
    const writing = (async () => {
      for (const i of numbers(50)) {
        await writer.write(i, "json");
        if (i === 25) move(1);
      }
      await writer.end();
    })();
    await within(writing, "the writes", 30_000);
    const parts = await subscriber.group.take(51, 30_000);
    assert.deepEqual(parts.slice(0, 50).map((p) => p.data), numbers(50));
    assert.equal(parts[50].stream.endOfStream, true);
  });

  test("raw: replayed with the same numbers; the old node answers 1008", async (t) => {
    const hub = unique("h");
    const first = await gateway.raw(t, hub, { protocols: [subprotocol.reliable], endpoint: gateway.endpoints[0] });
    const { connectionId, reconnectionToken } = await first.next("system");
    for (const i of [1, 2, 3]) await gateway.call("sendToAll", { hub, payload: i });
    for (const i of [1, 2, 3]) assert.equal((await first.next("message")).sequenceId, i);
    first.send({ type: "sequenceAck", sequenceId: 1 });
    first.send({ type: "ping" });
    await first.next("pong");
    const query = `?awps_connection_id=${connectionId}&awps_reconnection_token=${encodeURIComponent(reconnectionToken)}`;
    const url = (node) => `${gateway.endpoints[node].replace("http", "ws")}/client/hubs/${hub}${query}`;
    // The socket on the old node is still open: the new one wins.
    const second = new Raw(url(1), [subprotocol.reliable]);
    t.after(() => second.terminate());
    await second.opened;
    assert.equal((await second.next("system")).connectionId, connectionId);
    assert.deepEqual([(await second.next("message")).sequenceId, (await second.next("message")).sequenceId], [2, 3]);
    assert.notEqual((await first.close()).code, 1000);
    await gateway.call("closeConnection", { hub, connection: connectionId }, 0);
    assert.equal((await second.close()).code, 1000);
    const third = new Raw(url(0), [subprotocol.reliable]);
    await third.opened;
    assert.equal((await third.close()).code, 1008);
  });
});

describe("services on any node", { concurrency: 4 }, () => {
  const onBoth = async (t, hub, access = {}) =>
    Promise.all([0, 1].map((node) => gateway.connect(t, hub, { endpoint: gateway.endpoints[node], user: `u${node}`, ...access })));

  test("each send reaches the devices of both nodes, once", async (t) => {
    const hub = unique("h");
    const devices = await onBoth(t, hub, { groups: ["g"] });
    for (const node of [0, 1]) {
      const service = gateway.service(hub, { endpoint: gateway.endpoints[node] });
      await service.sendToAll(`all ${node}`, text);
      await service.group("g").sendToAll(`group ${node}`, text);
      await service.sendToUser("u0", `u0 ${node}`, text);
      await service.sendToConnection(devices[1].id, `c1 ${node}`, text);
      await service.sendToAll("end", { ...text, excludedConnections: [devices[0].id] });
      await service.sendToAll("end", { ...text, filter: "userId eq 'u0'" });
    }
    assert.deepEqual((await devices[0].server.take(6)).map((m) => m.data), ["all 0", "u0 0", "end", "all 1", "u0 1", "end"]);
    assert.deepEqual((await devices[1].server.take(6)).map((m) => m.data), ["all 0", "c1 0", "end", "all 1", "c1 1", "end"]);
    for (const device of devices) assert.deepEqual((await device.group.take(2)).map((m) => m.data), ["group 0", "group 1"]);
    assert.deepEqual(devices.flatMap((d) => [...d.server.rest, ...d.group.rest]), []);
  });

  test("groups, permissions, existence and lists are true on both", async (t) => {
    const hub = unique("h");
    const devices = await onBoth(t, hub);
    const services = gateway.endpoints.map((endpoint) => gateway.service(hub, { endpoint }));
    await services[1].group("g").addConnection(devices[0].id);
    await services[0].group("g").addUser("u1");
    for (const service of services) {
      const list = [];
      for await (const c of await service.group("g").listConnections({ maxPageSize: 1 })) list.push(c.connectionId);
      assert.deepEqual(list, devices.map((d) => d.id).sort());
      assert.deepEqual([await service.userExists("u0"), await service.userExists("u1"), await service.groupExists("g")], [true, true, true]);
      assert.deepEqual([await service.connectionExists(devices[0].id), await service.connectionExists(devices[1].id)], [true, true]);
    }
    await services[1].grantPermission(devices[0].id, "sendToGroup", { targetName: "g" });
    assert.equal(await services[0].hasPermission(devices[0].id, "sendToGroup", { targetName: "g" }), true);
    await devices[0].client.sendToGroup("g", "across", "text");
    assert.equal((await devices[1].group.next()).fromUserId, "u0");
    await services[0].addConnectionsToGroups(["h"], "userId ne null");
    assert.equal((await Promise.all(services.map((s) => s.groupExists("h")))).every(Boolean), true);
    await services[1].removeConnectionsFromGroups(["g", "h"]);
    assert.equal((await Promise.all(services.map((s) => s.groupExists("g")))).some(Boolean), false);
  });

  test("closeConnection on the node that does not hold it", async (t) => {
    const hub = unique("h");
    const devices = await onBoth(t, hub, { options: { autoReconnect: false } });
    for (const node of [0, 1]) {
      await gateway.service(hub, { endpoint: gateway.endpoints[1 - node] }).closeConnection(devices[node].id, { reason: `from ${1 - node}` });
      assert.match((await devices[node].disconnected.next()).message.message, new RegExp(`from ${1 - node}`));
    }
  });
});

/** A raw member of "g" on a node. */
async function member(t, own, hub, node, user, protocol = subprotocol.json) {
  const socket = await own.raw(t, hub, { protocols: [protocol], roles: everyState, groups: ["g"], user, endpoint: own.endpoints[node] });
  socket.connected = await socket.next("system");
  socket.id = socket.connected.connectionId;
  return socket;
}
const setState = (socket, state) => socket.ask({ type: "setGroupState", group: "g", state });
async function watchStates(socket) {
  assert.equal(await socket.ask({ type: "subscribeGroupState", group: "g" }), undefined);
  return (await socket.next("groupStateSnapshot")).items;
}
/** The next item of the updates about a connection. */
const change = async (socket, id, ms) =>
  (await socket.frames.next((f) => f.type === "groupStateUpdate" && f.items.some((i) => i.connectionId === id), ms)).items.find((i) => i.connectionId === id);

describe("states across nodes", { concurrency: 4 }, () => {
  test("snapshots gather from both nodes, updates reach both", async (t) => {
    const hub = unique("h");
    const sockets = [];
    for (const i of numbers(6)) {
      sockets.push(await member(t, gateway, hub, i % 2, `u${i}`));
      assert.equal(await setState(sockets[i], { n: String(i) }), undefined);
    }
    const ids = sockets.map((s) => s.id).sort();
    for (const socket of sockets) assert.deepEqual((await watchStates(socket)).map((i) => i.connectionId), ids);
    await setState(sockets[0], { n: "new" });
    for (const socket of sockets) assert.deepEqual((await change(socket, sockets[0].id)).state, { n: "new" });
    await gateway.service(hub, { endpoint: gateway.endpoints[0] }).group("g").removeConnection(sockets[1].id);
    for (const socket of sockets.filter((s) => s !== sockets[1])) assert.equal((await change(socket, sockets[1].id)).state, undefined);
  });

  test("a connection that moves keeps its state and hears what it missed", async (t) => {
    const hub = unique("h");
    const moving = await member(t, gateway, hub, 0, "moving", subprotocol.reliable);
    const others = [await member(t, gateway, hub, 0, "stays"), await member(t, gateway, hub, 1, "there")];
    await setState(moving, { mine: "1" });
    assert.equal((await watchStates(moving)).length, 1);
    for (const other of others) assert.equal((await watchStates(other)).length, 1);
    moving.send({ type: "sequenceAck", sequenceId: 1 });
    moving.send({ type: "ping" });
    await moving.next("pong");
    moving.terminate();
    for (const [i, other] of others.entries()) {
      await setState(other, { n: String(i) });
      for (const heard of others) await change(heard, other.id);
    }
    const query = `?awps_connection_id=${moving.id}&awps_reconnection_token=${encodeURIComponent(moving.connected.reconnectionToken)}`;
    const moved = new Raw(`${gateway.endpoints[1].replace("http", "ws")}/client/hubs/${hub}${query}`, [subprotocol.reliable]);
    t.after(() => moved.terminate());
    await moved.opened;
    await moved.next("system");
    const missed = [];
    while (missed.length < 2) {
      const frame = await moved.frames.next();
      assert.equal(frame.type, "groupStateUpdate");
      missed.push(...frame.items);
    }
    assert.deepEqual(missed.map((i) => [i.connectionId, i.state]).sort(), others.map((o, i) => [o.id, { n: String(i) }]).sort());
    for (const other of others) {
      other.send({ type: "ping" });
      await other.next("pong");
      assert.deepEqual(other.frames.rest, [], "nobody noticed");
    }
    await setState(moved, { mine: "2" });
    for (const other of others) assert.deepEqual((await change(other, moving.id)).state, { mine: "2" });
    moved.socket.close(1000);
    for (const other of others) assert.equal((await change(other, moving.id)).state, undefined);
  });
});

describe("a node dies", () => {
  let own;
  before(async () => (own = await Gateway.start({ nodes: 2 })));
  after(() => own.close());

  test("SIGKILL: 1008 on the other node at once, a new connection, groups joined again; REST heals", async (t) => {
    const hub = unique("h");
    const user = unique("u");
    const { proxy, device } = await movable(t, hub, { user, roles: everyGroup }, own);
    const staying = await own.connect(t, hub, { endpoint: own.endpoints[1], user: "stays", groups: ["mine"] });
    const raw = await own.raw(t, hub, { protocols: [subprotocol.reliable], endpoint: proxy.endpoint });
    const { connectionId, reconnectionToken } = await raw.next("system");
    await device.client.joinGroup("mine");
    const first = device.id;
    proxy.route(own.endpoints[1]);
    const began = Date.now();
    await own.kill(0);

    const query = `&awps_connection_id=${connectionId}&awps_reconnection_token=${encodeURIComponent(reconnectionToken)}`;
    const again = await own.raw(t, hub, { protocols: [subprotocol.reliable], endpoint: own.endpoints[1], query });
    assert.equal((await again.close()).code, 1008);
    const { connectionId: second } = await device.connected.next();
    assert.notEqual(second, first);
    assert.ok(Date.now() - began < 5000, `took ${Date.now() - began} ms`);

    const service = own.service(hub, { endpoint: own.endpoints[1] });
    await service.group("mine").sendToAll("on", text);
    assert.equal((await device.group.next()).data, "on");
    assert.equal((await staying.group.next()).data, "on");
    assert.deepEqual([await service.connectionExists(first), await service.connectionExists(second)], [false, true]);
    const list = [];
    for await (const c of await service.group("mine").listConnections()) list.push(c.connectionId);
    assert.deepEqual(list, [second, staying.id].sort());
    await service.closeConnection(second, { reason: "bye" });
    assert.match((await device.disconnected.next((e) => e.connectionId === second)).message.message, /bye/);
    await own.start(0);
  });

  test("SIGKILL: reliable messages that were not acknowledged arrive on the other node", async (t) => {
    const user = unique("u");
    const { proxy, device } = await movable(t, "default", { user }, own);
    proxy.route(own.endpoints[1]);
    const ids = [];
    for (let i = 0; i < 10; i++) ids.push(await own.call("reliable", { user, payload: i }, 1));
    await own.kill(0);
    for (let i = 10; i < 20; i++) ids.push(await own.call("reliable", { user, payload: i }, 1));
    const got = new Set();
    while (got.size < 20) got.add((await device.server.next()).data.id);
    assert.deepEqual(got, new Set(ids));
    for (const id of ids) await until(async () => (await own.call("message", { id }, 1)).Status === "FINISHED", `${id} finished`);
    await own.start(0);
  });

  test("SIGKILL: the states of a dead node end", async (t) => {
    const hub = unique("h");
    const dying = [await member(t, own, hub, 0, "a"), await member(t, own, hub, 0, "b", subprotocol.reliable)];
    const staying = await member(t, own, hub, 1, "c", subprotocol.reliable);
    for (const socket of [...dying, staying]) assert.equal(await setState(socket, { here: "1" }), undefined);
    assert.equal((await watchStates(staying)).length, 3);
    const began = Date.now();
    await own.kill(0);
    for (const { id } of dying) {
      const item = await change(staying, id, 20_000);
      assert.equal(item.state, undefined);
    }
    assert.ok(Date.now() - began < 15_000, `took ${Date.now() - began} ms`);
    assert.deepEqual((await watchStates(staying)).map((i) => i.connectionId), [staying.id]);
    await own.start(0);
    const again = await member(t, own, hub, 0, "a");
    assert.deepEqual((await watchStates(again)).map((i) => i.connectionId), [staying.id]);
    await setState(again, { back: "1" });
    assert.deepEqual((await change(staying, again.id)).state, { back: "1" });
  });

  test("a graceful end: devices go on at the other node", async (t) => {
    const hub = unique("h");
    const { proxy, device } = await movable(t, hub, { user: "u", roles: everyGroup }, own);
    await device.client.joinGroup("g");
    proxy.route(own.endpoints[1]);
    await own.stop(0);
    await until(() => own.call("groupExists", { hub, group: "g" }, 1), "the group on the other node");
    await own.call("sendToGroup", { hub, group: "g", payload: "on" }, 1);
    assert.equal((await device.group.next()).data, "on");
    await own.start(0);
  });

  test("a node that hangs: the device gets 1008 within seconds, calls of services end", async (t) => {
    const hub = unique("h");
    const { proxy, device } = await movable(t, hub, { user: "u", roles: everyGroup }, own);
    await device.client.joinGroup("g");
    const first = device.id;
    proxy.route(own.endpoints[1]);
    await own.pause(0);
    t.after(() => own.resume(0));
    proxy.cut();
    const { connectionId } = await device.connected.next();
    assert.notEqual(connectionId, first);
    const answer = new Inbox("answer of REST");
    own.service(hub, { endpoint: own.endpoints[1] }).groupExists("g").then(
      (exists) => answer.push({ exists }),
      (error) => answer.push({ status: error.statusCode }),
    );
    const { exists, status } = await answer.next();
    assert.ok(exists === true || status >= 500, `${exists} ${status}`);
    await own.call("sendToGroup", { hub, group: "g", payload: "on" }, 1);
    assert.equal((await device.group.next()).data, "on");
  });
});
