"""Tests of perturbations: what they do to each value, by seed, on any batch."""

import io
import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from rlrp_nb.errors import InputError
from rlrp_nb.evaluation.perturbation import Brightness, Jpeg, Noise, Shift, uniform
from tests.reference.networks import images

EVERY = [Noise(0.1), Noise(0.1, relative=True), Jpeg(50, -3, 3), Brightness(0.5, 0.1), Shift(2, -1)]


@pytest.mark.parametrize("perturbation", EVERY, ids=repr)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_shape_dtype_inputs_and_random_numbers_are_kept(perturbation, dtype):
    inputs = images(3, 9).to(dtype)
    before, state = inputs.clone(), (torch.get_rng_state(), random.getstate())
    changed = perturbation(inputs)
    assert changed.shape == inputs.shape
    assert changed.dtype == dtype
    assert torch.equal(inputs, before)
    assert torch.equal(torch.get_rng_state(), state[0])
    assert random.getstate() == state[1]
    assert not torch.equal(changed, inputs)
    assert torch.equal(changed, perturbation(inputs))
    # a sample does not see those behind it
    assert torch.equal(changed[:2], perturbation(inputs[:2]))


def test_noise_has_the_deviation_that_was_asked_for():
    inputs = images(2, 100)
    inputs[1] *= 5
    draws = Noise(0.3, seed=4)(inputs) - inputs
    assert draws.flatten(1).std(1).tolist() == pytest.approx([0.3, 0.3], rel=0.02)
    assert draws.mean().item() == pytest.approx(0, abs=0.005)
    ranges = inputs.flatten(1).amax(1) - inputs.flatten(1).amin(1)
    relative = Noise(0.3, relative=True, seed=4)(inputs) - inputs
    torch.testing.assert_close(relative, draws * ranges.reshape(2, 1, 1, 1))
    assert not torch.allclose(Noise(0.3, seed=5)(inputs) - inputs, draws)
    assert not torch.allclose(draws[0], draws[1])
    assert torch.equal(Noise(0)(inputs), inputs)


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_pillows(channels):
    low, high = torch.linspace(-2, -1, channels), torch.linspace(2, 4, channels)
    pixels = torch.randint(0, 256, (2, 16, 20, channels), generator=torch.Generator().manual_seed(1)).byte()
    inputs = (pixels.double() / 255 * (high - low) + low).permute(0, 3, 1, 2)
    found = Jpeg(30, low.tolist(), high.tolist())(inputs)
    for sample in range(2):
        file = io.BytesIO()
        Image.fromarray(pixels[sample].squeeze(-1).numpy()).save(file, "JPEG", quality=30)
        read = np.asarray(Image.open(file)).reshape(16, 20, channels).astype(float)
        expected = read / 255 * (high - low).numpy() + low.numpy()
        np.testing.assert_allclose(found[sample].permute(1, 2, 0).numpy(), expected, rtol=1e-6, atol=1e-6)
    finer = (Jpeg(95, low.tolist(), high.tolist())(inputs) - inputs).abs().mean()
    assert finer < (found - inputs).abs().mean()


def test_jpeg_cuts_off_what_no_picture_can_hold():
    inputs = torch.tensor([-5.0, 5.0]).reshape(2, 1, 1, 1).expand(2, 1, 8, 8)
    changed = Jpeg(100)(inputs)
    assert changed[0].unique().tolist() == [0]
    assert changed[1].unique().tolist() == [1]


def test_brightness_is_affine():
    inputs = images(2, 5)
    torch.testing.assert_close(Brightness(0.5, 2.0)(inputs), inputs * 0.5 + 2)


@given(st.integers(-4, 4), st.integers(-5, 5), st.integers(0, 3))
def test_shift_moves_every_pixel_and_repeats_the_edge(right, down, seed):
    inputs = images(2, 6, seed=seed)[..., :5]
    moved = Shift(right, down)(inputs)
    for row in range(6):
        for column in range(5):
            source = inputs[:, :, min(max(row - down, 0), 5), min(max(column - right, 0), 4)]
            assert torch.equal(moved[:, :, row, column], source)
    # what both frames show is the same once it is moved back, and it is all that both can show
    before, after = Shift(right, down).common(inputs[:, 0], moved[:, 0])
    assert torch.equal(before, after)
    assert before.shape == (2, 6 - abs(down), 5 - abs(right))


def test_heatmaps_stay_whole_where_nothing_moves():
    heatmaps = images(2, 5)[:, 0]
    first, second = Noise(0.1).common(heatmaps, heatmaps + 1)
    assert torch.equal(first, heatmaps)
    assert torch.equal(second, heatmaps + 1)


def test_uniform_draws_fill_the_ball_and_follow_the_seed():
    inputs = images(2, 20)
    draws = torch.stack(list(uniform(inputs, radius=0.5, samples=4, seed=1))) - inputs
    assert draws.shape == (4, *inputs.shape)
    assert 0.499 < draws.abs().max() <= 0.5
    assert draws.mean().item() == pytest.approx(0, abs=0.01)
    assert draws.std().item() == pytest.approx(0.5 / 3**0.5, rel=0.02)
    again = torch.stack(list(uniform(inputs, radius=0.5, samples=2, seed=1))) - inputs
    assert torch.equal(again, draws[:2])
    assert not torch.allclose(draws[0], draws[1])


def test_whole_numbers_can_be_numpys():
    inputs = images(2, 12)
    assert torch.equal(Noise(0.1, seed=np.int64(3))(inputs), Noise(0.1, seed=3)(inputs))
    assert torch.equal(Jpeg(np.uint8(50))(inputs), Jpeg(50)(inputs))
    assert torch.equal(Shift(np.uint8(2), np.int64(-1))(inputs), Shift(2, -1)(inputs))
    found = [*uniform(inputs, samples=np.int64(2), seed=np.int64(5))]
    assert torch.equal(torch.stack(found), torch.stack([*uniform(inputs, samples=2, seed=5)]))


def test_bad_numbers_and_inputs_are_named():
    for make, words in (
        (lambda: Noise(-1), "deviation is -1"),
        (lambda: Noise(float("nan")), "deviation is nan"),
        (lambda: Noise(0.1, seed=1.5), "seed=1.5"),
        (lambda: Jpeg(0), "quality is 0"),
        (lambda: Jpeg(101), "quality is 101"),
        (lambda: Jpeg(50.0), "quality is 50.0"),
        (lambda: Brightness(-0.5), "factor is -0.5"),
        (lambda: Brightness(shift=float("inf")), "shift is inf"),
        (lambda: Shift(0.5), "right is 0.5"),
        (lambda: Shift(down=True), "down is True"),
    ):
        with pytest.raises(InputError, match=words):
            make()
    inputs = images(2, 6)
    for change, given_inputs, words in (
        (Shift(right=6), inputs, "leaves nothing of a picture of 6 x 6"),
        (Shift(down=-6), inputs, "leaves nothing"),
        (Jpeg(50), inputs[:, :2], "inputs have 2 channels"),
        (Jpeg(50, [0, 0]), inputs, r"low is \[0, 0\]"),
        (Jpeg(50, None), inputs, "low is None; accepted is a finite number, or one for each of"),
        (Jpeg(50, 0, "white"), inputs, "high is 'white'; accepted is a finite number"),
        (Jpeg(50, 0, float("nan")), inputs, "high is nan"),
        (Jpeg(50, 1, 0), inputs, "high has to be above low"),
        *((perturbation, inputs[0], r"inputs is torch.float64 \(3, 6, 6\)") for perturbation in EVERY),
        *((perturbation, inputs.int(), "inputs is torch.int32") for perturbation in EVERY),
        *((perturbation, inputs.numpy(), "inputs is a ndarray") for perturbation in EVERY),
        *((perturbation, inputs[:0], "not empty") for perturbation in EVERY),
    ):
        with pytest.raises(InputError, match=words):
            change(given_inputs)
    for options, words in (
        ({"radius": -1}, "radius is -1"),
        ({"samples": 0}, "samples=0"),
        ({"samples": 2.0}, "samples=2.0"),
        ({"seed": None}, "seed=None"),
    ):
        with pytest.raises(InputError, match=words):
            uniform(inputs, **options)
