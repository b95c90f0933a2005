"""What replaces hidden pixels: each fill by its definition, imputation by a dense system."""

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlrp_nb.errors import InputError
from rlrp_nb.evaluation.fill import FILLS, blur, filled, impute


def images(samples=2, channels=3, height=9, width=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(samples, channels, height, width, generator=generator, dtype=torch.float64)


def solved(image, hidden):
    """Return one plane with its hidden pixels solved for, the system written out pixel by pixel."""
    height, width = image.shape
    names = {pixel: number for number, pixel in enumerate(zip(*np.nonzero(hidden), strict=True))}
    matrix, right = np.zeros((len(names), len(names))), np.zeros(len(names))
    for (row, column), number in names.items():
        for down in (-1, 0, 1):
            for across in (-1, 0, 1):
                other = row + down, column + across
                if (down == across == 0) or not (0 <= other[0] < height and 0 <= other[1] < width):
                    continue
                weight = 1 / 12 if down and across else 1 / 6
                matrix[number, number] += weight
                if other in names:
                    matrix[number, names[other]] -= weight
                else:
                    right[number] += weight * image[other]
    result = image.copy()
    for pixel, value in zip(names, np.linalg.solve(matrix, right), strict=True):
        result[pixel] = value
    return result


@settings(max_examples=40)
@given(arrays.arrays(np.bool_, (2, 6, 8)), st.integers(0, 5), st.sampled_from([1.0, 1e4]))
def test_imputation_solves_the_system(hidden, seed, offset):
    hidden[:, 0, 0] = False
    inputs = images(2, 2, 6, 8, seed) + offset
    found = impute(inputs, torch.from_numpy(hidden), noise=0).numpy()
    for sample in range(2):
        for channel in range(2):
            expected = solved(inputs[sample, channel].numpy(), hidden[sample])
            np.testing.assert_allclose(found[sample, channel], expected, rtol=0, atol=1e-6 + 1e-11 * offset)


def test_a_large_hole_is_solved_as_exactly():
    """All but the frame of 40 x 40 pixels: a plane that rises evenly is its own solution."""
    rise = torch.arange(40, dtype=torch.float64)
    inputs = (3 * rise[:, None] - 2 * rise + 7)[None, None]
    hidden = torch.ones(1, 40, 40, dtype=torch.bool)
    hidden[:, [0, -1]] = False
    hidden[:, :, [0, -1]] = False
    found = impute(torch.where(hidden[:, None], 1e3, inputs), hidden, noise=0)
    torch.testing.assert_close(found, inputs, rtol=0, atol=1e-5)


def test_what_is_hidden_does_not_matter_to_what_is_imputed():
    inputs, hidden = images(), torch.rand(2, 9, 7, generator=torch.Generator().manual_seed(1)) < 0.6
    other = torch.where(hidden[:, None], images(seed=5) * 9, inputs)
    torch.testing.assert_close(impute(inputs, hidden), impute(other, hidden), rtol=0, atol=1e-6)


def test_known_pixels_stay_and_all_hidden_is_the_mean():
    inputs = images()
    hidden = torch.zeros(2, 9, 7, dtype=torch.bool)
    assert torch.equal(impute(inputs, hidden), inputs)
    hidden[1] = True
    hidden[0, 3, 3] = True
    found = impute(inputs, hidden, noise=0)
    torch.testing.assert_close(found[1], inputs[1].mean((1, 2), keepdim=True).expand_as(inputs[1]))
    assert (found[0] != inputs[0]).nonzero()[:, 1:].tolist() == [[3, 3]] * 3


def test_noise_has_its_spread_its_seed_and_only_hidden_pixels():
    inputs = images(2, 3, 60, 60)
    hidden = torch.zeros(2, 60, 60, dtype=torch.bool)
    hidden[:, ::2] = True
    quiet, loud = impute(inputs, hidden, noise=0), impute(inputs, hidden, noise=0.5, seed=3)
    difference = (loud - quiet)[hidden[:, None].expand_as(inputs)]
    assert difference.std().item() == pytest.approx(0.5, rel=0.05)
    assert abs(difference.mean().item()) < 0.02
    assert torch.equal(loud[:, :, 1::2], inputs[:, :, 1::2])
    assert torch.equal(loud, impute(inputs, hidden, noise=0.5, seed=3))
    assert not torch.equal(loud, impute(inputs, hidden, noise=0.5, seed=4))
    torch.testing.assert_close(impute(inputs[1:], hidden[1:], noise=0.5, seed=3), loud[1:], rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("fill", FILLS)
def test_every_fill_keeps_shape_and_dtype(fill, dtype):
    inputs = images().to(dtype)
    hidden = torch.zeros(2, 9, 7, dtype=torch.bool)
    hidden[:, 2:5, 2:5] = True
    found = filled(inputs, fill, hidden=hidden)
    assert found.shape == inputs.shape
    assert found.dtype == dtype
    assert found.isfinite().all()


def test_mean_and_black():
    inputs = images()
    for sample in range(2):
        for channel in range(3):
            mean = inputs[sample, channel].mean().item()
            np.testing.assert_allclose(filled(inputs, "mean")[sample, channel].numpy(), mean, rtol=1e-12)
    assert torch.equal(filled(inputs, "black"), torch.zeros_like(inputs))
    black = torch.tensor([-1.0, -2.0, -3.0])[:, None, None]
    assert torch.equal(filled(inputs, "black", black=black), black.double().expand_as(inputs))


def test_blur_keeps_what_is_flat_and_the_mean_far_from_the_edge():
    assert torch.allclose(blur(torch.full((1, 2, 9, 6), 3.0)), torch.tensor(3.0))
    point = torch.zeros(1, 1, 41, 41, dtype=torch.float64)
    point[..., 20, 20] = 1
    blurred = blur(point)
    assert blurred.sum().item() == pytest.approx(1)
    assert blurred[0, 0, 20, 20] == blurred.max() < 0.02
    assert torch.allclose(blurred, blurred.transpose(2, 3))
    assert blur(torch.ones(1, 1, 5, 5, dtype=torch.bfloat16)).dtype == torch.bfloat16
    assert torch.equal(filled(point, "blur"), blurred)


def test_bad_input_is_named():
    inputs = images()
    hidden = torch.zeros(2, 9, 7, dtype=torch.bool)
    for arguments, options, words in (
        ((inputs, "white"), {}, "there is no fill 'white': choose one of blur, mean, black, imputation"),
        ((inputs, "imputation"), {}, "give hidden"),
        ((inputs, "imputation"), {"hidden": hidden.int()}, "hidden is torch.int32"),
        ((inputs, "imputation"), {"hidden": hidden[:1]}, r"hidden is torch.bool of shape \(1, 9, 7\)"),
        ((inputs, "imputation"), {"hidden": hidden, "noise": -0.1}, "noise=-0.1"),
        ((inputs, "imputation"), {"hidden": hidden, "noise": torch.nan}, "noise=nan"),
        ((inputs, "black"), {"black": torch.zeros(2, 1, 1)}, r"fill has shape \(2, 1, 1\)"),
        ((inputs, np.zeros(2)), {}, "fill is a ndarray: choose one of blur"),
        ((inputs, "black"), {"black": "x"}, "black is a str"),
        ((inputs, "imputation"), {"hidden": hidden, "noise": "x"}, "noise='x'"),
        ((inputs, "imputation"), {"hidden": hidden, "seed": None}, "seed=None"),
        ((inputs, "imputation"), {"hidden": hidden.numpy()}, "hidden is a ndarray"),
        ((inputs[0], "mean"), {}, "inputs is torch"),
        ((inputs[0], "blur"), {}, "inputs is torch"),
        ((inputs.numpy(), "mean"), {}, "inputs is a ndarray"),
        ((inputs.int(), "mean"), {}, "inputs is torch.int32"),
        ((inputs[:0], "mean"), {}, "not empty"),
    ):
        with pytest.raises(InputError, match=words):
            filled(*arguments, **options)
    with pytest.raises(InputError, match=r"inputs is torch.float\d+ \(\d, 9, 7\)"):
        blur(inputs[0])


def test_inputs_that_are_followed_by_gradients_are_filled():
    inputs, hidden = images(), torch.zeros(2, 9, 7, dtype=torch.bool)
    hidden[:, 2:5, 3:6] = True
    followed = impute(inputs.clone().requires_grad_(), hidden)
    assert not followed.requires_grad
    assert torch.equal(followed, impute(inputs, hidden))
