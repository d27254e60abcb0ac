"""`python -m experiments.yardstick.side`: one side, in a process of its own. The first line it reads says which."""

from __future__ import annotations

import sys
import traceback

from bnonly.config import RunConfig
from bnonly.errors import BnonlyError
from experiments.yardstick.pace import asked, speak


def main() -> int:
    speak()
    order = asked()
    try:
        _work(order["side"], RunConfig.model_validate(order["config"]), order["precisions"])
    except BnonlyError as error:
        said = str(error)
    except Exception as error:
        traceback.print_exc()
        first = next(iter(str(error).strip().splitlines()), "")
        said = f"{type(error).__name__}: {first}"
    else:
        said = "it had nothing more to do"
    print(f"bnonly: {said}", file=sys.stderr)  # the last line is the reason
    return 1


def _work(name: str, config: RunConfig, precisions: list[str]) -> None:
    """Until nobody asks any more, which ends the process."""
    import torch

    from bnonly.training.environment import pick_device
    from experiments.yardstick.sides import MACHINE, side

    if config.training.threads:
        torch.set_num_threads(config.training.threads)
    device = pick_device(config.training.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if name == MACHINE:
        from experiments.yardstick.machine import work

        work(precisions, device)
    elif (chosen := side(name)).ours:
        from experiments.yardstick.ours import work

        work(config, device)
    else:
        from experiments.yardstick.plain import work

        work(config, chosen, device)


if __name__ == "__main__":
    sys.exit(main())
