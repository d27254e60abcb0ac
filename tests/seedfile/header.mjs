// The header: canonical JSON, its digest, and every field (docs/seedfile.md, Header).

import { createHash } from "node:crypto";
import { isCount, isObject, parse, quote } from "./outer.mjs";
import { count, family } from "./plan.mjs";
import { insist } from "./refusal.mjs";

const FIELDS = [
  ...["arch", "bn", "check", "codec", "codec_args", "format", "frozen_sha256", "head", "header_sha256", "info"],
  ...["init", "input", "payload_sha256", "plan_sha256", "requires", "trained"],
];
const FEATURES = ["mask", "random.values", "rans-1", "rounds", "shortcut.weight"];
const GROUPS = /^(bn|gamma|beta|norm|output|shortcut|random:[1-9]\d{0,6})$/;
const DEPTH = 64;
const LIMITS = { channels: 2 ** 24, weights: 2 ** 31, pixels: 2 ** 18 };

export const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

/** RFC 8785: JavaScript's own numbers and order of keys (UTF-16 units). */
export function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (isObject(value)) {
    const pairs = Object.keys(value).sort().map((key) => `${quote(key, "header")}:${canonical(value[key])}`);
    return `{${pairs.join(",")}}`;
  }
  return typeof value === "string" ? quote(value, "header") : JSON.stringify(value);
}

function keysAre(value, keys, field) {
  insist(isObject(value), field);
  for (const key of Object.keys(value)) insist(keys.includes(key), `${field}.${key}`.replace(/^\./, ""));
  for (const key of keys) insist(Object.hasOwn(value, key), `${field}.${key}`.replace(/^\./, ""));
}

/** A text out of those this revision knows; another may be a later one's. */
function known(holder, path, key, values) {
  const field = path ? `${path}.${key}` : key;
  insist(typeof holder[key] === "string", field);
  insist(values.includes(holder[key]), field, "UnsupportedFeature");
}

const isDigest = (value) => typeof value === "string" && /^[0-9a-f]{64}$/.test(value);
const isWithin = (value, low, high) => typeof value === "number" && value >= low && value <= high;
const listOf = (value, length, test) => Array.isArray(value) && value.length === length && value.every(test);

/** Before anything is built: does the file ask for too much? */
function checkLimits({ arch, bn, input }) {
  insist(bn.channels <= LIMITS.channels, "bn.channels", "TooLarge");
  insist(input.shape[1] * input.shape[2] <= LIMITS.pixels, "input.shape", "TooLarge");
  const { weights, channels } = count(family(arch.id), arch.args.classes, { ...LIMITS, channels: bn.channels });
  insist(weights <= LIMITS.weights, "arch", "TooLarge");
  insist(channels === bn.channels, "bn.channels", "PlanMismatch");
}

function checkVersion({ format, requires }) {
  insist(typeof format === "string", "format");
  insist(format === "bnonly/1", "format", "UnsupportedVersion");
  insist(Array.isArray(requires) && requires.every((feature) => typeof feature === "string"), "requires");
  for (const feature of requires) insist(FEATURES.includes(feature), "requires", "UnsupportedFeature");
}

/** How many objects and lists lie inside one another, counted up to `most` + 1. */
function depth(value, most) {
  if (value === null || typeof value !== "object") return 0;
  if (most === 0) return 1;
  return 1 + Object.values(value).reduce((deepest, inner) => Math.max(deepest, depth(inner, most - 1)), 0);
}

function checkDigest(header, text) {
  insist(depth(header, DEPTH) <= DEPTH, "header");
  insist(canonical(header) === text, "header");
  const { header_sha256: said, ...rest } = header;
  insist(isDigest(said), "header_sha256");
  insist(sha256(canonical(rest)) === said, "header_sha256", "HeaderDigestMismatch");
}

/** K of random:K, or null where no such group was trained. */
export function randomK(trained) {
  const group = trained.find((name) => name.startsWith("random:"));
  return group ? Number(group.slice(7)) : null;
}

function checkTrained(trained) {
  insist(Array.isArray(trained) && trained.every((group) => typeof group === "string"), "trained");
  insist(!trained.some((group) => ["all", "none"].includes(group)), "trained");
  const kinds = trained.map((group) => group.replace(/^random:.*/, "random"));
  const once = new Set(kinds).size === kinds.length;
  insist(once && trained.every((group) => GROUPS.test(group)), "trained", "UnsupportedFeature");
}

/** What the trained groups and the codec decide; after the plan, which they decide too. */
export function checkConsequences({ bn, codec, head, requires, trained }) {
  insist(bn.form !== "affine", "bn.form"); // of networks without BatchNorm, whose feature this reader lacks
  insist(codec !== "rans-1" || bn.form === "folded", "codec");
  insist(head === (trained.includes("output") ? "stored" : "seeded"), "head");
  const used = [];
  if (codec !== "raw") used.push(codec);
  if (randomK(trained) !== null) used.push("random.values");
  if (trained.includes("shortcut")) used.push("shortcut.weight");
  if (requires.includes("rounds")) used.push("rounds");
  insist(requires.join() === used.sort().join(), "requires");
}

function checkArch(arch) {
  keysAre(arch, ["id", "rev", "args"], "arch");
  insist(typeof arch.id === "string", "arch.id");
  insist(isCount(arch.rev), "arch.rev");
  keysAre(arch.args, ["classes"], "arch.args");
  insist(isCount(arch.args.classes) && arch.args.classes > 0, "arch.args.classes");
  insist(family(arch.id) !== null, "arch.id", "UnsupportedFeature");
  insist(arch.rev === 1, "arch.rev", "UnsupportedVersion");
}

function checkInit(init) {
  keysAre(init, ["gen", "seed", "dist", "scale", "gamma", "beta"], "init");
  insist(typeof init.gen === "string", "init.gen");
  insist(init.gen === "bngen-1", "init.gen", "UnsupportedFeature");
  insist(typeof init.seed === "string" && /^[0-9a-f]{32}$/.test(init.seed), "init.seed");
  known(init, "init", "dist", ["normal", "uniform", "sign"]);
  known(init, "init", "scale", ["fan_in", "fan_out"]);
  known(init, "init", "gamma", ["uniform", "ones", "symmetric"]);
  known(init, "init", "beta", ["zeros", "ones"]);
}

function checkNorms(header) {
  const { bn, codec, codec_args: args } = header;
  keysAre(bn, ["form", "channels", "eps", "dtype"], "bn");
  known(bn, "bn", "form", ["folded", "full", "affine"]);
  insist(isCount(bn.channels) && bn.channels > 0, "bn.channels");
  insist(isWithin(bn.eps, 0, 1), "bn.eps");
  known(bn, "bn", "dtype", ["fp32", "fp16", "bf16"]);
  known(header, "", "codec", ["raw", "mask", "rans-1"]);
  keysAre(args, codec === "rans-1" ? ["R"] : [], "codec_args");
  const power = isCount(args.R) && args.R >= 1 && args.R <= 1024 && (args.R & (args.R - 1)) === 0;
  insist(codec !== "rans-1" || power, "codec_args.R");
}

function checkInput(input, classes) {
  keysAre(input, ["shape", "mean", "std", "labels"], "input");
  insist(listOf(input.shape, 3, (side) => isCount(side) && side > 0), "input.shape");
  insist(input.shape[0] === 3, "input.shape", "UnsupportedFeature");
  insist(listOf(input.mean, 3, (value) => isWithin(value, -1e9, 1e9)), "input.mean");
  insist(listOf(input.std, 3, (value) => isWithin(value, 1e-9, 1e9)), "input.std");
  insist(listOf(input.labels, classes, (label) => typeof label === "string"), "input.labels");
}

function checkProbe(check, classes) {
  keysAre(check, ["n", "logits", "rtol", "argmax"], "check");
  insist(isCount(check.n) && check.n >= 1 && check.n <= 16, "check.n");
  const isLogit = (value) => isWithin(value, -1e30, 1e30);
  insist(listOf(check.logits, check.n, (row) => listOf(row, classes, isLogit)), "check.logits");
  insist(isWithin(check.rtol, 0, 1), "check.rtol");
  insist(listOf(check.argmax, check.n, (best) => isCount(best) && best < classes), "check.argmax");
}

/** The header's text -> the header, every field checked. */
export function readHeader(text) {
  const header = parse(text, "header");
  insist(isObject(header), "header");
  checkVersion(header);
  checkDigest(header, text);
  keysAre(header, FIELDS, "");
  checkArch(header.arch);
  checkInit(header.init);
  for (const key of ["plan_sha256", "frozen_sha256", "payload_sha256"]) insist(isDigest(header[key]), key);
  checkNorms(header);
  known(header, "", "head", ["stored", "seeded"]);
  checkTrained(header.trained);
  checkInput(header.input, header.arch.args.classes);
  checkProbe(header.check, header.arch.args.classes);
  insist(isObject(header.info), "info");
  checkLimits(header);
  return header;
}
