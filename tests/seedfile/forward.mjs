// The forward pass, in float64, and the probe (docs/seedfile.md, Plan and Probe).

import { images, keyOf } from "./generator.mjs";
import { insist } from "./refusal.mjs";

/** One convolution without bias; `input` is {data, channels, height, width}. */
function convolve(input, weight, { outputs, inputs, k, stride }) {
  const pad = (k - 1) / 2;
  const height = Math.floor((input.height + 2 * pad - k) / stride) + 1;
  const width = Math.floor((input.width + 2 * pad - k) / stride) + 1;
  const data = new Float64Array(outputs * height * width);
  let at = 0;
  for (let o = 0; o < outputs; o++) {
    for (let i = 0; i < inputs; i++) {
      for (let v = 0; v < k; v++) {
        for (let u = 0; u < k; u++) {
          const w = weight[at++];
          const first = Math.max(0, Math.ceil((pad - u) / stride)); // columns whose pixel lies in the image
          const last = Math.min(width - 1, Math.floor((input.width - 1 + pad - u) / stride));
          for (let y = 0; y < height; y++) {
            const row = y * stride + v - pad;
            if (row < 0 || row >= input.height) continue;
            const from = (i * input.height + row) * input.width + u - pad;
            const to = (o * height + y) * width;
            for (let x = first; x <= last; x++) data[to + x] += w * input.data[from + x * stride];
          }
        }
      }
    }
  }
  return { data, channels: outputs, height, width };
}

function normalise(x, weight, bias, mean, variance, eps) {
  const area = x.height * x.width;
  for (let c = 0; c < x.channels; c++) {
    const a = variance ? weight[c] / Math.sqrt(variance[c] + eps) : weight[c];
    const m = mean ? mean[c] : 0;
    for (let p = c * area; p < (c + 1) * area; p++) x.data[p] = (x.data[p] - m) * a + bias[c];
  }
  return x;
}

function relu(x) {
  for (let p = 0; p < x.data.length; p++) if (x.data[p] < 0) x.data[p] = 0;
  return x;
}

/** 3x3, stride 2, padding 1. */
function maxPool(x) {
  const height = Math.floor((x.height - 1) / 2) + 1;
  const width = Math.floor((x.width - 1) / 2) + 1;
  const data = new Float64Array(x.channels * height * width).fill(-Infinity);
  for (let c = 0; c < x.channels; c++) {
    for (let y = 0; y < height; y++) {
      for (let u = 0; u < width; u++) {
        const to = (c * height + y) * width + u;
        for (let row = Math.max(0, 2 * y - 1); row <= Math.min(x.height - 1, 2 * y + 1); row++) {
          for (let column = Math.max(0, 2 * u - 1); column <= Math.min(x.width - 1, 2 * u + 1); column++) {
            data[to] = Math.max(data[to], x.data[(c * x.height + row) * x.width + column]);
          }
        }
      }
    }
  }
  return { data, channels: x.channels, height, width };
}

/** One image -> its logits. */
function forward({ plan, stem, pool, body, head }, norms, eps, image) {
  const layer = (x, conv) => {
    const { begin, values: weight, dims } = plan[conv.gamma];
    const some = (all) => all?.subarray(begin, begin + dims[0]);
    const y = convolve(x, plan[conv.weight].values, conv);
    return normalise(y, weight, plan[conv.beta].values, some(norms.mean), some(norms.var), eps);
  };
  let x = relu(layer(image, stem));
  if (pool) x = maxPool(x);
  for (const { convs, shortcut } of body) {
    const skip = shortcut ? layer(x, shortcut) : x;
    convs.forEach((conv, i) => {
      x = layer(x, conv);
      if (i + 1 < convs.length) relu(x);
    });
    for (let p = 0; p < x.data.length; p++) x.data[p] += skip.data[p];
    relu(x);
  }
  const area = x.height * x.width;
  const means = Array.from({ length: x.channels }, (_, c) => {
    let sum = 0;
    for (let p = c * area; p < (c + 1) * area; p++) sum += x.data[p];
    return sum / area;
  });
  const weight = plan[head.weight].values;
  return Array.from(plan[head.bias].values, (bias, o) =>
    means.reduce((sum, value, c) => sum + weight[o * means.length + c] * value, bias),
  );
}

const greatest = (values) => values.reduce((most, value) => Math.max(most, value));

/** Largest difference from the file's logits, as a share of its largest |logit|. */
export function probe(network, norms, header) {
  const { check, init, input, bn } = header;
  const [channels, height, width] = input.shape;
  const size = channels * height * width;
  const pixels = images(keyOf(init.seed), check.n * size);
  const largest = greatest(check.logits.flat().map(Math.abs));
  let worst = 0;
  for (let i = 0; i < check.n; i++) {
    const data = Float64Array.from(pixels.subarray(i * size, (i + 1) * size));
    const logits = forward(network, norms, bn.eps, { data, channels, height, width });
    logits.forEach((value, o) => (worst = Math.max(worst, Math.abs(value - check.logits[i][o]))));
    insist(worst <= check.rtol * largest, "check.logits", "ProbeMismatch"); // NaN fails too
    const behind = greatest(check.logits[i]) - check.logits[i][check.argmax[i]];
    insist(behind <= 2 * check.rtol * largest, "check.argmax", "ProbeMismatch");
  }
  return worst === 0 ? 0 : worst / largest;
}
