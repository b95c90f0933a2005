"""What the network sees is what torchvision would give it, and the view is exactly that picture."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision import models

from rlrp_nb.data.sample import sample_image
from rlrp_nb.errors import InputError
from rlrp_nb.models import torchvision_cnn
from rlrp_nb.models.preprocess import Preprocess


def noise(width, height):
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    "entry",
    [
        models.ResNet50_Weights.IMAGENET1K_V1,  # bilinear, 256 to 224
        models.ResNet50_Weights.IMAGENET1K_V2,  # bilinear, 232 to 224
        models.EfficientNet_B0_Weights.DEFAULT,  # bicubic
        models.EfficientNet_V2_L_Weights.DEFAULT,  # bicubic, other mean, no crop
        models.Inception_V3_Weights.DEFAULT,  # 342 to 299: an odd border
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "picture", [sample_image("coffee"), noise(333, 500), noise(91, 40)], ids=["coffee", "tall", "flat"]
)
def test_equals_torchvision_bit_by_bit(entry, picture):
    ours = torchvision_cnn.preprocess(entry)(picture)
    assert torch.equal(ours, entry.transforms()(picture))


@given(
    width=st.integers(1, 80),
    height=st.integers(1, 80),
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    resize=st.one_of(st.none(), st.integers(20, 30)),
    grey=st.booleans(),
)
def test_the_view_is_what_the_network_saw(width, height, size, resize, grey):
    preprocess = Preprocess(size=size, mean=0.4, std=0.3, resize=resize, grey=grey)
    picture = noise(width, height)
    view, tensor = preprocess.view(picture), preprocess(picture)
    assert view.mode == "RGB"
    assert view.size == (size[1], size[0])
    assert tensor.shape == preprocess.shape == (1 if grey else 3, *size)
    assert tensor.dtype == torch.float32
    seen = torch.from_numpy(np.array(view)).permute(2, 0, 1) / 255
    torch.testing.assert_close((tensor * 0.3 + 0.4).expand(3, -1, -1), seen, atol=1e-6, rtol=0)


@pytest.mark.parametrize("grey", [False, True])
def test_what_is_prepared_together_is_what_is_made_one_by_one(tmp_path, monkeypatch, grey):
    path, preprocess = tmp_path / "x.png", Preprocess(size=(8, 6), mean=0.4, std=0.3, grey=grey)
    noise(20, 30).save(path)
    pixels, view = preprocess(path), np.array(preprocess.view(path))
    read = []
    monkeypatch.setattr(Image, "open", lambda *args, real=Image.open, **named: read.append(1) or real(*args, **named))
    prepared = preprocess.prepare(path)
    assert read == [1]
    assert torch.equal(prepared.pixels, pixels)
    assert prepared.view.dtype == torch.uint8
    assert np.array_equal(prepared.view.numpy(), view)
    assert view.shape == (8, 6, 3)


def test_a_picture_of_the_right_size_is_not_touched():
    picture = noise(28, 20)
    assert np.array_equal(Preprocess(size=(20, 28)).view(picture), picture)


def test_without_resize_as_much_as_possible_is_seen():
    picture = Image.new("RGB", (200, 100), (0, 0, 255))
    picture.paste((255, 0, 0), (0, 0, 200, 5))
    picture.paste((255, 0, 0), (0, 95, 200, 100))
    view = np.asarray(Preprocess(size=40, interpolation="box").view(picture))
    assert (view[0] == (255, 0, 0)).all()
    assert (view[-1] == (255, 0, 0)).all()
    assert (view[2:-2] == (0, 0, 255)).all()


def test_digits_keep_their_greys():
    digit = np.arange(784, dtype=np.uint16).astype(np.uint8).reshape(28, 28)
    tensor = Preprocess(size=28, grey=True)(digit)
    assert torch.equal((tensor[0] * 255).round().to(torch.uint8), torch.from_numpy(digit))


def test_everything_that_load_image_reads(tmp_path):
    preprocess = Preprocess(size=8)
    picture = noise(8, 8)
    picture.save(tmp_path / "picture.png")
    for source in (str(tmp_path / "picture.png"), np.asarray(picture), picture):
        assert torch.equal(preprocess(source), preprocess(picture))


def test_one_number_serves_all_channels():
    assert Preprocess(size=8, mean=0.5, std=0.25) == Preprocess(size=(8, 8), mean=(0.5,) * 3, std=(0.25,) * 3)
    half = np.float32(0.5)
    for three in (np.full(3, half), torch.full((3,), 0.5), (half,) * 3, [0.5] * 3, np.float64(0.5)):
        given = Preprocess(size=[np.int64(8), 8], mean=three, std=0.25, resize=np.int64(9))
        assert given == Preprocess(size=8, mean=0.5, std=0.25, resize=9)


def test_a_picture_too_narrow_to_enlarge():
    with pytest.raises(InputError, match=r"is 1 x 20000 pixels, too long and narrow.*224 x 4480000"):
        Preprocess(size=224)(Image.new("RGB", (1, 20_000)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 0}, "size=0"),
        ({"size": True}, "size=True"),
        ({"size": 8, "std": 1e-46}, "std=.*positive in every channel, also as a 32-bit number"),
        ({"size": 2.5}, r"size=2\.5"),
        ({"size": (8, 8, 8)}, r"size=\(8, 8, 8\)"),
        ({"size": 8, "resize": 7}, "resize=7 .* at least 8"),
        ({"size": (8, 9), "resize": 8.5}, r"resize=8\.5"),
        ({"size": 8, "mean": (0.5, 0.5)}, r"mean=\(0\.5, 0\.5\) has to be one finite number or 3"),
        ({"size": 8, "mean": (123.7, 116.3, 103.5)}, r"beyond 1, and pixels are in \[0, 1\] here: divide mean"),
        ({"size": 8, "mean": "grey"}, "mean='grey'"),
        ({"size": 8, "grey": True, "std": (1.0, 1.0, 1.0)}, "one finite number or 1"),
        ({"size": 8, "std": 0.0}, "std=.*positive"),
        ({"size": 8, "std": 1e40}, "std=1e[+]40 has to be one finite number.*also as a 32-bit number"),
        ({"size": 8, "mean": -1e40}, "mean=-1e[+]40 has to be one finite number"),
        ({"size": 8, "std": float("nan")}, "std=nan"),
        ({"size": 8, "interpolation": "cubic"}, "interpolation='cubic'.*bicubic"),
        ({"size": 8, "grey": "no"}, "grey='no' is not known: give True"),
        ({"size": 8, "interpolation": []}, r"interpolation=\[\].*bicubic"),
    ],
)
def test_parameters_out_of_range(arguments, message):
    with pytest.raises(InputError, match=message):
        Preprocess(**arguments)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_default_dtype_changes_nothing(dtype):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 8, 3), dtype=np.uint8))
    preprocess = Preprocess(size=8, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    expected = preprocess(picture)
    try:
        torch.set_default_dtype(dtype)
        found = preprocess(picture)
    finally:
        torch.set_default_dtype(torch.float32)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


def test_numbers_of_numpy_do_not_overflow():
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8))
    for kind in (np.uint8, np.int16, np.uint16):
        found = Preprocess(size=kind(100), resize=kind(250 if kind is np.uint8 else 256)).view(picture)
        assert found == Preprocess(size=100, resize=250 if kind is np.uint8 else 256).view(picture)


def test_a_picture_of_another_size_or_kind_is_not_taken_for_the_view():
    preprocess = Preprocess(size=(8, 6))
    for size in ((8, 6), (12, 16), (3, 16)):
        with pytest.raises(InputError, match=rf"{size[0]} x {size[1]} pixels, and the network sees 6 x 8: call the"):
            preprocess.normalise(Image.new("RGB", size))
    grey = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(8, 6))
    for kind in ("L", "P", "RGB"):
        assert torch.equal(preprocess.normalise(grey.convert(kind)), preprocess.normalise(grey.convert("RGB")))
