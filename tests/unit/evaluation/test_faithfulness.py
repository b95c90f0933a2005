"""Pixel flipping: equal to a loop that is written out, equal to Quantus, and what its figures mean."""

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
import quantus
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rlrp_nb.errors import InputError, UnsupportedNetworkError
from rlrp_nb.evaluation.faithfulness import Flipping, blur, flip, patch_ranks


def small_network(channels=2, dtype=torch.float64):
    torch.manual_seed(3)
    layers = nn.Conv2d(channels, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 5)
    return nn.Sequential(*layers).to(dtype).eval()


def case(samples=3, channels=2, height=9, width=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(samples, channels, height, width, generator=generator, dtype=torch.float64)
    heatmaps = torch.randn(samples, height, width, generator=generator, dtype=torch.float64)
    return inputs, heatmaps, torch.arange(samples) % 5


def naive(network, image, heatmap, target, patch, per_step, fill, *, least_first):
    """Return one curve, patch by patch and step by step, as the definition says it."""
    height, width = heatmap.shape
    boxes = [(top, left) for top in range(0, height, patch) for left in range(0, width, patch)]
    means = [float(heatmap[top : top + patch, left : left + patch].mean()) for top, left in boxes]
    order = sorted(range(len(boxes)), key=lambda i: (-means[i], i))
    if least_first:
        order.reverse()
    changed = image.clone()
    curve = [network(changed[None]).softmax(1)[0, target]]
    for start in range(0, len(order), per_step):
        for position in order[start : start + per_step]:
            top, left = boxes[position]
            changed[:, top : top + patch, left : left + patch] = fill[:, top : top + patch, left : left + patch]
        curve.append(network(changed[None]).softmax(1)[0, target])
    return torch.stack(curve).detach()


@pytest.mark.parametrize(("patch", "per_step"), [(1, 1), (2, 1), (3, 2), (4, 5), (20, 1), (1, 100)])
@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_curves_equal_the_loop_that_is_written_out(patch, per_step, batch):
    network = small_network()
    inputs, heatmaps, targets = case()
    found = flip(network, inputs, heatmaps, targets, patch=patch, per_step=per_step, batch=batch)
    fills = blur(inputs)
    for sample in range(len(inputs)):
        one = network, inputs[sample], heatmaps[sample], int(targets[sample]), patch, per_step, fills[sample]
        torch.testing.assert_close(found.morf[sample], naive(*one, least_first=False), rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(found.lerf[sample], naive(*one, least_first=True), rtol=1e-12, atol=1e-14)


@pytest.mark.filterwarnings("ignore")  # Quantus warns about its own parameters
def test_curves_equal_those_of_quantus():
    network = small_network(channels=1, dtype=torch.float32)
    inputs, heatmaps, targets = case(channels=1, height=8, width=8)
    inputs, heatmaps = inputs.float(), heatmaps.float()
    found = flip(network, inputs, heatmaps, targets, patch=1, per_step=4, fill=torch.zeros(()))
    for curve, order in ((found.morf, heatmaps), (found.lerf, -heatmaps)):
        metric = quantus.PixelFlipping(
            features_in_step=4, normalise=False, perturb_baseline=0.0, disable_warnings=True, display_progressbar=False
        )
        theirs = metric(network, inputs.numpy(), targets.numpy(), order[:, None].numpy(), softmax=True, device="cpu")
        # Quantus leaves out the score of the whole input.
        np.testing.assert_allclose(curve[:, 1:].numpy(), np.stack(theirs), rtol=2e-5, atol=1e-7)


def test_a_linear_network_has_the_areas_that_can_be_worked_out():
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 1, bias=False)).double().eval()
    network[1].weight = nn.Parameter(torch.tensor([[4.0, 3.0, 2.0, 1.0]]).double())
    inputs = torch.ones(1, 1, 2, 2).double()
    heatmaps = torch.tensor([[[4.0, 3.0], [2.0, 1.0]]])
    found = flip(network, inputs, heatmaps, torch.tensor([0]), patch=1, fill=torch.zeros(()), score="logit")
    assert found.morf.tolist() == [[10, 6, 3, 1, 0]]
    assert found.lerf.tolist() == [[10, 9, 7, 4, 0]]
    assert found.aopc.item() == pytest.approx((0 + 4 + 7 + 9 + 10) / 5)
    assert found.abpc.item() == pytest.approx((0 + 3 + 4 + 3 + 0) / 5)
    opposite = flip(network, inputs, -heatmaps, torch.tensor([0]), patch=1, fill=torch.zeros(()), score="logit")
    assert opposite.abpc.item() == pytest.approx(-found.abpc.item())


def test_the_true_relevance_is_more_faithful_than_chance_and_its_opposite_less():
    network = small_network()
    inputs, _, targets = case()
    inputs.requires_grad_(True)  # noqa: FBT003 - torch's own signature
    logits = network(inputs).gather(1, targets[:, None]).sum()
    (gradient,) = torch.autograd.grad(logits, inputs)
    heatmaps = (gradient * inputs).sum(1)
    fill = torch.zeros(())
    abpc = {sign: flip(network, inputs.detach(), sign * heatmaps, targets, patch=1, fill=fill).abpc for sign in (1, -1)}
    assert (abpc[1] > 0).all()
    torch.testing.assert_close(abpc[1], -abpc[-1])


@settings(max_examples=40, deadline=None)
@given(
    arrays.arrays(np.float64, (2, 6, 5), elements=st.floats(-1e6, 1e6)),
    st.integers(1, 7),
)
def test_ranks_number_every_patch_once(heatmaps, patch):
    ranks = patch_ranks(torch.from_numpy(heatmaps), patch)
    corners = ranks[:, ::patch, ::patch].flatten(1)
    assert corners.sort(1).values.tolist() == [list(range(corners.shape[1]))] * 2
    for top in range(0, 6, patch):
        for left in range(0, 5, patch):
            inside = ranks[:, top : top + patch, left : left + patch]
            assert (inside == inside[:, :1, :1]).all()


def test_of_equal_patches_the_upper_left_one_comes_first():
    assert patch_ranks(torch.zeros(1, 2, 2), 1).tolist() == [[[0, 1], [2, 3]]]


def test_a_small_patch_at_the_edge_is_ranked_by_its_mean():
    heatmap = torch.tensor([[[1.0, 1.0, 2.0], [1.0, 1.0, 2.0]]])
    assert patch_ranks(heatmap, 2).tolist() == [[[1, 1, 0], [1, 1, 0]]]


def test_blur_keeps_what_is_flat_and_the_mean_far_from_the_edge():
    assert torch.allclose(blur(torch.full((1, 2, 9, 6), 3.0)), torch.tensor(3.0))
    point = torch.zeros(1, 1, 41, 41, dtype=torch.float64)
    point[..., 20, 20] = 1
    blurred = blur(point)
    assert blurred.sum().item() == pytest.approx(1)
    assert blurred[0, 0, 20, 20] == blurred.max() < 0.02
    assert torch.allclose(blurred, blurred.transpose(2, 3))
    assert blur(torch.ones(1, 1, 5, 5, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_the_network_and_the_inputs_are_left_as_they_were():
    network = small_network(dtype=torch.float32)
    inputs, heatmaps, targets = case()
    inputs = inputs.float()
    before = inputs.clone()
    found = flip(network, inputs, heatmaps, targets, patch=3)
    assert isinstance(found, Flipping)
    assert found.morf.dtype == torch.float32
    assert not found.morf.requires_grad
    assert torch.equal(before, inputs)
    assert all(parameter.grad is None for parameter in network.parameters())


def test_bad_input_is_named():
    network = small_network()
    inputs, heatmaps, targets = case()
    broken = heatmaps.clone()
    broken[1, 0, 0] = torch.nan
    for arguments, words in (
        ((inputs[0], heatmaps, targets), "inputs are"),
        ((inputs.int(), heatmaps, targets), "inputs are torch.int32"),
        ((inputs[:0], heatmaps[:0], targets[:0]), "not empty"),
        ((inputs, heatmaps[:, :3], targets), "heatmaps have shape"),
        ((inputs, broken, targets), "heatmap 1 has values"),
        ((inputs, heatmaps, targets[:2]), "targets are"),
        ((inputs, heatmaps, targets.float()), "targets are torch.float32"),
        ((inputs, heatmaps, targets + 5), "are not all classes: accepted is 0 to 4"),
        ((inputs * torch.inf, heatmaps, targets), "score for input 0 is NaN"),
    ):
        with pytest.raises(InputError, match=words):
            flip(network, *arguments)
    for options, words in (
        ({"patch": 0}, "patch=0"),
        ({"per_step": 1.5}, "per_step=1.5"),
        ({"batch": True}, "batch=True"),
        ({"score": "loss"}, "score='loss'"),
        ({"fill": torch.zeros(3, 1, 1)}, r"fill has shape \(3, 1, 1\)"),
    ):
        with pytest.raises(InputError, match=words):
            flip(network, inputs, heatmaps, targets, **options)
    with pytest.raises(UnsupportedNetworkError, match="training mode"):
        flip(network.train(), inputs, heatmaps, targets)
    with pytest.raises(InputError, match=r"the network returns \(6, 4, 9, 7\)"):
        flip(network[:2].eval(), inputs, heatmaps, targets, patch=20)
