"""Localisation measures: equal to loops and to cases worked out by hand, and hard on heatmaps without relevance."""

import math

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlrp_nb.errors import InputError
from rlrp_nb.evaluation.localisation import mass_accuracy, pointing_game, rank_accuracy

MEASURES = (pointing_game, mass_accuracy, rank_accuracy)

# Few different values, so that equal ones are common.
heatmaps = arrays.arrays(np.float64, (2, 4, 5), elements=st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1.0, 3.0]))
masks = arrays.arrays(np.bool_, (2, 4, 5)).filter(lambda mask: mask.any((1, 2)).all())


def hit(heatmap, mask, tolerance):
    peak = heatmap.max()
    if peak <= 0:
        return False
    inside = np.argwhere(mask)
    return all(any(math.dist(pixel, other) <= tolerance for other in inside) for pixel in np.argwhere(heatmap == peak))


@given(heatmaps, masks, st.integers(0, 7))
def test_pointing_game_equals_a_loop(heatmap, mask, tolerance):
    found = pointing_game(torch.from_numpy(heatmap), torch.from_numpy(mask), tolerance=tolerance)
    assert found.dtype == torch.bool
    assert found.tolist() == [hit(heatmap[sample], mask[sample], tolerance) for sample in range(2)]


@given(heatmaps, masks)
def test_mass_accuracy_equals_a_loop(heatmap, mask):
    found = mass_accuracy(torch.from_numpy(heatmap), torch.from_numpy(mask))
    for sample in range(2):
        positive = [max(value, 0) for value in heatmap[sample].ravel()]
        inside = sum(value for value, true in zip(positive, mask[sample].ravel(), strict=True) if true)
        expected = inside / sum(positive) if sum(positive) else 0
        assert found[sample].item() == pytest.approx(expected, rel=1e-12)


@given(heatmaps, masks)
def test_rank_accuracy_is_the_mean_over_all_orders_of_equal_pixels(heatmap, mask):
    found = rank_accuracy(torch.from_numpy(heatmap), torch.from_numpy(mask))
    for sample in range(2):
        flat, inside = heatmap[sample].ravel(), mask[sample].ravel()
        size = int(inside.sum())
        expected, left = 0.0, size
        for value in sorted({value for value in flat if value > 0}, reverse=True):
            equal = flat == value
            taken = min(left, int(equal.sum()))
            expected += taken * (equal & inside).sum() / equal.sum()
            left -= taken
        assert found[sample].item() == pytest.approx(expected / size, rel=1e-12)


def test_cases_worked_out_by_hand():
    heatmap = torch.tensor([[[4.0, 3.0, 0.0], [2.0, 1.0, -6.0]]])
    mask = torch.tensor([[[True, False, False], [True, True, False]]])
    assert pointing_game(heatmap, mask).tolist() == [True]
    assert mass_accuracy(heatmap, mask).tolist() == [0.7]
    assert rank_accuracy(heatmap, mask).tolist() == [2 / 3]
    assert pointing_game(heatmap, ~mask).tolist() == [False]
    assert pointing_game(heatmap, ~mask, tolerance=1).tolist() == [True]


def test_tolerance_is_a_straight_line():
    heatmap, mask = torch.zeros(1, 12, 12), torch.zeros(1, 12, 12, dtype=torch.bool)
    heatmap[0, 3, 4], mask[0, 0, 0] = 1, True
    assert not pointing_game(heatmap, mask, tolerance=4)
    assert pointing_game(heatmap, mask, tolerance=5)
    assert pointing_game(heatmap, mask, tolerance=10**9)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("value", [0.0, -1.0])
def test_a_heatmap_without_positive_relevance_localises_nothing(measure, value):
    mask = torch.ones(1, 3, 3, dtype=torch.bool)
    assert measure(torch.full((1, 3, 3), value), mask).tolist() == [0]


def test_a_heatmap_that_is_the_same_everywhere_is_as_good_as_chance():
    heatmap, mask = torch.full((1, 4, 4), 0.1), torch.zeros(1, 4, 4, dtype=torch.bool)
    mask[0, 0, :3] = True
    assert pointing_game(heatmap, mask).tolist() == [False]
    assert mass_accuracy(heatmap, mask).item() == pytest.approx(3 / 16)
    assert rank_accuracy(heatmap, mask).item() == pytest.approx(3 / 16)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("scale", [1e-300, 1e-3, 1e300])
def test_no_measure_depends_on_the_scale(measure, scale):
    generator = torch.Generator().manual_seed(0)
    heatmap = torch.rand(3, 5, 6, generator=generator, dtype=torch.float64) - 0.3
    mask = torch.rand(3, 5, 6, generator=generator) < 0.4
    torch.testing.assert_close(measure(heatmap * scale, mask), measure(heatmap, mask))


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.int64])
def test_other_dtypes_and_the_inputs_untouched(measure, dtype):
    heatmap = torch.tensor([[[3, 1], [2, -5]]], dtype=dtype)
    mask = torch.tensor([[[True, False], [False, False]]])
    assert measure(heatmap, mask).tolist() == [0.5 if measure is mass_accuracy else 1]
    assert heatmap.tolist() == [[[3, 1], [2, -5]]]


@pytest.mark.parametrize("measure", MEASURES)
def test_bad_input_is_named(measure):
    heatmap, mask = torch.ones(2, 3, 4), torch.ones(2, 3, 4, dtype=torch.bool)
    broken, empty = heatmap.clone(), mask.clone()
    broken[1, 0, 0] = torch.nan
    empty[1] = False
    for arguments, words in (
        ((heatmap.numpy(), mask), "heatmaps is a ndarray"),
        ((heatmap, mask.numpy()), "masks is a ndarray"),
        ((None, mask), "heatmaps is a NoneType"),
        ((heatmap[0], mask[0]), r"heatmaps is torch.float32 \(3, 4\)"),
        ((heatmap[:0], mask[:0]), "not empty"),
        ((heatmap + 0j, mask), "heatmaps is torch.complex64"),
        ((mask, mask), "heatmaps is torch.bool"),
        ((heatmap, mask.float()), "masks are torch.float32"),
        ((heatmap, mask[:1]), r"of shape \(1, 3, 4\).*of shape \(2, 3, 4\)"),
        ((heatmap, mask[:, :2]), r"masks are torch.bool of shape \(2, 2, 4\)"),
        ((broken, mask), "heatmap 1 has values that are NaN"),
        ((heatmap / broken.sub(1), mask), "heatmap 0 has values that are NaN or infinite"),
        ((heatmap, empty), "mask 1 is empty"),
    ):
        with pytest.raises(InputError, match=words):
            measure(*arguments)


@pytest.mark.parametrize("tolerance", [-1, 1.5, True])
def test_bad_tolerance_is_named(tolerance):
    with pytest.raises(InputError, match=f"tolerance={tolerance}"):
        pointing_game(torch.ones(1, 2, 2), torch.ones(1, 2, 2, dtype=torch.bool), tolerance=tolerance)
