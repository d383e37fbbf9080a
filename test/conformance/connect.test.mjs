// Scenario 1: start and stop with both JSON subprotocols, anonymous and named;
// what the handshake refuses.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { WebPubSubClient, WebPubSubJsonProtocol, WebPubSubJsonReliableProtocol } from "@azure/web-pubsub-client";
import jwt from "jsonwebtoken";
import { Device, Gateway, Raw, handshakeStatus, subprotocol, unique } from "./harness.mjs";

let gateway;
before(async () => (gateway = await Gateway.start()));
after(() => gateway.close());

describe("connect", { concurrency: 4 }, () => {
  const protocols = { plain: WebPubSubJsonProtocol, reliable: WebPubSubJsonReliableProtocol };
  for (const [name, make] of Object.entries(protocols)) {
    test(`${name}: a named user starts and stops`, async (t) => {
      const hub = unique("h");
      const device = await gateway.connect(t, hub, { protocol: make(), user: "u1 ä" });
      assert.equal(device.userId, "u1 ä");
      assert.match(device.id, /^[\w.~-]+$/, "a connection id is safe in a path");
      const mine = (kind) => (e) => e.kind === kind && e.hub === hub;
      const told = await gateway.events.next(mine("connected"));
      assert.deepEqual([told.connectionId, told.userId, told.subprotocol], [device.id, "u1 ä", make().name]);
      await device.stopAndWait();
      if (name === "plain") {
        // Only a reliable connection lingers for its recovery window.
        assert.equal((await gateway.events.next(mine("disconnected"))).connectionId, device.id);
      }
    });

    test(`${name}: an anonymous device starts and stops`, async (t) => {
      const device = await gateway.connect(t, unique("h"), { protocol: make() });
      assert.ok(device.userId == null || device.userId === "");
      await device.stopAndWait();
    });

    test(`${name}: the client can be started again`, async (t) => {
      const device = await gateway.connect(t, unique("h"), { protocol: make() });
      const first = device.id;
      await device.stopAndWait();
      await device.start();
      assert.notEqual(device.id, first);
    });
  }

  test("token of the secondary key", async (t) => {
    const device = await gateway.connect(t, unique("h"), { key: gateway.secondaryKey, user: "u2" });
    assert.equal(device.userId, "u2");
  });

  test("token in the Authorization header", async () => {
    const url = new URL(await gateway.url(unique("h"), { user: "u3" }));
    const token = url.searchParams.get("access_token");
    url.search = "";
    assert.equal(await handshakeStatus(url.href, [], { headers: { Authorization: `Bearer ${token}` } }), 101);
  });

  test("token made by the Go service client", async (t) => {
    const hub = unique("h");
    const endpoint = gateway.endpoints[gateway.deviceNode];
    const access = await gateway.call("token", { hub, user: "u4", endpoint, groups: ["g"], roles: ["webpubsub.sendToGroup.g"] });
    const device = new Device(access.URL);
    t.after(() => device.stop());
    await device.start();
    assert.equal(device.userId, "u4");
    await device.client.sendToGroup("g", "self", "text");
    assert.equal((await device.group.next()).data, "self");
  });

  test("getClientAccessUrl is a function", async (t) => {
    const device = new Device({ getClientAccessUrl: () => gateway.url(unique("h"), { user: "u5" }) });
    t.after(() => device.stop());
    await device.start();
    assert.equal(device.userId, "u5");
  });

  test("hub in the query, in another case than in the token", async (t) => {
    const hub = unique("Hub");
    const url = new URL(await gateway.url(hub, { user: "u" }));
    url.pathname = "/client/";
    url.searchParams.set("hub", hub.toLowerCase());
    const socket = new Raw(url.href, [subprotocol.json]);
    t.after(() => socket.terminate());
    await socket.opened;
    assert.equal((await socket.next("system")).event, "connected");
  });

  test("hub names differing in case only are one hub", async (t) => {
    const hub = unique("Hub");
    const device = await gateway.connect(t, hub.toUpperCase(), { user: "u" });
    await gateway.call("sendToAll", { hub: hub.toLowerCase(), payload: "same", dataType: "text" });
    assert.equal((await device.server.next()).data, "same");
  });

  describe("handshakes that are refused", () => {
    const token = (hub, claims, key = gateway.accessKey, algorithm = "HS256") =>
      jwt.sign({ aud: `${gateway.endpoints[0]}/client/hubs/${hub}`, exp: Math.floor(Date.now() / 1000) + 600, ...claims }, key, { algorithm });
    const address = (hub, access) => `${gateway.endpoints[0].replace("http", "ws")}/client/hubs/${hub}?access_token=${access}`;
    const now = () => Math.floor(Date.now() / 1000);
    const cases = {
      "no token": [401, () => ""],
      "wrong key": [401, () => token("chat", {}, "x".repeat(48))],
      expired: [401, () => token("chat", { exp: now() - 3600 })],
      "not valid yet": [401, () => token("chat", { nbf: now() + 3600 })],
      "without expiry": [401, () => jwt.sign({ aud: `${gateway.endpoints[0]}/client/hubs/chat` }, gateway.accessKey)],
      "another hub": [401, () => token("other", {})],
      "another host": [401, () => token("chat", { aud: "http://evil.example/client/hubs/chat" })],
      "audience of REST": [401, () => token("chat", { aud: `${gateway.endpoints[0]}/api/hubs/chat` })],
      unsigned: [401, () => jwt.sign({ aud: `${gateway.endpoints[0]}/client/hubs/chat`, exp: now() + 600 }, null, { algorithm: "none" })],
      "another algorithm": [401, () => token("chat", {}, gateway.accessKey, "HS512")],
      "not a token": [401, () => "a.b.c"],
      "a bad group in the token": [400, () => token("chat", { "webpubsub.group": ["  "] })],
    };
    for (const [name, [status, make]] of Object.entries(cases)) {
      test(`${name}: ${status}`, async () => {
        assert.equal(await handshakeStatus(address("chat", make()), [subprotocol.reliable]), status);
      });
    }
    for (const hub of ["1chat", "a%20b", "a%2Fb", "x".repeat(129)]) {
      test(`bad hub name ${hub.slice(0, 10)}: 400`, async () => {
        assert.equal(await handshakeStatus(address(hub, token(hub, {}))), 400);
      });
    }
    test("accepted five minutes after it expired", async () => {
      assert.equal(await handshakeStatus(address("chat", token("chat", { exp: now() - 200 }))), 101);
    });
    test("one role and one group as strings", async (t) => {
      const socket = new Raw(address("chat", token("chat", { role: "webpubsub.sendToGroup", "webpubsub.group": "only" })), [subprotocol.json]);
      t.after(() => socket.terminate());
      await socket.opened;
      socket.send({ type: "sendToGroup", group: "only", dataType: "text", data: "x", ackId: 1 });
      assert.equal((await socket.next("message")).data, "x");
      assert.equal((await socket.ackOf(1)).success, true);
    });
    test("no WebSocket: 400", async () => {
      const response = await fetch(`${gateway.endpoints[0]}/client/hubs/chat?access_token=${token("chat", {})}`);
      assert.equal(response.status, 400);
    });
    test("the official client's start is rejected at once", async () => {
      const client = new WebPubSubClient(address("chat", token("chat", {}, "x".repeat(48))), { keepAliveIntervalInMs: 0, keepAliveTimeoutInMs: 0 });
      await assert.rejects(client.start());
    });
  });

  describe("OnConnect", () => {
    test("refuses a user with a status of its own", async () => {
      await gateway.all("refuse", { user: "banned", status: 403 });
      assert.equal(await handshakeStatus(await gateway.url("chat", { user: "banned" })), 403);
    });
    test("is told the claims and the subprotocols", async (t) => {
      const hub = unique("h");
      await gateway.connect(t, hub, { user: "told", roles: ["webpubsub.sendToGroup.a"], groups: ["g"] });
      const e = await gateway.events.next((e) => e.kind === "connect" && e.hub === hub);
      assert.deepEqual(e.claims.role, ["webpubsub.sendToGroup.a"]);
      assert.deepEqual(e.claims.sub, ["told"]);
      assert.deepEqual(e.subprotocols, [subprotocol.reliable]);
      assert.deepEqual([e.roles, e.groups], [["webpubsub.sendToGroup.a"], ["g"]]);
    });
    test("changes user, roles, groups and state", async (t) => {
      const user = unique("u");
      await gateway.all("change", {
        user,
        change: { userId: "renamed", roles: ["webpubsub.sendToGroup.room"], groups: ["room"], state: "fresh" },
      });
      const device = await gateway.connect(t, unique("h"), { user, roles: ["webpubsub.joinLeaveGroup"] });
      assert.equal(device.userId, "renamed");
      await device.client.sendToGroup("room", "in", "text");
      assert.equal((await device.group.next()).fromUserId, "renamed");
      await assert.rejects(device.client.joinGroup("other"), "the roles of the token are replaced");
      assert.equal((await device.client.invokeEvent("getState", "", "text")).data, "fresh");
    });
  });

  describe("subprotocols", () => {
    const chosen = async (t, protocols, hub = unique("h")) => {
      const socket = await gateway.raw(t, hub, { protocols });
      return socket.socket.protocol;
    };
    for (const name of Object.values(subprotocol)) {
      test(`${name} is echoed in the device's spelling`, async (t) => {
        const spelled = name.replace("webpubsub", "WebPubSub");
        assert.equal(await chosen(t, [spelled]), spelled);
      });
    }
    test("the first known one in the client's order", async (t) => {
      assert.equal(await chosen(t, ["custom", subprotocol.json, subprotocol.reliable]), subprotocol.json);
      assert.equal(await chosen(t, [subprotocol.reliable, subprotocol.json]), subprotocol.reliable);
    });
    test("none that is known: no subprotocol in the answer", async () => {
      const error = await new Raw(await gateway.url(unique("h")), ["custom"]).opened.catch((e) => e);
      assert.match(String(error), /no subprotocol/i);
    });
    test("OnConnect chooses", async (t) => {
      const user = unique("u");
      await gateway.all("change", { user, change: { subprotocol: "custom.v1" } });
      const socket = await gateway.raw(t, unique("h"), { user, protocols: [subprotocol.json, "custom.v1"] });
      assert.equal(socket.socket.protocol, "custom.v1");
    });
    test("OnConnect chooses one that was not offered: 500", async () => {
      const user = unique("u");
      await gateway.all("change", { user, change: { subprotocol: subprotocol.protobuf } });
      assert.equal(await handshakeStatus(await gateway.url(unique("h"), { user }), [subprotocol.json]), 500);
    });
  });

  test("permessage-deflate may be offered", async (t) => {
    const socket = new Raw(await gateway.url(unique("h")), [subprotocol.json], { perMessageDeflate: true });
    t.after(() => socket.terminate());
    await socket.opened;
    assert.equal((await socket.next("system")).event, "connected");
  });
});
