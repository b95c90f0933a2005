"""What is compared on: every kind of images, targets and masks, and a clear word for what does not fit."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from rlrp_nb.errors import InputError, UnsupportedNetworkError
from rlrp_nb.evaluation.cases import take_in
from rlrp_nb.models.classifier import Classifier
from rlrp_nb.models.preprocess import Preprocess


def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)).eval()


def classifier():
    return Classifier("small", small(), tuple("abcde"), Preprocess(size=8, mean=0.5, std=(0.25, 0.5, 1.0)), "random")


INPUTS = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def test_a_network_with_a_tensor():
    network = small()
    cases = take_in(network, INPUTS, batch=2)
    assert cases.targets.tolist() == network(INPUTS).argmax(1).tolist()
    assert cases.batches(2) == [[0, 1], [2, 3], [4]]
    inputs, reasons = cases.inputs([3, 1])
    assert torch.equal(inputs, INPUTS[[3, 1]])
    assert reasons == {}
    assert (cases.shape, cases.count, cases.broken, cases.masks) == ((3, 8, 8), 5, {}, None)
    assert torch.equal(cases.domain.low, INPUTS.amin((0, 2, 3)))
    assert torch.equal(cases.domain.high, INPUTS.amax((0, 2, 3)))


def test_a_list_of_tensors_is_the_same_as_a_tensor():
    whole, items = take_in(small(), INPUTS), take_in(small(), list(INPUTS))
    assert whole.fingerprint == items.fingerprint
    assert take_in(small(), INPUTS, batch=1).fingerprint == whole.fingerprint


def test_a_classifier_makes_pictures_of_any_size_and_kind_fit(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    model = classifier()
    cases = take_in(model, [tmp_path / "a.png", pixels, Image.fromarray(pixels[:9])])
    assert cases.inputs([0, 1, 2])[0].shape == (3, 3, 8, 8)
    assert torch.equal(cases.inputs([0])[0], cases.inputs([1])[0])
    assert cases.domain.low.tolist() == [-2.0, -1.0, -0.5]
    assert cases.domain.high.tolist() == [2.0, 1.0, 0.5]


def test_broken_images_are_noted_and_do_not_move_the_others(tmp_path):
    (tmp_path / "b.png").write_bytes(b"no picture")
    pixels = np.zeros((8, 8, 3), np.uint8)
    cases = take_in(classifier(), [tmp_path / "b.png", pixels, np.full((8, 8), np.nan), pixels], targets=[9, 1, 9, 2])
    assert sorted(cases.broken) == [0, 2]
    assert "not a picture" in cases.broken[0]
    assert "NaN" in cases.broken[2]
    assert cases.targets.tolist() == [-1, 1, -1, 2]
    assert cases.batches(16) == [[1, 3]]
    spoilt = INPUTS.clone()
    spoilt[2, 0, 0, 0] = torch.nan
    assert "NaN or infinite" in take_in(small(), spoilt).broken[2]
    huge = INPUTS.clone()
    huge[1] = 3e38
    assert "logits" in take_in(small(), huge).broken[1]
    masks = torch.ones(5, 8, 8, dtype=torch.bool)
    masks[2] = False  # of a picture that cannot be read, nobody knows where the object is
    assert torch.equal(take_in(small(), spoilt, masks=masks).masks, masks)


def test_nothing_usable_is_an_error():
    with pytest.raises(InputError, match=r"none of the 5 images can be used\. Image 0: it holds NaN"):
        take_in(small(), INPUTS * torch.nan)


def test_targets_of_every_kind():
    for targets in (3, np.int64(3), [3] * 5, torch.full((5,), 3), np.full(5, 3)):
        assert take_in(small(), INPUTS, targets).targets.tolist() == [3] * 5


@pytest.mark.parametrize(
    "targets", [[1, 2], "cat", [0.5] * 5, torch.ones(5), True, np.ma.masked_array([1] * 5, mask=[False] * 4 + [True])]
)
def test_targets_that_do_not_fit_are_refused(targets):
    with pytest.raises(InputError, match="targets is"):
        take_in(small(), INPUTS, targets)


@pytest.mark.parametrize("target", [2**63, -(2**70)])
def test_a_target_too_large_for_any_integer_of_pytorch_is_refused(target):
    with pytest.raises(InputError, match=f"target {target} is no class of any network"):
        take_in(small(), INPUTS, target)


@pytest.mark.parametrize(("targets", "which"), [([0, 1, 5, 1, 1], 2), (-1, 0)])
def test_a_class_that_is_not_there_is_named(targets, which):
    with pytest.raises(InputError, match=rf"of image {which} is no class of this network: accepted is 0 to 4"):
        take_in(small(), INPUTS, targets)


def test_masks_are_checked():
    good = torch.ones(5, 8, 8, dtype=torch.bool)
    assert torch.equal(take_in(small(), INPUTS, masks=list(good.numpy())).masks, good)
    for masks, words in (
        (good[:4], "have to be bool"),
        (good.float(), "masks are torch.float32"),
        (good[:, :4], "at the resolution of the network's input"),
        (good.to("meta"), "meta and torch.strided: for these images they have to be bool"),
        ([good[0], good[0, :2]], "do not stack"),
        (7, "do not stack"),
        (np.ma.masked_array(good.numpy(), mask=np.arange(320).reshape(5, 8, 8) == 128), "mask 2 is a masked array"),
        (good & (torch.arange(5) != 3)[:, None, None], "mask 3 has no true pixel"),
    ):
        with pytest.raises(InputError, match=words):
            take_in(small(), INPUTS, masks=masks)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ([], "images is empty"),
        (INPUTS[:0], "images is empty"),
        ("cat.png", "images is a str"),
        (3, "images is a int"),
        (INPUTS[0], r"image 0 is torch.float32 \(8, 8\)"),
        ([INPUTS[0], INPUTS[1, :, :4]], r"image 1 has shape \(3, 4, 8\), image 0 has \(3, 8, 8\)"),
        ([INPUTS[0], INPUTS[1].numpy()], "image 1 is a ndarray"),
        ([(INPUTS[0] * 255).byte()], "image 0 is torch.uint8"),
        (INPUTS[:, :, :0], r"image 0 is torch.float32 \(3, 0, 8\)"),
        (INPUTS.to_sparse(), r"image 0 is torch.float32 \(3, 8, 8\), cpu and torch.sparse_coo"),
        (INPUTS.to("meta"), r"image 0 is torch.float32 \(3, 8, 8\), meta and torch.strided"),
    ],
)
def test_images_that_are_none_are_named(images, words):
    with pytest.raises(InputError, match=words):
        take_in(small(), images)


@pytest.mark.parametrize("picture", [np.zeros((9, 7, 3), np.uint8), np.zeros((9, 7)), torch.rand(3, 9, 7)])
def test_one_picture_is_not_taken_for_its_rows_or_channels(picture):
    with pytest.raises(InputError, match="looks like one picture"):
        take_in(classifier(), picture)
    assert take_in(classifier(), [picture]).count == 1


def test_an_array_of_grey_pictures_is_several():
    assert take_in(classifier(), np.zeros((3, 9, 7), np.uint8)).count == 3


def test_images_that_the_network_cannot_take_are_refused_by_their_shape():
    with pytest.raises(InputError, match=r"cannot take a batch of shape \(5, 2, 8, 8\): .*to have 3 channels"):
        take_in(small(), INPUTS[:, :2])


def test_networks_that_cannot_be_compared_on_are_refused():
    with pytest.raises(UnsupportedNetworkError, match="training mode"):
        take_in(nn.Sequential(nn.Dropout(), small()), INPUTS)
    with pytest.raises(UnsupportedNetworkError, match=r"1 is in training mode: call network.eval\(\) first"):
        take_in(small()[:1].append(nn.ReLU().train()), INPUTS)
    with pytest.raises(UnsupportedNetworkError, match=r"returns \(5, 4, 6, 6\)"):
        take_in(small()[:2].eval(), INPUTS)
    with pytest.raises(InputError, match=r"nn\.Module"):
        take_in("vgg16", INPUTS)


def test_the_fingerprint_knows_weights_images_targets_and_masks():
    def fingerprint(network=None, inputs=INPUTS, **options):
        return take_in(network or small(), inputs, **options).fingerprint

    base = fingerprint()
    other = small()
    with torch.no_grad():
        other[0].bias[0] += 1e-6
    wider = small()
    wider[0].padding = (1, 1)
    masks = torch.ones(5, 8, 8, dtype=torch.bool)
    for changed, what in (
        (fingerprint(other), "network"),
        (fingerprint(wider), "network"),
        (fingerprint(inputs=INPUTS * 1.0001), "images"),
        (fingerprint(inputs=INPUTS.flip(0)), "images"),
        (fingerprint(targets=int(take_in(small(), INPUTS).targets[0]) ^ 1), "targets"),
        (fingerprint(masks=masks), "masks"),
    ):
        assert changed[what] != base[what]
    assert fingerprint() == base
