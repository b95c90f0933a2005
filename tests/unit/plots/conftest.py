"""Explanations to draw, made by the engine on a network small enough for every test."""

import numpy as np
import pytest
import torch
from torch import nn

from rlrp_nb.engine.explainer import explain
from rlrp_nb.models.classifier import Classifier
from rlrp_nb.models.preprocess import Preprocess

HEIGHT, WIDTH = 24, 32
CATEGORIES = ("ant", "bee", "cat", "dog", "eel & co")
TARGETS = [2, (0, 4), 4]


@pytest.fixture(scope="session")
def classifier():
    torch.manual_seed(1)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(64, 5)
    )
    return Classifier("tiny", network.eval(), CATEGORIES, Preprocess(size=(HEIGHT, WIDTH)), "random numbers")


@pytest.fixture(scope="session")
def photo():
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([rows * 10, columns * 7, (rows + columns) * 4], axis=2).astype(np.uint8)


@pytest.fixture(scope="session")
def explanation(classifier, photo):
    return explain(classifier, photo, targets=TARGETS)


@pytest.fixture(scope="session")
def by_gradient(classifier, photo):
    return explain(classifier, photo, targets=TARGETS, method="gradient-x-input")


@pytest.fixture(scope="session")
def without_photo(classifier, photo):
    return explain(classifier.network, classifier.preprocess(photo)[None], targets=TARGETS)
