// Frames on the wire: what is malformed, protobuf by the byte vectors of the
// specification, devices without a subprotocol.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Gateway, everyGroup, handshakeStatus, subprotocol, unique } from "./harness.mjs";
import { data, decode, field, get, hex, message, upstream } from "./protobuf.mjs";

let gateway;
before(async () => (gateway = await Gateway.start()));
after(() => gateway.close());

describe("frames that break the protocol", { concurrency: 4 }, () => {
  const broken = {
    "no JSON": "{",
    "no object": "[1]",
    "no type": "{}",
    "unknown type": { type: "fly" },
    "type is no string": { type: 1 },
    "group is missing": { type: "joinGroup", ackId: 1 },
    "group is blank": { type: "joinGroup", group: "  ", ackId: 1 },
    "group is too long": { type: "joinGroup", group: "g".repeat(1025), ackId: 1 },
    "ackId is a string": { type: "joinGroup", group: "g", ackId: "1" },
    "ackId is negative": { type: "joinGroup", group: "g", ackId: -1 },
    "ackId is a fraction": { type: "joinGroup", group: "g", ackId: 1.5 },
    "ackId is too large": '{"type":"joinGroup","group":"g","ackId":18446744073709551616}',
    "noEcho is a string": { type: "sendToGroup", group: "g", data: 1, noEcho: "true" },
    "no data": { type: "sendToGroup", group: "g" },
    "data is null": { type: "sendToGroup", group: "g", dataType: "json", data: null },
    "text is no string": { type: "sendToGroup", group: "g", dataType: "text", data: 1 },
    "binary is no base64": { type: "sendToGroup", group: "g", dataType: "binary", data: "***" },
    "unknown data type": { type: "sendToGroup", group: "g", dataType: "xml", data: "x" },
    "metadata are no strings": { type: "sendToGroup", group: "g", data: 1, metadata: { a: 1 } },
    "event without name": { type: "event", data: 1 },
    "event with a bad name": { type: "event", event: "1 2", data: 1 },
    "sequenceId is negative": { type: "sequenceAck", sequenceId: -1 },
    "invoke without id": { type: "invoke", target: "event", event: "e" },
    "ttlSeconds is too large": { type: "sendToGroup", group: "g", data: 1, ttlSeconds: 301 },
  };
  for (const [name, frame] of Object.entries(broken)) {
    test(`${name}: 1007`, async (t) => {
      const socket = await gateway.raw(t, unique("h"), { protocols: [subprotocol.reliable], roles: everyGroup });
      socket.send(frame);
      assert.equal((await socket.close()).code, 1007);
    });
  }
  test("protobuf that does not parse: 1007", async (t) => {
    for (const bytes of ["ff", "32 ff 01", "0a 02 0a", ""]) {
      const socket = await gateway.raw(t, unique("h"), { protocols: [subprotocol.protobuf], roles: everyGroup });
      socket.send(hex(bytes));
      assert.equal((await socket.close()).code, 1007, bytes);
    }
  });
  test("the wrong kind of frame: 1003", async (t) => {
    const json = await gateway.raw(t, unique("h"), { protocols: [subprotocol.json] });
    json.send(Buffer.from('{"type":"ping"}'));
    assert.equal((await json.close()).code, 1003);
    const proto = await gateway.raw(t, unique("h"), { protocols: [subprotocol.protobuf] });
    proto.send('{"type":"ping"}');
    assert.equal((await proto.close()).code, 1003);
  });
  test("more than 1 MiB: 1009; just below it is fine", async (t) => {
    const socket = await gateway.raw(t, unique("h"), { protocols: [subprotocol.json], roles: everyGroup, groups: ["g"] });
    socket.send({ type: "sendToGroup", group: "g", dataType: "text", data: "x".repeat((1 << 20) - 200), ackId: 1 });
    assert.equal((await socket.ackOf(1)).success, true);
    socket.send({ type: "sendToGroup", group: "g", dataType: "text", data: "x".repeat(1 << 20) });
    assert.equal((await socket.close()).code, 1009);
  });
  test("a reliable connection that broke the protocol", async (t) => {
    const socket = await gateway.raw(t, unique("h"), { protocols: [subprotocol.reliable] });
    await socket.next("system");
    socket.send("{");
    assert.equal((await socket.close()).code, 1007);
  });
  test("unknown properties and a type in another case are fine", async (t) => {
    const socket = await gateway.raw(t, unique("h"), { protocols: [subprotocol.json] });
    socket.send({ type: "PING", more: { a: [1] } });
    await socket.next("pong");
  });
  test("a sequenceAck out of bounds is ignored", async (t) => {
    const socket = await gateway.raw(t, unique("h"), { protocols: [subprotocol.reliable] });
    socket.send('{"type":"sequenceAck","sequenceId":18446744073709551615}');
    socket.send({ type: "sequenceAck", sequenceId: 0 });
    socket.send({ type: "ping" });
    await socket.next("pong");
  });
});

describe("JSON frames of the node", { concurrency: 4 }, () => {
  test("connected comes first, with a token on reliable only", async (t) => {
    const plain = await (await gateway.raw(t, unique("h"), { protocols: [subprotocol.json], user: "u", groups: ["g"] })).frames.next();
    assert.deepEqual([plain.type, plain.event, plain.userId, typeof plain.connectionId, plain.reconnectionToken], ["system", "connected", "u", "string", undefined]);
    const reliable = await (await gateway.raw(t, unique("h"), { protocols: [subprotocol.reliable] })).frames.next();
    assert.equal(typeof reliable.reconnectionToken, "string");
    assert.ok(reliable.userId == null, "anonymous");
  });
  test("messages carry sequenceId from 1 on reliable", async (t) => {
    const hub = unique("h");
    const socket = await gateway.raw(t, hub, { protocols: [subprotocol.reliable], roles: everyGroup, groups: ["g"] });
    await socket.next("system");
    await gateway.call("sendToAll", { hub, payload: "a", dataType: "text" });
    socket.send({ type: "event", event: "echo", dataType: "text", data: "b", ackId: 1 });
    socket.send({ type: "sendToGroup", group: "g", dataType: "text", data: "c", ackId: 2 });
    const frames = [];
    while (frames.length < 3) frames.push(await socket.next("message"));
    assert.deepEqual(frames.map((f) => f.sequenceId), [1, 2, 3]);
    assert.deepEqual(frames.map((f) => f.from).sort(), ["group", "server", "server"]);
    assert.equal((await socket.ackOf(2)).sequenceId, undefined);
  });
  test("an unknown stream is told so, not closed", async (t) => {
    const socket = await gateway.raw(t, unique("h"), { protocols: [subprotocol.json], roles: everyGroup });
    socket.send({ type: "streamData", streamId: "s", streamSequenceId: 1, dataType: "text", data: "x" });
    assert.equal((await socket.next("streamClosed")).error.name, "StreamNotFound");
    socket.send({ type: "streamEnd", streamId: "s" });
    assert.equal((await socket.next("streamClosed")).error.name, "StreamNotFound");
  });
  test("cancelInvocation of an unknown id is ignored", async (t) => {
    const socket = await gateway.raw(t, unique("h"), { protocols: [subprotocol.json] });
    socket.send({ type: "cancelInvocation", invocationId: "9" });
    socket.send({ type: "ping" });
    await socket.next("pong");
  });
});

describe("protobuf", { concurrency: 4 }, () => {
  test("the bytes that the helper makes are the vectors of the specification", () => {
    assert.deepEqual(upstream.join("group"), hex("32 07 0A 05 67 72 6F 75 70"));
    assert.deepEqual(upstream.join("room", 0), hex("32 08 0A 04 72 6F 6F 6D 10 00"));
    assert.deepEqual(upstream.sequenceAck(123456), hex("42 04 08 C0 C4 07"));
  });
  for (const [name, protocol] of [["plain", subprotocol.protobuf], ["reliable", subprotocol.protobufReliable]]) {
    const reliable = name === "reliable";
    const connect = async (t, hub, access) => {
      const socket = await gateway.raw(t, hub, { protocols: [protocol], roles: everyGroup, ...access });
      const connected = get(await socket.frames.next(), 3, 1);
      return { socket, connected, id: get(connected, 1).toString() };
    };
    test(`${name}: connected`, async (t) => {
      const { connected } = await connect(t, unique("h"), { user: "u" });
      assert.match(get(connected, 1).toString(), /^[\w.~-]+$/);
      assert.equal(get(connected, 2).toString(), "u");
      assert.equal(get(connected, 3) !== undefined, reliable);
    });
    test(`${name}: join, acknowledgements, pong`, async (t) => {
      const { socket } = await connect(t, unique("h"));
      socket.send(hex("32 07 0A 05 67 72 6F 75 70")); // join "group"
      socket.send(hex("32 08 0A 04 72 6F 6F 6D 10 00")); // join "room", ackId 0
      const ack = get(await socket.frames.next(), 1);
      assert.deepEqual([get(ack, 1) ?? 0n, get(ack, 2)], [0n, 1n]);
      socket.send(upstream.join("x", 1));
      assert.deepEqual(await socket.frames.next(), hex("0A 04 08 01 10 01"));
      socket.send(upstream.ping());
      assert.deepEqual(await socket.frames.next(), hex("22 00"));
      socket.send(upstream.join("y", 18446744073709551615n));
      assert.equal(get(await socket.frames.next(), 1, 1), 18446744073709551615n);
    });
    test(`${name}: a group message, by its bytes`, async (t) => {
      const { socket } = await connect(t, unique("h"), { groups: ["g"] });
      socket.send(upstream.sendToGroup("g", data.text("hi")));
      const want = reliable ? "12 12 0A 05 67 72 6F 75 70 12 01 67 1A 04 0A 02 68 69 20 01" : "12 10 0A 05 67 72 6F 75 70 12 01 67 1A 04 0A 02 68 69";
      const frame = await socket.frames.next();
      // The fields of a protobuf message may come in any order.
      assert.deepEqual(decode(get(frame, 2)), decode(get(hex(want), 2)));
      assert.equal(frame.length, hex(want).length);
    });
    test(`${name}: every data type, and noEcho`, async (t) => {
      const { socket } = await connect(t, unique("h"), { groups: ["g"] });
      socket.send(upstream.sendToGroup("g", data.text("quiet"), { noEcho: true }));
      const any = data.any("type.googleapis.com/x", hex("0801"));
      for (const payload of [data.text("t"), data.binary(hex("00ff")), data.json('{"a": 1.0}'), any]) {
        socket.send(upstream.sendToGroup("g", payload));
        assert.deepEqual(get(await socket.frames.next(), 2, 3), payload);
      }
    });
    test(`${name}: event, invoke, refusal`, async (t) => {
      const { socket } = await connect(t, unique("h"), { roles: [] });
      socket.send(upstream.event("echo", data.text("e"), 3));
      assert.deepEqual(get(await socket.frames.next(), 2, 3), data.text("e"));
      assert.equal(get(await socket.frames.next(), 1, 2), 1n);
      socket.send(upstream.invoke("i1", "sum", data.json("[1,2]")));
      const response = get(await socket.frames.next(), 5);
      assert.deepEqual([get(response, 1).toString(), get(response, 2), get(response, 3)], ["i1", 1n, data.json("3")]);
      socket.send(upstream.join("g", 4));
      assert.equal(get(await socket.frames.next(), 1, 3, 1).toString(), "Forbidden");
    });
    test(`${name}: disconnected has field 2`, async (t) => {
      const hub = unique("h");
      const { socket, id } = await connect(t, hub);
      await gateway.call("closeConnection", { hub, connection: id, reason: "bye" });
      assert.match(get(await socket.frames.next(), 3, 2, 2).toString(), /bye/);
      assert.deepEqual(await socket.close(), { code: 1000, reason: "" });
    });
  }
  test("payloads cross the protocols as the table 3.4 says", async (t) => {
    const hub = unique("h");
    const access = { groups: ["g"], roles: everyGroup, user: "u" };
    const json = await gateway.raw(t, hub, { protocols: [subprotocol.json], ...access });
    const proto = await gateway.raw(t, hub, { protocols: [subprotocol.protobuf], ...access });
    const simple = await gateway.raw(t, hub, access);
    await json.next("system");
    await proto.frames.next();
    const received = async () => {
      const m = await json.next("message");
      return [m.dataType, m.data, get(await proto.frames.next(), 2, 3), await simple.frames.next()];
    };
    const any = message(field(1, "type.googleapis.com/x"), field(2, hex("0801")));
    const send = (dataType, value) => json.send({ type: "sendToGroup", group: "g", dataType, data: value });
    send("text", "t");
    assert.deepEqual(await received(), ["text", "t", data.text("t"), "t"]);
    json.send('{"type":"sendToGroup","group":"g","dataType":"json","data":{"n": 1.0}}');
    assert.deepEqual(await received(), ["json", { n: 1 }, data.json('{"n": 1.0}'), '{"n": 1.0}']);
    send("binary", "AP8=");
    assert.deepEqual(await received(), ["binary", "AP8=", data.binary(hex("00ff")), hex("00ff")]);
    send("protobuf", any.toString("base64"));
    assert.deepEqual(await received(), ["protobuf", any.toString("base64"), field(3, any), any]);
    proto.send(upstream.sendToGroup("g", data.json("[1.50]")));
    assert.deepEqual(await received(), ["json", [1.5], data.json("[1.50]"), "[1.50]"]);
  });
  test("recovery replays", async (t) => {
    const hub = unique("h");
    const url = await gateway.url(hub);
    const first = await gateway.raw(t, hub, { protocols: [subprotocol.protobufReliable] });
    const connected = get(await first.frames.next(), 3, 1);
    await gateway.call("sendToAll", { hub, payload: "1", dataType: "text" });
    await gateway.call("sendToAll", { hub, payload: "2", dataType: "text" });
    const seq = (frame) => Number(get(frame, 2, 4));
    assert.deepEqual((await first.frames.take(2)).map(seq), [1, 2]);
    first.send(upstream.sequenceAck(1));
    first.send(upstream.ping());
    await first.frames.next();
    first.terminate();
    const query = `&awps_connection_id=${get(connected, 1)}&awps_reconnection_token=${encodeURIComponent(get(connected, 3).toString())}`;
    const second = await gateway.raw(t, hub, { protocols: [subprotocol.protobufReliable], query });
    const frames = await second.frames.take(2);
    assert.equal(get(frames[0], 3, 1, 1).toString(), get(connected, 1).toString());
    assert.equal(seq(frames[1]), 2);
    assert.ok(url && decode(frames[1]));
  });
});

describe("without a subprotocol", { concurrency: 4 }, () => {
  test("every frame is the event message, a reply is a bare frame", async (t) => {
    const hub = unique("h");
    const socket = await gateway.raw(t, hub, { user: "u" });
    assert.equal(socket.socket.protocol, "");
    socket.send("hello");
    assert.equal(await socket.frames.next(), "hello");
    socket.send(hex("00ff"));
    assert.deepEqual(await socket.frames.next(), hex("00ff"));
    const [text, binary] = [await gateway.events.next((e) => e.kind === "event" && e.hub === hub), await gateway.events.next((e) => e.kind === "event" && e.hub === hub)];
    assert.deepEqual([text.name, text.dataType, text.userId], ["message", "text", "u"]);
    assert.deepEqual([binary.name, binary.dataType], ["message", "binary"]);
    socket.send("silent");
    socket.send("next");
    assert.equal(await socket.frames.next(), "next");
  });
  test("a handler that fails: 1011", async (t) => {
    const socket = await gateway.raw(t, unique("h"));
    socket.send("fail");
    assert.equal((await socket.close()).code, 1011);
  });
  test("closed by the service: no frame, 1000", async (t) => {
    const hub = unique("h");
    const socket = await gateway.raw(t, hub, { user: "u" });
    const { connectionId } = await gateway.events.next((e) => e.kind === "connected" && e.hub === hub);
    await gateway.call("closeConnection", { hub, connection: connectionId, reason: "x" });
    assert.deepEqual(await socket.close(), { code: 1000, reason: "" });
    assert.deepEqual(socket.frames.rest, []);
  });
  test("webpubsub_mode=sendToGroup publishes every frame", async (t) => {
    const hub = unique("h");
    const member = await gateway.connect(t, hub, { groups: ["g 1"] });
    const publisher = await gateway.raw(t, hub, { user: "p", roles: everyGroup, query: "&WebPubSub_Mode=SENDTOGROUP&group=g%201" });
    publisher.send("text");
    publisher.send(hex("0102"));
    const [a, b] = await member.group.take(2);
    assert.deepEqual([a.group, a.fromUserId, a.dataType, a.data], ["g 1", "p", "text", "text"]);
    assert.deepEqual([b.dataType, Buffer.from(b.data)], ["binary", hex("0102")]);
  });
  test("sendToGroup with noEcho", async (t) => {
    const hub = unique("h");
    const access = { roles: everyGroup, groups: ["g"] };
    const quiet = await gateway.raw(t, hub, { ...access, query: "&webpubsub_mode=sendToGroup&group=g&noEcho=true" });
    const loud = await gateway.raw(t, hub, { ...access, query: "&webpubsub_mode=sendToGroup&group=g" });
    quiet.send("from quiet");
    assert.equal(await loud.frames.next(), "from quiet");
    loud.send("from loud");
    assert.equal(await loud.frames.next(), "from loud");
    assert.equal(await quiet.frames.next(), "from loud");
  });
  test("sendToGroup without permission: 1008", async (t) => {
    const socket = await gateway.raw(t, unique("h"), { query: "&webpubsub_mode=sendToGroup&group=g" });
    socket.send("x");
    assert.equal((await socket.close()).code, 1008);
  });
  for (const query of ["webpubsub_mode=fly", "webpubsub_mode=sendToGroup", "webpubsub_mode=sendToGroup&group=%20", "webpubsub_mode=sendToGroup&group=g&noEcho=maybe"]) {
    test(`${query}: 400, also with a subprotocol`, async () => {
      const url = `${await gateway.url(unique("h"))}&${query}`;
      assert.equal(await handshakeStatus(url), 400);
      assert.equal(await handshakeStatus(url, [subprotocol.json]), 400);
    });
  }
});
