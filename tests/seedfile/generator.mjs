// The generator bngen-1 (docs/seedfile.md, Generator), in 32-bit halves.

import { createHash } from "node:crypto";
import { insist } from "./refusal.mjs";

const POSITIVE = `
  312 942 1572 2199 2828 3458 4088 4720 5351 5984 6618 7253 7890 8528 9168 9809 10452 11098 11745 12395 13047
  13701 14359 15019 15681 16347 17016 17689 18365 19044 19727 20414 21105 21801 22500 23204 23913 24627 25345
  26069 26798 27533 28273 29019 29772 30530 31295 32066 32845 33630 34423 35223 36030 36846 37671 38502 39343
  40193 41052 41919 42798 43686 44584 45493 46412 47343 48285 49239 50206 51185 52176 53181 54200 55233 56280
  57343 58420 59514 60624 61751 62895 64058 65239 66439 67658 68899 70160 71443 72749 74077 75430 76808 78212
  79642 81100 82587 84103 85650 87230 88842 90489 92172 93892 95651 97450 99291 101176 103107 105085 107113 109192
  111326 113516 115765 118076 120453 122898 125418 128016 130704 133495 136416 139523 142940 146990 152678 164320
  223646`
  .trim()
  .split(/\s+/)
  .map(Number);
const POSITIVE_DIGEST = "0f9380b2645603019f5adb850cb0dcf78cb87a0a6fcbdc305b89b5e7d252a945";
const T = Int32Array.from([...POSITIVE.map((value) => -value).reverse(), ...POSITIVE]);

/** High 32 bits of a * (high * 2^16 + low): both partial products are exact in a double. */
function above(a, high, low) {
  return Math.floor((a * high + Math.floor((a * low) / 65536)) / 65536);
}

const product = new Uint32Array(4);
const state = new Uint32Array(8);

/** (ah, al) times (mh, ml): 128 bits into `product`, least significant word first. */
function multiply(ah, al, mh, ml) {
  const mlh = ml >>> 16;
  const mll = ml & 0xffff;
  const mhh = mh >>> 16;
  const mhl = mh & 0xffff;
  product[0] = Math.imul(al, ml);
  const low = above(al, mlh, mll) + (Math.imul(al, mh) >>> 0) + (Math.imul(ah, ml) >>> 0);
  product[1] = low;
  const high = above(al, mhh, mhl) + above(ah, mlh, mll) + (Math.imul(ah, mh) >>> 0) + Math.floor(low / 2 ** 32);
  product[2] = high;
  product[3] = above(ah, mhh, mhl) + Math.floor(high / 2 ** 32);
}

/** Key and counter as 32-bit words, least significant first -> 8 words of output at `out[at]`. */
export function philox(key, counter, out, at) {
  const c = state;
  c.set(counter);
  let k0l = key[0];
  let k0h = key[1];
  let k1l = key[2];
  let k1h = key[3];
  for (let round = 0; round < 10; round++) {
    multiply(c[1], c[0], 0xd2e7470e, 0xe14c6c93);
    const l0l = product[0];
    const l0h = product[1];
    const h0l = product[2];
    const h0h = product[3];
    multiply(c[5], c[4], 0xca5a8263, 0x95121157);
    c[0] = product[2] ^ c[2] ^ k0l;
    c[1] = product[3] ^ c[3] ^ k0h;
    c[2] = product[0];
    c[3] = product[1];
    c[4] = h0l ^ c[6] ^ k1l;
    c[5] = h0h ^ c[7] ^ k1h;
    c[6] = l0l;
    c[7] = l0h;
    k0l += 0x7f4a7c15;
    k0h = (k0h + 0x9e3779b9 + (k0l > 0xffffffff ? 1 : 0)) >>> 0;
    k0l >>>= 0;
    k1l += 0x84caa73b;
    k1h = (k1h + 0xbb67ae85 + (k1l > 0xffffffff ? 1 : 0)) >>> 0;
    k1l >>>= 0;
  }
  out.set(c, at);
}

/** 32 hexadecimal digits -> key, least significant word first. */
export const keyOf = (seed) => [24, 16, 8, 0].map((at) => parseInt(seed.slice(at, at + 8), 16));

/** The first `count` words of a stream. */
export function words(key, purpose, index, count, round = 0) {
  const out = new Uint32Array(Math.ceil(count / 8) * 8);
  const counter = Uint32Array.of(0, 0, 0, 0, 0, 0, index, purpose * 2 ** 24 + round);
  for (let at = 0; at < count; at += 8) {
    counter[0] = at / 8 + 1;
    philox(key, counter, out, at);
  }
  return out.subarray(0, count);
}

const whole = {
  normal: (w) => 13 * T[w & 255] + 14 * T[(w >>> 8) & 255] + 15 * T[(w >>> 16) & 255] + 17 * T[w >>> 24],
  uniform: (w) => 2 * (w >>> 8) + 1 - 2 ** 24,
  sign: (w) => 1 - 2 * (w >>> 31),
};
const units = { normal: 2 ** -21, uniform: Math.sqrt(3) * 2 ** -24, sign: 1 };

function scaled(bits, dist, scale) {
  const z = whole[dist];
  return Float32Array.from(bits, (word) => z(word) * scale); // the product is exact in a double, so rounded once
}

/** The drawn values of a weight (dims) or of a linear layer's bias. */
export function draw(key, index, { role, dims }, { dist, scale }, inputs, round = 0) {
  const count = dims.reduce((a, b) => a * b, 1);
  const bits = words(key, 0, index, count, round);
  if (role === "bias") return scaled(bits, "uniform", Math.fround(2 ** -24 / Math.sqrt(inputs)));
  const fan = dims.slice(2).reduce((a, b) => a * b, scale === "fan_in" ? dims[1] : dims[0]);
  return scaled(bits, dist, Math.fround(Math.sqrt(2 / fan) * units[dist]));
}

/** Images of the probe, flat. */
export const images = (key, count) => scaled(words(key, 0x80, 0, count), "normal", 2 ** -21);

/** Positions of random:K: for each of `channels`, min(K, n) places of its n scalars. */
export function positions(key, index, channels, n, k) {
  const block = new Uint32Array(8);
  const counter = Uint32Array.of(0, 0, 0, 0, 0, 0, index, 2 ** 24);
  let left = 0;
  const next = () => {
    if (left === 0) {
      counter[0]++;
      philox(key, counter, block, 0);
      left = 8;
    }
    return block[8 - left--];
  };
  const below = (r) => {
    const end = Math.floor(2 ** 32 / r) * r;
    for (;;) {
      const word = next();
      if (word < end) return word % r;
    }
  };
  return Array.from({ length: channels }, () => {
    const places = Array.from({ length: n }, (_, i) => i);
    const m = Math.min(k, n);
    for (let i = 0; i < m; i++) {
      const j = i + below(n - i);
      [places[i], places[j]] = [places[j], places[i]];
    }
    return places.slice(0, m);
  });
}

/** The page's vectors. */
export function selfTest() {
  const table = Buffer.alloc(512);
  POSITIVE.forEach((value, i) => table.writeUInt32LE(value, 4 * i));
  const digest = createHash("sha256").update(table).digest("hex");
  insist(POSITIVE.length === 128 && digest === POSITIVE_DIGEST, "table", "GeneratorBroken");

  const out = new Uint32Array(8);
  philox([0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 0], out, 0);
  const hex = [0, 2, 4, 6].map((i) => ((BigInt(out[i + 1]) << 32n) | BigInt(out[i])).toString(16));
  const published = "16554d9eca36314c,db20fe9d672d0fdc,d7e772cee186176b,7e68b68aec7ba23b";
  insist(hex.join() === published, "philox", "GeneratorBroken");

  const first = Array.from(words(keyOf("0123456789abcdeffedcba9876543210"), 0, 5, 4), whole.normal);
  insist(first.join() === "-75870,2331277,560026,-438976", "normal", "GeneratorBroken");
}
