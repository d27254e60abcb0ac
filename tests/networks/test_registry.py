"""The paper's table of parameters, to the last integer, and the names that lead to it."""

from __future__ import annotations

import json
from itertools import islice

import pytest

from bnonly.cli import main
from bnonly.errors import BadInput
from bnonly.networks.registry import LISTED, parse
from bnonly.randomness.plan import plan

# Frankle, Schwab, Morcos (ICLR 2021), table 1: total, BatchNorm, output, shortcut. CIFAR rows as exact integers,
# ImageNet rows as printed there.
CIFAR = {
    "cifar_resnet14": (175_258, 1_120, 650, 2_560),
    "cifar_resnet32": (466_906, 2_464, 650, 2_560),
    "cifar_resnet56": (855_770, 4_256, 650, 2_560),
    "cifar_resnet110": (1_730_714, 8_288, 650, 2_560),
    "cifar_resnet218": (3_480_602, 16_352, 650, 2_560),
    "cifar_resnet434": (6_980_378, 32_480, 650, 2_560),
    "cifar_resnet866": (13_979_930, 64_736, 650, 2_560),
    "cifar_wrn14_1": (175_258, 1_120, 650, 2_560),
    "cifar_wrn14_2": (696_618, 2_240, 1_290, 10_240),
    "cifar_wrn14_4": (2_777_674, 4_480, 2_570, 40_960),
    "cifar_wrn14_8": (11_093_130, 8_960, 5_130, 163_840),
    "cifar_wrn14_16": (44_337_418, 17_920, 10_250, 655_360),
    "cifar_wrn14_32": (177_279_498, 35_840, 20_490, 2_621_440),
}
IMAGENET = {
    "resnet18": ("11.7M", "9.6K", "513K", "172K"),
    "resnet34": ("21.8M", "17.0K", "513K", "172K"),
    "resnet50": ("25.6M", "53.1K", "2.05M", "2.77M"),
    "resnet101": ("44.6M", "105K", "2.05M", "2.77M"),
    "resnet200": ("64.7M", "176K", "2.05M", "2.77M"),
}
SHARES = {  # percent, as printed
    "cifar_resnet14": (0.64, 0.37, 1.46),
    "cifar_resnet110": (0.48, 0.04, 0.15),
    "cifar_wrn14_8": (0.08, 0.05, 1.48),
    "resnet18": (0.08, 4.39, 1.47),
    "resnet50": (0.21, 8.02, 10.83),
    "resnet200": (0.27, 3.17, 4.28),
}


@pytest.fixture(scope="module")
def rows():
    import contextlib
    import io

    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main(["networks", "--json"]) == 0
    return {row["name"]: row for row in json.loads(out.getvalue())}


def columns(row):
    return tuple(row[key] for key in ("total", "bn", "output", "shortcut"))


@pytest.mark.parametrize("name", CIFAR)
def test_cifar_counts(rows, name):
    assert columns(rows[name]) == CIFAR[name]


@pytest.mark.parametrize("name", IMAGENET)
def test_imagenet_counts(rows, name):
    for count, printed in zip(columns(rows[name]), IMAGENET[name], strict=True):
        unit = {"K": 1e3, "M": 1e6}[printed[-1]]
        decimals = len(printed[:-1].partition(".")[2])
        if printed == "44.6M":
            decimals, printed = 0, "45M"  # 44,549,160 is 44.5M: the paper rounds it up
        assert round(count / unit, decimals) == float(printed[:-1])


@pytest.mark.parametrize("name", SHARES)
def test_shares(rows, name):
    shares = [round(100 * rows[name][key], 2) for key in ("bn_share", "output_share", "shortcut_share")]
    assert shares == pytest.approx(SHARES[name], abs=0.0051)


def test_any_depth_and_factor(capsys):
    assert main(["networks", "cifar_resnet20", "cifar_wrn20_3"]) == 0
    assert "cifar_wrn20_3" in capsys.readouterr().out


def test_a_narrow_network_is_one_of_its_width():
    narrow, wide = (
        [entry.shape for entry in parse(name).entries()] for name in ("cifar_resnet14_w32", "cifar_wrn14_2")
    )
    assert narrow == wide
    first = next(parse("cifar_resnet14_w4").entries())
    assert first.shape == (4, 3, 3, 3)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("cifar_resnet15", "not 6n\\+2: use for example 14 or 20"),
        ("cifar_resnet2", "not 6n\\+2"),
        ("cifar_wrn14_0", "at least 1"),
        ("cifar_resnet14_w0", "at least 1"),
        ("resnet19", "not among 18"),
        ("cifar_resnet-14", "did you mean cifar_resnet14"),
        ("transformer", "is unknown"),
    ],
)
def test_impossible_names(name, says):
    with pytest.raises(BadInput, match=says):
        parse(name)


@pytest.mark.parametrize("name", [*LISTED, "cifar_resnet8", "cifar_wrn20_3", "cifar_resnet14_w6"])
@pytest.mark.parametrize("classes", [None, 7])
def test_the_layout_says_what_the_modules_say(name, classes):
    architecture = parse(name)
    assert list(architecture.entries(classes)) == plan(architecture.build(classes))


def test_the_layout_of_a_giant_comes_entry_by_entry():
    assert len(list(islice(parse("cifar_wrn99998_999").entries(), 5))) == 5


def test_classes():
    assert parse("resnet18").build(7).fc.out_features == 7
    assert parse("resnet18").build().fc.out_features == 1000
