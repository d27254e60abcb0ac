"""Which channels a point chooses, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from bnonly.errors import BadInput
from bnonly.measure.points import Point, chosen, points

GAMMAS = [np.float32([0.5, -0.1, 0.0, 0.1]), np.float32([-0.5, 0.3, 0.1, 0.2, 2.0, -0.3])]


def places(point, gammas=GAMMAS):
    return np.flatnonzero(chosen(gammas, point)).tolist()


def test_a_threshold_is_strict_and_in_gammas_own_precision():
    assert places(Point("below", 0.0)) == []
    assert places(Point("below", 0.1)) == [2]
    assert places(Point("below", np.nextafter(np.float32(0.1), np.float32(1)))) == [1, 2, 3, 6]
    assert places(Point("below", 0.1), [gamma.astype(np.float64) for gamma in GAMMAS]) == [2]


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        (Point("smallest", 0.3), [1, 2, 3]),  # of three that are 0.1 the first two
        (Point("smallest", 0.4), [1, 2, 3, 6]),
        (Point("largest", 0.2), [0, 8]),  # 0.5 comes before -0.5
        (Point("largest", 0.3), [0, 4, 8]),
        (Point("smallest", 0.5, "layer"), [1, 2, 5, 6, 7]),
        (Point("largest", 0.5, "layer"), [0, 1, 4, 5, 8]),
        (Point("smallest", 0.0), []),
        (Point("largest", 1.0), list(range(10))),
        (Point("smallest", 0.1, "layer"), [6]),  # of 4 channels 0.4, so none
    ],
    ids=str,
)
def test_shares_take_exact_counts_and_ties_go_by_position(point, expected):
    assert places(point) == sorted(expected)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.29, 0.5, 0.999, 1.0])
def test_every_way_takes_the_same_number_in_a_network_and_in_each_layer(share):
    gammas = [np.linspace(-1, 1, n, dtype=np.float32) for n in (100, 32, 7)]
    for point in points([], [share], [share], [share], per_layer=True, repeats=2):
        taken = chosen(gammas, point)
        if point.scope == "network":
            assert taken.sum() == round(share * 139)
        else:
            parts = np.split(taken, [100, 132])
            assert [part.sum() for part in parts] == [round(share * n) for n in (100, 32, 7)]


def test_random_channels_are_their_seeds_alone_and_nested():
    gammas = [np.zeros(300, np.float32), np.zeros(300, np.float32)]
    for scope in ("network", "layer"):
        small, large, other = (
            chosen(gammas, Point("random", *rest)) for rest in ((0.2, scope, 5), (0.4, scope, 5), (0.4, scope, 6))
        )
        assert (small <= large).all() and small.sum() < large.sum()
        assert 0.2 < (large & other).sum() / large.sum() < 0.6  # 0.4 if they are independent
        assert (large == chosen(gammas, Point("random", 0.4, scope, 5))).all()
    first, second = np.split(chosen(gammas, Point("random", 0.5, "layer", 5)), 2)
    assert 0.3 < (first & second).sum() / 150 < 0.7  # each layer has an order of its own


def test_a_request_names_each_point_once():
    found = points([0.1, 0.1], [0.5], [], [0.5], per_layer=True, repeats=2, seed=3)
    assert found == (
        Point("below", 0.1),
        Point("smallest", 0.5),
        Point("random", 0.5, "network", 3),
        Point("random", 0.5, "network", 4),
        Point("smallest", 0.5, "layer"),
        Point("random", 0.5, "layer", 3),
        Point("random", 0.5, "layer", 4),
    )


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({"thresholds": [-0.1]}, "at least 0"),
        ({"thresholds": [float("nan")]}, "at least 0"),
        ({"thresholds": [float("inf")]}, "at least 0"),
        ({"smallest": [1.5]}, "from 0 to 1"),
        ({"random": [-0.5]}, "from 0 to 1"),
        ({"largest": [float("nan")]}, "from 0 to 1"),
        ({"thresholds": []}, "nothing to clamp"),
        ({"random": [0.1], "repeats": 0}, "repeats"),
        ({"random": [0.1], "seed": -1}, "seed"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(request_, says):
    with pytest.raises(BadInput, match=says):
        points(**request_)
