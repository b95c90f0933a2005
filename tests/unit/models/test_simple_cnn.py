"""The shipped digit network is as good as it is said to be, and its command makes one like it."""

import sys

import numpy as np
import pytest
import torch

from rlrp_nb.data.digits import load_digits, split_digits
from rlrp_nb.errors import InputError
from rlrp_nb.models import simple_cnn
from rlrp_nb.models.zoo import load_model
from rlrp_nb.training import measure_accuracy


def test_the_checkpoint_knows_digits_it_has_not_seen():
    digits = split_digits()
    network = load_model("simple_cnn").network
    labels = torch.from_numpy(digits.held_out_labels)
    assert measure_accuracy(network, simple_cnn.to_input(digits.held_out_images), labels) >= 0.97


def test_the_checkpoint_is_small():
    assert simple_cnn.CHECKPOINT.stat().st_size < 500_000


def test_preprocess_gives_what_it_was_trained_on():
    images, labels = load_digits()
    model = load_model("simple_cnn")
    tensor = model.preprocess(images[1234])
    torch.testing.assert_close(tensor, simple_cnn.to_input(images[1234:1235])[0])
    assert model.categories[int(model.network(tensor[None]).argmax())] == str(labels[1234])
    assert np.array_equal(np.asarray(model.preprocess.view(images[1234]))[..., 0], images[1234])


def test_black_is_zero():
    assert not simple_cnn.PREPROCESS(np.zeros((28, 28), np.uint8)).any()


def test_the_command_trains_and_writes(tmp_path, monkeypatch, capsys):
    checkpoint = tmp_path / "new" / "simple_cnn.safetensors"
    monkeypatch.setattr(simple_cnn, "CHECKPOINT", checkpoint)
    monkeypatch.setattr(simple_cnn.train, "__kwdefaults__", {"epochs": 3, "seed": 0})
    monkeypatch.setattr(sys, "argv", ["simple_cnn"])
    simple_cnn.main()
    said = capsys.readouterr().out
    assert "of 1,000 held-out digits are right" in said
    assert float(said.split("%")[0]) > 80  # after 3 of 40 epochs
    digits = split_digits()
    accuracy = measure_accuracy(
        load_model("simple_cnn", weights=checkpoint).network,
        simple_cnn.to_input(digits.held_out_images),
        torch.from_numpy(digits.held_out_labels),
    )
    assert f"{accuracy:.1%}" in said


@pytest.mark.parametrize(("argument", "status"), [("--help", 0), ("--epochs=3", 2), ("vgg16", 2)])
def test_the_command_is_asked_about_or_mistyped_without_training(argument, status, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(simple_cnn, "CHECKPOINT", tmp_path / "simple_cnn.safetensors")
    monkeypatch.setattr(simple_cnn, "train", lambda: pytest.fail("it trains"))
    monkeypatch.setattr(sys, "argv", ["simple_cnn", argument])
    with pytest.raises(SystemExit) as left:
        simple_cnn.main()
    assert left.value.code == status
    printed = capsys.readouterr()
    assert "python -m rlrp_nb.models.simple_cnn" in (printed.err if status else printed.out)


@pytest.mark.parametrize(
    "wrong", [np.zeros((2, 28, 28)), np.zeros((28, 28), np.uint8), np.zeros((2, 1, 28, 28), np.uint8), [1]]
)
def test_what_are_no_digits_is_refused(wrong):
    with pytest.raises(InputError, match=r"accepted are digits \(N, 28, 28\) of type uint8"):
        simple_cnn.to_input(wrong)
