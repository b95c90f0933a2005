import numpy as np
import pytest
import torch
from torch import nn

import rlrp_nb as rn
from rlrp_nb.engine.attribution import quantus_explain


def test_one_class_for_all_samples(residual, images):
    found = rn.RLRP(residual).attribute(images, 3)
    assert found.shape == images.shape
    assert torch.equal(found, rn.explain(residual, images, 3).relevance[:, 0])


@pytest.mark.parametrize("target", [[4, 1], torch.tensor([4, 1]), torch.tensor([4, 1], dtype=torch.int32)])
def test_one_class_per_sample(residual, images, target):
    found = rn.RLRP(residual, "lrp-0").attribute(images, target)
    for n, index in enumerate([4, 1]):
        torch.testing.assert_close(found[n], rn.explain(residual, images[n : n + 1], index, "lrp-0").relevance[0, 0])


def test_tuples_for_outputs_of_more_axes(images):
    network = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.ConvTranspose2d(2, 2, 3)).eval()
    together = rn.RLRP(network).attribute(images, (1, 2, 3))
    each = rn.RLRP(network).attribute(images, [(1, 2, 3), (0, 4, 4)])
    torch.testing.assert_close(each[0], together[0])
    torch.testing.assert_close(each[1:], rn.explain(network, images[1:], (0, 4, 4)).relevance[:, 0])


def test_a_tuple_of_one_class_is_that_class(residual, images):
    assert torch.equal(rn.RLRP(residual).attribute(images, (3,)), rn.RLRP(residual).attribute(images, 3))
    assert torch.equal(rn.RLRP(residual).attribute(images, [(3,), (1,)]), rn.RLRP(residual).attribute(images, [3, 1]))


def test_a_tuple_of_one_input_gives_a_tuple(residual, images):
    (found,) = rn.RLRP(residual).attribute((images,), target=0)
    assert found.shape == images.shape


def test_inputs_that_want_gradients_are_left_as_they_are(residual, images):
    images.requires_grad_()
    found = rn.RLRP(residual).attribute(images, 0)
    assert not found.requires_grad
    assert images.grad is None


def test_one_output_needs_no_target(images):
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 1))
    assert rn.RLRP(network).attribute(images).shape == images.shape


@pytest.mark.parametrize(
    ("inputs", "target", "reason"),
    [
        (torch.zeros(2, 3, 8, 8), None, "target is None, but the network has 6 outputs"),
        (torch.zeros(2, 3, 8, 8), [1], "list of 1 for 2 samples"),
        (torch.zeros(2, 3, 8, 8), 6, "out of range"),
        ((torch.zeros(2, 3), torch.zeros(2, 3)), 0, "tuple of 2"),
        (torch.zeros(2, 3, 8, 8), (1, 2), r"\(1, 2\) has a tuple, but the network has one axis"),
        (torch.zeros(2, 3, 8, 8), [1, (2, 1)], r"\[1, \(2, 1\)\] has a tuple, but the network has one axis"),
    ],
)
def test_refusals(residual, inputs, target, reason):
    with pytest.raises(rn.InputError, match=reason):
        rn.RLRP(residual).attribute(inputs, target)


def test_a_network_is_needed():
    with pytest.raises(rn.InputError, match="network is a str"):
        rn.RLRP("resnet50")


def test_quantus_convention(residual, images):
    found = quantus_explain(residual, images.numpy(), [1, 2], method="lrp-0", device="cpu")
    expected = rn.RLRP(residual, "lrp-0").attribute(images, [1, 2])
    assert torch.equal(torch.from_numpy(found), expected)
    with pytest.raises(rn.InputError, match=r"\['nr_samples'\] are not known"):
        quantus_explain(residual, images.numpy(), [1, 2], nr_samples=3)


@pytest.mark.parametrize(
    "targets", [np.array([2, 1])[::-1], np.array([1, 2], dtype=">i4"), np.array([1.0, 2.0]), (1, 2)]
)
def test_quantus_may_pass_arrays_in_any_order(residual, images, targets):
    expected = quantus_explain(residual, images.numpy(), [1, 2])
    assert np.array_equal(quantus_explain(residual, images.numpy().astype(">f4"), targets), expected)
    turned = images.flip(-1).numpy()[..., ::-1]
    assert np.array_equal(quantus_explain(residual, turned, targets), expected)


@pytest.mark.parametrize(
    ("targets", "reason"),
    [
        (np.array([1.5, 2.0]), "targets holds 2 numbers of torch.float64 for 2 samples"),
        (np.array([np.nan, 2.0]), "accepted is one class index per sample"),
        ([1], "targets holds 1 numbers of torch.int64 for 2 samples"),
        ([True, False], "torch.bool"),
        (1, r"targets is torch.int64 of shape \(\)"),
        (None, "targets holds no numbers"),
        (["cat", "dog"], "targets holds no numbers"),
        (np.ma.masked_array([1, 2], [True, False]), "targets is a masked array"),
    ],
)
def test_targets_that_quantus_cannot_mean_are_refused(residual, images, targets, reason):
    with pytest.raises(rn.InputError, match=reason):
        quantus_explain(residual, images.numpy(), targets)


def test_inputs_that_quantus_cannot_mean_are_refused(residual, images):
    for wrong in (images.numpy().astype(complex), images.numpy().astype(object), np.ma.masked_less(images.numpy(), 0)):
        with pytest.raises(rn.InputError, match=r"^inputs "):
            quantus_explain(residual, wrong, [1, 2])
    with pytest.raises(rn.InputError, match="network is a str"):
        quantus_explain("network", images.numpy(), [1, 2])


@pytest.mark.parametrize(
    "target",
    [
        np.array([[0, 1], [1, 0]]),
        torch.ones((), dtype=torch.bool),
        torch.tensor(1j),
        ["a", "b"],
        [None, None],
        [2**80, 0],
    ],
)
def test_a_target_that_is_not_one_class_per_sample_is_refused(target):
    network = nn.Linear(3, 2).eval()
    with pytest.raises(rn.InputError, match="target"):
        rn.RLRP(network).attribute(torch.ones(2, 3), target)


@pytest.mark.parametrize("inputs", [None, torch.tensor(1.0), [[1.0, 2.0, 3.0]]])
def test_an_input_that_is_no_batch_is_refused_beside_a_list_of_targets(inputs):
    with pytest.raises(rn.InputError, match="inputs"):
        rn.RLRP(nn.Linear(3, 2).eval()).attribute(inputs, [0])


def test_other_arguments_of_captum_are_taken_where_they_are_none():
    attribution, inputs = rn.RLRP(nn.Linear(3, 2).eval()), torch.ones(2, 3)
    assert torch.equal(attribution.attribute(inputs, 1, None), attribution.attribute(inputs, 1))
    with pytest.raises(rn.InputError, match="additional_forward_args is given; accepted is None"):
        attribution.attribute(inputs, 1, additional_forward_args=3)
