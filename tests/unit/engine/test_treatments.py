import pytest
import torch
from torch import nn

import rlrp_nb as rn


def test_relative_activation_takes_the_maximum_of_the_whole_layer_of_each_sample():
    network = nn.ReLU()
    x = torch.tensor([[[1.0, -2.0], [4.0, 0.0]], [[0.5, 0.25], [-1.0, 0.0]]])
    relevance = rn.explain(network, x, torch.ones(2, 1, 2, 2)).relevance[:, 0]
    # R = x * (a / max a) * s with s = 1: the maxima are 4 and 0.5
    torch.testing.assert_close(relevance, torch.tensor([[[0.25, 0.0], [4.0, 0.0]], [[0.5, 0.125], [0.0, 0.0]]]))


def test_a_dead_layer_passes_nothing():
    relevance = rn.explain(nn.ReLU(), -torch.ones(1, 3), torch.ones(1, 1, 3)).relevance
    assert torch.equal(relevance, torch.zeros(1, 1, 3))


@pytest.mark.parametrize("size", [1e-45, 1e-40, 1e-30, 1e30, 3e38])
def test_nothing_small_in_a_denominator(size):
    x = torch.tensor([[size, size / 2, -size, 0.0]])
    relevance = rn.explain(nn.ReLU(), x, torch.ones(1, 1, 4)).relevance[0, 0]
    assert torch.isfinite(relevance).all()
    assert relevance[0] == torch.tensor(size)


def test_gradient_of_gates_flows_where_the_gradient_is_asked_for(written, images):
    def squeeze(n, x):
        z = n.conv(x)
        return n.classify(
            torch.softmax(z, 1) * nn.functional.layer_norm(z, (8, 8)) * torch.sigmoid(z.mean((2, 3), keepdim=True))
        )

    network = written(squeeze)
    leaf = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(network(leaf)[:, 2].sum(), leaf)
    relevance = rn.explain(network, images, 2, "gradient-x-input").relevance[:, 0]
    torch.testing.assert_close(relevance, images * gradient)
