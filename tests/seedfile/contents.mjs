// The tensors: dtypes, forms and codecs, and the parameters they give (docs/seedfile.md, Tensors).

import { draw, keyOf, positions } from "./generator.mjs";
import { randomK } from "./header.mjs";
import { insist } from "./refusal.mjs";

const OUTER = { fp32: "F32", fp16: "F16", bf16: "BF16" };

function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return NaN; // or infinite: refused alike
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1024 + fraction) * 2 ** (exponent - 25);
}

function single(bits) {
  const view = new DataView(new ArrayBuffer(4));
  view.setUint32(0, bits);
  return view.getFloat32(0);
}

const readers = {
  F32: (bytes, i) => bytes.readFloatLE(4 * i),
  F16: (bytes, i) => half(bytes.readUInt16LE(2 * i)),
  BF16: (bytes, i) => single(bytes.readUInt16LE(2 * i) * 65536),
  U16: (bytes, i) => bytes.readUInt16LE(2 * i),
  U8: (bytes, i) => bytes[i],
};

/** Tensors handed out by name; what is left over at the end is refused. */
class Shelf {
  constructor(tensors) {
    this.tensors = new Map(tensors);
  }

  take(name, dtype, count = null) {
    const tensor = this.tensors.get(name);
    insist(tensor?.dtype === dtype && (count === null || tensor.count === count), name);
    this.tensors.delete(name);
    const values = Float32Array.from({ length: tensor.count }, (_, i) => readers[dtype](tensor.bytes, i));
    insist(values.every((value) => Number.isFinite(value) && !Object.is(value, -0)), name);
    return values;
  }
}

function unmask(shelf, name, dtype, channels) {
  const mask = shelf.take("bn.mask", "U8", Math.ceil(channels / 8));
  const held = [];
  for (let i = 0; i < 8 * mask.length; i++) if ((mask[i >> 3] >> (i & 7)) & 1) held.push(i);
  insist(held.length === 0 || held.at(-1) < channels, "bn.mask");
  const values = shelf.take(name, dtype, held.length);
  insist(values.every((value) => value !== 0), name);
  const whole = new Float32Array(channels);
  held.forEach((channel, i) => (whole[channel] = values[i]));
  return whole;
}

function* symbols(bytes, tables, channels) {
  let at = 0;
  const next = () => {
    insist(at < bytes.length, "bn.codes");
    return bytes[at++];
  };
  let x = 0;
  for (let i = 0; i < 4; i++) x = x * 256 + next();
  insist(x >= 2 ** 23 && x < 2 ** 31, "bn.codes");
  for (const freq of tables) {
    const start = [0];
    const symbol = new Uint16Array(2 ** 14);
    freq.forEach((f, s) => {
      symbol.fill(s, start[s], start[s] + f);
      start.push(start[s] + f);
    });
    for (let i = 0; i < channels; i++) {
      const slot = x & 0x3fff;
      const s = symbol[slot];
      x = freq[s] * (x >> 14) + slot - start[s];
      while (x < 2 ** 23) x = x * 256 + next();
      yield s;
    }
  }
  insist(x === 2 ** 23 && at === bytes.length, "bn.codes");
}

/** -> a and b of all channels; `sizes` are the channels of each layer. */
function unrange(shelf, steps, sizes) {
  const channels = sizes.reduce((sum, size) => sum + size, 0);
  const scales = shelf.take("bn.scales", "F16", 2 * sizes.length);
  insist(scales.every((scale) => scale >= 0), "bn.scales");
  const freq = shelf.take("bn.freq", "U16", 20 * steps + 3);
  const tables = [freq.subarray(0, 10 * steps + 2), freq.subarray(10 * steps + 2)];
  for (const table of tables) insist(table.reduce((sum, f) => sum + f, 0) === 2 ** 14, "bn.freq");
  const decoded = symbols(shelf.take("bn.codes", "U8"), tables, channels);
  const zero = 5 * steps;
  return [0, 1].map((which) => {
    const values = new Float32Array(channels);
    let at = 0;
    sizes.forEach((size, layer) => {
      const scale = scales[which * sizes.length + layer];
      for (const end = at + size; at < end; at++) {
        const s = decoded.next().value;
        const q = which === 1 ? s - zero : s === 0 ? 0 : s - 1 - zero;
        insist(scale > 0 || q === 0, "bn.codes");
        values[at] = Math.fround(q * (scale / steps)) + 0; // -0 becomes +0
      }
    });
    if (which === 1) insist(decoded.next().done, "bn.codes");
    return values;
  });
}

/** -> {weight, bias} (folded: a and b) and, in full form, {mean, var}; each for all channels. */
function readNorms(shelf, { bn, codec, codec_args: args }, sizes) {
  const dtype = OUTER[bn.dtype];
  const scale = bn.form === "folded" ? "bn.a" : "bn.weight";
  const shift = bn.form === "folded" ? "bn.b" : "bn.bias";
  if (codec === "rans-1") {
    const [weight, bias] = unrange(shelf, args.R, sizes);
    return { weight, bias };
  }
  const norms = {
    weight: codec === "mask" ? unmask(shelf, scale, dtype, bn.channels) : shelf.take(scale, dtype, bn.channels),
    bias: shelf.take(shift, dtype, bn.channels),
  };
  if (bn.form === "full") {
    norms.mean = shelf.take("bn.mean", dtype, bn.channels);
    norms.var = shelf.take("bn.var", dtype, bn.channels);
    insist(norms.var.every((value) => value >= 0), "bn.var");
  }
  return norms;
}

/** Fills `values` of all parameters whose source is the file. -> the running statistics. */
export function readTensors(tensors, header, plan) {
  const shelf = new Shelf(tensors);
  const dtype = OUTER[header.bn.dtype];
  const gammas = plan.filter(({ role }) => role === "gamma");
  const norms = readNorms(shelf, header, gammas.map(({ dims }) => dims[0]));
  const slices = { gamma: 0, beta: 0 };
  for (const parameter of plan.filter(({ role }) => role in slices)) {
    const begin = slices[parameter.role];
    slices[parameter.role] += parameter.dims[0];
    parameter.begin = begin;
    const all = parameter.role === "gamma" ? norms.weight : norms.bias;
    parameter.values = all.subarray(begin, begin + parameter.dims[0]);
  }
  const size = ({ dims }) => dims.reduce((a, b) => a * b, 1);
  const [weight, bias] = plan.slice(-2);
  if (weight.source === "file") {
    weight.values = shelf.take("head.weight", dtype, size(weight));
    bias.values = shelf.take("head.bias", dtype, size(bias));
  }
  const shortcuts = plan.filter(({ shortcut, source }) => shortcut && source === "file");
  takeFlat(shelf, "shortcut.weight", dtype, shortcuts, size);
  const k = randomK(header.trained);
  const random = plan.filter(({ source }) => source === "seed+file");
  const count = ({ dims }) => dims[0] * Math.min(k, size({ dims }) / dims[0]);
  takeFlat(shelf, "random.values", dtype, random, count, "scalars");
  if (header.requires.includes("rounds")) {
    const filtered = plan.filter(({ source, dims }) => source.startsWith("seed") && dims.length === 4);
    const whole = takeFlat(shelf, "rounds", "U8", filtered, ({ dims }) => dims[0], "rounds");
    insist(whole.some((round) => round > 0), "rounds");
  }
  insist(shelf.tensors.size === 0, [...shelf.tensors.keys()][0]);
  return norms;
}

function takeFlat(shelf, name, dtype, parameters, size, key = "values") {
  if (parameters.length === 0) return;
  const total = parameters.reduce((sum, parameter) => sum + size(parameter), 0);
  const values = shelf.take(name, dtype, total);
  let at = 0;
  for (const parameter of parameters) {
    parameter[key] = values.subarray(at, at + size(parameter));
    at += size(parameter);
  }
  return values;
}

/** Draws every parameter that the seed gives; `digest` sees each before scalars are put in. */
export function grow(header, plan, digest) {
  const key = keyOf(header.init.seed);
  plan.forEach((parameter, index) => {
    if (!parameter.source.startsWith("seed")) return;
    const inputs = plan.at(-2).dims[1];
    parameter.values = draw(key, index, parameter, header.init, inputs);
    const { rounds = [], values, dims } = parameter;
    for (const round of new Set(rounds)) {
      if (round === 0) continue;
      const again = draw(key, index, parameter, header.init, inputs, round);
      const size = values.length / dims[0];
      rounds.forEach((own, filter) => {
        if (own !== round) return;
        values.set(again.subarray(filter * size, (filter + 1) * size), filter * size);
      });
    }
    digest(parameter.values);
  });
}

/** Puts the scalars of random:K at their places. */
export function putScalars(header, plan) {
  const key = keyOf(header.init.seed);
  const k = randomK(header.trained);
  plan.forEach(({ scalars, dims, values }, index) => {
    if (!scalars) return;
    const n = values.length / dims[0];
    let at = 0;
    positions(key, index, dims[0], n, k).forEach((places, channel) => {
      for (const place of places) values[channel * n + place] = scalars[at++];
    });
  });
}
