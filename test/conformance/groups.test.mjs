// Scenario 2: groups, permissions, the data types, acknowledgements.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { WebPubSubJsonProtocol, WebPubSubJsonReliableProtocol } from "@azure/web-pubsub-client";
import { Gateway, everyGroup, refusal, subprotocol, unique } from "./harness.mjs";

let gateway;
before(async () => (gateway = await Gateway.start()));
after(() => gateway.close());

const protocols = { plain: WebPubSubJsonProtocol, reliable: WebPubSubJsonReliableProtocol };

for (const [name, make] of Object.entries(protocols)) {
  describe(`groups, ${name}`, { concurrency: 4 }, () => {
    const connect = (t, hub, access) => gateway.connect(t, hub, { protocol: make(), ...access });

    test("join, send, leave", async (t) => {
      const hub = unique("h");
      const a = await connect(t, hub, { user: "a", roles: everyGroup });
      const b = await connect(t, hub, { user: "b", roles: everyGroup });
      const group = "room/1 *ä";
      assert.deepEqual((await b.client.joinGroup(group)).isDuplicated, false);
      await b.client.joinGroup(group); // again: success
      await a.client.sendToGroup(group, "hi", "text"); // the publisher is no member
      const message = await b.group.next();
      assert.deepEqual([message.group, message.fromUserId, message.dataType, message.data], [group, "a", "text", "hi"]);
      await b.client.leaveGroup(group);
      await b.client.leaveGroup(group); // again: success
      await a.client.joinGroup(group);
      await a.client.sendToGroup(group, "for a", "text");
      assert.equal((await a.group.next()).data, "for a");
      await b.client.joinGroup("marker");
      await b.client.sendToGroup("marker", "m", "text");
      assert.equal((await b.group.next()).data, "m", "b got nothing after it left");
      assert.deepEqual(a.group.rest, []);
    });

    test("every data type", async (t) => {
      const device = await connect(t, unique("h"), { roles: everyGroup });
      await device.client.joinGroup("g");
      const bytes = new Uint8Array([0, 1, 254, 255]);
      const values = [
        ["text", "a\u0000b \u2028 ä 😀"],
        ["text", ""],
        ["json", { t: "hi", n: [1.5, -1, 1e21, 12345678901234567890], nested: { x: null } }],
        ["json", 0],
        ["json", false],
        ["json", ""],
        ["binary", bytes.buffer],
        ["protobuf", bytes.buffer],
      ];
      for (const [type, value] of values) {
        await device.client.sendToGroup("g", value, type);
        const message = await device.group.next();
        assert.equal(message.dataType, type);
        if (type === "binary" || type === "protobuf") {
          assert.ok(message.data instanceof ArrayBuffer);
          assert.deepEqual(new Uint8Array(message.data), bytes);
        } else assert.deepEqual(message.data, value);
      }
    });

    test("noEcho spares this connection only", async (t) => {
      const hub = unique("h");
      const a = await connect(t, hub, { user: "same", roles: everyGroup });
      const b = await connect(t, hub, { user: "same", roles: everyGroup });
      await Promise.all([a.client.joinGroup("g"), b.client.joinGroup("g")]);
      await a.client.sendToGroup("g", "quiet", "text", { noEcho: true });
      await a.client.sendToGroup("g", "loud", "text");
      assert.deepEqual((await b.group.take(2)).map((m) => m.data), ["quiet", "loud"]);
      assert.deepEqual((await a.group.take(1)).map((m) => m.data), ["loud"]);
    });

    test("fire and forget", async (t) => {
      const device = await connect(t, unique("h"), { roles: everyGroup });
      await device.client.joinGroup("g");
      await device.client.sendToGroup("g", "x", "text", { fireAndForget: true });
      assert.equal((await device.group.next()).data, "x");
    });

    test("a message to an empty group succeeds", async (t) => {
      const device = await connect(t, unique("h"), { roles: everyGroup });
      assert.equal((await device.client.sendToGroup("nobody", "x", "text")).isDuplicated, false);
    });

    test("an ackId that succeeded is a duplicate and does nothing", async (t) => {
      const device = await connect(t, unique("h"), { roles: everyGroup });
      await device.client.joinGroup("g");
      assert.equal((await device.client.sendToGroup("g", "once", "text", { ackId: 77 })).isDuplicated, false);
      assert.equal((await device.client.sendToGroup("g", "once", "text", { ackId: 77 })).isDuplicated, true);
      assert.equal((await device.client.joinGroup("other", { ackId: 77 })).isDuplicated, true, "ids are one space");
      await device.client.sendToGroup("g", "last", "text");
      assert.deepEqual((await device.group.take(2)).map((m) => m.data), ["once", "last"]);
    });

    test("an ackId that failed can be used again", async (t) => {
      const device = await connect(t, unique("h"), { roles: [] });
      assert.equal(await refusal(device.client.joinGroup("g", { ackId: 5 })), "Forbidden");
      assert.equal(await refusal(device.client.sendToGroup("g", "x", "text", { ackId: 5 })), "Forbidden");
      assert.equal((await device.client.sendEvent("silent", "x", "text", { ackId: 5 })).isDuplicated, false);
    });

    test("Forbidden is retried by the client with new ackIds", async (t) => {
      const device = await connect(t, unique("h"), { options: { messageRetryOptions: { maxRetries: 2, retryDelayInMs: 10 } } });
      assert.equal(await refusal(device.client.joinGroup("g")), "Forbidden");
    });

    test("groups of the token are joined and not left at the first message", async (t) => {
      const hub = unique("h");
      const device = await connect(t, hub, { user: "u", groups: ["one", "two"] });
      await gateway.call("sendToGroup", { hub, group: "one", payload: 1 });
      await gateway.call("sendToGroup", { hub, group: "two", payload: 2 });
      const got = await device.group.take(2);
      assert.deepEqual(got.map((m) => [m.group, m.data]).sort(), [["one", 1], ["two", 2]]);
      assert.ok(got[0].fromUserId == null, "a message of the service is from no user");
    });

    test("users in one group of many devices all get each message, in the order of the sender", async (t) => {
      const hub = unique("h");
      const devices = await Promise.all(Array.from({ length: 5 }, (_, i) => connect(t, hub, { user: `u${i}`, groups: ["g"], roles: everyGroup })));
      for (let i = 0; i < 50; i++) await devices[0].client.sendToGroup("g", i, "json", { fireAndForget: true });
      for (const device of devices) {
        assert.deepEqual((await device.group.take(50)).map((m) => m.data), Array.from({ length: 50 }, (_, i) => i));
      }
    });
  });
}

describe("permissions", { concurrency: 4 }, () => {
  const join = (d, g) => d.client.joinGroup(g);
  const send = (d, g) => d.client.sendToGroup(g, "x", "text");
  const J = "webpubsub.joinLeaveGroup";
  const S = "webpubsub.sendToGroup";
  // roles; allowed and refused [operation, group]
  const cases = {
    "no role": [[], [], [[join, "g"], [send, "g"]]],
    "any group": [[J, S], [[join, "g"], [send, "g"]], []],
    "one group": [[`${J}.a.b`, `${S}.a.b`], [[join, "a.b"], [send, "a.b"]], [[join, "a"], [join, "a.B"], [send, "a.b.c"]]],
    "join is not send": [[J], [[join, "g"]], [[send, "g"]]],
    "send is not join": [[S], [[send, "g"]], [[join, "g"]]],
    "star stops at a dot": [[`${J}s.room.*`], [[join, "room.1"], [join, "room."]], [[join, "room.1.2"], [join, "room"]]],
    "two stars pass dots": [[`${S}s.room.**`], [[send, "room.1"], [send, "room.1.2"]], [[send, "other.1"]]],
    "question mark": [[`${J}s.r?`], [[join, "r1"]], [[join, "r"], [join, "r12"], [join, "r."]]],
    "two stars alone are any": [[`${J}s.**`], [[join, "x.y"]], []],
    "escaped star": [[`${J}s.a\\*`], [[join, "a*"]], [[join, "ab"]]],
    "a star in the singular role is literal": [[`${J}.a*`], [[join, "a*"]], [[join, "ab"]]],
    "invalid patterns and unknown roles are ignored": [[`${J}s.a\\b`, "nonsense", `${J}.ok`], [[join, "ok"]], [[join, "a\\b"], [join, "ab"]]],
  };
  for (const [name, [roles, allowed, refused]] of Object.entries(cases)) {
    test(name, async (t) => {
      const device = await gateway.connect(t, unique("h"), { roles });
      for (const [act, group] of allowed) await act(device, group);
      for (const [act, group] of refused) assert.equal(await refusal(act(device, group)), "Forbidden", `${act} ${group}`);
    });
  }

  test("granted and revoked while connected, over the Go service client", async (t) => {
    const hub = unique("h");
    const device = await gateway.connect(t, hub, { roles: [S] });
    const permission = (op, p, group) => gateway.call(op, { hub, connection: device.id, permission: p, group });
    await permission("grantPermission", "joinLeaveGroup", "g*");
    await join(device, "g*");
    assert.equal(await refusal(join(device, "gg")), "Forbidden", "the target is literal");
    await permission("revokePermission", "sendToGroup", "closed");
    assert.equal(await refusal(send(device, "closed")), "Forbidden", "a revocation beats a broad role");
    await send(device, "open");
    await permission("revokePermission", "joinLeaveGroup", "g*");
    await send(device, "g*");
    assert.equal((await device.group.next()).data, "x", "a revocation does not evict");
  });
});

describe("acknowledgements, on the wire", { concurrency: 4 }, () => {
  test("ackIds 0 and 2^64-1, in any order, as they were written", async (t) => {
    const socket = await gateway.raw(t, unique("h"), { protocols: [subprotocol.json], roles: everyGroup });
    const acks = [];
    socket.socket.on("message", (data) => {
      const text = data.toString();
      if (text.includes('"ack"')) acks.push(/"ackId":(\d+)/.exec(text)[1]);
    });
    for (const id of ["18446744073709551615", "0", "9007199254740993"]) socket.send(`{"type":"joinGroup","group":"g","ackId":${id}}`);
    for (let i = 0; i < 3; i++) assert.equal((await socket.next("ack")).success, true);
    assert.deepEqual(acks, ["18446744073709551615", "0", "9007199254740993"]);
  });

  test("a duplicate is told before a refusal", async (t) => {
    const hub = unique("h");
    const socket = await gateway.raw(t, hub, { protocols: [subprotocol.json], roles: ["webpubsub.joinLeaveGroup.a"] });
    socket.send({ type: "joinGroup", group: "a", ackId: 1 });
    assert.equal((await socket.ackOf(1)).success, true);
    socket.send({ type: "joinGroup", group: "forbidden", ackId: 1 });
    assert.equal((await socket.ackOf(1)).error.name, "Duplicate");
    socket.send({ type: "joinGroup", group: "forbidden", ackId: 2 });
    const ack = await socket.ackOf(2);
    assert.deepEqual([ack.success, ack.error.name], [false, "Forbidden"]);
    assert.equal(typeof ack.error.message, "string");
  });

  test("no ackId, no ack", async (t) => {
    const socket = await gateway.raw(t, unique("h"), { protocols: [subprotocol.json] });
    await socket.next("system");
    socket.send({ type: "joinGroup", group: "forbidden" });
    socket.send({ type: "joinGroup", group: "forbidden", ackId: null });
    socket.send({ type: "ping" });
    assert.equal((await socket.frames.next()).type, "pong");
  });

  test("numbers keep their spelling", async (t) => {
    const socket = await gateway.raw(t, unique("h"), { protocols: [subprotocol.json], roles: everyGroup, groups: ["g"] });
    await socket.next("system");
    const texts = [];
    socket.socket.on("message", (data) => texts.push(data.toString()));
    socket.send('{"type":"sendToGroup","group":"g","dataType":"json","data":{ "big":12345678901234567890.10,"e":1E+2 },"ackId":1}');
    await socket.next("message");
    assert.ok(texts.find((s) => s.includes("12345678901234567890.10") && s.includes("1E+2")), texts.join("\n"));
  });

  test("data type json is the default, and metadata go along", async (t) => {
    const socket = await gateway.raw(t, unique("h"), { protocols: [subprotocol.json], roles: everyGroup, groups: ["g"] });
    socket.send({ type: "SENDTOGROUP", group: "g", data: { a: 1 }, metadata: { trace: "a1" }, unknown: [] });
    const message = await socket.next("message");
    assert.deepEqual([message.dataType, message.data, message.metadata], ["json", { a: 1 }, { trace: "a1" }]);
    assert.equal(message.sequenceId, undefined, "the plain protocol has no sequence");
  });
});
