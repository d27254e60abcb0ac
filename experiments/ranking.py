"""Of trials that are judged on held-out images: which are the best."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.grid import Trial


def ranked(trials: Sequence[Trial]) -> list[Trial] | None:
    """The trials by accuracy, the best first, equals as they came; those given up are left out. None while one is
    neither done nor given up."""
    scored: list[tuple[float, Trial]] = []
    for trial in trials:
        if (result := trial.folder.result()) is not None:
            scored.append((result["test"]["top1"], trial))
        elif not trial.folder.given_up:
            return None
    return [trial for _, trial in sorted(scored, key=lambda one: -one[0])]
