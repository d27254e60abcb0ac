// A reader of bnonly/1 in JavaScript, written from docs/seedfile.md alone.
//
//   node reader.mjs FILE    one line of JSON: digests and the probe's ratio, or {"error", "field"} and exit status 1
//   node reader.mjs -       the same for each path of standard input, a line each, exit status 0

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { endianness } from "node:os";
import { argv, exit, stdin, stdout } from "node:process";
import { grow, putScalars, readTensors } from "./contents.mjs";
import { probe } from "./forward.mjs";
import { selfTest } from "./generator.mjs";
import { checkConsequences, readHeader, sha256 } from "./header.mjs";
import { readOuter } from "./outer.mjs";
import { build, family, planDigest } from "./plan.mjs";
import { insist, Refusal } from "./refusal.mjs";

/** The bytes of float32 values, little-endian. */
function bytesOf(values) {
  const bytes = Buffer.from(Float32Array.from(values).buffer);
  return endianness() === "LE" ? bytes : bytes.swap32();
}

export function read(path) {
  const { header: text, buffer, tensors } = readOuter(readFileSync(path));
  const header = readHeader(text);

  const network = build(family(header.arch.id), header.arch.args.classes, header.trained);
  const { plan } = network;
  insist(planDigest(plan) === header.plan_sha256, "plan_sha256", "PlanMismatch");
  checkConsequences(header);
  insist(sha256(buffer) === header.payload_sha256, "payload_sha256", "PayloadDigestMismatch");
  const norms = readTensors(tensors, header, plan);

  const frozen = createHash("sha256");
  grow(header, plan, (values) => frozen.update(bytesOf(values)));
  const grown = frozen.digest("hex");
  insist(grown === header.frozen_sha256, "frozen_sha256", "FrozenDigestMismatch");
  putScalars(header, plan);
  const ratio = probe(network, norms, header);

  const parameters = createHash("sha256");
  for (const { values } of plan) parameters.update(bytesOf(values));
  const statistics = norms.mean && sha256(Buffer.concat([bytesOf(norms.mean), bytesOf(norms.var)]));
  return {
    header_sha256: header.header_sha256,
    plan_sha256: header.plan_sha256,
    frozen_sha256: grown,
    payload_sha256: header.payload_sha256,
    parameters_sha256: parameters.digest("hex"),
    statistics_sha256: statistics ?? null, // means, then variances, of the full form
    ratio,
  };
}

function answer(path) {
  try {
    return read(path);
  } catch (error) {
    if (error instanceof Refusal) return { error: error.name, field: error.field };
    throw error;
  }
}

async function main(name) {
  selfTest();
  if (name !== "-") {
    const result = answer(name);
    stdout.write(`${JSON.stringify(result)}\n`);
    if (result.error) exit(1);
    return;
  }
  let paths = "";
  for await (const chunk of stdin.setEncoding("utf8")) paths += chunk;
  for (const path of paths.split("\n").filter(Boolean)) stdout.write(`${JSON.stringify(answer(path))}\n`);
}

await main(argv[2]);
