from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable


class Written(nn.Module):
    """A network whose forward is the function that the test writes, with a convolution and a head at hand."""

    def __init__(self, function: "Callable[[Written, Tensor], Tensor]") -> None:
        super().__init__()
        self.function = function
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)

    def classify(self, x: Tensor) -> Tensor:
        return self.head(x.mean((2, 3)))


@pytest.fixture
def written() -> "Callable[[Callable[[Written, Tensor], Tensor]], Written]":
    def build(function: "Callable[[Written, Tensor], Tensor]") -> Written:
        torch.manual_seed(0)
        return Written(function).eval()

    return build


@pytest.fixture
def residual() -> nn.Module:
    """A small residual network with batch-norm, an in-place ReLU used three times, and a downsampling branch."""
    torch.manual_seed(1)

    class Block(nn.Module):
        def __init__(self, channels: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(channels, 8, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(8)
            self.conv2 = nn.Conv2d(8, 8, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(8)
            self.relu = nn.ReLU(inplace=True)
            self.downsample = nn.Sequential(nn.Conv2d(channels, 8, 1, stride, bias=False), nn.BatchNorm2d(8))

        def forward(self, x: Tensor) -> Tensor:
            out = self.relu(self.bn1(self.conv1(x)))
            out = self.bn2(self.conv2(out))
            out += self.downsample(x)
            return self.relu(out)

    network = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()),
        nn.Sequential(Block(8, 1), Block(8, 2)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 6),
    )
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    return network.eval()


@pytest.fixture
def images() -> Tensor:
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(2))
