"""What does weight decay on gamma and beta do to accuracy and to sparsity?

    bnonly experiment run weight_decay --preset cpu --set data.path=CIFAR10

The paper's recipe decays gamma and beta by 1e-4 as everything else. Nothing of its own is published on this.
"""

from __future__ import annotations

from experiments.grid import FIT, By, Experiment, Stage

EXPERIMENT = Experiment(
    question="How do accuracy and the share of |gamma| near zero depend on the weight decay, when bn trains?",
    axes={
        "seed": By(smoke=[0], cpu=[0], paper=range(5)),
        "network.name": By(
            smoke=["cifar_resnet8"],
            cpu=["cifar_resnet14"],
            paper=["cifar_resnet14", "cifar_resnet56", "cifar_resnet110", "cifar_resnet218"],
        ),
        "training.weight_decay": By(
            smoke=[0.0, 1e-4],
            cpu=[0.0, 1e-5, 1e-4, 5e-4, 1e-3],
            paper=[0.0, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3],
        ),
        "group": By(smoke=["bn"], cpu=["bn"], paper=["bn", "all"]),
    },
    fields={"data.source": "cifar10"},
    shares=("depth", "width"),
    stages=(FIT, Stage("measure")),
    figures=("accuracy_by_decay", "sparsity_by_depth", "gamma_histograms"),
    expect=(
        "Decay is what drives an unused gamma below any threshold, so sparsity rises with it; at 160 epochs it is "
        "expected to help deep networks by a few points, in few epochs hardly to matter."
    ),
)
