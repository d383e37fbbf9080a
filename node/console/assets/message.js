// A stored message: what it is, what is in it, and how far it has come.
import { bytes, el, time } from "./ui.js";

const look = { PENDING: "wait", DELIVERING: "wait", REQUEST_DELIVERED: "wait", FINISHED: "good", TIMED_OUT: "bad" };

export const over = (m) => m.status === "FINISHED" || m.status === "TIMED_OUT";

/** The payload as JSON with its own layout, if it is whole. */
function content({ text, bytes: size }) {
  let shown = text;
  try {
    shown = JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    // it was cut, or is no JSON: as it is
  }
  const cut = new TextEncoder().encode(text).length < size;
  return [el("pre", { tabindex: "0" }, shown), cut ? el("p", { class: "note" }, `Only the beginning of ${bytes(size)}.`) : undefined];
}

function step(label, at, kind = "done") {
  return el("li", { class: at ? kind : undefined }, label, at ? time(at) : undefined);
}

function steps(m) {
  const list = [step("stored", m.createdAt), step("sent to a device", m.deliveringAt)];
  if (m.kind === "command") {
    list.push(step("acknowledged", m.requestDeliveredAt));
    if (m.status === "TIMED_OUT") list.push(step("timed out", m.finishedAt ?? m.expiresAt, "failed"));
    else list.push(step(m.failed ? "answered with an error" : "answered", m.finishedAt, m.failed ? "failed" : "done"));
    if (!over(m) && m.expiresAt) list.push(el("li", {}, "waits until ", time(m.expiresAt)));
  } else list.push(step("acknowledged", m.finishedAt));
  return el("ol", { class: "steps", "aria-label": "States" }, ...list);
}

export function message(m) {
  const from = [m.senderType, m.senderId].filter(Boolean).join(" ");
  return el("article", { class: "card message", "data-id": m.id, "data-status": m.status },
    el("header", {},
      el("span", { class: "badge kind" }, m.kind),
      el("span", { class: `badge ${look[m.status] ?? ""}` }, m.status),
      m.type ? el("strong", {}, m.type) : undefined,
      el("code", {}, m.id, ` · seq ${m.seq}`)),
    el("h3", {}, `Payload, to ${m.userId}${from ? `, from ${from}` : ""}`),
    ...content(m.payload),
    ...(m.response ? [el("h3", {}, m.failed ? "The device answered with an error" : "Answer"), ...content(m.response)] : []),
    steps(m));
}
