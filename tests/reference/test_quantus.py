"""`RLRP(network).attribute` serves Quantus as an explain function, and our measures give the figures of Quantus."""

import numpy as np
import pytest
import torch
from torch import nn

from rlrp_nb import RLRP
from rlrp_nb.evaluation.faithfulness import flip, road
from rlrp_nb.evaluation.fill import impute
from rlrp_nb.evaluation.localisation import mass_accuracy, pointing_game, rank_accuracy
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


@pytest.mark.parametrize("order", ["morf", "lerf"])
def test_pixel_flipping_has_the_curves_of_quantus(network, order):
    import quantus  # noqa: PLC0415  # takes seconds

    x = images(4, 12, seed=3).float()
    heatmaps = torch.randn(4, 12, 12, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor(TARGETS)
    found = getattr(flip(network, x, heatmaps, targets, patch=1, per_step=6, fill="black"), order)
    # Quantus flips each channel of a pixel by itself: all channels of a pixel get its value and stand side by side.
    ranks = (heatmaps if order == "morf" else -heatmaps).flatten(1).argsort(1).argsort(1).reshape(4, 1, 12, 12)
    relevance = 3.0 * ranks + torch.arange(3)[:, None, None]
    metric = quantus.PixelFlipping(
        features_in_step=18, normalise=False, perturb_baseline=0.0, disable_warnings=True, display_progressbar=False
    )
    theirs = metric(network, x.numpy(), np.array(TARGETS), relevance.numpy(), softmax=True, device="cpu")
    # Quantus leaves out the score of the whole input.
    np.testing.assert_allclose(found[:, 1:].numpy(), np.stack(theirs), rtol=2e-5, atol=1e-7)


@pytest.mark.parametrize("order", ["morf", "lerf"])
def test_region_perturbation_has_the_curves_of_quantus(network, order):
    import quantus  # noqa: PLC0415  # takes seconds

    x = images(4, 12, seed=3).float()
    heatmaps = torch.randn(4, 12, 12, generator=torch.Generator().manual_seed(0))
    found = getattr(flip(network, x, heatmaps, torch.tensor(TARGETS), patch=4, fill="black"), order)
    metric = quantus.RegionPerturbation(
        patch_size=4,
        order=order,
        regions_evaluation=9,
        normalise=False,
        perturb_baseline=0.0,
        disable_warnings=True,
        display_progressbar=False,
    )
    theirs = metric(network, x.numpy(), np.array(TARGETS), heatmaps[:, None].numpy(), softmax=True, device="cpu")
    # Quantus gives the drop from the whole input.
    np.testing.assert_allclose((found[:, :1] - found[:, 1:]).numpy(), np.stack(theirs), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("side", [9, 28])
@pytest.mark.parametrize("share", [0.1, 0.6, 0.95])
def test_imputation_is_that_of_quantus(side, share):
    from quantus.functions.perturb_func import noisy_linear_imputation  # noqa: PLC0415  # takes seconds

    x = images(1, side, seed=5).double()
    hidden = torch.rand(1, side, side, generator=torch.Generator().manual_seed(1)) < share
    hidden[0, : side // 2, : side // 2] = True  # a hole beside the single pixels
    theirs = noisy_linear_imputation(x[0].numpy(), hidden.flatten().nonzero()[:, 0].numpy(), noise=0.0)
    np.testing.assert_allclose(impute(x, hidden, noise=0)[0].numpy(), theirs, rtol=0, atol=1e-5)


def test_road_has_the_accuracies_of_quantus():
    import quantus  # noqa: PLC0415  # takes seconds

    # One channel: Quantus counts the channels of a pixel as further pixels, which it then does not find.
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(400, 5)).eval()
    x = torch.randn(24, 1, 12, 12)
    heatmaps = torch.randn(24, 12, 12)
    targets = network(x).argmax(1)
    shares = (0.05, 0.1, 0.2, 0.4, 0.7)
    found = road(network, x, heatmaps, targets, shares=shares, score="accuracy", noise=0)
    metric = quantus.ROAD(
        percentages=[5, 10, 20, 40, 70], noise=0.0, normalise=False, disable_warnings=True, display_progressbar=False
    )
    theirs = metric(network, x.numpy(), targets.numpy(), heatmaps[:, None].numpy(), device="cpu")
    np.testing.assert_allclose(found.mean(0).numpy(), list(theirs.values()), rtol=1e-6)
    assert 0 < found.mean() < 1


@pytest.mark.parametrize(
    ("measure", "name"),
    [
        (pointing_game, "PointingGame"),
        (mass_accuracy, "RelevanceMassAccuracy"),
        (rank_accuracy, "RelevanceRankAccuracy"),
    ],
)
def test_localisation_is_that_of_quantus_without_negative_relevance(network, measure, name):
    import quantus  # noqa: PLC0415  # takes seconds

    x = images(4, 12, seed=3).float()
    generator = torch.Generator().manual_seed(2)
    heatmaps, masks = torch.rand(4, 12, 12, generator=generator), torch.rand(4, 12, 12, generator=generator) < 0.4
    metric = getattr(quantus, name)(normalise=False, disable_warnings=True, display_progressbar=False)
    theirs = metric(
        network, x.numpy(), np.array(TARGETS), heatmaps[:, None].numpy(), s_batch=masks[:, None].numpy(), device="cpu"
    )
    found = measure(heatmaps, masks)
    np.testing.assert_allclose(found.double().numpy(), np.array(theirs, dtype=float), rtol=1e-6)
    assert 0 < found.double().mean() < 1
