// Scenario 3: events and invocations with the in-process handler.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { InvocationError, WebPubSubJsonProtocol } from "@azure/web-pubsub-client";
import { Gateway, Proxy, refusal, subprotocol, suite, unique } from "./harness.mjs";

let gateway;
before(async () => (gateway = await Gateway.start()));
after(() => gateway.close());

const toBuffer = (s) => new Uint8Array(Buffer.from(s)).buffer;

describe("events", { concurrency: 4 }, () => {
  test("the handler is told, the reply comes as a message from the server", async (t) => {
    const hub = unique("h");
    const device = await gateway.connect(t, hub, { user: "u" });
    await device.client.sendEvent("echo", { a: [1, "ä"] }, "json");
    const message = await device.server.next();
    assert.deepEqual([message.dataType, message.data], ["json", { a: [1, "ä"] }]);
    const told = await gateway.events.next((e) => e.kind === "event" && e.hub === hub);
    assert.deepEqual(
      [told.name, told.dataType, told.userId, told.connectionId, told.invocation],
      ["echo", "json", "u", device.id, false],
    );
  });

  test("text, binary and protobuf come back as they went", async (t) => {
    const device = await gateway.connect(t, unique("h"));
    await device.client.sendEvent("echo", "text ä", "text");
    await device.client.sendEvent("echo", toBuffer("\u0001\u0002"), "binary");
    await device.client.sendEvent("echo", toBuffer("any"), "protobuf");
    const [text, binary, protobuf] = await device.server.take(3);
    assert.deepEqual([text.dataType, text.data], ["text", "text ä"]);
    assert.deepEqual([binary.dataType, Buffer.from(binary.data).toString()], ["binary", "\u0001\u0002"]);
    assert.deepEqual([protobuf.dataType, Buffer.from(protobuf.data).toString()], ["protobuf", "any"]);
  });

  test("the reply is sent before the acknowledgement", async (t) => {
    for (const name of [subprotocol.json, subprotocol.reliable]) {
      const socket = await gateway.raw(t, unique("h"), { protocols: [name] });
      await socket.next("system");
      socket.send({ type: "event", event: "echo", ackId: 1, dataType: "text", data: "x" });
      const types = (await socket.frames.take(2)).map((f) => f.type);
      assert.deepEqual(types, ["message", "ack"]);
    }
  });

  test("no reply: only the acknowledgement", async (t) => {
    const socket = await gateway.raw(t, unique("h"), { protocols: [subprotocol.json] });
    await socket.next("system");
    socket.send({ type: "event", event: "quiet", ackId: 1, dataType: "text", data: "x" });
    socket.send({ type: "ping" });
    assert.deepEqual((await socket.frames.take(2)).map((f) => f.type), ["ack", "pong"]);
  });

  for (const name of ["fail", "panic"]) {
    test(`a handler that ${name}s: InternalServerError, and nothing of its text`, async (t) => {
      const device = await gateway.connect(t, unique("h"));
      const error = await device.client.sendEvent(name, "x", "text").catch((e) => e);
      assert.equal(error.errorDetail.name, "InternalServerError");
      assert.ok(!error.errorDetail.message.includes("the test wants"));
      await device.client.sendEvent("quiet", "still there", "text");
    });
  }

  test("a failure without ackId keeps the connection", async (t) => {
    const device = await gateway.connect(t, unique("h"));
    await device.client.sendEvent("fail", "x", "text", { fireAndForget: true });
    await device.client.sendEvent("echo", "alive", "text");
    assert.equal((await device.server.next()).data, "alive");
  });

  test("events of one connection are handled in order, one at a time; others go on", async (t) => {
    const hub = unique("h");
    const gate = unique("gate");
    const blocked = await gateway.connect(t, hub);
    const other = await gateway.connect(t, hub);
    const first = blocked.client.sendEvent("block", gate, "text");
    const second = blocked.client.sendEvent("echo", "second", "text");
    await gateway.events.next((e) => e.kind === "event" && e.connectionId === blocked.id && e.name === "block");
    await other.client.sendEvent("echo", "not held back", "text");
    assert.equal((await other.server.next()).data, "not held back");
    assert.ok(!gateway.events.rest.some((e) => e.connectionId === blocked.id && e.name === "echo"));
    await gateway.all("release", { gate });
    await Promise.all([first, second]);
    assert.deepEqual((await blocked.server.take(2)).map((m) => m.data), ["released", "second"]);
  });

  test("the same ackId again does not reach the handler", async (t) => {
    const hub = unique("h");
    const device = await gateway.connect(t, hub);
    await device.client.sendEvent("quiet", "1", "text", { ackId: 9 });
    assert.equal((await device.client.sendEvent("quiet", "2", "text", { ackId: 9 })).isDuplicated, true);
    await device.client.sendEvent("quiet", "3", "text");
    const told = [];
    for (let i = 0; i < 2; i++) told.push((await gateway.events.next((e) => e.kind === "event" && e.hub === hub)).data);
    assert.deepEqual(told, ["1", "3"]);
  });

  test("the state of a connection is the handler's", async (t) => {
    const device = await gateway.connect(t, unique("h"));
    await device.client.sendEvent("setState", "step 2", "text");
    assert.equal((await device.client.invokeEvent("getState", "", "text")).data, "step 2");
  });
});

describe("invocations", { concurrency: 4 }, () => {
  for (const [name, options] of Object.entries({ reliable: {}, plain: { protocol: WebPubSubJsonProtocol() } })) {
    test(`${name}: result`, async (t) => {
      const device = await gateway.connect(t, unique("h"), options);
      const result = await device.client.invokeEvent("sum", [1, 2, 39], "json");
      assert.deepEqual([result.dataType, result.data], ["json", 42]);
      const [a, b] = await Promise.all([device.client.invokeEvent("echo", "a", "text"), device.client.invokeEvent("echo", "b", "text")]);
      assert.deepEqual([a.data, b.data], ["a", "b"]);
      assert.deepEqual(device.server.rest, [], "an answer is no message");
    });
  }

  test("the handler knows that the device waits", async (t) => {
    const hub = unique("h");
    const device = await gateway.connect(t, hub);
    await device.client.invokeEvent("echo", "x", "text");
    assert.equal((await gateway.events.next((e) => e.kind === "event" && e.hub === hub)).invocation, true);
  });

  test("binary comes back", async (t) => {
    const device = await gateway.connect(t, unique("h"));
    const result = await device.client.invokeEvent("echo", toBuffer("\u0000ÿ"), "binary");
    assert.equal(result.dataType, "binary");
    assert.equal(Buffer.from(result.data).toString(), "\u0000ÿ");
  });

  test("a handler that fails", async (t) => {
    const device = await gateway.connect(t, unique("h"));
    const error = await device.client.invokeEvent("fail", "x", "text").catch((e) => e);
    assert.ok(error instanceof InvocationError);
    assert.equal(error.errorDetail.name, "InternalServerError");
  });

  test("aborted: the client lets go, and a late answer harms nothing", async (t) => {
    const device = await gateway.connect(t, unique("h"));
    const gate = unique("gate");
    const controller = new AbortController();
    const call = device.client.invokeEvent("block", gate, "text", { abortSignal: controller.signal });
    await gateway.events.next((e) => e.kind === "event" && e.connectionId === device.id);
    controller.abort();
    await assert.rejects(call);
    await gateway.all("release", { gate });
    assert.equal((await device.client.invokeEvent("echo", "next", "text")).data, "next");
  });

  test("no reply of the handler is still an answer", async (t) => {
    const socket = await gateway.raw(t, unique("h"), { protocols: [subprotocol.json] });
    socket.send({ type: "invoke", invocationId: "i-1", target: "event", event: "quiet", dataType: "text", data: "x" });
    const response = await socket.next("invokeResponse");
    assert.deepEqual([response.invocationId, response.success], ["i-1", true]);
  });

  test("an invocation that the broken connection interrupted is rejected", async (t) => {
    const proxy = await Proxy.start(t, gateway.endpoints[gateway.deviceNode]);
    const device = await gateway.connect(t, unique("h"), { endpoint: proxy.endpoint });
    const call = device.client.invokeEvent("block", unique("never"), "text");
    call.catch(() => {}); // awaited below
    await gateway.events.next((e) => e.kind === "event" && e.connectionId === device.id);
    proxy.cut();
    await assert.rejects(call, InvocationError);
  });
});

describe("without a handler", () => {
  test("events and invocations fail with InternalServerError", { skip: suite === "cluster" && "as with one node" }, async (t) => {
    const bare = await Gateway.start({ NoHandler: true, nodes: 1 });
    t.after(() => bare.close());
    const device = await bare.connect(t, unique("h"));
    assert.equal(await refusal(device.client.sendEvent("any", "x", "text")), "InternalServerError");
    await device.client.sendEvent("any", "x", "text", { fireAndForget: true });
    const error = await device.client.invokeEvent("any", "x", "text").catch((e) => e);
    assert.equal(error.errorDetail.name, "InternalServerError");
    const simple = await bare.raw(t, unique("h"));
    simple.send("x");
    assert.equal((await simple.close()).code, 1011);
  });
});
