// Scenario 7: every method of the official service client, against devices of
// the official client; then the edges of the contract with plain HTTP.
import assert from "node:assert/strict";
import http from "node:http";
import { after, before, describe, test } from "node:test";
import { AzureKeyCredential, WebPubSubServiceClient, odata } from "@azure/web-pubsub";
import jwt from "jsonwebtoken";
import { Device, Gateway, everyGroup, handshakeStatus, refusal, subprotocol, unique } from "./harness.mjs";

let gateway;
before(async () => (gateway = await Gateway.start()));
after(() => gateway.close());

const text = { contentType: "text/plain" };
// Ids that a careless path or query handling breaks.
const exotic = ["a/b", "ä 😀", "a,b", "a+b", "100%", "%2F", "q?x=1&y=2", "#hash", "..", "a:b", ":send", "'quote'", "groups", "x".repeat(900)];

const collect = async (pages) => {
  const list = [];
  for await (const item of await pages) list.push(item);
  return list;
};

describe("sends", { concurrency: 4 }, () => {
  test("to all: json, text, binary", async (t) => {
    const hub = unique("h");
    const service = gateway.service(hub);
    const device = await gateway.connect(t, hub, { user: "u" });
    await service.sendToAll({ a: [1, null] });
    await service.sendToAll("plain ä", text);
    await service.sendToAll("json string");
    await service.sendToAll(new Uint8Array([0, 255]).buffer);
    const got = await device.server.take(4);
    assert.deepEqual(got.map((m) => m.dataType), ["json", "text", "json", "binary"]);
    assert.deepEqual(got.slice(0, 3).map((m) => m.data), [{ a: [1, null] }, "plain ä", "json string"]);
    assert.deepEqual(new Uint8Array(got[3].data), new Uint8Array([0, 255]));
  });

  test("to all: excluded connections and a filter", async (t) => {
    const hub = unique("h");
    const service = gateway.service(hub);
    const [a, b, c] = await Promise.all(["a", "o'x", undefined].map((user) => gateway.connect(t, hub, { user })));
    await service.sendToAll("not a", { ...text, excludedConnections: [a.id, "x,y"] });
    await service.sendToAll("only o'x", { ...text, filter: odata`userId eq ${"o'x"}` });
    await service.sendToAll("anonymous", { ...text, filter: "userId eq null" });
    await service.sendToAll("end", text);
    assert.deepEqual((await a.server.take(1)).map((m) => m.data), ["end"]);
    assert.deepEqual((await b.server.take(3)).map((m) => m.data), ["not a", "only o'x", "end"]);
    assert.deepEqual((await c.server.take(3)).map((m) => m.data), ["not a", "anonymous", "end"]);
  });

  test("to a user, to a connection, to nobody", async (t) => {
    const hub = unique("h");
    const service = gateway.service(hub);
    const [a1, a2, b] = await Promise.all(["a", "a", "b"].map((user) => gateway.connect(t, hub, { user })));
    await service.sendToUser("a", "user", text);
    await service.sendToUser("a", "one of them", { ...text, filter: `connectionId eq '${a1.id}'` });
    await service.sendToConnection(b.id, "connection", text);
    await service.sendToUser("nobody", "x", text);
    await service.sendToConnection("nobody", "x", text);
    await service.sendToAll("end", text);
    assert.deepEqual((await a1.server.take(3)).map((m) => m.data), ["user", "one of them", "end"]);
    assert.deepEqual((await a2.server.take(2)).map((m) => m.data), ["user", "end"]);
    assert.deepEqual((await b.server.take(2)).map((m) => m.data), ["connection", "end"]);
  });

  test("to a group: from no user, excluded, filter", async (t) => {
    const hub = unique("h");
    const group = gateway.service(hub).group("g");
    const [a, b] = await Promise.all(["a", "b"].map((user) => gateway.connect(t, hub, { user, groups: ["g"] })));
    await group.sendToAll({ n: 1 });
    await group.sendToAll("b", { ...text, excludedConnections: [a.id] });
    await group.sendToAll("a", { ...text, filter: "userId eq 'a'" });
    const message = await a.group.next();
    assert.deepEqual([message.group, message.data, message.fromUserId ?? null], ["g", { n: 1 }, null]);
    assert.equal((await a.group.next()).data, "a");
    assert.deepEqual((await b.group.take(2)).map((m) => m.data), [{ n: 1 }, "b"]);
  });

  test("messageTtlSeconds is accepted from 0 to 300", async (t) => {
    const hub = unique("h");
    const service = gateway.service(hub);
    const device = await gateway.connect(t, hub, { user: "u" });
    await service.sendToAll("a", { ...text, messageTtlSeconds: 300 });
    await service.sendToUser("u", "b", { ...text, messageTtlSeconds: 0 });
    await service.sendToConnection(device.id, "c", { ...text, messageTtlSeconds: 60 });
    assert.deepEqual((await device.server.take(3)).map((m) => m.data), ["a", "b", "c"]);
    for (const messageTtlSeconds of [301, -1]) {
      await assert.rejects(service.sendToAll("x", { ...text, messageTtlSeconds }), { statusCode: 400 });
    }
  });

  test("devices of every subprotocol get one message", async (t) => {
    const hub = unique("h");
    const [json, simple] = [await gateway.raw(t, hub, { protocols: [subprotocol.json] }), await gateway.raw(t, hub)];
    const proto = await gateway.raw(t, hub, { protocols: [subprotocol.protobuf] });
    await json.next("system");
    await proto.frames.next();
    await gateway.service(hub).sendToAll({ t: "hi" });
    assert.deepEqual(await json.frames.next(), { type: "message", from: "server", dataType: "json", data: { t: "hi" } });
    assert.equal(await simple.frames.next(), '{"t":"hi"}');
    assert.ok((await proto.frames.next()).includes('{"t":"hi"}'));
  });

  test("many at once arrive, those of one caller in order", async (t) => {
    const hub = unique("h");
    const service = gateway.service(hub);
    const device = await gateway.connect(t, hub);
    await Promise.all(Array.from({ length: 50 }, (_, i) => service.sendToAll({ i })));
    assert.equal(new Set((await device.server.take(50)).map((m) => m.data.i)).size, 50);
    for (let i = 0; i < 20; i++) await service.sendToAll({ i });
    assert.deepEqual((await device.server.take(20)).map((m) => m.data.i), Array.from({ length: 20 }, (_, i) => i));
  });
});

describe("repeated sends", () => {
  // A proxy that hands requests on and hides what became of the first attempts.
  async function proxy(t, answers) {
    const ids = [];
    const server = http.createServer(async (request, response) => {
      const body = Buffer.concat(await request.toArray());
      const { connection, "content-length": length, ...headers } = request.headers;
      ids.push(headers["x-ms-client-request-id"]);
      const real = await new Promise((resolve, reject) => {
        const to = gateway.endpoints[(ids.length + gateway.serviceNode) % gateway.endpoints.length];
        http.request(to + request.url, { method: request.method, headers }, resolve).on("error", reject).end(body);
      });
      real.resume();
      response.writeHead(answers.shift() ?? real.statusCode, { "retry-after-ms": "1" }).end();
    });
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    t.after(() => server.close());
    return { ids, url: `http://127.0.0.1:${server.address().port}` };
  }
  for (const answers of [[500], [503, 500]]) {
    test(`the client repeats after ${answers}: it arrives once`, async (t) => {
      const hub = unique("h");
      const device = await gateway.connect(t, hub, { user: "u" });
      const { ids, url } = await proxy(t, [...answers]);
      const service = gateway.service(hub, { endpoint: url, retryOptions: { maxRetries: 3, retryDelayInMs: 1 } });
      await service.sendToAll({ n: 1 });
      assert.equal(ids.length, answers.length + 1);
      assert.equal(new Set(ids).size, 1, "one id for all attempts");
      await service.sendToAll({ n: 1 });
      assert.notEqual(ids.at(-1), ids[0], "another id for another send");
      await service.sendToUser("u", { n: 2 });
      const got = [];
      for (let i = 0; i < 3; i++) got.push((await device.server.next()).data.n);
      assert.deepEqual(got, [1, 1, 2]);
    });
  }
});

describe("filters", () => {
  test("the whole grammar chooses as it should", async (t) => {
    const hub = unique("h");
    const service = gateway.service(hub);
    const users = { ann: ["g1", "g2"], Bob: ["g2"], carol: [] };
    const devices = {};
    for (const [user, groups] of Object.entries(users)) devices[user] = await gateway.connect(t, hub, { user, groups });
    devices.nobody = await gateway.connect(t, hub, { groups: ["g1"] });
    const cases = {
      "userId eq 'ann'": ["ann"],
      "userId ne 'ann'": ["Bob", "carol", "nobody"],
      "userId ne null": ["Bob", "ann", "carol"],
      "userId in ('ann','carol')": ["ann", "carol"],
      "'g1' in groups": ["ann", "nobody"],
      "not ('g1' in groups)": ["Bob", "carol"],
      "'g1' in groups and 'g2' in groups": ["ann"],
      "userId eq 'Bob' or userId eq 'carol' and 'g9' in groups": ["Bob"],
      "(userId eq 'Bob' or userId eq 'carol') and 'g2' in groups": ["Bob"],
      "startswith(userId,'c') or endswith(userId,'b')": ["Bob", "carol"],
      "contains(userId,'o')": ["Bob", "carol"],
      "length(userId) gt 3": ["carol"],
      "length(userId) le 3 and userId ne null": ["Bob", "ann"],
      "tolower(userId) eq 'bob'": ["Bob"],
      "toupper(userId) eq 'ANN'": ["ann"],
      "indexof(userId,'n') eq 1": ["ann"],
      "substring(userId,1) eq 'ob'": ["Bob"],
      "substring(userId,0,2) eq 'ca'": ["carol"],
      "concat(userId,'!') eq 'ann!'": ["ann"],
      "trim(userId) eq 'ann'": ["ann"],
      [`connectionId eq '${devices.carol.id}'`]: ["carol"],
      "USERID eq 'ann'": ["ann"],
      "true": ["Bob", "ann", "carol", "nobody"],
      "false": [],
      "length(userId) lt 4 or not contains(userId,'a')": null, // any answer, but the same one twice
    };
    for (const [filter, want] of Object.entries(cases)) {
      await service.sendToAll({ filter }, { filter });
      await service.sendToAll({ end: filter });
      const got = [];
      for (const [user, device] of Object.entries(devices)) {
        const first = await device.server.next();
        if (first.data.filter === filter) {
          got.push(user);
          assert.equal((await device.server.next()).data.end, filter);
        } else assert.equal(first.data.end, filter);
      }
      if (want) assert.deepEqual(got.sort(), want, filter);
    }
  });

  const bad = ["userId", "userId lt 1", "userId eq", "unknown eq 'a'", "userId eq 'a", "not length(userId) gt 5", "groups eq 'a'", "userId eq 'a' and", "(userId eq 'a'", "length(1) eq 1", "foo(userId)", "1", "((".repeat(200)];
  for (const filter of bad) {
    test(`refused: ${filter.slice(0, 30)}`, async () => {
      await assert.rejects(gateway.service("chat").sendToAll("x", { filter }), { statusCode: 400, code: "Error.BadRequest" });
    });
  }
});

describe("groups of connections and users", { concurrency: 4 }, () => {
  test("addConnection, removeConnection, groupExists", async (t) => {
    const hub = unique("h");
    const service = gateway.service(hub);
    const device = await gateway.connect(t, hub);
    const group = service.group("g");
    assert.equal(await service.groupExists("g"), false);
    await group.addConnection(device.id);
    await group.addConnection(device.id);
    assert.equal(await service.groupExists("g"), true);
    await group.sendToAll("in", text);
    assert.equal((await device.group.next()).data, "in");
    await group.removeConnection(device.id);
    await group.removeConnection(device.id);
    await group.removeConnection("nobody");
    assert.equal(await service.groupExists("g"), false);
    await group.sendToAll("out", text);
    await service.sendToAll("end", text);
    await device.server.next();
    assert.deepEqual(device.group.rest, []);
  });

  test("addConnection of an unknown connection: 404 with the code of the service", async () => {
    await assert.rejects(gateway.service("chat").group("g").addConnection("nobody"), {
      statusCode: 404,
      code: "Error.Connection.NotExisted",
    });
  });

  test("addUser and removeUser: the connections of now", async (t) => {
    const hub = unique("h");
    const service = gateway.service(hub);
    const [a, b] = [await gateway.connect(t, hub, { user: "u" }), await gateway.connect(t, hub, { user: "u" })];
    const group = service.group("g");
    await group.addUser("u");
    const late = await gateway.connect(t, hub, { user: "u" });
    await group.sendToAll("1", text);
    assert.deepEqual([(await a.group.next()).data, (await b.group.next()).data], ["1", "1"]);
    await group.removeUser("u");
    await group.removeUser("nobody");
    assert.equal(await service.groupExists("g"), false);
    await service.sendToAll("end", text);
    await late.server.next();
    assert.deepEqual(late.group.rest, []);
    await assert.rejects(group.addUser("nobody"), { statusCode: 404 });
  });

  test("removeUserFromAllGroups and removeConnectionFromAllGroups", async (t) => {
    const hub = unique("h");
    const service = gateway.service(hub);
    const a = await gateway.connect(t, hub, { user: "a", groups: ["g1", "g2"] });
    const b = await gateway.connect(t, hub, { user: "b", groups: ["g1", "g3"] });
    await service.removeUserFromAllGroups("a");
    assert.deepEqual(await Promise.all(["g1", "g2", "g3"].map((g) => service.groupExists(g))), [true, false, true]);
    await service.removeConnectionFromAllGroups(b.id);
    assert.deepEqual(await Promise.all(["g1", "g2", "g3"].map((g) => service.groupExists(g))), [false, false, false]);
    assert.ok(a.id !== b.id);
  });

  test("addConnectionsToGroups and removeConnectionsFromGroups choose by a filter", async (t) => {
    const hub = unique("h");
    const service = gateway.service(hub);
    const [a, b] = await Promise.all(["a", "b"].map((user) => gateway.connect(t, hub, { user })));
    await service.addConnectionsToGroups(["g1", "g2"], "userId eq 'a'");
    await service.group("g2").sendToAll("to a", text);
    assert.equal((await a.group.next()).data, "to a");
    await service.addConnectionsToGroups(["g3"]);
    await service.group("g3").sendToAll("to both", text);
    assert.deepEqual([(await a.group.next()).data, (await b.group.next()).data], ["to both", "to both"]);
    await service.removeConnectionsFromGroups(["g1", "g3"], odata`userId eq ${"a"}`);
    assert.deepEqual(await Promise.all(["g1", "g2", "g3"].map((g) => service.groupExists(g))), [false, true, true]);
    await assert.rejects(service.addConnectionsToGroups(["g"], "bad filter"), { statusCode: 400 });
  });

  test("listConnections: pages, top, an unknown group", async (t) => {
    const hub = unique("h");
    const service = gateway.service(hub);
    const devices = await Promise.all(Array.from({ length: 7 }, (_, i) => gateway.connect(t, hub, { user: i % 2 ? `u${i}` : undefined, groups: ["g"] })));
    const want = devices.map((d) => d.id).sort();
    const group = service.group("g");
    const all = await collect(group.listConnections());
    assert.deepEqual(all.map((c) => c.connectionId), want);
    assert.equal(all.filter((c) => c.userId).length, 3);
    assert.deepEqual((await collect(group.listConnections({ maxPageSize: 2 }))).map((c) => c.connectionId), want);
    assert.deepEqual((await collect(group.listConnections({ maxPageSize: 2, top: 5 }))).map((c) => c.connectionId), want.slice(0, 5));
    assert.deepEqual((await collect(group.listConnections({ maxPageSize: 3, top: 3 }))).map((c) => c.connectionId), want.slice(0, 3));
    assert.deepEqual(await collect(service.group("unknown").listConnections()), []);
    await assert.rejects(collect(group.listConnections({ maxPageSize: 201 })), { statusCode: 400 });
    await assert.rejects(collect(group.listConnections({ top: 0 })), { statusCode: 400 });
  });
});

describe("existence and closing", { concurrency: 4 }, () => {
  test("connectionExists, userExists, groupExists", async (t) => {
    const hub = unique("h");
    const service = gateway.service(hub);
    const device = await gateway.connect(t, hub, { user: "u", groups: ["g"] });
    assert.deepEqual([await service.connectionExists(device.id), await service.userExists("u"), await service.groupExists("g")], [true, true, true]);
    assert.deepEqual([await service.connectionExists("no"), await service.userExists("no"), await service.groupExists("no")], [false, false, false]);
    assert.equal(await gateway.service(unique("h")).connectionExists(device.id), false, "another hub");
    await service.closeConnection(device.id);
    assert.equal(await service.connectionExists(device.id), false, "closed is gone at once");
  });

  test("closeUserConnections, closeAllConnections with excluded, closing a group", async (t) => {
    const hub = unique("h");
    const service = gateway.service(hub);
    const once = { options: { autoReconnect: false } };
    const [a, b, c, d] = await Promise.all(
      [["a"], ["b"], ["c", ["g"]], ["d", ["g"]]].map(([user, groups]) => gateway.connect(t, hub, { user, groups, ...once })),
    );
    await service.closeUserConnections("a", { reason: "one" });
    assert.match((await a.disconnected.next()).message.message, /one/);
    await service.group("g").closeAllConnections({ reason: "two" });
    assert.match((await c.disconnected.next()).message.message, /two/);
    assert.match((await d.disconnected.next()).message.message, /two/);
    const e = await gateway.connect(t, hub, { user: "e", ...once });
    await service.closeAllConnections({ reason: "three" });
    assert.match((await b.disconnected.next()).message.message, /three/);
    assert.match((await e.disconnected.next()).message.message, /three/);
    await service.closeConnection("nobody");
    await service.closeUserConnections("nobody");
  });
});

describe("permissions", { concurrency: 4 }, () => {
  test("grant, check, revoke, for one group and for any", async (t) => {
    const hub = unique("h");
    const service = gateway.service(hub);
    const device = await gateway.connect(t, hub, { user: "u" });
    const has = (p, targetName) => service.hasPermission(device.id, p, { targetName });
    assert.equal(await has("joinLeaveGroup", "g/1 ä"), false);
    await service.grantPermission(device.id, "joinLeaveGroup", { targetName: "g/1 ä" });
    assert.equal(await has("joinLeaveGroup", "g/1 ä"), true);
    assert.equal(await has("sendToGroup", "g/1 ä"), false);
    assert.equal(await has("joinLeaveGroup"), false);
    await device.client.joinGroup("g/1 ä");
    assert.equal(await refusal(device.client.joinGroup("other")), "Forbidden");
    await service.grantPermission(device.id, "sendToGroup");
    assert.equal(await has("sendToGroup"), true);
    assert.equal(await has("sendToGroup", "anything"), true);
    await device.client.sendToGroup("anything", "x", "text");
    await service.revokePermission(device.id, "sendToGroup", { targetName: "anything" });
    assert.equal(await refusal(device.client.sendToGroup("anything", "x", "text")), "Forbidden");
    await service.revokePermission(device.id, "joinLeaveGroup", { targetName: "g/1 ä" });
    assert.equal(await has("joinLeaveGroup", "g/1 ä"), false);
  });

  test("an unknown connection: 404 on grant, false on check, nothing on revoke", async () => {
    const service = gateway.service("chat");
    await assert.rejects(service.grantPermission("nobody", "sendToGroup", { targetName: "g" }), {
      statusCode: 404,
      code: "Info.Connection.NotExisted",
    });
    assert.equal(await service.hasPermission("nobody", "sendToGroup", { targetName: "g" }), false);
    await service.revokePermission("nobody", "sendToGroup", { targetName: "g" });
  });
});

describe("exotic names", { concurrency: 4 }, () => {
  for (const name of exotic) {
    test(JSON.stringify(name.slice(0, 20)), async (t) => {
      const hub = unique("h");
      const service = gateway.service(hub);
      const device = await gateway.connect(t, hub, { user: name, groups: [name], roles: everyGroup });
      assert.equal(device.userId, name);
      // The client's own URL parser resolves "..": such a name cannot be a path.
      if (name !== "..") {
        assert.equal(await service.userExists(name), true);
        assert.equal(await service.groupExists(name), true);
        await service.sendToUser(name, "user", text);
        await service.group(name).sendToAll("group", text);
        assert.equal((await device.server.next()).data, "user");
        assert.equal((await device.group.next()).group, name);
        await service.group(name).removeUser(name);
        assert.equal(await service.groupExists(name), false);
        await service.group(name).addUser(name);
        await service.removeUserFromAllGroups(name);
        await service.group(name).addConnection(device.id);
        assert.deepEqual(await collect(service.group(name).listConnections()), [{ connectionId: device.id, userId: name }]);
        assert.equal(await service.connectionExists(name), false);
      }
      await service.sendToAll("filtered", { ...text, filter: odata`userId eq ${name} and ${name} in groups` });
      if (name === "..") await gateway.call("sendToUser", { hub, user: name, payload: "filtered", dataType: "text" });
      assert.equal((await device.server.next()).data, "filtered");
    });
  }
});

describe("tokens", { concurrency: 4 }, () => {
  test("generateToken makes one that connects", async (t) => {
    const hub = unique("h");
    const response = await rest("POST", `/api/hubs/${hub}/:generateToken?api-version=2024-12-01&userId=u%2F1&role=webpubsub.sendToGroup.g&role=x&group=g&group=h&minutesToExpire=5`);
    assert.equal(response.status, 200);
    const { token } = await response.json();
    const device = new Device(`${gateway.endpoints[gateway.serviceNode].replace("http", "ws")}/client/hubs/${hub}?access_token=${token}`);
    t.after(() => device.stop());
    await device.start();
    assert.equal(device.userId, "u/1");
    await device.client.sendToGroup("g", "self", "text");
    assert.equal((await device.group.next()).data, "self");
    const { exp, iat } = jwt.decode(token);
    assert.ok(exp - (iat ?? exp - 300) <= 301);
  });

  test("generateToken refuses bad parameters", async () => {
    for (const query of ["minutesToExpire=0", "minutesToExpire=x", "group=%20", "clientType=other"]) {
      assert.equal((await rest("POST", `/api/hubs/chat/:generateToken?api-version=2024-12-01&${query}`)).status, 400, query);
    }
  });

  test("the secondary key, and an AzureKeyCredential", async () => {
    assert.equal(await gateway.service("chat", { key: gateway.secondaryKey }).groupExists("g"), false);
    const endpoint = gateway.endpoints[gateway.serviceNode];
    const service = new WebPubSubServiceClient(endpoint, new AzureKeyCredential(gateway.accessKey), "chat", { allowInsecureConnection: true });
    assert.equal(await service.groupExists("g"), false);
  });

  test("a wrong key is 401", async () => {
    await assert.rejects(gateway.service("chat", { key: "y".repeat(48) }).sendToAll("x"), { statusCode: 401 });
  });

  test("a reverse proxy whose host is not the audience's", async () => {
    const public_ = gateway.endpoints[gateway.serviceNode]; // the configured endpoint
    const service = gateway.service("chat", { reverseProxyEndpoint: public_.replace("127.0.0.1", "localhost") });
    assert.equal(await service.userExists("nobody"), false);
  });

  const audience = (path, host = gateway.endpoints[gateway.serviceNode]) => host + path;
  const sign = (aud, claims = {}) => jwt.sign({ aud, exp: Math.floor(Date.now() / 1000) + 300, ...claims }, gateway.accessKey, { noTimestamp: true });
  const status = async (token, path = "/api/hubs/chat/users/a%2Fb?api-version=2024-12-01") =>
    (await rest("HEAD", path, { headers: { Authorization: `Bearer ${token}` } })).status;
  const user = "/api/hubs/chat/users/a%2Fb";
  test("audiences that are accepted", async () => {
    for (const aud of [`${user}?api-version=2024-12-01`, user, `${user}/`, user.toUpperCase(), user.replace("%2F", "%2f")]) {
      assert.equal(await status(sign(audience(aud))), 404, aud);
    }
    assert.equal(await status(sign([audience(user)])), 404, "in an array");
    assert.equal(await status(sign(audience(user), { exp: Math.floor(Date.now() / 1000) - 100 })), 404, "within the skew");
  });
  test("an audience that was percent-decoded", async () => {
    const path = "/api/hubs/chat/users/%C3%A4%20b?api-version=2024-12-01";
    assert.equal(await status(sign(audience("/api/hubs/chat/users/ä b")), path), 404);
  });
  test("an audience whose %2F was decoded", async () => {
    assert.equal(await status(sign(audience("/api/hubs/chat/users/a/b"))), 404);
    const token = sign(audience("/api/hubs/chat/users/a/b/groups/c/d"));
    const path = "/api/hubs/chat/users/a%2Fb/groups/c%2Fd?api-version=2024-12-01";
    assert.equal((await rest("DELETE", path, { headers: { Authorization: `Bearer ${token}` } })).status, 204);
  });
  test("an audience is for one resource only", async () => {
    for (const [path, aud] of [
      ["/users/a%252Fb", "/users/a%2Fb"], // on the wire: the user a/b
      ["/users/a%2F:send", "/users/a/:send"], // a message for a
      ["/users/a%2Fgroups%2Fb", "/users/a/groups/b"],
      ["/users/a", "/users/b/../a"],
    ]) {
      assert.equal(await status(sign(audience("/api/hubs/chat" + aud)), "/api/hubs/chat" + path), 401, path);
    }
  });
  test("audiences and tokens that are not", async () => {
    for (const aud of ["/api/hubs/chat/users/a", "/api/hubs/other/users/a%2Fb", "/client/hubs/chat", "/api/hubs/chat/users/a%2Fb%2F..", ""]) {
      assert.equal(await status(sign(audience(aud))), 401, aud);
    }
    assert.equal(await status(sign(audience(user, "http://evil.example"))), 401);
    assert.equal(await status(sign(audience(user), { exp: Math.floor(Date.now() / 1000) - 3600 })), 401);
    assert.equal(await status(jwt.sign({ aud: audience(user) }, gateway.accessKey)), 401, "without expiry");
    assert.equal(await status(jwt.sign({ aud: audience(user), exp: 4102444800 }, null, { algorithm: "none" })), 401);
    assert.equal(await status(""), 401);
    const client = new URL(await gateway.url("chat", { endpoint: gateway.endpoints[gateway.serviceNode] })).searchParams.get("access_token");
    assert.equal(await status(client), 401, "a device's token");
  });
  test("a service's token is no device's", async () => {
    const url = `${gateway.endpoints[0].replace("http", "ws")}/client/hubs/chat?access_token=${sign(`${gateway.endpoints[0]}/api/hubs/chat`)}`;
    assert.equal(await handshakeStatus(url), 401);
  });
});

/** One request, signed as the official clients do unless headers say otherwise. */
function rest(method, path, { headers = {}, body } = {}) {
  const url = gateway.endpoints[gateway.serviceNode] + path;
  const token = jwt.sign({ aud: url, exp: Math.floor(Date.now() / 1000) + 300 }, gateway.accessKey);
  return fetch(url, { method, body, headers: { Authorization: `Bearer ${token}`, ...headers }, redirect: "manual", ...(body?.getReader && { duplex: "half" }) });
}

describe("the contract on the wire", { concurrency: 4 }, () => {
  const v = "?api-version=2024-12-01";
  const json = { "Content-Type": "application/json" };
  const expect = (name, want, method, path, options) =>
    test(`${name}: ${want}`, async () => {
      const response = await rest(method, path, options);
      assert.equal(response.status, want, await response.text());
    });

  test("health needs no token", async () => {
    assert.equal((await fetch(`${gateway.endpoints[0]}/api/health`, { method: "HEAD" })).status, 200);
  });
  for (const version of ["2021-10-01", "2022-11-01", "2023-07-01", "2024-01-01", "2024-12-01"]) {
    expect(`api-version ${version}`, 202, "POST", `/api/hubs/chat/:send?api-version=${version}`, { headers: json, body: "1" });
  }
  expect("no api-version", 202, "POST", "/api/hubs/chat/:send", { headers: json, body: "1" });
  expect("unknown api-version", 400, "POST", "/api/hubs/chat/:send?api-version=2020-01-01", { headers: json, body: "1" });
  expect("api-version twice", 400, "POST", `/api/hubs/chat/:send${v}&api-version=2024-12-01`, { headers: json, body: "1" });
  expect("unknown path", 404, "POST", `/api/hubs/chat/:unknown${v}`);
  expect("an encoded colon", 202, "POST", `/api/hubs/chat/%3Asend${v}`, { headers: json, body: "1" });
  expect("bad hub", 400, "POST", `/api/hubs/1chat/:send${v}`, { headers: json, body: "1" });
  expect("bad group", 400, "HEAD", `/api/hubs/chat/groups/%20${v}`);
  expect("bad permission", 400, "PUT", `/api/hubs/chat/permissions/fly/connections/c${v}&targetName=g`);
  expect("a permission in another case", 404, "PUT", `/api/hubs/chat/permissions/SENDTOGROUP/connections/c${v}&targetName=g`);
  expect("invalid JSON", 400, "POST", `/api/hubs/chat/:send${v}`, { headers: json, body: "{" });
  expect("another content type", 415, "POST", `/api/hubs/chat/:send${v}`, { headers: { "Content-Type": "application/xml" }, body: "<a/>" });
  expect("JSON with a charset", 202, "POST", `/api/hubs/chat/:send${v}`, { headers: { "Content-Type": "application/json; charset=utf-8" }, body: "1" });
  expect("1 MiB", 202, "POST", `/api/hubs/chat/:send${v}`, { headers: { "Content-Type": "application/octet-stream" }, body: new Uint8Array(1 << 20) });
  expect("a bad filter is told before the body is read", 400, "POST", `/api/hubs/chat/:send${v}&filter=x`, { headers: { "Content-Type": "application/xml" }, body: "x" });
  expect("maxpagesize 0", 400, "GET", `/api/hubs/chat/groups/g/connections${v}&maxpagesize=0`);
  expect("a forged continuationToken", 400, "GET", `/api/hubs/chat/groups/g/connections${v}&continuationToken=%00%ff`);
  expect("bad group names in a body", 400, "POST", `/api/hubs/chat/:addToGroups${v}`, { headers: json, body: '{"groups":[" "]}' });
  expect("no groups in a body", 400, "POST", `/api/hubs/chat/:addToGroups${v}`, { headers: json, body: "{}" });

  test("more than 1 MiB: 400 or 413", async () => {
    const response = await rest("POST", `/api/hubs/chat/:send${v}`, { headers: { "Content-Type": "text/plain" }, body: "x".repeat((1 << 20) + 1) });
    assert.ok([400, 413].includes(response.status), String(response.status));
  });

  test("a chunked body without a length", async (t) => {
    const hub = unique("h");
    const device = await gateway.connect(t, hub);
    const body = new ReadableStream({
      start(controller) {
        controller.enqueue(Buffer.from("chun"));
        controller.enqueue(Buffer.from("ked"));
        controller.close();
      },
    });
    const response = await rest("POST", `/api/hubs/${hub}/:send${v}`, { headers: { "Content-Type": "text/plain" }, body });
    assert.equal(response.status, 202);
    assert.equal((await device.server.next()).data, "chunked");
  });

  test("text in another charset", async (t) => {
    const hub = unique("h");
    const device = await gateway.connect(t, hub);
    const response = await rest("POST", `/api/hubs/${hub}/:send${v}`, { headers: { "Content-Type": "text/plain; charset=iso-8859-1" }, body: new Uint8Array([0xe4]) });
    assert.equal(response.status, 202);
    assert.equal((await device.server.next()).data, "ä");
  });

  test("JSON reaches a simple device exactly as it was sent; metadata come from headers", async (t) => {
    const hub = unique("h");
    const simple = await gateway.raw(t, hub);
    const pubsub = await gateway.raw(t, hub, { protocols: [subprotocol.json] });
    await pubsub.next("system");
    const body = ' { "a" : 1.50, "b":"\\u00e4" } ';
    const response = await rest("POST", `/api/hubs/${hub}/:send${v}`, { headers: { ...json, "X-WebPubSub-Metadata-Trace": "t1" }, body });
    assert.equal(response.status, 202);
    assert.equal((await simple.frames.next()).trim(), body.trim());
    assert.deepEqual((await pubsub.next("message")).metadata, { trace: "t1" });
  });

  test("an error is flat JSON with its code in a header", async () => {
    const response = await rest("PUT", `/api/hubs/chat/groups/g/connections/c9${v}`);
    assert.equal(response.status, 404);
    assert.equal(response.headers.get("x-ms-error-code"), "Error.Connection.NotExisted");
    const body = await response.json();
    assert.equal(body.code, "Error.Connection.NotExisted");
    assert.match(body.message, /c9/);
    assert.ok(response.headers.get("api-supported-versions").includes("2024-12-01"));
  });

  test("a page of a list", async (t) => {
    const hub = unique("h");
    for (let i = 0; i < 3; i++) await gateway.connect(t, hub, { groups: ["g"] });
    const first = await (await rest("GET", `/api/hubs/${hub}/groups/g/connections${v}&maxpagesize=2&top=3`)).json();
    assert.equal(first.value.length, 2);
    assert.deepEqual(Object.keys(first.value[0]).sort(), ["connectionId", "userId"]);
    assert.equal(first.value[0].userId, null);
    const next = new URL(first.nextLink);
    assert.equal(next.origin, gateway.endpoints[gateway.serviceNode]);
    const second = await (await rest("GET", next.pathname + next.search)).json();
    assert.equal(second.value.length, 1);
    assert.equal(second.nextLink, null);
  });

  const statuses = { "PUT of a user": ["PUT", "/users/u/groups/g", 200], "DELETE of a user": ["DELETE", "/users/u/groups/g", 204] };
  for (const [name, [method, path, want]] of Object.entries(statuses)) {
    test(`${name}: ${want}`, async (t) => {
      const hub = unique("h");
      await gateway.connect(t, hub, { user: "u" });
      assert.equal((await rest(method, `/api/hubs/${hub}${path}${v}`)).status, want);
    });
  }
});
