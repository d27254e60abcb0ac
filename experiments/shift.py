"""Does a network of random features become shift-stable when only gamma and beta can learn?

    bnonly experiment run shift --preset cpu --set data.path=CIFAR10

The same networks with and without a low-pass filter before all subsampling (R. Zhang, ICML 2019), which adds no
parameter: bn, bn+output and all are trained, and every run is shown its test images at all shifts of up to four
pixels. shift.csv holds consistency and accuracy, right_by_shift.csv the right class's probability by shift. Objects
that stand at every place of a white ground show how far features, too, depend on the place (similarity.csv). What
training shifts its own images by (data.crop) is part of the answer, so the paper preset has runs without it.
"""

from __future__ import annotations

from experiments.grid import FIT, By, Experiment, Stage

_LOOK = Stage("experiments.shift_objects:look")

EXPERIMENT = Experiment(
    question="Does a network become shift-stable when only gamma and beta learn, and does anti-aliasing help it?",
    axes={
        "seed": By(smoke=[0], cpu=[0], paper=range(3)),
        "network.name": By(
            smoke=["cifar_resnet8"], cpu=["cifar_resnet14"], paper=["cifar_resnet14", "cifar_resnet56"]
        ),
        "group": By(smoke=["bn", "all"], cpu=["bn", "bn+output", "all"], paper=["bn", "bn+output", "all"]),
        "network.antialias": By(
            smoke=["none", "bin5"], cpu=["none", "tri3", "bin5"], paper=["none", "rect2", "tri3", "bin5"]
        ),
        "data.crop": By(smoke=[1], cpu=[4], paper=[4, 0]),
        "training.epochs": By(smoke=[2], cpu=[10], paper=[160]),
    },
    fields={"data.source": "cifar10"},
    stages=By(
        smoke=(FIT, Stage("shift", {"most": 2}), _LOOK),
        cpu=(FIT, Stage("shift", {"most": 4, "images": 2000}), _LOOK),
        paper=(FIT, Stage("shift", {"most": 4}), _LOOK),
    ),
    shares=("depth", "groups"),
    drawing="shift",
    figures=(),
    expect=(
        "Trained whole, networks gain from the filter: on ImageNet ResNet-18 goes from 85.1 to 88.3 % consistency "
        "with bin5, and 1.6 points up in accuracy [V]. Of bn alone nothing is known. Random filters alias as trained "
        "ones do, so the filter should help them too; being less accurate they should also be less consistent."
    ),
)
