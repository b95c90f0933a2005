"""`RLRP(network).attribute` follows Captum's convention and serves Quantus as an explain function."""

import numpy as np
import pytest
import torch

from rlrp_nb import RLRP
from tests.reference import backprop
from tests.reference.networks import distance, images, small_vgg

TARGETS = [0, 3, 4, 1]


@pytest.fixture
def network():
    return small_vgg(seed=7).float()


def test_attribute_is_a_tensor_like_the_inputs(network):
    x = images(4, 12, seed=7).float()
    attribution = RLRP(network).attribute(x, target=torch.tensor(TARGETS))
    assert attribution.dtype == x.dtype
    expected = backprop.relevance(network.double(), x.double(), backprop.one_hot(5, TARGETS))
    assert distance(attribution, expected) < 1e-4


def test_quantus_scores_it_like_the_reference(network):
    """Pixel-flipping of R-LRP through the explain function, and of the relevance of the reference handed over."""
    import quantus  # noqa: PLC0415  # takes seconds

    def explain_func(model, inputs, targets, **_):
        return RLRP(model).attribute(torch.as_tensor(inputs), torch.as_tensor(targets)).numpy()

    x = images(4, 12, seed=7).float()
    relevance = backprop.relevance(small_vgg(seed=7), x.double(), backprop.one_hot(5, TARGETS))

    def scores(**options):
        metric = quantus.PixelFlipping(features_in_step=8, abs=False, disable_warnings=True, display_progressbar=False)
        return np.array(
            metric(model=network, x_batch=x.numpy(), y_batch=np.array(TARGETS), channel_first=True, **options)
        )

    found = scores(explain_func=explain_func)
    np.testing.assert_allclose(found, scores(a_batch=relevance.float().numpy()), rtol=1e-4)
    assert np.isfinite(found).all()
    assert np.abs(found - scores(a_batch=-relevance.float().numpy())).max() > 1e-3
