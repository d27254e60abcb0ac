"""Networks as files for other runtimes: .pt2 of torch.export, .onnx. Each is read back and run before it is in place.

One input, "images" [batch, 3, H, W], normalised, float32, of any batch and one H and W; one output, "logits"
[batch, classes].
"""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bnonly.errors import BadInput, ExportFailed
from bnonly.files import write_atomically

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 18
RTOL = 1e-4
"""How far a runtime's logits may be from torch's, in units of max|logit|."""

_ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_LARGEST_ONNX = 2**31 - 2**20
_NORMALISED = "normalised images, (x - mean) / std of values in 0..1; float32 [batch, channels, height, width]"

Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]
Rewrite = Callable[["ModelProto"], None] | None


def check_path(path: Path) -> None:
    """Whether `export` can write such a file here. Raises BadInput for another ending or a missing package."""
    if path.suffix not in _WRITERS:
        raise BadInput(f"{path} is neither .onnx nor .pt2: let the name end in one of these")
    missing = [name for name in _ONNX_PACKAGES if find_spec(name) is None] if path.suffix == ".onnx" else []
    if missing:
        raise BadInput(f"writing {path.name} needs {' and '.join(missing)}: pip install 'bnonly[onnx]'")


def export(
    net: nn.Module,
    path: Path,
    shape: tuple[int, int, int],
    facts: Mapping[str, Any] | None = None,
    like: nn.Module | None = None,
    rewrite: Rewrite = None,
) -> int:
    """Write a network in eval mode, for images of `shape`, to an .onnx or .pt2 file; the file's bytes.

    facts: what a reader should know, for example name, seed, labels, mean and std; plain values, kept in ONNX's
    metadata_props as JSON (strings as they are), in a .pt2 as the extra file bnonly.json. `input` is added to them.
    like: the network that `net` was made from, whose logits the file must give; `net` itself unless given. rewrite:
    what is done to an ONNX model before it becomes a file.
    Raises BadInput for a path that check_path refuses and for a network too large; ExportFailed, and nothing is
    written, where the exporter gives up or the file gives other logits than the network (max|difference| above RTOL *
    max|logit|, for one image or three).
    """
    check_path(path)
    write, read = _WRITERS[path.suffix]
    known = {"input": _NORMALISED, **(facts or {})}
    with _quiet(path):
        data = write(net, torch.zeros(2, *shape), known, rewrite)
        run = read(data)
        _check(like or net, run, shape, path)
    write_atomically(path, data)
    return len(data)


def _check(net: nn.Module, run: Run, shape: tuple[int, int, int], path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    for count in (1, 3):
        images = torch.randn(count, *shape, generator=generator)
        with torch.no_grad():
            expected = net(images).numpy()
        got = run(images.numpy())
        allowed = RTOL * float(np.abs(expected).max())
        if got.shape != expected.shape:
            raise ExportFailed(f"{path} was not written: its logits are {got.shape}, the network's {expected.shape}")
        if not (difference := float(np.abs(got - expected).max())) <= allowed:
            raise ExportFailed(
                f"{path} was not written: its logits differ from the network's by {difference:.3g}, more than the "
                f"{allowed:.3g} that rounding explains; please report the network and the versions of torch and "
                "onnxruntime"
            )


def _write_pt2(net: nn.Module, images: torch.Tensor, facts: Mapping[str, Any], rewrite: Rewrite = None) -> bytes:
    assert rewrite is None
    program, file = torch.export.export(net, (images,), dynamic_shapes=_any_batch()), io.BytesIO()
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of whoever exported
    torch.export.save(program, file, extra_files={"bnonly.json": json.dumps(facts)})
    return file.getvalue()


def _read_pt2(data: bytes) -> Run:
    net = torch.export.load(io.BytesIO(data)).module()

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.no_grad():
            return net(torch.from_numpy(images)).numpy()

    return run


def _write_onnx(net: nn.Module, images: torch.Tensor, facts: Mapping[str, Any], rewrite: Rewrite = None) -> bytes:
    size = sum(tensor.numel() * tensor.element_size() for tensor in net.state_dict().values())
    if size > _LARGEST_ONNX:
        raise BadInput(f"{size / 1e9:.1f} GB of weights do not fit into one ONNX file (2.1 GB): write a .pt2")
    program = torch.onnx.export(
        net, (images,), input_names=["images"], output_names=["logits"], opset_version=OPSET, dynamo=True,
        verbose=False, dynamic_shapes=_any_batch(),
    )  # fmt: skip
    assert program is not None
    model = program.model_proto
    graph = model.graph
    # The exporter's notes: paths and lines of whoever exported.
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer, *graph.value_info):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    for key, value in facts.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value if isinstance(value, str) else json.dumps(value)
    if rewrite:
        rewrite(model)
    return model.SerializeToString()


def _read_onnx(data: bytes) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        (logits,) = session.run(["logits"], {"images": images})
        return np.asarray(logits)

    return run


def _any_batch() -> tuple[dict[int, Any]]:
    return ({0: torch.export.Dim("batch")},)


_WRITERS: dict[
    str, tuple[Callable[[nn.Module, torch.Tensor, Mapping[str, Any], Rewrite], bytes], Callable[[bytes], Run]]
] = {
    ".onnx": (_write_onnx, _read_onnx),
    ".pt2": (_write_pt2, _read_pt2),
}


@contextmanager
def _quiet(path: Path) -> Iterator[None]:
    """Without the exporters' chatter; what they raise becomes one sentence."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    except (BadInput, ExportFailed, OSError, MemoryError):
        raise
    except Exception as error:
        first = next(iter(str(error).splitlines()), "")
        raise ExportFailed(
            f"{path} was not written: the exporter gave up ({type(error).__name__}: {first})"
        ) from error
    finally:
        logging.disable(before)
