// Scenario 6: the client's keep-alive, with shorter times than its defaults.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { WebPubSubJsonProtocol } from "@azure/web-pubsub-client";
import { Gateway, Proxy, Raw, subprotocol, unique } from "./harness.mjs";

let gateway;
before(async () => (gateway = await Gateway.start({ PingInterval: 500 })));
after(() => gateway.close());

const idle = (ms) => new Promise((resolve) => setTimeout(resolve, ms)); // silence is the subject here

describe("keep-alive", { concurrency: true }, () => {
  for (const [name, protocol] of Object.entries({ reliable: undefined, plain: WebPubSubJsonProtocol() })) {
    test(`${name}: an idle client stays connected, since pings are answered`, async (t) => {
      const device = await gateway.connect(t, unique("h"), { protocol, options: { keepAliveIntervalInMs: 600, keepAliveTimeoutInMs: 2400 } });
      await idle(6000);
      assert.deepEqual([device.disconnected.rest, device.connected.rest], [[], []]);
      await device.client.sendEvent("echo", "alive", "text");
      assert.equal((await device.server.next()).data, "alive");
    });
  }
  test("a client without pings is not dropped: it answers those of WebSocket", async (t) => {
    const device = await gateway.connect(t, unique("h"), { options: { keepAliveIntervalInMs: 0, keepAliveTimeoutInMs: 0 } });
    await idle(4000);
    assert.deepEqual([device.disconnected.rest, device.connected.rest], [[], []]);
    await device.client.sendEvent("quiet", "alive", "text");
  });
  test("a frozen network: the node notices, the client recovers", async (t) => {
    const hub = unique("h");
    const proxy = await Proxy.start(t, gateway.endpoints[gateway.deviceNode]);
    const device = await gateway.connect(t, hub, { endpoint: proxy.endpoint, user: "u" });
    await proxy.accepted.next();
    proxy.freeze();
    await gateway.call("sendToAll", { hub, payload: "meanwhile" });
    await proxy.accepted.next();
    assert.equal((await device.server.next()).data, "meanwhile");
    assert.deepEqual([device.disconnected.rest, device.connected.rest], [[], []]);
  });
  test("a device that answers nothing is dropped", async (t) => {
    const hub = unique("h");
    const socket = new Raw(await gateway.url(hub), [subprotocol.json], { autoPong: false });
    t.after(() => socket.terminate());
    await socket.opened;
    await socket.close();
    await gateway.events.next((e) => e.kind === "disconnected" && e.hub === hub);
  });
});
