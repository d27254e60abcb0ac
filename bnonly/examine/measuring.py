"""measures.json: gamma and beta, zeros of ReLUs, dead and effective channels, in one pass over the images.

measures.safetensors beside it has the values of every channel.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnonly.errors import BadInput
from bnonly.examine.places import output
from bnonly.examine.subject import Subject, of_run
from bnonly.files import read_object, write_object, write_safetensors
from bnonly.measure.levels import SHARES, THRESHOLDS
from bnonly.runs import RunFolder

if TYPE_CHECKING:
    import numpy as np

NAME, ARRAYS = "measures.json", ".safetensors"
VERSION = 2  # 1 had no zero_outputs


def measure(
    what: RunFolder | Subject,
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    shares: Sequence[float] = SHARES,
    out: Path | None = None,
    force: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Measure a network on its evaluation images; see docs/measures.md for what each number is.

    thresholds: on |gamma|. shares: of the images, for ReLUs that are mostly off. The results are written to
    measures.json and measures.safetensors in the run's folder; those of a file to `out`, if given, and beside it.
    Where they are already, of the same network, images and precision, nothing is done, unless force. quiet: no bar.
    Raises BadInput for what cannot be asked for.
    """
    who = of_run(what) if isinstance(what, RunFolder) else what
    if not all(0 <= bound < math.inf for bound in thresholds) or not all(0 < share <= 1 for share in shares):
        raise BadInput("thresholds on |gamma| are at least 0, and shares of the images above 0 and at most 1")
    path = output(who, out, NAME, ARRAYS)
    old = None if force or path is None else read_object(path)
    if path is not None and who.run is not None and old is not None and who.answers(old, VERSION):
        asked = old.get("thresholds") == list(thresholds) and old.get("shares") == list(shares)
        if asked and path.with_suffix(ARRAYS).exists():
            return old
    facts, arrays = _measured(who, thresholds, shares, quiet)
    if path is not None:
        write_safetensors(path.with_suffix(ARRAYS), arrays, {"run": who.run, "net_sha256": who.net_sha256})
        write_object(path, facts, allow_nan=False)
    return facts


def _measured(
    who: Subject, thresholds: Sequence[float], shares: Sequence[float], quiet: bool
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    from bnonly.measure.accuracy import evaluate
    from bnonly.measure.activations import Activations, dead_channels, effective_channels, relu_zeros
    from bnonly.measure.gamma import betas, distribution, gammas
    from bnonly.progress import track
    from bnonly.training.environment import exact_kernels

    began, opened = time.monotonic(), who.open()
    net, test = opened.net, opened.batches
    batches = track(test.in_order(), test.steps, f"measuring on {test.images:,} images", quiet=quiet)
    with exact_kernels(), Activations(net) as seen:
        score = evaluate(net, batches, who.precision)
    relus, norms = seen.relus(), seen.norms()
    facts = {
        **who.facts(opened, began, VERSION),
        "images": test.images,
        "thresholds": list(thresholds),
        "shares": list(shares),
        "score": {
            "top1": score.top1,
            "top5": score.top5,
            "loss": score.loss if math.isfinite(score.loss) else None,
        },
        "gamma": distribution(gammas(net), thresholds),
        "beta": distribution(betas(net)),
        "relu": relu_zeros(relus, shares),
        "dead": dead_channels(norms),
        "effective": effective_channels(norms),
    }
    arrays = {f"gamma/{name}": value.cpu().numpy() for name, value in gammas(net).items()}
    arrays |= {f"beta/{name}": value.cpu().numpy() for name, value in betas(net).items()}
    arrays |= {f"output_{key}/{name}": value for name, found in norms.items() for key, value in found.items()}
    arrays |= {f"relu_{key}/{name}": value for name, found in relus.items() for key, value in found.items()}
    return facts, arrays
