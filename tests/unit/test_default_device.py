"""A default device for new tensors, such as a GPU in the first line of a notebook, moves nothing of this package."""

import numpy as np
import pytest
import torch
from torch import nn

import rlrp_nb as rn
from rlrp_nb.data.mosaic import mosaics
from rlrp_nb.engine import treatments
from rlrp_nb.evaluation.comparing import METHODS, compare
from rlrp_nb.evaluation.metric import METRICS
from rlrp_nb.models.classifier import Classifier
from rlrp_nb.models.preprocess import Preprocess
from rlrp_nb.training import fit, jitter, measure_accuracy
from rlrp_nb.widgets.explorer import Explorer

PICTURES = list(np.random.default_rng(0).integers(0, 255, (3, 20, 20, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 32, 3), nn.SiLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(512, 3))
    return Classifier("small", network.eval(), ("a", "b", "c"), Preprocess(size=16), "none")


@pytest.fixture(params=["picture", "batch", "saved"])
def use(request, model, tmp_path):
    """A way of using an explanation that returns numbers."""

    def saved():
        explanation = rn.explain(model, PICTURES, "top2", layers="all")
        return rn.Explanation.load(explanation.save(tmp_path / "x.safetensors")).layers["1"]

    return {
        "picture": lambda: rn.explain(model, PICTURES, torch.tensor([0, 1, 2], device="cpu")).relevance,
        "batch": lambda: rn.RLRP(model.network).attribute(torch.ones(3, 3, 16, 16, device="cpu"), [0, 1, 2]),
        "saved": saved,
    }[request.param]


def test_explanations_are_the_same(use):
    expected = use()
    treatments._nothing.cache_clear()  # what is made once must not be made on the default device
    with torch.device("meta"):
        found = use()
    assert torch.equal(found, expected)
    assert torch.equal(use(), expected)


def test_comparisons_are_the_same(model):
    masks = np.zeros((3, 16, 16), dtype=bool)
    masks[:, 3:8, 3:8] = True
    metrics = [name for name, metric in METRICS.items() if not metric.timed]
    options = {"methods": (*METHODS, "edges"), "metrics": metrics, "masks": masks, "progress": False, "resamples": 20}
    expected = compare(model, PICTURES, **options)
    with torch.device("meta"):
        found = compare(model, PICTURES, **options)
    assert found.failures == expected.failures
    np.testing.assert_array_equal(found.values, expected.values)


@pytest.mark.parametrize("fill", ["black", "imputation"])
def test_every_fill_is_the_same(model, fill):
    options = {"methods": "rlrp", "metrics": "aopc", "fill": fill, "progress": False, "resamples": 20}
    expected = compare(model, PICTURES, **options)
    with torch.device("meta"):
        found = compare(model, PICTURES, **options)
    assert found.failures == ()
    np.testing.assert_array_equal(found.values, expected.values)


def test_an_explorer_is_the_same(model):
    expected = Explorer(model, PICTURES[0])._session.cover(0, (0, 0, 8, 8), [1])
    with torch.device("meta"):
        found = Explorer(model, PICTURES[0])._session.cover(0, (0, 0, 8, 8), [1])
    assert found == expected


def test_training_is_the_same():
    images, labels = torch.rand(12, 1, 8, 8), torch.arange(12) % 3

    def trained():
        torch.manual_seed(0)
        with torch.device("cpu"):
            network = nn.Sequential(
                nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten(), nn.Linear(144, 3)
            )
        epochs = fit(network, images, labels, epochs=2, batch_size=4, augment=jitter)
        return epochs, measure_accuracy(network, images, labels)

    expected = trained()
    with torch.device("meta"):
        assert trained() == expected


def test_mosaics_are_the_same():
    images, labels = torch.rand(8, 1, 6, 6), torch.arange(8) % 4
    expected = mosaics(images, labels, count=3)
    with torch.device("meta"):
        found = mosaics(images, labels, count=3)
    assert torch.equal(found.masks, expected.masks)
    assert torch.equal(found.targets, expected.targets)
