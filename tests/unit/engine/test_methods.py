from dataclasses import replace

import pytest
import torch

import rlrp_nb as rn
from rlrp_nb.engine.classic import Epsilon
from rlrp_nb.engine.methods import METHODS, epsilon_plus_flat, lrp_epsilon, lrp_gamma, resolve
from rlrp_nb.plots.caption import method_title


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
    assert repr(replace(METHODS["rlrp"], name="my\x1b[2J")) == r"<Method my\x1b[2J>"


@pytest.mark.parametrize(
    ("make", "usual", "name"),
    [
        (lrp_epsilon, 0.25, "lrp-epsilon"),
        (lrp_gamma, 0.25, "lrp-gamma"),
        (epsilon_plus_flat, 1e-6, "epsilon-plus-flat"),
    ],
)
def test_another_parameter_is_another_name_and_is_never_called_by_the_usual_one(make, usual, name):
    assert make(usual) == make() == METHODS[name]
    assert make(0.5).name == f"{name}(0.5)"
    assert make(1).name == make(1.0).name
    assert make(0.1).name != make(0.1 + 1e-9).name
    assert method_title(make(0.5).name) == f"{name}(0.5)"  # and not the title with the usual parameter


def test_a_method_of_ones_own_has_a_name_of_its_own():
    assert resolve(rn.Method("rlrp", "with a title of its own", "relative")).title == "with a title of its own"
    for method in (rn.Method("rlrp", "R-LRP", "secant"), rn.Method("lrp-0", "LRP", "secant", dense=Epsilon(0.1))):
        with pytest.raises(rn.InputError, match=f"called '{method.name}', the name of another one"):
            resolve(method)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"activation": ["relative"]}, r"activation is \['relative'\]; accepted are 'relative'"),
        ({"name": ["mine"]}, r"name is \['mine'\]; accepted is a text"),
        ({"title": None}, "title is None; accepted is a text"),
        ({"convolution": "epsilon"}, "convolution is 'epsilon'; accepted is a Transpose, Epsilon"),
        ({"dense": Epsilon}, "dense is .*; accepted is a Transpose, Epsilon"),
        ({"first": True}, "first is True; accepted is Flat"),
    ],
)
def test_a_method_of_wrong_parts_is_refused(wrong, words):
    with pytest.raises(rn.InputError, match=words):
        rn.Method(**{"name": "mine", "title": "Mine", "activation": "relative", **wrong})


@pytest.mark.parametrize("make", [lrp_epsilon, lrp_gamma, epsilon_plus_flat])
def test_a_whole_number_of_any_size_is_a_parameter_or_refused(residual, images, make):
    assert torch.isfinite(rn.explain(residual, images, 1, make(2**70)).relevance).all()
    with pytest.raises(rn.InputError, match="accepted is a finite number above 0"):
        make(10**400)
