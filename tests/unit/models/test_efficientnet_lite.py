"""The embedded network is trained: it names what is on real photographs."""

import pytest
import torch

from rlrp_nb.data.sample import sample_image
from rlrp_nb.models.efficientnet_lite import PREPROCESS
from rlrp_nb.models.zoo import load_model


@pytest.fixture(scope="module")
def model():
    return load_model("efficientnet_lite0")


@pytest.mark.parametrize(
    ("photograph", "category", "probability"),
    [
        ("coffee", "espresso", 0.94),
        ("camera", "tripod", 0.95),
        ("stereo_motorcycle", "moped", 0.72),
        ("chelsea", "Egyptian cat", 0.41),
        ("rocket", "missile", 0.34),
    ],
)
def test_photographs(model, photograph, category, probability):
    with torch.no_grad():
        shares = model.network(model.preprocess(sample_image(photograph))[None]).softmax(dim=1)[0]
    assert model.categories[int(shares.argmax())] == category
    assert shares.max().item() == pytest.approx(probability, abs=0.03)


def test_inputs_are_scaled_as_in_training():
    for value in (0, 127, 255):
        tensor = PREPROCESS(torch.full((3, 224, 224), value, dtype=torch.uint8))
        torch.testing.assert_close(tensor, torch.full((3, 224, 224), (value - 127) / 128))


def test_nothing_is_printed(capsys):
    load_model("efficientnet_lite0")
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
