"""Style transfer: its terms against numpy's, statistics of known distributions, and `bnonly stylize`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.autograd import gradcheck

from bnonly.cli import main
from bnonly.data.colours import IMAGENET_MEAN, IMAGENET_STD
from bnonly.errors import BadInput, TrainingFailed
from bnonly.features import Structure, extractor
from bnonly.features.statistics import entropy, statistics
from bnonly.features.style import How, Objective, normalised, transfer

LAYERS = ("relu1_1", "relu2_1", "relu3_1")


@pytest.fixture
def net():
    return extractor(Structure((1, 1, 1), width=3), 5).double()


def picture(size, seed=0):
    return torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def maps(net, x):
    """Features by hand, as numpy arrays [C, positions]."""
    mean, std = (torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    found, y = {}, (x - mean) / std
    for name in net.order:
        y = net.get_submodule(name)(y)
        if name in LAYERS:
            found[name] = y[0].flatten(1).numpy()
    return found


def grams(values):
    return np.einsum("ci,di->cd", values, values) / values.size


@pytest.mark.parametrize("smooth", ["none", "softmax", "alpha"])
def test_terms_as_swag_writes_them(net, smooth):
    c, s, x = picture((8, 8), 1), picture((9, 7), 2), picture((8, 8), 3)
    how = How(smooth=smooth, temperature=0.5, alpha=0.1, relative=False)
    content, style = Objective(net, c, s, how)(x)
    smoothing = {
        "none": lambda v, name: v,
        "softmax": lambda v, name: np.exp(v / 0.5) / np.exp(v / 0.5).sum(),
        "alpha": lambda v, name: v * (0.1 if name == "relu3_1" else 1),
    }[smooth]
    own, theirs, mine = ({n: smoothing(v, n) for n, v in maps(net, each).items()} for each in (c, s, x))
    assert content.item() == pytest.approx(((mine["relu2_1"] - own["relu2_1"]) ** 2).sum() / 2, rel=1e-10)
    expected = sum(((grams(mine[n]) - grams(theirs[n])) ** 2).sum() / 4 for n in LAYERS)
    assert style.item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("smooth", ["none", "softmax"])
def test_relative_terms(net, smooth):
    c, s, x = picture((8, 8), 1), picture((9, 7), 2), picture((8, 8), 3)
    how = How(smooth=smooth, content="relu1_1")
    objective = Objective(net, c, s, how)
    content, style = objective(x)
    soft = (lambda v: np.exp(v) / np.exp(v).sum()) if smooth == "softmax" else (lambda v: v)
    own, theirs, mine = ({n: soft(v) for n, v in maps(net, each).items()} for each in (c, s, x))
    variance = own["relu1_1"].var(1).mean()
    assert content.item() == pytest.approx(((mine["relu1_1"] - own["relu1_1"]) ** 2).mean() / variance, rel=1e-9)
    shares = [((grams(mine[n]) - (g := grams(theirs[n]))) ** 2).sum() / (g**2).sum() for n in LAYERS]
    assert style.item() == pytest.approx(np.mean(shares), rel=1e-9)
    assert objective.total(x).item() == pytest.approx(content.item() + 10 * style.item())
    assert objective(c)[0] == 0


def test_alpha_is_a_weight_of_its_fourth_power(net):
    c, s, x = picture((8, 8), 1), picture((8, 8), 2), picture((8, 8), 3)
    plain = [float(Objective(net, c, s, How((name,), "relu1_1"))(x)[1]) for name in LAYERS]
    scaled = float(Objective(net, c, s, How(smooth="alpha", alpha=0.5, content="relu1_1"))(x)[1])
    assert scaled == pytest.approx((plain[0] + plain[1] + plain[2] / 16) / 3)


@pytest.mark.parametrize("how", [How(), How(smooth="softmax"), How(smooth="softmax", relative=False)])
def test_gradients_are_finite_differences(net, how):
    objective = Objective(net, picture((4, 4), 1), picture((4, 4), 2), how)
    scale = 1 / float(objective.total(picture((4, 4), 3)))
    assert gradcheck(lambda x: scale * objective.total(x), (picture((4, 4), 3).requires_grad_(),))


def test_painting_comes_nearer_and_repeats(net):
    c, s = picture((10, 12), 1), picture((9, 9), 2)
    painted, losses = transfer(net, c, s, steps=25, quiet=True)
    again, _ = transfer(net, c, s, steps=25, quiet=True)
    assert painted.shape == c.shape and painted.min() >= 0 and painted.max() <= 1
    assert losses[-1] < 0.7 * losses[0] and len(losses) == 4 and torch.equal(painted, again)
    same, (loss,) = transfer(net, c, s, steps=0, quiet=True)
    assert torch.equal(same, c) and loss == pytest.approx(losses[0])
    assert all(p.grad is None for p in net.parameters())


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda net, x: How(smooth="blur"), "smooth 'blur' is unknown"),
        (lambda net, x: How(temperature=0), "temperature 0 is impossible"),
        (lambda net, x: How(alpha=float("nan")), "alpha nan is impossible"),
        (lambda net, x: How(style=-1), "style -1 is impossible"),
        (lambda net, x: Objective(net, x, x, How(("relu9_1",))), "layer 'relu9_1' of PlainVGG is unknown"),
        (lambda net, x: Objective(net, x, x, How(content="relu7")), "layer 'relu7' of PlainVGG is unknown"),
        (lambda net, x: Objective(net, x[:, :, :1, :1], x, How()), "the same everywhere"),
        (lambda net, x: transfer(net, x, x, steps=-1), "-1 steps are impossible"),
        (lambda net, x: transfer(net, x[:, :1], x), r"the content \[1, 1, 8, 8\] is no picture"),
    ],
)
def test_impossible_wishes(net, ask, says):
    with pytest.raises(BadInput, match=says):
        ask(net, picture((8, 8)))


def test_a_loss_that_is_no_number_is_said(net):
    class Overflowing(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Identity(), nn.Identity()

        def forward(self, x):
            return self.two(self.one(x) * 1e200)

    with pytest.raises(TrainingFailed, match="no number"):
        transfer(
            Overflowing(), picture((4, 4)), picture((4, 4), 1), How(("one", "two"), relative=False), 5, quiet=True
        )


def test_entropies_of_known_distributions():
    for values, expected in (
        (np.ones(16), 1),
        (np.eye(16)[3], 0),
        (np.zeros(16), 0),
        (np.r_[np.ones(4), np.zeros(12)], 0.5),
        (-np.ones(16) * 1e300, 1),
        (np.array([3.0]), 0),
    ):
        assert entropy(torch.from_numpy(values)[None]).item() == pytest.approx(expected, abs=1e-12)
    p = np.random.default_rng(0).dirichlet(np.ones(20))
    assert entropy(torch.from_numpy(7 * p)[None]).item() == pytest.approx(-(p * np.log(p)).sum() / np.log(20))


def test_statistics_are_numpys(net):
    x = picture((8, 8), 4)
    for temperature in (None, 2.0):
        rows = statistics(net, LAYERS, normalised(x), temperature)
        for row, values in zip(rows, maps(net, x).values(), strict=True):
            if temperature:
                values = np.exp(values / temperature) / np.exp(values / temperature).sum()
            g = grams(values)
            assert (row["channels"], row["positions"]) == values.shape
            assert row["max"] == pytest.approx(values.max()) and row["gram_max"] == pytest.approx(g.max())
            for name, each in (("entropy", values), ("gram_entropy", g)):
                p = each[each > 0] / each.sum()
                assert row[name] == pytest.approx(-(p * np.log(p)).sum() / np.log(each.size))


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    for name, shape in (("a.png", (24, 30)), ("b.jpg", (20, 20))):
        Image.fromarray(draw.integers(0, 256, (*shape, 3), dtype=np.uint8)).save(tmp_path / name)
    (tmp_path / "text.png").write_text("no picture")
    return tmp_path


STYLIZE = ["stylize", "a.png", "b.jpg", "--size", "64", "--steps", "2", "--device", "cpu"]


@pytest.mark.parametrize(
    "flags",
    [
        ["--network", "vgg11", "--smooth"],
        ["--network", "resnet18", "--no-residual", "--settle", "--layers", "layer1", "layer2", "--alpha", "0.1"],
    ],
)
def test_stylize_writes_a_picture(flags, pictures, capsys):
    for out in ("one.png", "two.png", "other.png"):
        seed = ["--seed", "1"] if out == "other.png" else []
        assert main([*STYLIZE, *flags, *seed, "-o", out]) == 0
        assert capsys.readouterr().out == f"{out}\n"
    with Image.open("one.png") as picture:
        assert picture.size == (64, 51) and picture.mode == "RGB"
    one, two, other = ((pictures / name).read_bytes() for name in ("one.png", "two.png", "other.png"))
    assert one == two != other
    assert {path.name for path in pictures.iterdir()} == {
        "a.png",
        "b.jpg",
        "text.png",
        "one.png",
        "two.png",
        "other.png",
    }


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["-o", "out.gif"], "let it end in .png"),
        (["-o", "out.png", "--size", "8"], "--size 8 is impossible: give 16 to 4096"),
        (["-o", "out.png", "--smooth", "--alpha", "1"], "give one of them"),
        (["-o", "out.png", "--network", "vgg18"], "network 'vgg18' is unknown; did you mean"),
        (["-o", "out.png", "--network", "vgg11", "--no-residual"], "no residual connections"),
        (["-o", "out.png", "--network", "vgg11", "--layers", "relu1_7"], "layer 'relu1_7' of PlainVGG is unknown"),
        (["-o", "out.png", "--network", "resnet18", "--settle", "--size", "20"], "no variance: take larger ones"),
        (["-o", "out.png", "--seed", "-1"], "seed -1 is out of range"),
        (["-o", "out.png", "--steps", "-1"], "-1 steps are impossible"),
        (["-o", "out.png", "--smoth"], "did you mean --smooth"),
        ([], "-o/--out"),
    ],
)
def test_bad_wishes_are_one_sentence_and_leave_nothing(argv, says, pictures, capsys):
    before = sorted(pictures.iterdir())
    assert main([*STYLIZE, *argv]) == 2
    said = capsys.readouterr()
    assert says in said.err.splitlines()[-1] and "Traceback" not in said.err and not said.out
    assert sorted(pictures.iterdir()) == before


@pytest.mark.parametrize(("content", "says"), [("text.png", "cannot be read as an image"), ("c.png", "is no file")])
def test_bad_pictures_are_one_sentence(content, says, pictures, capsys):
    assert main(["stylize", content, "b.jpg", "-o", "out.png"]) == 2
    assert says in capsys.readouterr().err and not (pictures / "out.png").exists()
