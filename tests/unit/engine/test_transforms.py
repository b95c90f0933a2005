"""An explanation inside a transform of PyTorch, whose derivative would read as zero."""

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad

import rlrp_nb as rn


@pytest.fixture
def explained(residual, images):
    """The relevance of an input, and the input."""
    return lambda inputs: rn.explain(residual, inputs, 1).relevance, images


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning")  # PyTorch's own, for its jvp
@pytest.mark.parametrize(
    "transform",
    [
        lambda f, x: torch.func.grad(lambda z: f(z).sum())(x),
        torch.func.vjp,
        lambda f, x: torch.func.jvp(f, (x,), (x,)),
        lambda f, x: torch.func.jacrev(f)(x),
        lambda f, x: torch.func.jacfwd(f)(x),
        lambda f, x: torch.func.vmap(lambda z: f(z[None]))(x),
    ],
    ids=["grad", "vjp", "jvp", "jacrev", "jacfwd", "vmap"],
)
def test_inputs_in_a_transform_are_refused(explained, transform):
    with pytest.raises(rn.InputError, match=r"inputs is inside a transform of PyTorch.*Call explain outside"):
        transform(*explained)


def test_inputs_with_a_tangent_are_refused(explained):
    explain, images = explained
    with forward_ad.dual_level(), pytest.raises(rn.InputError, match="inputs is inside a transform"):
        explain(forward_ad.make_dual(images, images))


def test_seeds_in_a_transform_are_refused(residual, images):
    seeds = torch.ones(2, 1, rn.explain(residual, images).logits.shape[1])
    with pytest.raises(rn.InputError, match="targets is inside a transform"):
        torch.func.grad(lambda z: rn.explain(residual, images, z).relevance.sum())(seeds)


def test_weights_in_a_transform_are_refused(residual, images):
    class Relevance(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = residual

        def forward(self, x):
            return rn.explain(self.network, x, 1).relevance.sum()

    total = Relevance().eval()
    with pytest.raises(rn.InputError, match="the network's first weight is inside a transform"):
        torch.func.grad(lambda weights: torch.func.functional_call(total, weights, (images,)))(
            dict(total.named_parameters())
        )


def test_what_a_transform_does_not_follow_is_explained_in_it(explained):
    explain, images = explained
    expected = explain(images).sum()
    slope = torch.func.grad(lambda factor: (explain(images) * factor).sum())(torch.tensor(2.0))
    torch.testing.assert_close(slope, expected)


def test_a_mode_in_which_tensors_have_no_values_is_refused(residual, images):
    with FakeTensorMode(), pytest.raises(rn.InputError, match="under a FakeTensorMode"):
        rn.explain(residual, images, 1)


def test_a_network_that_uses_a_transform_is_refused(written, images):
    network = written(lambda n, x: n.classify(n.conv(x)) + torch.func.grad(lambda z: (z**2).sum())(x).mean())
    with pytest.raises(rn.UnsupportedNetworkError, match=r"uses torch\.func .* within its forward"):
        rn.explain(network, images)
