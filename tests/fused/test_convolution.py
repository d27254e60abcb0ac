"""Winograd's convolutions against float64, and their rounding beside torch's own float32."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

import bnonly
from bnonly.errors import BadInput
from bnonly.fused import convolution
from bnonly.fused.convolution import available, forward, input_gradient, prepare, prepared_for, suits
from bnonly.fused.functions import conv_norm
from bnonly.fused.native import kernels

pytestmark = pytest.mark.skipif(kernels() is None, reason="no compiler here")

LAST = torch.channels_last
# images, channels, filters, height, width: tiles cut short at the edges, fewer than a block, several blocks, a
# picture wider than a block.
SHAPES = [
    (1, 8, 8, 1, 1),
    (1, 16, 16, 4, 4),
    (2, 16, 16, 32, 32),
    (3, 16, 24, 7, 9),
    (5, 32, 16, 5, 2),
    (1, 24, 40, 13, 6),
    (7, 64, 64, 8, 8),
    (1, 8, 16, 3, 131),
    (2, 8, 8, 130, 1),
    (1, 128, 72, 14, 14),
]
# The largest error a result may have, over the results' standard deviation.
LARGEST = {2: 5e-6, 4: 4e-5}


@pytest.fixture(params=[2, 4], ids=["tile 2", "tile 4"])
def tile(request):
    return request.param


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def drawn(images: int, channels: int, filters: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(channels + width)
    weight = torch.randn(filters, channels, 3, 3) * (2 / channels / 9) ** 0.5
    return torch.randn(images, channels, height, width).relu_().contiguous(memory_format=LAST), weight


def exact(x: Tensor, weight: Tensor) -> Tensor:
    return conv2d(x.double(), weight.double(), padding=1)


def largest(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).abs().max() / wanted.std())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_float64(shape, tile):
    x, weight = drawn(*shape)
    y = forward(prepare(weight, tile), x)
    wanted = exact(x, weight)
    assert y.shape == wanted.shape and y.dtype == torch.float32 and y.is_contiguous(memory_format=LAST)
    assert largest(y, wanted) < LARGEST[tile]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_input_gradient_equals_autograd_in_float64(shape, tile):
    x, weight = drawn(*shape)
    whole = x.double().requires_grad_()
    gradient = torch.randn_like(exact(x, weight)).float()
    (wanted,) = torch.autograd.grad(conv2d(whole, weight.double(), padding=1), whole, gradient.double())
    found = input_gradient(prepare(weight, tile), gradient)  # which lies channels first
    assert found.shape == x.shape and largest(found, wanted) < LARGEST[tile]


@pytest.mark.parametrize("relu", [True, False], ids=["relu", "linear"])
@pytest.mark.parametrize("shape", SHAPES[2:6], ids=str)
def test_scaled_as_it_is_read_and_summed_as_it_is_written(shape, relu, tile):
    x, weight = drawn(*shape)
    scale, shift = torch.randn(2, shape[1])
    sums = torch.full((2, shape[2]), torch.nan, dtype=torch.float64)
    y = forward(prepare(weight, tile), x, scale=scale, shift=shift, relu=relu, sums=sums)
    z = x.double() * scale[:, None, None] + shift[:, None, None]
    wanted = exact(z.relu() if relu else z, weight)  # the border is zero behind the ReLU, not before it
    assert largest(y, wanted) < 2 * LARGEST[tile]
    squares = y.double().square().sum((0, 2, 3))
    torch.testing.assert_close(sums[0], y.double().sum((0, 2, 3)), rtol=0, atol=1e-5 * float(squares.max()) ** 0.5)
    torch.testing.assert_close(sums[1], squares, rtol=1e-6, atol=0)


def halved(values: Tensor) -> Tensor:
    return values.bfloat16().float()


def assert_rounded_once(found: Tensor, wanted: Tensor, tile: int) -> None:
    """found: bfloat16, wanted: float64; half a unit in the last place apart, and what the sums may be."""
    assert found.dtype == torch.bfloat16
    most = wanted.abs() * 2.0**-8 + LARGEST[tile] * wanted.std()
    assert ((found.double() - wanted).abs() <= most).all()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_bfloat16_is_rounded_once(shape, tile):
    x, weight = drawn(*shape)
    ready = prepare(weight, tile, torch.bfloat16)
    wanted = exact(halved(x), halved(weight))
    sums = torch.empty(2, shape[2], dtype=torch.float64)
    found = forward(ready, x.bfloat16(), sums=sums)
    assert_rounded_once(found, wanted, tile)
    own = found.double().transpose(0, 1).flatten(1)
    torch.testing.assert_close(sums, torch.stack([own.sum(1), own.square().sum(1)]), rtol=1e-5, atol=1e-3)
    gradient = torch.randn(wanted.shape)
    back = conv2d(halved(gradient).double(), halved(weight).double().flip(2, 3).transpose(0, 1), padding=1)
    assert_rounded_once(input_gradient(ready, gradient.bfloat16()), back, tile)


def test_bfloat16_is_scaled_in_float32(tile):
    x, weight = drawn(2, 16, 16, 9, 7)
    scale, shift = torch.rand(16) - 0.5, torch.rand(16) - 0.5
    z = (halved(x).double() * scale.double().view(-1, 1, 1) + shift.double().view(-1, 1, 1)).relu()
    found = forward(prepare(weight, tile, torch.bfloat16), x.bfloat16(), scale=scale, shift=shift, relu=True)
    assert_rounded_once(found, exact(z, halved(weight)), tile)


@pytest.mark.parametrize("units", [True, False])
def test_bfloat16_is_ours_whatever_the_processor(units, monkeypatch):
    conv = nn.Conv2d(16, 16, 3, padding=1, bias=False).requires_grad_(False)
    x, _ = drawn(1, 16, 16, 6, 6)
    monkeypatch.setattr(convolution, "has_bfloat16", lambda: units)
    with torch.autocast("cpu", torch.bfloat16):
        ready = prepared_for(conv, x)
        assert ready is not None and ready.stored == torch.bfloat16 and prepared_for(conv, x) is ready
        assert torch.equal(ready.weight, halved(conv.weight))
        with torch.no_grad():
            conv.weight.mul_(2)
        again = prepared_for(conv, x)
        assert again is not None and torch.equal(again.weight, halved(conv.weight))
    full = prepared_for(conv, x)
    assert full is not None and full.stored == torch.float32
    with torch.autocast("cpu", torch.float16):
        assert prepared_for(conv, x) is None


@pytest.mark.parametrize(("channels", "size"), [(16, 32), (32, 16), (64, 8)])
def test_rounding_beside_torchs_own(channels, size):
    x, weight = drawn(8, channels, channels, size, size)
    wanted = exact(x, weight)
    plain = (conv2d(x, weight.contiguous(memory_format=LAST), padding=1) - wanted).square().mean().sqrt()
    for tile, times in ((2, 2), (4, 6)):
        assert (forward(prepare(weight, tile), x) - wanted).square().mean().sqrt() < times * plain


def test_the_number_of_threads_changes_nothing(threads):
    x, weight = drawn(40, 16, 16, 15, 17)
    found = []
    for count in (1, 2, 5):
        threads(count)
        sums = torch.empty(2, 16, dtype=torch.float64)
        found.append((forward(prepare(weight), x, sums=sums), sums))
    for y, sums in found[1:]:
        assert torch.equal(y, found[0][0]) and torch.equal(sums, found[0][1])


def test_what_is_no_number_stays_none(tile):
    x, weight = drawn(2, 16, 16, 12, 12)
    x[1, 3, 5, 5] = torch.nan
    y = forward(prepare(weight, tile), x, scale=torch.ones(16), shift=torch.zeros(16), relu=True)
    assert y[1, :, 4:7, 4:7].isnan().all() and not y[0].isnan().any()


def test_no_images_no_results():
    assert forward(prepare(torch.randn(16, 8, 3, 3)), torch.empty(0, 8, 4, 4)).shape == (0, 16, 4, 4)


def test_a_weight_is_prepared_as_it_was():
    x, weight = drawn(1, 8, 8, 4, 4)
    ready, wanted = prepare(weight), exact(x, weight)
    weight.zero_()
    assert largest(forward(ready, x), wanted) < LARGEST[4]


def test_which_modules_suit():
    assert available()
    assert suits(nn.Conv2d(16, 32, 3, padding=1, bias=False)) and suits(
        nn.Conv2d(8, 8, 3, padding="same", bias=False)
    )
    others = [
        nn.Conv2d(16, 16, 3, padding=1),
        nn.Conv2d(16, 16, 3, bias=False),
        nn.Conv2d(16, 16, 3, stride=2, padding=1, bias=False),
        nn.Conv2d(16, 16, 3, padding=1, bias=False, groups=2),
        nn.Conv2d(16, 16, 3, padding=1, bias=False, padding_mode="reflect"),
        nn.Conv2d(16, 16, 1, bias=False),
        nn.Conv2d(3, 16, 3, padding=1, bias=False),
        nn.Conv2d(8, 520, 3, padding=1, bias=False),
        nn.Conv2d(16, 16, 3, padding=1, bias=False, dtype=torch.float64),
    ]
    assert not any(map(suits, others))


def test_a_modules_weight_is_prepared_once_until_it_changes():
    conv = nn.Conv2d(16, 16, 3, padding=1, bias=False).requires_grad_(False)
    x, _ = drawn(1, 16, 16, 6, 6)
    ready = prepared_for(conv, x)
    assert ready is not None and prepared_for(conv, x) is ready
    with torch.inference_mode():
        assert prepared_for(conv, x) is ready
    with torch.no_grad():
        conv.weight.mul_(2)
    again = prepared_for(conv, x)
    assert again is not None and largest(forward(again, x), exact(x, conv.weight)) < LARGEST[4]
    for other in (x.double(), x[:0], x[:, :, :2]):
        assert prepared_for(conv, other) is None
    assert prepared_for(conv.requires_grad_(), x) is again


def scalars(count, channels=16):
    """A convolution of which `count` scalars a channel train."""
    net = nn.Sequential(nn.Conv2d(channels, 2 * channels, 3, padding=1, bias=False))
    bnonly.freeze_all_but(net, f"random:{count}", seed=5)
    return net[0]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["first", "last"])
def test_of_scalars_that_train_only_their_filters_are_transformed_anew(layout):
    conv, x = scalars(2).to(memory_format=layout), drawn(1, 16, 16, 6, 6)[0]
    known = set()
    for _ in range(3):
        with torch.no_grad():
            conv.random_values.add_(1)
        conv.write_back()
        ready = prepared_for(conv, x)
        assert ready is not None
        known.add(id(ready))
        fresh = prepare(conv.weight)
        assert torch.equal(ready.ahead, fresh.ahead) and torch.equal(ready.back, fresh.back)
        assert torch.equal(ready.weight, fresh.weight)
    assert len(known) == 1  # changed in place


def test_scalars_change_after_an_evaluation_and_before_the_next():
    """As when running statistics are estimated for the mean of the last steps."""
    conv, x = scalars(2), drawn(1, 16, 16, 6, 6)[0]
    for place in (torch.inference_mode, torch.no_grad, torch.inference_mode):
        with place():
            conv.random_values.data.add_(1)
            conv.write_back()
            ready = prepared_for(conv, x)
            assert ready is not None and torch.equal(ready.ahead, prepare(conv.weight).ahead)


def test_scalars_are_not_taken_for_all_that_changed():
    conv, x = scalars(2), drawn(1, 16, 16, 6, 6)[0]
    conv.write_back()
    ready = prepared_for(conv, x)
    assert ready is not None and ready.ahead is not None
    for change in (
        lambda: conv.weight.detach().mul_(2),
        lambda: conv.load_state_dict({"weight": torch.ones_like(conv.weight)}),
        lambda: setattr(conv.weight, "data", torch.zeros_like(conv.weight)),
        lambda: bnonly.freeze_all_but(nn.Sequential(conv), "random:2", seed=6) and conv.weight.detach().add_(1),
    ):
        with torch.no_grad():
            change()
        conv.write_back()
        ready = prepared_for(conv, x)
        assert ready is not None and torch.equal(ready.ahead, prepare(conv.weight).ahead)


def test_many_scalars_are_transformed_as_a_whole():
    conv, x = scalars(9), drawn(1, 16, 16, 6, 6)[0]
    conv.write_back()
    before = prepared_for(conv, x)
    with torch.no_grad():
        conv.random_values.add_(1)
    conv.write_back()
    after = prepared_for(conv, x)
    assert after is not before and after is not None and torch.equal(after.ahead, prepare(conv.weight).ahead)


@pytest.mark.parametrize("fused", [False, True], ids=["plain", "fused"])
def test_a_weight_that_trains_is_prepared_anew_for_each_evaluation(fused):
    conv, norm = nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
    x, _ = drawn(2, 16, 16, 6, 6)
    optimiser = torch.optim.SGD(conv.parameters(), lr=0.1, momentum=0.9, fused=fused)
    for _ in range(3):
        with torch.inference_mode():
            wanted = norm.eval()(conv(x)).relu()
            torch.testing.assert_close(conv_norm(conv, norm, x), wanted, rtol=1e-4, atol=1e-4)
        conv_norm(conv, norm.train(), x).square().sum().backward()
        optimiser.step()


def test_a_step_by_it_equals_modules_in_float64():
    conv, norm = nn.Conv2d(16, 32, 3, padding=1, bias=False).requires_grad_(False), nn.BatchNorm2d(32)
    x, _ = drawn(4, 16, 32, 9, 10)
    gradient = torch.randn(4, 32, 9, 10)
    found = []
    for dtype in (torch.float64, torch.float32):
        conv, norm, image = conv.to(dtype), norm.to(dtype), x.to(dtype).requires_grad_()
        norm.reset_running_stats()
        assert (prepared_for(conv, image) is not None) == (dtype == torch.float32)
        out = norm(conv(image)).relu() if dtype == torch.float64 else conv_norm(conv, norm, image)
        norm.zero_grad()
        out.backward(gradient.to(dtype))
        assert norm.weight.grad is not None and norm.bias.grad is not None and image.grad is not None
        found.append(
            [out.detach(), image.grad, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var]
        )
    for wanted, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours.double(), wanted.double(), rtol=0, atol=3e-5 * float(wanted.abs().max()))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"x": torch.zeros(1, 8, 4, 4)}, r"x is torch.float32 \[1, 8, 4, 4\].*torch.float32 \[any, 16, any, any\]"),
        ({"x": torch.zeros(1, 16, 4, 4, dtype=torch.float64)}, "x is torch.float64"),
        ({"scale": torch.ones(16)}, "scale and shift go together"),
        ({"relu": True}, "relu needs both"),
        ({"scale": torch.ones(16), "shift": torch.ones(8)}, r"shift is .* \[8\]"),
        ({"sums": torch.zeros(2, 24)}, "sums is torch.float32"),
    ],
)
def test_other_tensors_are_refused(given, sentence):
    ready = prepare(torch.randn(24, 16, 3, 3))
    with pytest.raises(BadInput, match=sentence):
        forward(ready, **{"x": torch.zeros(1, 16, 4, 4), **given})


@pytest.mark.parametrize("shape", [(12, 16, 3, 3), (16, 16, 1, 1), (520, 8, 3, 3)])
def test_other_weights_are_refused(shape):
    with pytest.raises(BadInput, match="has no such kernel"):
        prepare(torch.randn(shape))


def test_without_a_kernel_it_says_so(monkeypatch):
    ready = prepare(torch.randn(8, 8, 3, 3))
    monkeypatch.setattr(convolution, "kernels", lambda: None)
    assert not available()
    with pytest.raises(BadInput, match="install a compiler"):
        forward(ready, torch.zeros(1, 8, 4, 4))
