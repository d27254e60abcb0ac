// The architectures of revision 1 and their plans (docs/seedfile.md, Plan).

import { createHash } from "node:crypto";

const IMAGENET = {
  resnet18: [2, 2, 2, 2],
  resnet34: [3, 4, 6, 3],
  resnet50: [3, 4, 6, 3],
  resnet101: [3, 4, 23, 3],
  resnet152: [3, 8, 36, 3],
  resnet200: [3, 24, 36, 3],
};

const conv = (name, norm, inputs, outputs, k, stride = 1) => ({ name, norm, inputs, outputs, k, stride });

/** id -> {stem, stages: blocks each, first: width of stage 1, pool, bottleneck}, or null for an unknown id. */
export function family(id) {
  const match = /^cifar_(?:resnet(0|[1-9]\d{0,4})|wrn(0|[1-9]\d{0,4})_(0|[1-9]\d{0,2}))$/.exec(id);
  if (match) {
    const depth = Number(match[1] ?? match[2]);
    const first = 16 * Number(match[3] ?? 1);
    if (depth < 8 || depth % 6 !== 2 || first === 0) return null;
    const n = (depth - 2) / 6;
    return { stem: conv("conv1", "bn1", 3, first, 3), stages: [n, n, n], first, pool: false, bottleneck: false };
  }
  if (!Object.hasOwn(IMAGENET, id)) return null;
  const bottleneck = !["resnet18", "resnet34"].includes(id);
  return { stem: conv("conv1", "bn1", 3, 64, 7, 2), stages: IMAGENET[id], first: 64, pool: true, bottleneck };
}

function block({ bottleneck }, stage, i, inputs, width) {
  const name = `layer${stage}.${i}`;
  const stride = stage > 1 && i === 0 ? 2 : 1;
  const outputs = bottleneck ? 4 * width : width;
  const convs = bottleneck
    ? [
        conv(`${name}.conv1`, `${name}.bn1`, inputs, width, 1),
        conv(`${name}.conv2`, `${name}.bn2`, width, width, 3, stride),
        conv(`${name}.conv3`, `${name}.bn3`, width, outputs, 1),
      ]
    : [
        conv(`${name}.conv1`, `${name}.bn1`, inputs, width, 3, stride),
        conv(`${name}.conv2`, `${name}.bn2`, width, width, 3),
      ];
  const needed = i === 0 && (bottleneck || stage > 1);
  const shortcut = needed ? conv(`${name}.downsample.0`, `${name}.downsample.1`, inputs, outputs, 1, stride) : null;
  return { convs, shortcut, outputs };
}

/** One block after the other, so that a caller may stop early. */
function* blocks(shape) {
  let inputs = shape.first;
  for (const [s, count] of shape.stages.entries()) {
    for (let i = 0; i < count; i++) {
      const next = block(shape, s + 1, i, inputs, shape.first * 2 ** s);
      yield next;
      inputs = next.outputs;
    }
  }
}

const features = (shape) => shape.first * 2 ** (shape.stages.length - 1) * (shape.bottleneck ? 4 : 1);

function* layers(shape) {
  yield shape.stem;
  for (const { convs, shortcut } of blocks(shape)) {
    yield* convs;
    if (shortcut) yield shortcut;
  }
}

/** Parameters and BatchNorm channels, counted in plan order until there are more of either than that. */
export function count(shape, classes, most) {
  const so = { weights: 0, channels: 0 };
  const within = () => so.weights <= most.weights && so.channels <= most.channels;
  for (const { inputs, outputs, k } of layers(shape)) {
    so.weights += outputs * inputs * k * k;
    if (!within()) return so;
    so.weights += outputs;
    so.channels += outputs;
    if (!within()) return so;
    so.weights += outputs;
    if (!within()) return so;
  }
  so.weights += classes * (features(shape) + 1);
  return so;
}

/** The whole network: its parameters in plan order, and the layers, which know the places of theirs. */
export function build(shape, classes, trained) {
  const plan = [];
  const random = trained.some((group) => group.startsWith("random:"));
  const add = (name, role, dims, source) => plan.push({ name, role, dims, source }) - 1;
  const place = (layer, shortcut) => {
    const source = shortcut && trained.includes("shortcut") ? "file" : random ? "seed+file" : "seed";
    const { outputs, inputs, k } = layer;
    layer.weight = add(`${layer.name}.weight`, "weight", [outputs, inputs, k, k], source);
    layer.gamma = add(`${layer.norm}.weight`, "gamma", [outputs], "file");
    layer.beta = add(`${layer.norm}.bias`, "beta", [outputs], "file");
    plan[layer.weight].shortcut = shortcut;
  };

  place(shape.stem, false);
  const body = [];
  for (const next of blocks(shape)) {
    for (const layer of next.convs) place(layer, false);
    if (next.shortcut) place(next.shortcut, true);
    body.push(next);
  }
  const source = trained.includes("output") ? "file" : "seed";
  const head = {
    weight: add("fc.weight", "weight", [classes, features(shape)], source),
    bias: add("fc.bias", "bias", [classes], source),
  };
  return { plan, stem: shape.stem, pool: shape.pool, body, head };
}

export function planDigest(plan) {
  const hash = createHash("sha256");
  for (const [i, { name, role, dims, source }] of plan.entries()) {
    hash.update(`${i} ${name} ${role} ${dims.join("x")} ${source}\n`);
  }
  return hash.digest("hex");
}
