"""A function as a network."""

from torch import Tensor, nn


class Applied(nn.Module):
    def __init__(self, op) -> None:
        super().__init__()
        self.op = op

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


def changed(write, start=lambda x: x * 1.5):
    """Return a function that writes into parts of a tensor that was made of its input."""

    def run(x):
        y = start(x)
        write(y, x)
        return y

    return run
