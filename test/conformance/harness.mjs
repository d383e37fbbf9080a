// What the tests share: a gateway in processes of its own, the official
// clients connected to it, raw WebSockets, and a proxy that breaks connections.
// Every wait has a deadline; nothing sleeps to let things settle.
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import net from "node:net";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { WebPubSubServiceClient } from "@azure/web-pubsub";
import { WebPubSubClient } from "@azure/web-pubsub-client";
import WebSocket from "ws";

// embedded: one node. real: one node on Redis, MySQL and RabbitMQ. cluster: two
// nodes on those; devices connect to the first, services call the second.
export const suite = process.env.CONFORMANCE_SUITE ?? "embedded";
export const patience = 15_000;

const binary = process.env.CONFORMANCE_SERVER ?? fileURLToPath(new URL("../../.cache/conformance-server", import.meta.url));

export const unique = (prefix) => prefix + randomBytes(5).toString("hex");

export const subprotocol = {
  json: "json.webpubsub.azure.v1",
  reliable: "json.reliable.webpubsub.azure.v1",
  protobuf: "protobuf.webpubsub.azure.v1",
  protobufReliable: "protobuf.reliable.webpubsub.azure.v1",
};
export const everyGroup = ["webpubsub.joinLeaveGroup", "webpubsub.sendToGroup"];
export const everyState = [...everyGroup, "webpubsub.setGroupState", "webpubsub.getGroupState"];

/** Rejects if promise takes longer than patience, saying what was awaited. */
export function within(promise, what, ms = patience) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: nothing within ${ms} ms`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Asks again until probe returns something that is not false, null or undefined. */
export async function until(probe, what, ms = patience) {
  const end = Date.now() + ms;
  for (;;) {
    const value = await probe();
    if (value !== false && value != null) return value;
    if (Date.now() > end) throw new Error(`${what}: not within ${ms} ms`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

/** Inbox keeps what arrived until a test asks for it. */
export class Inbox {
  #items = [];
  #waiting = [];
  constructor(name) {
    this.name = name;
  }
  push(item) {
    const i = this.#waiting.findIndex((w) => w.accepts(item));
    if (i >= 0) this.#waiting.splice(i, 1)[0].resolve(item);
    else this.#items.push(item);
  }
  /** Takes the first item that accepts says yes to, waiting for it. */
  next(accepts = () => true, ms = patience) {
    const i = this.#items.findIndex(accepts);
    if (i >= 0) return Promise.resolve(this.#items.splice(i, 1)[0]);
    return new Promise((resolve, reject) => {
      const waiter = {
        accepts,
        resolve: (item) => {
          clearTimeout(timer);
          resolve(item);
        },
      };
      const timer = setTimeout(() => {
        this.#waiting.splice(this.#waiting.indexOf(waiter), 1);
        reject(new Error(`${this.name}: not within ${ms} ms; there is ${JSON.stringify(this.#items).slice(0, 1500)}`));
      }, ms);
      this.#waiting.push(waiter);
    });
  }
  /** Takes the next n items. */
  async take(n, ms = patience) {
    const items = [];
    while (items.length < n) items.push(await this.next(undefined, ms));
    return items;
  }
  /** What is here and was not asked for. */
  get rest() {
    return [...this.#items];
  }
}

/** Gateway is a gateway in processes of its own. */
export class Gateway {
  #process;
  #calls = new Map();
  #lastCall = 0;
  /** What the application was told: connect, connected, disconnected, event. */
  events = new Inbox("events of the application");

  /** Options: nodes, and those of nodeOptions in server/node.go. */
  static async start({ nodes = suite === "cluster" ? 2 : 1, ...options } = {}) {
    const gateway = new Gateway();
    const backend = suite === "embedded" ? "embedded" : "real";
    const child = spawn(binary, [`-backend=${backend}`, `-nodes=${nodes}`, `-options=${JSON.stringify(options)}`], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    gateway.#process = child;
    const ready = new Promise((resolve, reject) => {
      child.once("exit", (code) => reject(new Error(`the gateway ended with ${code}`)));
      createInterface({ input: child.stdout }).on("line", (line) => {
        const message = JSON.parse(line);
        if (message.ready) resolve(message.ready);
        else gateway.#take(message);
      });
    });
    Object.assign(gateway, await within(ready, "start of the gateway", 60_000));
    return gateway;
  }

  #take(message) {
    if (message.event) {
      this.events.push({ node: message.node, ...message.event });
      return;
    }
    const call = this.#calls.get(message.id);
    this.#calls.delete(message.id);
    if (message.error) call?.reject(new Error(message.error));
    else call?.resolve(message.result);
  }

  /** The node that devices connect to, and the one that services call. */
  deviceNode = 0;
  get serviceNode() {
    return this.endpoints.length - 1;
  }

  /** An operation of server/operations.go, on the node that services call. */
  call(op, args = {}, node = this.serviceNode) {
    const id = ++this.#lastCall;
    const answer = new Promise((resolve, reject) => this.#calls.set(id, { resolve, reject }));
    this.#process.stdin.write(JSON.stringify({ id, op, node, args }) + "\n");
    return within(answer, op, 45_000);
  }
  /** An operation on every node. */
  all = (op, args) => Promise.all(this.endpoints.map((_, node) => this.call(op, args, node)));
  /** SIGKILL, SIGSTOP, SIGCONT, a new process, a graceful end. */
  kill = (node) => this.call("kill", {}, node);
  pause = (node) => this.call("pause", {}, node);
  resume = (node) => this.call("resume", {}, node);
  start = (node) => this.call("start", {}, node);
  stop = (node) => this.call("stop", {}, node);

  /** The official service client; options as Azure names them, and endpoint and key. */
  service(hub, { endpoint = this.endpoints[this.serviceNode], key = this.accessKey, ...options } = {}) {
    return new WebPubSubServiceClient(`Endpoint=${endpoint};AccessKey=${key};Version=1.0;`, hub, {
      allowInsecureConnection: true,
      retryOptions: { maxRetries: 0 },
      ...options,
    });
  }

  /** The URL with which a device connects, made by the official service client. */
  async url(hub, { endpoint = this.endpoints[this.deviceNode], key, user, roles, groups, minutes } = {}) {
    const { url } = await this.service(hub, { endpoint, ...(key && { key }) }).getClientAccessToken({
      userId: user,
      roles,
      groups,
      expirationTimeInMinutes: minutes,
    });
    return url;
  }

  /** The official client, connected. */
  async connect(t, hub, { protocol, options, start = true, ...access } = {}) {
    const client = new Device(await this.url(hub, access), { protocol, ...options });
    t.after(() => client.stop());
    if (start) await client.start();
    return client;
  }

  /** A WebSocket without any client on it. */
  async raw(t, hub, { protocols = [], query = "", ...access } = {}) {
    const url = await this.url(hub, access);
    const socket = new Raw(url + query, protocols);
    t.after(() => socket.terminate());
    await socket.opened;
    return socket;
  }

  async close() {
    const ended = once(this.#process, "exit");
    this.#process.stdin.end();
    const [code] = await within(ended, "end of the gateway", 60_000);
    if (code !== 0) throw new Error(`the gateway ended with ${code}`);
  }
}

/** Device is the official client with inboxes for what it raises. */
export class Device {
  connected = new Inbox("connected");
  disconnected = new Inbox("disconnected");
  stopped = new Inbox("stopped");
  group = new Inbox("group messages");
  server = new Inbox("server messages");
  rejoinFailed = new Inbox("rejoin failures");

  /**
   * Unless options say otherwise, messages are not retried, so that refusals
   * come at once, and there is no keep-alive, whose timers would hold the
   * process for 40 s after the last test.
   */
  constructor(access, options = {}) {
    this.client = new WebPubSubClient(access, {
      messageRetryOptions: { maxRetries: 0 },
      keepAliveIntervalInMs: 0,
      keepAliveTimeoutInMs: 0,
      ...options,
    });
    this.client.on("connected", (e) => this.connected.push(e));
    this.client.on("disconnected", (e) => this.disconnected.push(e));
    this.client.on("stopped", (e) => this.stopped.push(e));
    this.client.on("group-message", (e) => this.group.push(e.message));
    this.client.on("server-message", (e) => this.server.push(e.message));
    this.client.on("rejoin-group-failed", (e) => this.rejoinFailed.push(e));
  }
  async start() {
    await within(this.client.start(), "start of the client");
    const { connectionId, userId } = await this.connected.next();
    this.id = connectionId;
    this.userId = userId;
  }
  /** Stops, and waits until it did. */
  async stopAndWait() {
    this.client.stop();
    await this.stopped.next();
  }
  stop() {
    this.client.stop();
  }
}

/** The error detail of an acknowledgement that says no. */
export async function refusal(promise) {
  try {
    await promise;
  } catch (error) {
    if (error.errorDetail) return error.errorDetail.name;
    throw error;
  }
  throw new Error("the request was not refused");
}

/** Raw is a WebSocket; JSON text frames are parsed. */
export class Raw {
  frames = new Inbox("frames");
  constructor(url, protocols, options) {
    this.url = url;
    this.socket = new WebSocket(url, protocols, { perMessageDeflate: false, ...options });
    this.opened = within(
      new Promise((resolve, reject) => {
        this.socket.once("open", resolve);
        this.socket.once("error", reject);
      }),
      "handshake",
    );
    this.opened.catch(() => {}); // whoever awaits it sees the error
    this.closed = new Promise((resolve) => {
      this.socket.once("close", (code, reason) => resolve({ code, reason: reason.toString() }));
    });
    this.socket.on("error", () => {});
    this.socket.on("message", (data, isBinary) => {
      if (isBinary) this.frames.push(data);
      else if (this.socket.protocol) this.frames.push(JSON.parse(data.toString()));
      else this.frames.push(data.toString());
    });
  }
  send(frame) {
    this.socket.send(typeof frame === "string" || Buffer.isBuffer(frame) ? frame : JSON.stringify(frame));
  }
  /** The next frame of a type, others stay. */
  next(type) {
    return this.frames.next((f) => f.type === type);
  }
  ackOf(ackId) {
    return this.frames.next((f) => f.type === "ack" && f.ackId === ackId);
  }
  static #lastAckId = 1000; // also on the next socket of a connection
  /** Sends a frame with an ackId, and returns the name of the error, if it is refused. */
  async ask(frame) {
    const ackId = ++Raw.#lastAckId;
    this.send({ ...frame, ackId });
    const { success, error } = await this.ackOf(ackId);
    if (success !== (error === undefined)) throw new Error(`success ${success}, error ${JSON.stringify(error)}`);
    return error?.name;
  }
  close() {
    return within(this.closed, "close of the socket");
  }
  terminate() {
    this.socket.terminate();
  }
}

/** The HTTP status with which a handshake is refused, or 101. */
export function handshakeStatus(url, protocols = [], options = {}) {
  return within(
    new Promise((resolve, reject) => {
      const socket = new WebSocket(url, protocols, { perMessageDeflate: false, ...options });
      socket.once("unexpected-response", (request, response) => {
        response.resume();
        resolve(response.statusCode);
        request.destroy();
      });
      socket.once("open", () => {
        resolve(101);
        socket.terminate();
      });
      socket.once("error", reject);
    }),
    "answer to the handshake",
  );
}

/** Proxy is one address in front of nodes; its connections can be broken. */
export class Proxy {
  #pairs = new Set();
  #server;
  /** Connections that came so far. */
  accepted = new Inbox("connections of the proxy");

  static async start(t, endpoint) {
    const proxy = new Proxy();
    proxy.route(endpoint);
    proxy.#server = net.createServer((from) => proxy.#accept(from));
    proxy.#server.listen(0, "127.0.0.1");
    await once(proxy.#server, "listening");
    proxy.endpoint = `http://127.0.0.1:${proxy.#server.address().port}`;
    t.after(() => {
      proxy.#server.close();
      proxy.cut();
    });
    return proxy;
  }
  #accept(from) {
    const { hostname, port } = new URL(this.target);
    const to = net.connect({ host: hostname, port });
    const pair = { from, to };
    this.#pairs.add(pair);
    const end = () => {
      this.#pairs.delete(pair);
      from.destroy();
      to.destroy();
    };
    for (const socket of [from, to]) {
      socket.setNoDelay(true);
      socket.on("error", end);
      socket.on("close", end);
    }
    from.pipe(to);
    to.pipe(from);
    this.accepted.push(this.target);
  }
  /** Where new connections go. */
  route(endpoint) {
    this.target = endpoint;
  }
  /** Breaks every connection, on both sides, without a goodbye. */
  cut() {
    for (const { from, to } of this.#pairs) {
      from.resetAndDestroy();
      to.resetAndDestroy();
    }
    this.#pairs.clear();
  }
  /** Nothing passes any more, in neither direction, but no connection breaks. */
  freeze() {
    for (const { from, to } of this.#pairs) {
      from.unpipe();
      from.pause();
      to.unpipe();
      to.resume(); // read, to notice when the node gives up
    }
  }
}
