import pytest
import torch

import rlrp_nb as rn
from rlrp_nb.engine.methods import METHODS, resolve


def test_names():
    assert rn.available_methods() == (
        "rlrp",
        "lrp-0",
        "lrp-epsilon",
        "lrp-gamma",
        "alpha1beta0",
        "epsilon-plus-flat",
        "gradient-x-input",
    )


def test_resolve_takes_names_and_methods():
    assert resolve("rlrp") is METHODS["rlrp"]
    assert resolve(METHODS["lrp-0"]) is METHODS["lrp-0"]


@pytest.mark.parametrize("name", ["RLRP", "lrp0", 3, None])
def test_unknown_methods_are_refused_with_the_list(name):
    with pytest.raises(rn.InputError, match="accepted are rlrp, lrp-0"):
        resolve(name)


def test_a_near_miss_gets_a_suggestion():
    with pytest.raises(rn.InputError, match="Did you mean 'lrp-gamma'"):
        resolve("lrp-gama")


def test_on_relu_networks_lrp_0_is_gradient_x_input(residual, images):
    network, x = residual.double(), images.double()
    torch.testing.assert_close(
        rn.explain(network, x, "top3", "lrp-0").relevance, rn.explain(network, x, "top3", "gradient-x-input").relevance
    )


@pytest.mark.parametrize("method", METHODS)
def test_every_method_explains_a_residual_network(residual, images, method):
    explanation = rn.explain(residual, images, "top2", method, layers="all")
    assert torch.isfinite(explanation.relevance).all()
    assert explanation.relevance.abs().max() > 0
    assert explanation.method == method


def test_repr_is_short():
    assert repr(METHODS["rlrp"]) == "<Method rlrp>"
