"""Mosaics: every cell is a whole picture, the mask is the cell of the target, and all classes differ."""

import numpy as np
import pytest
import torch

from rlrp_nb.data.mosaic import mosaics
from rlrp_nb.errors import InputError


def pictures(samples=30, classes=10, channels=2, height=3, width=4):
    """Return pictures of one number each, their own, with labels that are no row of numbers."""
    images = torch.arange(samples).float()[:, None, None, None].expand(samples, channels, height, width)
    return images * torch.tensor([1.0, -1.0])[:channels, None, None], torch.arange(samples) % classes * 7 + 3


@pytest.mark.parametrize("cells", [2, 3])
def test_every_cell_is_one_picture_and_the_mask_is_that_of_the_target(cells):
    images, labels = pictures()
    found = mosaics(images, labels, cells=cells, count=40)
    assert found.images.shape == (40, 2, cells * 3, cells * 4)
    assert found.masks.shape == (40, cells * 3, cells * 4)
    assert found.masks.dtype == torch.bool
    assert found.targets.dtype == torch.int64
    for number in range(40):
        classes = []
        for row in range(cells):
            for column in range(cells):
                box = slice(3 * row, 3 * row + 3), slice(4 * column, 4 * column + 4)
                cell, mask = found.images[number][(slice(None), *box)], found.masks[number][box]
                source = int(cell[0, 0, 0])
                assert torch.equal(cell, images[source])
                classes.append(int(labels[source]))
                assert mask.unique().tolist() == [classes[-1] == found.targets[number]]
        assert len(set(classes)) == cells**2
        assert int(found.targets[number]) in classes


def test_pictures_keep_their_rows_and_columns():
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(4, 3, 5, 6, generator=generator)
    found = mosaics(images, torch.arange(4), count=6)
    for number, target in enumerate(found.targets):
        cell = found.images[number][:, found.masks[number]].reshape(3, 5, 6)
        assert torch.equal(cell, images[target])


def test_a_mosaic_is_the_same_for_every_count_and_the_seed_changes_it():
    few, many = mosaics(*pictures(), count=3), mosaics(*pictures(), count=9)
    for first, second in zip(few, many, strict=True):
        assert torch.equal(first, second[:3])
    assert not torch.equal(many.images, mosaics(*pictures(), count=9, seed=1).images)


def test_every_class_and_every_cell_is_as_likely():
    images, _ = pictures()
    labels = torch.tensor([0] * 20 + [1] * 4 + [2] * 3 + [3, 4, 5])
    found = mosaics(images, labels, count=1200)
    counts = np.bincount(found.targets.numpy())
    assert (abs(counts / 1200 - 1 / 6) < 0.04).all()
    corners = torch.stack([found.masks[:, row, column] for row in (0, -1) for column in (0, -1)])
    assert (abs(corners.double().mean(1) - 1 / 4) < 0.05).all()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float64])
def test_the_dtype_stays(dtype):
    images, labels = pictures(channels=1)
    assert mosaics(images.to(dtype), labels, count=1).images.dtype == dtype


def test_bad_input_is_named():
    images, labels = pictures()
    broken = images.clone()
    broken[4, 0, 0, 0] = torch.inf
    for arguments, options, words in (
        ((images.numpy(), labels), {}, "images is a ndarray"),
        ((images, labels.tolist()), {}, "labels is a list"),
        ((images[0], labels), {}, r"images have shape \(2, 3, 4\)"),
        ((images[:0], labels[:0]), {}, "not empty"),
        ((images, labels[:5]), {}, r"labels are torch.int64 of shape \(5,\): give int64 \(30,\)"),
        ((images, labels.int()), {}, "labels are torch.int32"),
        ((broken, labels), {}, "image 4 has values"),
        ((images[:3], labels[:3]), {}, "2 x 2 cells need pictures of 4 different classes, but labels have 3"),
        ((images, labels), {"cells": 4}, "16 different classes, but labels have 10"),
        ((images, labels), {"cells": 1}, "cells=1 has to be an integer, 2 or more"),
        ((images, labels), {"count": 0}, "count=0"),
        ((images, labels), {"seed": -1}, "seed=-1"),
        ((images, labels), {"count": 1.5}, "count=1.5"),
    ):
        with pytest.raises(InputError, match=words):
            mosaics(*arguments, **{"count": 1, **options})
