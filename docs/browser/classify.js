// Classifies a picture with a self-inflating ONNX file, which onnxruntime-web grows when the page opens.
import * as ort from "./node_modules/onnxruntime-web/dist/ort.wasm.min.mjs";

const element = (id) => document.getElementById(id);
const text = new TextDecoder();

// Number and bytes of each length-delimited field of a protobuf message; others are passed over.
function* fields(bytes) {
  let at = 0;
  const number = () => {
    let value = 0;
    for (let unit = 1; ; unit *= 128) {
      const byte = bytes[at++];
      value += (byte & 127) * unit;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const key = number();
    const kind = key & 7;
    if (kind === 2) {
      const length = number();
      yield [key >> 3, bytes.subarray(at, at + length)];
      at += length;
    } else if (kind === 0) number();
    else at += kind === 1 ? 8 : 4;
  }
}

// The model's metadata_props (field 14 of ONNX's ModelProto), which onnxruntime-web does not hand out.
function facts(model) {
  const found = {};
  for (const [number, entry] of fields(model)) {
    if (number !== 14) continue;
    const pair = Object.fromEntries(fields(entry));
    found[text.decode(pair[1])] = text.decode(pair[2]);
  }
  return found;
}

// {session, shape: [channels, height, width], mean, std, labels, bytes, seconds}
async function opened(url) {
  const reply = await fetch(url);
  if (!reply.ok) throw new Error(`${url} is not there (${reply.status}): put the network beside this page`);
  const model = new Uint8Array(await reply.arrayBuffer());
  const begin = performance.now();
  const session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
  const seconds = (performance.now() - begin) / 1000;
  const shape = session.inputMetadata[0].shape.slice(1);
  const known = facts(model);
  const list = (key, otherwise) => (key in known ? JSON.parse(known[key]) : otherwise);
  return {
    session, shape, seconds,
    name: known.name ?? url,
    bytes: model.length,
    mean: list("mean", [0, 0, 0]),
    std: list("std", [1, 1, 1]),
    labels: list("labels", null),
  };
}

// RGBA bytes, row by row, to float32 [1, 3, height, width], normalised.
function normalised(pixels, { shape, mean, std }) {
  const size = shape[1] * shape[2];
  const values = new Float32Array(3 * size);
  for (let colour = 0; colour < 3; colour++)
    for (let i = 0; i < size; i++)
      values[colour * size + i] = (pixels[4 * i + colour] / 255 - mean[colour]) / std[colour];
  return new ort.Tensor("float32", values, [1, ...shape]);
}

// The logits of a picture (a Blob), which is squeezed to the network's size.
async function logits(network, picture) {
  const [, height, width] = network.shape;
  const canvas = element("seen");
  Object.assign(canvas, { width, height, hidden: false });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.fillStyle = "white"; // behind what is transparent
  context.fillRect(0, 0, width, height);
  context.drawImage(await createImageBitmap(picture), 0, 0, width, height);
  const images = normalised(context.getImageData(0, 0, width, height).data, network);
  const answer = await network.session.run({ images });
  return Array.from(answer.logits.data);
}

function show(network, values) {
  const most = Math.max(...values);
  const weights = values.map((value) => Math.exp(value - most));
  const sum = weights.reduce((one, other) => one + other);
  const order = values.map((_, label) => label).sort((one, other) => values[other] - values[one]);
  const rows = order.slice(0, 5).map((label) => {
    const row = document.createElement("tr");
    for (const part of [network.labels?.[label] ?? label, `${((100 * weights[label]) / sum).toFixed(1)} %`])
      row.insertCell().textContent = part;
    return row;
  });
  element("answer").replaceChildren(...rows);
}

const place = element("place");
const file = element("file");
ort.env.wasm.numThreads = 1; // more need a server that isolates the page
try {
  const network = await opened(new URLSearchParams(location.search).get("network") ?? "net.onnx");
  const classify = async (picture) => {
    try {
      window.answer = await logits(network, picture);
      show(network, window.answer);
    } catch {
      element("answer").textContent = "This is no picture that the browser can read.";
    }
  };
  file.addEventListener("change", () => file.files.length && classify(file.files[0]));
  place.addEventListener("dragover", (event) => {
    event.preventDefault();
    place.classList.add("over");
  });
  place.addEventListener("dragleave", () => place.classList.remove("over"));
  place.addEventListener("drop", (event) => {
    event.preventDefault();
    place.classList.remove("over");
    if (event.dataTransfer.files.length) classify(event.dataTransfer.files[0]);
  });
  file.disabled = false;
  element("network").textContent =
    `${network.name}: ${network.bytes.toLocaleString("en")} bytes, grown in ${network.seconds.toFixed(2)} s.`;
  window.opened = network.seconds;
} catch (error) {
  element("network").textContent = window.failed = error.message;
}
