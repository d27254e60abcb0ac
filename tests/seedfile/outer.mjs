// The outer file: safetensors in its one spelling (docs/seedfile.md, Bytes).

import { insist } from "./refusal.mjs";

const LONGEST = 2 ** 20;
const DTYPES = ["F32", "BF16", "F16", "U16", "U8"]; // the order in which tensors lie
const SIZES = { F32: 4, BF16: 2, F16: 2, U16: 2, U8: 1 };

export const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
export const isCount = (value) => Number.isSafeInteger(value) && value >= 0;

/** UTF-8 -> text, nothing replaced. */
export function decode(bytes, field) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    insist(false, field);
  }
}

export function parse(text, field) {
  try {
    return JSON.parse(text);
  } catch {
    insist(false, field);
  }
}

/** JSON.stringify escapes just what the page names, and lone surrogates, which no UTF-8 can hold. */
export function quote(text, field) {
  insist(text.isWellFormed(), field);
  return JSON.stringify(text);
}

function respell(header, tensors) {
  const parts = [`"__metadata__":{"bnonly":${quote(header, "header")}}`];
  let begin = 0;
  for (const { name, dtype, count } of tensors) {
    const end = begin + count * SIZES[dtype];
    parts.push(`${quote(name, "tensors")}:{"dtype":"${dtype}","shape":[${count}],"data_offsets":[${begin},${end}]}`);
    begin = end;
  }
  const spelled = Buffer.from(`{${parts.join(",")}}`, "utf8");
  return Buffer.concat([spelled, Buffer.alloc(-spelled.length & 7, " ")]);
}

function understand(name, entry) {
  insist(isObject(entry) && SIZES[entry.dtype] !== undefined, name);
  insist(Array.isArray(entry.shape) && entry.shape.length === 1 && isCount(entry.shape[0]), name);
  return { name, dtype: entry.dtype, count: entry.shape[0] };
}

const order = (p, q) =>
  DTYPES.indexOf(p.dtype) - DTYPES.indexOf(q.dtype) || Buffer.compare(Buffer.from(p.name), Buffer.from(q.name));

/** File bytes -> the header's text, the buffer, and name -> {dtype, count, bytes}. */
export function readOuter(file) {
  insist(file.length >= 8, "length");
  const long = file.readBigUInt64LE(0);
  insist(long <= BigInt(LONGEST), "length", "TooLarge");
  insist(8n + long <= BigInt(file.length), "length");
  const spelled = file.subarray(8, 8 + Number(long));
  const buffer = file.subarray(8 + Number(long));

  const outer = parse(decode(spelled, "outer"), "outer");
  insist(isObject(outer) && isObject(outer.__metadata__), "outer");
  const header = outer.__metadata__.bnonly;
  insist(typeof header === "string", "outer");
  const entries = Object.entries(outer).filter(([name]) => name !== "__metadata__");
  const tensors = entries.map(([name, entry]) => understand(name, entry)).sort(order);
  insist(respell(header, tensors).equals(spelled), "outer");

  let begin = 0;
  for (const tensor of tensors) {
    tensor.bytes = buffer.subarray(begin, begin + tensor.count * SIZES[tensor.dtype]);
    begin += tensor.count * SIZES[tensor.dtype];
  }
  insist(begin === buffer.length, "buffer");
  return { header, buffer, tensors: new Map(tensors.map((tensor) => [tensor.name, tensor])) };
}
