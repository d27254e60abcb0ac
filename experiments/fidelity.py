"""What do the fast ways of computing cost: accuracy, sparsity, nothing?

    bnonly experiment run fidelity --preset cpu --set data.path=CIFAR10

The same runs three times: as the paper's code computes, by the fused engine in float32, and by `speed: fast`, which
is the fused engine in bfloat16. Bits differ from the first step on, so two runs of a seed drift apart like two seeds;
what counts is whether the mean over seeds moves.
"""

from __future__ import annotations

from experiments.grid import By, Experiment

MODES = {
    "paper": ("fp32", "contiguous", "modules"),
    "fused": ("fp32", "channels_last", "fused"),
    "fast": ("bf16", "channels_last", "fused"),
}
"""precision, memory format and engine by name; `paper` and `fast` as `speed` expands them."""

EXPERIMENT = Experiment(
    question="Does a fast way of computing move accuracy, or the share of |gamma| near zero?",
    axes={
        "seed": By(smoke=range(3), cpu=range(3), paper=range(5)),
        "network.name": By(
            smoke=["cifar_resnet8_w8"], cpu=["cifar_resnet14"], paper=["cifar_resnet14", "cifar_resnet56"]
        ),
        "training.precision, training.memory_format, training.engine": list(MODES.values()),
        "training.epochs": By(smoke=[2], cpu=[10], paper=[160]),
    },
    fields={"data.source": "cifar10", "group": "bn"},
    shares=("depth",),
    drawing="experiments.fidelity_tables:files",
    figures=(),
    expect="No difference of means beyond the standard error of a mean over seeds, in accuracy or in sparsity.",
)
