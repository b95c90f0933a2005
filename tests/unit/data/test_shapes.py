"""Shapes: the mask is the truth, a picture depends on its number alone, and nothing but the form tells the class."""

import numpy as np
import pytest
import torch
from torch import nn

from rlrp_nb.data import shapes
from rlrp_nb.data.shapes import CATEGORIES, load_shapes
from rlrp_nb.errors import InputError, MissingPackageError


def test_what_comes_out():
    found = load_shapes(20, size=48)
    assert found.images.shape == (20, 48, 48, 3)
    assert found.images.dtype == np.uint8
    assert found.masks.shape == (20, 48, 48)
    assert found.masks.dtype == np.bool_
    assert found.labels.shape == (20,)
    assert found.labels.dtype == np.int64
    assert found.categories == CATEGORIES
    assert len(set(CATEGORIES)) == 8


def test_a_picture_is_the_same_for_every_count_and_every_seed_gives_others():
    few, many, other = load_shapes(3, size=32), load_shapes(11, size=32), load_shapes(3, size=32, seed=1)
    for name in ("images", "labels", "masks"):
        np.testing.assert_array_equal(getattr(few, name), getattr(many, name)[:3])
    assert (few.images != other.images).any((1, 2, 3)).all()


def test_the_generators_of_the_user_are_left_alone():
    before, state = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002 - the old global generator
    load_shapes(2, size=16)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002
    assert torch.equal(state, torch.get_rng_state())


def test_eight_in_a_row_show_every_class_in_changing_order():
    labels = load_shapes(32, size=16).labels.reshape(4, 8)
    assert (np.sort(labels, 1) == np.arange(8)).all()
    assert len({tuple(row) for row in labels.tolist()}) > 1


@pytest.mark.parametrize("distractors", [0, 3])
def test_only_the_mask_and_its_edge_differ_when_the_shape_is_not_painted(monkeypatch, distractors):
    """The last thing that is painted is the shape; without it the ground is left."""
    painted, calls = shapes._painted, []

    def all_but_the_last(canvas, coverage, random):
        calls.append(coverage)
        result = painted(canvas, coverage, random)
        return canvas if len(calls) % (distractors + 1) == 0 else result

    whole = load_shapes(16, size=40, distractors=distractors)
    monkeypatch.setattr(shapes, "_painted", all_but_the_last)
    ground = load_shapes(16, size=40, distractors=distractors)
    coverage = np.stack(calls[distractors :: distractors + 1])
    np.testing.assert_array_equal(whole.masks, ground.masks)
    np.testing.assert_array_equal(whole.masks, coverage >= 0.5)
    changed = (whole.images != ground.images).any(3)
    assert not changed[coverage == 0].any()
    assert changed[coverage == 1].mean() > 0.999
    difference = np.linalg.norm(whole.images.astype(float) - ground.images, axis=3)
    assert min(difference[i][whole.masks[i]].mean() for i in range(16)) > 50  # each can be seen


def test_pebbles_are_beside_the_shape_and_not_in_the_mask():
    plain, littered = load_shapes(16, size=64), load_shapes(16, size=64, distractors=6)
    np.testing.assert_array_equal(plain.labels, littered.labels)
    assert (littered.masks.mean((1, 2)) > 0.04).all()
    assert (littered.masks.mean((1, 2)) < 0.4).all()


def test_shapes_lie_wholly_in_the_picture_and_are_the_size_of_their_form():
    found = load_shapes(80, size=64, seed=2)
    shares = [found.masks[found.labels == label].mean() for label in range(8)]
    assert all(0.05 < share < 0.35 for share in shares)
    for mask in found.masks:
        # Turned, moved and cut by no edge: on the edge there is no more than a tip.
        assert max(mask[0].sum(), mask[-1].sum(), mask[:, 0].sum(), mask[:, -1].sum()) < 12


@pytest.mark.parametrize("size", [16, 33, 224])
def test_every_size(size):
    found = load_shapes(2, size=size)
    assert found.images.shape == (2, size, size, 3)
    assert found.masks.any((1, 2)).all()


def test_each_form_is_what_its_name_says():
    """Areas of the outlines in the circle of radius 1, by the formula for polygons and by geometry."""

    def area(outline):
        x, y = outline.T
        return abs((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()) / 2

    forms = shapes._OUTLINES
    assert all(np.linalg.norm(points, axis=1).max() <= 1 + 1e-9 for outlines in forms.values() for points in outlines)
    assert area(forms["square"][0]) == pytest.approx(2)
    assert area(forms["triangle"][0]) == pytest.approx(3 * 3**0.5 / 4)
    assert area(forms["circle"][0]) == pytest.approx(np.pi * 0.85**2, rel=2e-3)
    arm, reach = 0.3 / np.hypot(1, 0.3), 1 / np.hypot(1, 0.3)
    assert area(forms["cross"][0]) == pytest.approx(8 * arm * reach - 4 * arm**2)
    hole = area(forms["ring"][1]) / area(forms["ring"][0])
    assert hole == pytest.approx((0.55 / 0.95) ** 2)
    points = np.random.default_rng(0).uniform(-1, 1, (200_000, 2))
    outside = np.linalg.norm(points - [0.55, 0], axis=1) > 0.8
    moon = 4 * (outside & (np.linalg.norm(points, axis=1) < 1)).mean()
    assert area(forms["crescent"][0]) == pytest.approx(moon, rel=0.02)
    assert area(forms["star"][0]) == pytest.approx(5 * 0.42 * np.sin(np.pi / 5))


def test_the_ring_has_its_hole():
    found = load_shapes(40, size=64)
    for mask in found.masks[found.labels == CATEGORIES.index("ring")]:
        rows, columns = np.nonzero(mask)
        assert not mask[round(rows.mean()), round(columns.mean())]


def test_colour_alone_does_not_tell_the_class():
    """The mean and the spread of the colour inside the mask, given to a linear classifier."""
    found = load_shapes(480, size=24)
    colours = [found.images[i][found.masks[i]] / 255 for i in range(480)]
    features = torch.tensor(np.array([[*colour.mean(0), *colour.std(0)] for colour in colours]), dtype=torch.float32)
    features = (features - features.mean(0)) / features.std(0)
    labels = torch.from_numpy(found.labels)
    classifier = nn.Linear(6, 8)
    optimiser = torch.optim.LBFGS(classifier.parameters(), max_iter=50)

    def closure():
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(classifier(features[:320]), labels[:320])
        loss.backward()
        return loss

    optimiser.step(closure)
    accuracy = (classifier(features[320:]).argmax(1) == labels[320:]).double().mean().item()
    assert accuracy < 0.25  # chance is 0.125


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"count": 0}, "count=0 has to be an integer, 1 or more"),
        ({"count": 2.0}, "count=2.0"),
        ({"count": True}, "count=True"),
        ({"size": 15}, "size=15 has to be an integer, 16 or more"),
        ({"seed": -1}, "seed=-1"),
        ({"distractors": -1}, "distractors=-1 has to be an integer, 0 or more"),
    ],
)
def test_bad_numbers_are_named(options, words):
    with pytest.raises(InputError, match=words):
        load_shapes(**{"count": 1, **options})


def test_scikit_learn_missing(monkeypatch):
    shapes._photographs.cache_clear()
    monkeypatch.setattr(shapes, "find_spec", lambda _: None)
    with pytest.raises(MissingPackageError, match=r"scikit-learn.*pip install 'rlrp-nb\[demo\]'"):
        load_shapes(1)
