"""The photographs are there without a connection, and are what they are said to be."""

import numpy as np
import pytest
from skimage import data

from rlrp_nb.data import sample
from rlrp_nb.data.sample import available_samples, sample_image
from rlrp_nb.errors import InputError, MissingPackageError


@pytest.mark.parametrize("name", available_samples())
def test_every_photograph_opens(name):
    picture = sample_image(name)
    assert picture.mode == "RGB"
    assert min(picture.size) >= 300
    assert np.asarray(picture).std() > 20  # a real picture, not a blank


def test_the_same_pixels_as_in_scikit_image():
    np.testing.assert_array_equal(np.asarray(sample_image("coffee")), data.coffee())
    np.testing.assert_array_equal(np.asarray(sample_image("camera"))[..., 0], data.camera())
    np.testing.assert_array_equal(np.asarray(sample_image("stereo_motorcycle")), data.stereo_motorcycle()[0])


def test_the_demo_photographs_are_among_them():
    assert {"coffee", "camera", "chelsea", "rocket", "stereo_motorcycle", "astronaut"} <= set(available_samples())


def test_unknown_photograph():
    with pytest.raises(InputError, match=r"'cofee'. Did you mean 'coffee'\? Available: astronaut"):
        sample_image("cofee")


def test_scikit_image_missing(monkeypatch):
    monkeypatch.setattr(sample, "find_spec", lambda _: None)
    with pytest.raises(MissingPackageError, match=r"scikit-image.*pip install 'rlrp-nb\[demo\]'"):
        sample_image("coffee")
