"""Max-sensitivity and parameter randomisation give the numbers of Quantus on the same perturbations."""

import numpy as np
import pytest
import quantus
import torch

from rlrp_nb.evaluation.attribute import engine_attribute
from rlrp_nb.evaluation.perturbation import uniform
from rlrp_nb.evaluation.randomisation import randomised_similarity
from rlrp_nb.evaluation.robustness import max_sensitivity
from tests.reference.networks import images, small_vgg

pytestmark = pytest.mark.filterwarnings("ignore")  # Quantus warns about its own parameters

TARGETS = torch.tensor([0, 3, 4, 1])
METHODS = ["rlrp", "lrp-0", "lrp-gamma"]
QUIET = {"disable_warnings": True, "display_progressbar": False}


def explain_func(method):
    def explain(model, inputs, targets, **_):
        inputs, targets = torch.as_tensor(inputs), torch.as_tensor(targets)
        return engine_attribute(method)(model, inputs, targets)[:, None].numpy()

    return explain


def quantus_data(network, inputs, method):
    return {
        "model": network,
        "x_batch": inputs.numpy(),
        "y_batch": TARGETS.numpy(),
        "explain_func": explain_func(method),
        "channel_first": True,
    }


@pytest.mark.parametrize("method", METHODS)
def test_max_sensitivity_is_that_of_quantus(method):
    network, inputs = small_vgg(seed=2).float(), images(4, 12, seed=2).float()
    options = {"radius": 0.05, "samples": 5, "seed": 3}
    draws = uniform(inputs, **options)

    def perturb(arr, **_):
        return next(draws).reshape(arr.shape).numpy()

    metric = quantus.MaxSensitivity(nr_samples=5, perturb_func=perturb, abs=False, normalise=False, **QUIET)
    theirs = metric(**quantus_data(network, inputs, method))
    found = max_sensitivity(engine_attribute(method), network, inputs, TARGETS, **options)
    np.testing.assert_allclose(found.numpy(), theirs, rtol=1e-4)
    assert (found > 1e-3).all()


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("top_down", {"order": "top_down"}),
        ("bottom_up", {"order": "bottom_up"}),
        ("independent", {"order": "top_down", "cascading": False}),
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_randomised_similarity_is_that_of_mprt(method, theirs, ours):
    network, inputs = small_vgg(seed=2).float(), images(4, 12, seed=2).float()
    metric = quantus.MPRT(layer_order=theirs, seed=6, **QUIET)
    scores = metric(**quantus_data(network, inputs, method))
    found = randomised_similarity(engine_attribute(method), network, inputs, TARGETS, seed=6, **ours)
    # the original of Quantus is compared with a second explanation of the same network
    assert set(found.names) == set(scores)
    for name, row in zip(found.names, found.similarities, strict=True):
        np.testing.assert_allclose(row.numpy(), scores[name], atol=1e-3)
