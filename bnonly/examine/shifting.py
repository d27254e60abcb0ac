"""shift.json: whether a network gives shifted images the same answer, exactly or from drawn pairs of shifts."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from bnonly.config import RunConfig
from bnonly.errors import BadInput
from bnonly.examine.places import output
from bnonly.examine.subject import Opened, Subject, of_run
from bnonly.files import read_object, write_object
from bnonly.measure.shifts import Border, Shifts
from bnonly.runs import RunFolder

if TYPE_CHECKING:
    from bnonly.data.batches import Loader

NAME = "shift.json"

_LARGE = 64  # pixels a side, above which pairs are drawn unless one asks for all
_EXAMPLES = 8


def asked(
    config: RunConfig,
    *,
    border: Border | None = None,
    most: int | None = None,
    pairs: int | None = None,
    seed: int = 0,
    images: int | None = None,
) -> dict[str, Any]:
    """A request in full, as it stands in shift.json. config: whose images they are.

    border, most: see `measure.shifts.Shifts`; unless given, crops 0 to 31 pixels into ImageNet's images (for 224 of
    256, as Zhang's code has them), and circular shifts by up to 4 pixels of others. pairs: 0 for every shift, else
    how many pairs are drawn for an image; unless given, 0 up to 64 pixels a side and 5 above. seed: of the drawn
    ones. images: so many of the test set, evenly spaced, as it may be sorted by class; None: all. Raises BadInput for
    what cannot be.
    """
    border = border or ("crop" if config.data.source == "imagenet" else "circular")
    pairs = pairs if pairs is not None else 5 if (config.data.size or 0) > _LARGE else 0
    if border == "crop" and config.data.source != "imagenet":
        raise BadInput("border crop is for ImageNet's folders, whose images are larger than what is shown of them")
    if most is None:
        # The last offset that would fit is never drawn there.
        most = max(0, (config.data.resize or 0) - (config.data.size or 0) - 1) if border == "crop" else 4
    Shifts(border, most, side=1)
    if pairs < 0 or (images is not None and images < 1):
        raise BadInput("pairs are at least 0, which is every shift, and images at least 1")
    wanted = {"border": border, "most": most, "pairs": pairs, "seed": seed if pairs else 0, "images": images}
    return wanted | ({} if images is None else {"evenly": True})  # once they were the first ones


def shift(
    what: RunFolder | Subject, *, out: Path | None = None, force: bool = False, quiet: bool = False, **request: Any
) -> dict[str, Any]:
    """Show a network its test images, shifted; request: as `asked` takes it. See docs/shift.md for what is found.

    The results are written to shift.json in the run's folder; those of a file to `out`, if given. Where they are
    already, of the same request, network, images and precision, nothing is done, unless force. quiet: no bar.
    Raises BadInput for what cannot be asked for.
    """
    who = of_run(what) if isinstance(what, RunFolder) else what
    wanted, path = asked(who.config, **request), output(who, out, NAME)
    old = None if force or path is None else read_object(path)
    if who.run is not None and old is not None and who.answers(old) and old.get("asked") == wanted:
        return old
    facts = _shifted(who, wanted, quiet)
    if path is not None:
        write_object(path, facts, allow_nan=False)
    return facts


def _shifted(who: Subject, wanted: dict[str, Any], quiet: bool) -> dict[str, Any]:
    from bnonly.measure.consistency import every_shift, random_pairs
    from bnonly.training.build import engaged
    from bnonly.training.environment import exact_kernels

    began, opened, data = time.monotonic(), who.open(), who.config.data
    net = engaged(opened.net, who.config)
    black = tuple(-mean / std for mean, std in zip(data.mean, data.std, strict=True))
    shifts = Shifts(wanted["border"], wanted["most"], data.size or 0, black)
    loader = _loader(who, opened, shifts.border, wanted["images"])
    batches, steps = loader.in_order, loader.steps
    with exact_kernels():
        if pairs := wanted["pairs"]:
            found = random_pairs(
                net, batches, shifts, pairs, wanted["seed"], who.precision, steps=steps, quiet=quiet
            ).plain()
        else:
            found = every_shift(
                net, batches, shifts, who.precision, steps=steps, examples=_EXAMPLES, quiet=quiet
            ).plain()
    return who.facts(opened, began) | {"asked": wanted} | found


def _loader(who: Subject, opened: Opened, border: Border, some: int | None) -> Loader:
    """The test images, or some of them, evenly spaced; for crops as large as they come: the whole square of which
    evaluation shows the middle.
    """
    import numpy as np

    from bnonly.training.build import evaluation_batches

    config, data, total = who.config, opened.data, len(opened.data.test)
    if some is not None and some < total:
        data = replace(data, test=data.test.take(np.arange(some) * total // some))
    if border == "crop":
        config = config.model_copy(update={"data": config.data.model_copy(update={"size": config.data.resize})})
    if config is who.config and data is opened.data:
        return opened.batches
    return evaluation_batches(config, data, opened.device)


BORDERS: tuple[str, ...] = get_args(Border)
