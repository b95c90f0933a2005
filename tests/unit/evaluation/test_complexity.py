"""Tests of Gini index and entropy against loops that are written out, and against Quantus."""

import math

import numpy as np
import pytest
import quantus
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from rlrp_nb.errors import InputError
from rlrp_nb.evaluation.complexity import entropy, gini
from tests.reference.networks import images


def naive_gini(values):
    """Return half the mean absolute difference of all pairs, as a share of the mean."""
    values = [abs(v) for v in values]
    count, total = len(values), sum(values)
    return sum(abs(u - v) for u in values for v in values) / (2 * count * total) if total else 0.0


def naive_entropy(values):
    values = [abs(v) for v in values]
    total = sum(values)
    return -sum(v / total * math.log(v / total) for v in values if v / total) if total else math.log(len(values))


@given(arrays.arrays(np.float64, (2, 3, 4), elements=st.floats(-1e3, 1e3, allow_subnormal=False)))
def test_both_equal_the_loop(heatmaps):
    found = gini(torch.from_numpy(heatmaps)), entropy(torch.from_numpy(heatmaps))
    for sample in range(2):
        values = heatmaps[sample].flatten().tolist()
        assert found[0][sample].item() == pytest.approx(naive_gini(values), abs=1e-12)
        assert found[1][sample].item() == pytest.approx(naive_entropy(values), abs=1e-12)


@pytest.mark.parametrize("measure", [gini, entropy])
def test_no_factor_and_no_sign_is_seen(measure):
    heatmaps = images(3, 8)[:, 0]
    expected = measure(heatmaps)
    assert expected.dtype == torch.float64
    for changed in (-heatmaps, heatmaps * 1e-300, heatmaps * 1e300, heatmaps.flip(2)):
        torch.testing.assert_close(measure(changed), expected)


def test_the_ends_of_the_scales():
    one = torch.zeros(1, 4, 5)
    one[0, 2, 3] = -7
    for heatmaps, index, nats in (
        (torch.ones(1, 4, 5), 0, math.log(20)),
        (one, 1 - 1 / 20, 0),
        (torch.zeros(1, 4, 5), 0, math.log(20)),
    ):
        assert gini(heatmaps).item() == pytest.approx(index)
        assert entropy(heatmaps).item() == pytest.approx(nats)


@pytest.mark.filterwarnings("ignore")  # Quantus warns about its own parameters
def test_both_equal_those_of_quantus():
    heatmaps = images(4, 9)[:, :1]
    options = {"disable_warnings": True, "display_progressbar": False}
    data = {"model": None, "x_batch": heatmaps.numpy(), "y_batch": np.zeros(4, dtype=int)}
    sparseness = quantus.Sparseness(**options)(**data, a_batch=heatmaps.numpy())
    complexity = quantus.Complexity(**options)(**data, a_batch=heatmaps.numpy())
    # Quantus adds 1e-7 to each value of a heatmap whose largest one is 1, and 1e-12 within the logarithm
    np.testing.assert_allclose(gini(heatmaps[:, 0]).numpy(), sparseness, rtol=2e-6)
    np.testing.assert_allclose(entropy(heatmaps[:, 0]).numpy(), complexity, rtol=1e-8)


@pytest.mark.parametrize("measure", [gini, entropy])
def test_bad_heatmaps_are_named(measure):
    broken = torch.zeros(3, 4, 4)
    broken[2, 0, 0] = torch.nan
    for heatmaps, words in (
        (broken, "heatmap 2 has values"),
        (broken[0], r"heatmaps is torch.float32 \(4, 4\)"),
        (broken.numpy(), "heatmaps is a ndarray"),
        (broken.to("meta"), "heatmaps is a tensor on the meta device"),
        (broken.to_sparse(), "heatmaps is a tensor of torch.float32 values in layout torch.sparse_coo"),
        (broken.to(torch.complex64), "heatmaps is torch.complex64"),
        (broken[:0], "not empty"),
    ):
        with pytest.raises(InputError, match=words):
            measure(heatmaps)
