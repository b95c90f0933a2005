"""What arguments have to be, said in one way wherever they are given: numbers, words, tensors, inputs and heatmaps."""

import sys
from collections.abc import Sequence
from numbers import Integral, Rational, Real
from typing import TYPE_CHECKING, TypeAlias, TypeGuard

from rlrp_nb.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    Shape: TypeAlias = tuple[int, ...]

LARGEST_SEED = 2**63 - 1
"""The largest seed that both PyTorch and NumPy take."""
_BATCH_PLANE, _BATCH_CHANNELS_PLANE = 3, 4


def check_whole(least: int, most: int | None = None, **given: object) -> tuple[int, ...]:
    """Return whole numbers of a range as ints, or refuse what is none, by its name.

    NumPy's integers are such too, but PyTorch takes them in few places only, and they overflow.

    Raises
    ------
    InputError
        One is below `least`, above `most`, or no integer.
    """
    found = []
    for name, value in given.items():
        if not is_whole(value) or int(value) < least or (most is not None and int(value) > most):
            wanted = "a positive integer" if least == 1 else f"an integer, {least} or more"
            raise InputError(
                f"{name}={value!r} has to be {wanted if most is None else f'an integer from {least} to {most}'}."
            )
        found.append(int(value))
    return tuple(found)


def is_whole(value: object) -> TypeGuard[Integral]:
    """Tell an integer, Python's or NumPy's, from anything else; True and False are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_real(value: object) -> TypeGuard[float]:
    """Tell a real number, Python's or NumPy's, from anything else; True and False are none, nor fractions of two."""
    return is_whole(value) or (isinstance(value, Real) and not isinstance(value, Rational))


def check_choice(choices: Sequence[str], **given: object) -> None:
    """Refuse what is none of the words there are, by its name.

    Raises
    ------
    InputError
        One is another word, or no text.
    """
    for name, value in given.items():
        if not isinstance(value, str) or value not in choices:
            last = f" or {choices[-1]!r}"
            raise InputError(f"{name}={value!r} is not known: choose {', '.join(map(repr, choices[:-1]))}{last}.")


def check_texts(**given: object) -> None:
    """Refuse what is no text, by its name.

    Raises
    ------
    InputError
        One is none.
    """
    for name, value in given.items():
        if not isinstance(value, str):
            raise InputError(f"{name} is {value!r}; accepted is a text, which may be empty.")


def check_tensors(**given: object) -> None:
    """Refuse what is no dense tensor with values, by its name.

    Raises
    ------
    InputError
        One is an array, a list or anything else, is on the meta device, or is sparse, nested or quantised.
    """
    torch = sys.modules.get("torch")  # a tensor can only come from a torch that is already there
    for name, value in given.items():
        what = f"a {type(value).__name__}"
        if torch is not None and isinstance(value, torch.Tensor):
            what = "a tensor on the meta device" if value.is_meta else ""
            if value.is_nested or value.is_quantized or value.layout != torch.strided:
                what = f"a tensor of {'nested' if value.is_nested else value.dtype} values in layout {value.layout}"
        if what:
            raise InputError(
                f"{name} is {what}; accepted is a dense tensor with values, such as torch.as_tensor(array)."
            )


def check_images(inputs: "Tensor") -> None:
    """Refuse what is no batch of images of floating point, ``(B, C, H, W)``.

    Raises
    ------
    InputError
        It is none, or holds no value.
    """
    check_tensors(inputs=inputs)
    if inputs.dim() != _BATCH_CHANNELS_PLANE or not inputs.is_floating_point() or inputs.numel() == 0:
        raise InputError(
            f"inputs is {inputs.dtype} {tuple(inputs.shape)}; accepted is a floating-point tensor (B, C, H, W) that is "
            "not empty."
        )


def check_heatmaps(heatmaps: "Tensor", shape: "Shape | None" = None) -> None:
    """Refuse what are no heatmaps, ``(B, H, W)``, real and finite; where a shape is given, of that shape.

    Raises
    ------
    InputError
        They are none, hold no value, or one holds NaN or an infinite one.
    """
    check_tensors(heatmaps=heatmaps)
    fits = heatmaps.dim() == _BATCH_PLANE if shape is None else tuple(heatmaps.shape) == shape
    if not fits or heatmaps.is_complex() or heatmaps.numel() == 0:
        wanted = "(B, H, W)" if shape is None else f"of shape {shape} for these inputs"
        raise InputError(
            f"heatmaps is {heatmaps.dtype} {tuple(heatmaps.shape)}; accepted is a real tensor {wanted} that is not "
            "empty."
        )
    wrong = (~heatmaps.isfinite()).flatten(1).any(1)
    if bool(wrong.any()):
        raise InputError(
            f"heatmap {int(wrong.nonzero()[0])} has values that are NaN or infinite; accepted are finite ones."
        )
