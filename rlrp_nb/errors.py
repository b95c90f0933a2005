"""The errors a user can meet. Each message names the thing, says what is accepted and what to do next."""

from rlrp_nb.printable import printable


class RlrpError(Exception):
    """Base of every error raised on purpose by this package."""

    def __str__(self) -> str:
        """Return lines that are safe in a terminal: names of layers, tensors and files in them can be a stranger's."""
        return "\n".join(map(printable, super().__str__().split("\n")))


class InputError(RlrpError, ValueError):
    """An argument, image or tensor cannot be used as it is."""


class UnsupportedNetworkError(RlrpError):
    """The network has a part for which there is no rule, or it is in a state that cannot be explained."""


class WeightsError(RlrpError):
    """Weights are missing, damaged, or do not fit the network."""


class FileFormatError(RlrpError, ValueError):
    """A file is damaged, or is not of the format that was asked for."""


class MissingPackageError(RlrpError, ImportError):
    """An optional package is needed for what was asked."""
