// As much of protobuf as the byte vectors of the specification (3.10) need: the
// published packages have no protobuf client. Field numbers are those of the
// current schema, package azure.webpubsub.

function varint(n) {
  const bytes = [];
  for (let v = BigInt(n); ; v >>= 7n) {
    if (v < 128n) return Buffer.from([...bytes, Number(v)]);
    bytes.push(Number(v & 127n) | 128);
  }
}

/** A field: a number is a varint, anything else is length-delimited. */
export function field(number, value) {
  if (typeof value === "number" || typeof value === "bigint") return Buffer.concat([varint(number * 8), varint(value)]);
  const bytes = Buffer.from(value);
  return Buffer.concat([varint(number * 8 + 2), varint(bytes.length), bytes]);
}

export const message = (...fields) => Buffer.concat(fields);
export const hex = (text) => Buffer.from(text.replaceAll(" ", ""), "hex");

/** Decodes one level: field number -> values, numbers as BigInt. */
export function decode(bytes) {
  const fields = {};
  let i = 0;
  const next = () => {
    let v = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const b = bytes[i++];
      v |= BigInt(b & 127) << shift;
      if (b < 128) return v;
    }
  };
  while (i < bytes.length) {
    const tag = Number(next());
    let value;
    if (tag % 8 === 0) value = next();
    else if (tag % 8 === 2) {
      const length = Number(next());
      value = bytes.subarray(i, (i += length));
    } else throw new Error(`wire type ${tag % 8}`);
    (fields[Math.floor(tag / 8)] ??= []).push(value);
  }
  return fields;
}

/** One field of a message, if it is there. */
export const get = (bytes, ...path) => path.reduce((b, number) => (b === undefined ? undefined : decode(b)[number]?.[0]), bytes);

export const upstream = {
  sendToGroup: (group, data, { ackId, noEcho } = {}) =>
    field(1, message(field(1, group), ...(ackId === undefined ? [] : [field(2, ackId)]), field(3, data), ...(noEcho ? [field(4, 1)] : []))),
  event: (name, data, ackId) => field(5, message(field(1, name), field(2, data), ...(ackId === undefined ? [] : [field(3, ackId)]))),
  join: (group, ackId) => field(6, message(field(1, group), ...(ackId === undefined ? [] : [field(2, ackId)]))),
  leave: (group, ackId) => field(7, message(field(1, group), field(2, ackId))),
  sequenceAck: (id) => field(8, field(1, id)),
  ping: () => field(9, ""),
  setState: (group, state, ackId) => {
    const entries = Object.entries(state ?? {}).map(([k, v]) => field(1, message(field(1, k), field(2, v))));
    return field(15, message(field(1, group), field(2, ackId), ...(state === null ? [] : [field(3, message(...entries))])));
  },
  subscribeState: (group, ackId) => field(16, message(field(1, group), field(2, ackId))),
  unsubscribeState: (group, ackId) => field(17, message(field(1, group), field(2, ackId))),
  invoke: (id, event, data) => field(10, message(field(1, event), field(2, id), field(3, data))),
};
export const data = {
  text: (s) => field(1, s),
  binary: (b) => field(2, b),
  any: (url, value) => field(3, message(field(1, url), field(2, value))),
  json: (s) => field(4, s),
};
