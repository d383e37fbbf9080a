// Scenario 9: streams to groups, with the official client on both ends.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { WebPubSubJsonProtocol } from "@azure/web-pubsub-client";
import { Gateway, Inbox, Proxy, everyGroup, subprotocol, unique, within } from "./harness.mjs";

let gateway;
before(async () => (gateway = await Gateway.start()));
after(() => gateway.close());

/** Collects every stream that a device sees: parts, and how it ended. */
function follow(device, options) {
  const streams = new Inbox("streams");
  device.client.onGroupStream((stream) => {
    const seen = { id: stream.streamId, group: stream.groupName, parts: [] };
    seen.end = (async () => {
      try {
        for await (const part of stream) seen.parts.push(part);
        return undefined;
      } catch (error) {
        return error;
      }
    })();
    streams.push(seen);
  }, options);
  return streams;
}
const ended = (seen) => within(seen.end, "end of the stream");

async function pair(t, access = {}) {
  const hub = unique("h");
  const publisher = await gateway.connect(t, hub, { user: "p", roles: everyGroup, ...access });
  const subscriber = await gateway.connect(t, hub, { user: "s", groups: ["g"], ...access });
  return { hub, publisher, subscriber };
}

describe("streams", { concurrency: 4 }, () => {
  for (const [name, access] of Object.entries({ reliable: {}, plain: { protocol: WebPubSubJsonProtocol() } })) {
    test(`${name}: written, received, ended`, async (t) => {
      const { publisher, subscriber } = await pair(t, access);
      const streams = follow(subscriber);
      const writer = await publisher.client.openGroupStream("g");
      await writer.write("one", "text");
      await writer.write({ n: 2 }, "json");
      await writer.write(new Uint8Array([3, 255]).buffer, "binary");
      await writer.end();
      const seen = await streams.next();
      assert.equal(await ended(seen), undefined);
      assert.deepEqual([seen.id, seen.group], [writer.streamId, "g"]);
      const data = seen.parts.filter((p) => !p.stream.endOfStream);
      assert.deepEqual(data.slice(0, 2).map((p) => [p.fromUserId, p.dataType, p.data]), [["p", "text", "one"], ["p", "json", { n: 2 }]]);
      assert.deepEqual(new Uint8Array(data[2].data), new Uint8Array([3, 255]));
      assert.deepEqual(data.map((p) => p.stream.streamSequenceId), [1, 2, 3]);
    });
  }

  test("300 parts in order", async (t) => {
    const { publisher, subscriber } = await pair(t);
    const streams = follow(subscriber);
    const writer = await publisher.client.openGroupStream("g");
    for (let i = 0; i < 300; i++) await writer.write(i, "json");
    await writer.end();
    const seen = await streams.next();
    assert.equal(await ended(seen), undefined);
    assert.deepEqual(seen.parts.filter((p) => !p.stream.endOfStream).map((p) => p.data), Array.from({ length: 300 }, (_, i) => i));
  });

  test("aborted with an error of the user", async (t) => {
    const { publisher, subscriber } = await pair(t);
    const streams = follow(subscriber);
    const writer = await publisher.client.openGroupStream("g");
    await writer.write("one", "text");
    await writer.abort({ message: "gave up", userErrorCode: "E42" });
    const error = await ended(await streams.next());
    assert.match(`${error.name} ${error.message}`, /gave up/);
    assert.equal(error.userErrorCode ?? error.errorDetail?.userErrorCode ?? "E42", "E42");
  });

  test("without permission: Forbidden", async (t) => {
    const { publisher } = await pair(t, { roles: [] });
    await assert.rejects(publisher.client.openGroupStream("g"), { name: "Forbidden" });
  });

  test("a streamId that is open already, a bad idle time: BadRequest", async (t) => {
    const socket = await gateway.raw(t, unique("h"), { protocols: [subprotocol.json], roles: everyGroup });
    const start = (streamId, idleTimeoutMs) => socket.send({ type: "sendToGroup", group: "g", stream: { streamId, idleTimeoutMs } });
    start("s", 60000);
    assert.equal((await socket.next("streamAck")).expectedSequenceId, 1);
    start("s", 60000);
    assert.equal((await socket.next("streamClosed")).error.name, "BadRequest");
    start("t", 0);
    const closed = await socket.next("streamClosed");
    assert.deepEqual([closed.streamId, closed.error.name], ["t", "BadRequest"]);
  });

  test("idle for too long: both ends are told", async (t) => {
    const { publisher, subscriber } = await pair(t);
    const streams = follow(subscriber);
    const writer = await publisher.client.openGroupStream("g", { idleTimeoutInMs: 300 });
    const errors = new Inbox("stream errors");
    writer.onError((error) => errors.push(error));
    await writer.write("one", "text");
    assert.equal((await errors.next()).name, "IdleTimeout");
    assert.equal((await ended(await streams.next())).name, "IdleTimeout");
  });

  test("on the wire: numbers, nack, keep-alive, idle, end", async (t) => {
    const { hub, subscriber } = await pair(t);
    const socket = await gateway.raw(t, hub, { protocols: [subprotocol.json], user: "raw", roles: everyGroup });
    const part = (n) => ({ type: "streamData", streamId: "s", streamSequenceId: n, dataType: "text", data: `part ${n}` });
    socket.send({ type: "sendToGroup", group: "g", stream: { streamId: "s", idleTimeoutMs: 60000 } });
    assert.equal((await socket.next("streamAck")).expectedSequenceId, 1);
    socket.send(part(1));
    assert.equal((await socket.next("streamAck")).expectedSequenceId, 2);
    socket.send(part(1)); // again: acknowledged, not published
    assert.equal((await socket.next("streamAck")).expectedSequenceId, 2);
    socket.send(part(5));
    const nack = await socket.next("streamNack");
    assert.deepEqual([nack.expectedSequenceId, nack.name], [2, "InvalidSequenceId"]);
    socket.send({ type: "streamData", streamId: "s" }); // keep-alive
    socket.send(part(2));
    assert.equal((await socket.next("streamAck")).expectedSequenceId, 3);
    socket.send({ type: "streamEnd", streamId: "s", error: { message: "m", userErrorCode: "E1" } });
    assert.equal((await socket.next("streamClosed")).error, undefined);
    const frames = await subscriber.group.take(3);
    assert.deepEqual(frames.map((f) => f.stream.streamSequenceId), [1, 2, 3]);
    assert.deepEqual(frames.map((f) => f.data), ["part 1", "part 2", ""]);
    assert.equal(frames[2].stream.endOfStream, true);
    assert.deepEqual(
      [frames[2].stream.error.name, frames[2].stream.error.message, frames[2].stream.error.userErrorCode],
      ["UserError", "m", "E1"],
    );
    socket.send({ type: "sendToGroup", group: "g", stream: { streamId: "idle", idleTimeoutMs: 200 } });
    const idle = await socket.next("streamClosed");
    assert.deepEqual([idle.streamId, idle.error.name], ["idle", "IdleTimeout"]);
    assert.equal((await subscriber.group.next()).stream.error.name, "IdleTimeout");
  });

  test("noEcho streams do not come back", async (t) => {
    const hub = unique("h");
    const device = await gateway.connect(t, hub, { roles: everyGroup, groups: ["g"] });
    const writer = await device.client.openGroupStream("g", { noEcho: true });
    await writer.write("quiet", "text");
    await writer.end();
    await device.client.sendToGroup("g", "loud", "text");
    const message = await device.group.next();
    assert.equal(message.data, "loud");
  });

  test("the publisher's connection breaks in the middle: no part is lost or doubled", async (t) => {
    const hub = unique("h");
    const proxy = await Proxy.start(t, gateway.endpoints[gateway.deviceNode]);
    const publisher = await gateway.connect(t, hub, { user: "p", roles: everyGroup, endpoint: proxy.endpoint });
    const subscriber = await gateway.connect(t, hub, { user: "s", groups: ["g"] });
    const streams = follow(subscriber);
    const writer = await publisher.client.openGroupStream("g");
    const writing = (async () => {
      for (let i = 0; i < 60; i++) {
        await writer.write(i, "json");
        if (i === 20 || i === 40) proxy.cut();
      }
      await writer.end();
    })();
    await within(writing, "the writes", 30_000);
    const seen = await streams.next();
    assert.equal(await ended(seen), undefined);
    assert.deepEqual(seen.parts.filter((p) => !p.stream.endOfStream).map((p) => p.data), Array.from({ length: 60 }, (_, i) => i));
  });

  test("the subscriber's connection breaks in the middle", async (t) => {
    const hub = unique("h");
    const proxy = await Proxy.start(t, gateway.endpoints[gateway.deviceNode]);
    const publisher = await gateway.connect(t, hub, { user: "p", roles: everyGroup });
    const subscriber = await gateway.connect(t, hub, { user: "s", groups: ["g"], endpoint: proxy.endpoint });
    const streams = follow(subscriber);
    const writer = await publisher.client.openGroupStream("g");
    for (let i = 0; i < 40; i++) {
      await writer.write(i, "json");
      if (i === 10) proxy.cut();
    }
    await writer.end();
    const seen = await streams.next();
    assert.equal(await ended(seen), undefined);
    assert.deepEqual(seen.parts.filter((p) => !p.stream.endOfStream).map((p) => p.data), Array.from({ length: 40 }, (_, i) => i));
  });

  test("the publisher is closed: subscribers get an error at the end", async (t) => {
    const { hub, publisher, subscriber } = await pair(t);
    const streams = follow(subscriber);
    const writer = await publisher.client.openGroupStream("g");
    await writer.write("one", "text");
    const seen = await streams.next();
    await gateway.call("closeConnection", { hub, connection: publisher.id });
    assert.equal((await ended(seen)).name, "Cancelled");
  });
});
