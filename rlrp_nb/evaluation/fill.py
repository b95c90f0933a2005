"""What stands in an image where pixels are hidden: blur, mean, black, or what their neighbours let expect.

A fill decides what a measure of faithfulness means. A fixed colour makes edges that no photograph has, a blur keeps
rough forms, and by any of them a network can see the outline of what was hidden. Noisy linear imputation was made
against the last: Rong, Leemann, Borisov, Kasneci and Kasneci, "A consistent and efficient evaluation strategy for
attribution methods" (ROAD), 2022.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from rlrp_nb.checks import LARGEST_SEED, check_images, check_tensors, check_whole, is_real
from rlrp_nb.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    # A tensor, a name, or a function of inputs (B, C, H, W) and the pixels hidden in them, bool (B, H, W).
    Fill: TypeAlias = "Tensor | str | Callable[[Tensor, Tensor], Tensor]"

FILLS = ("blur", "mean", "black", "imputation")

_SIGMA = 20 / 224  # of the longer side; the usual blur of ImageNet pictures
_REACH = 1.25  # the kernel ends at so many standard deviations: 51 pixels for a picture of 224
_RESIDUAL = 1e-8  # of the right side; leaves errors far below 1e-5 even where all but a few pixels are hidden
_SHRINK = 0.75  # of the planes that are being solved: when no more are left to solve, the others are laid aside
_AT_ONCE = 2**18  # numbers in one array of the solver: fewer cost as much to ask for as to compute, more fit no cache


def filled(
    inputs: Tensor,
    fill: str,
    *,
    hidden: Tensor | None = None,
    black: Tensor | float = 0.0,
    noise: float = 0.01,
    seed: int = 0,
) -> Tensor:
    """Return what stands in inputs where their pixels are hidden.

    Parameters
    ----------
    inputs : Tensor
        Floating-point ``(B, C, H, W)``, as the network gets them.
    fill : {"blur", "mean", "black", "imputation"}
        See :func:`blur` and :func:`impute`; "mean" is the mean over each channel of each sample.
    hidden : Tensor, optional
        bool ``(B, H, W)``: the pixels that are hidden. Only "imputation" depends on them, and needs them.
    black : Tensor or float
        Value for "black", anything that can be broadcast to the inputs. Which number is black depends on how pictures
        are prepared for the network, and is not known here: 0 is black for inputs in [0, 1], but mid-grey for inputs
        that are normalised. Give ``(0 - mean) / std`` there.
    noise, seed
        As in :func:`impute`.

    Returns
    -------
    Tensor
        Same shape, dtype and device. For "imputation", pixels that are not hidden are those of the inputs.

    Raises
    ------
    InputError
        The fill has no such name, or an argument does not fit the inputs.
    """
    check_images(inputs)
    if not isinstance(fill, str) or fill not in FILLS:
        what = f"there is no fill {fill!r}" if isinstance(fill, str) else f"fill is a {type(fill).__name__}"
        raise InputError(f"{what}: choose one of {', '.join(FILLS)}, or give a tensor or a function.")
    if fill == "blur":
        return blur(inputs)
    if fill == "mean":
        accurate = inputs if inputs.dtype == torch.float64 else inputs.float()
        return accurate.mean((2, 3), keepdim=True).to(inputs.dtype).expand_as(inputs)
    if fill == "black":
        if not isinstance(black, Tensor) and not is_real(black):
            raise InputError(f"black is a {type(black).__name__}; accepted is a number or a tensor.")
        return broadcast(torch.as_tensor(black, device=inputs.device), inputs)
    if hidden is None:
        raise InputError("the fill 'imputation' depends on which pixels are hidden: give hidden, bool (B, H, W).")
    return impute(inputs, hidden, noise=noise, seed=seed)


def broadcast(fill: Tensor, inputs: Tensor) -> Tensor:
    """Bring a fill to the shape, dtype and device of inputs, or say that it does not fit.

    Parameters
    ----------
    fill : Tensor
        Anything that can be broadcast to the inputs.
    inputs : Tensor
        ``(B, C, H, W)``.

    Returns
    -------
    Tensor
        ``(B, C, H, W)``.

    Raises
    ------
    InputError
        The fill is no dense tensor, or the shapes do not fit each other.
    """
    check_tensors(fill=fill)
    try:
        return fill.to(inputs).expand_as(inputs)
    except RuntimeError:
        raise InputError(
            f"the fill has shape {tuple(fill.shape)}, which cannot be broadcast to inputs of {tuple(inputs.shape)}."
        ) from None


def blur(inputs: Tensor) -> Tensor:
    """Blur inputs until nothing can be recognised: a Gaussian of 20 pixels where the longer side has 224.

    Parameters
    ----------
    inputs : Tensor
        Floating-point ``(B, C, H, W)``.

    Returns
    -------
    Tensor
        Same shape, dtype and device. Beyond the edge the nearest pixel counts.

    Raises
    ------
    InputError
        The inputs are not floating-point ``(B, C, H, W)``.
    """
    check_images(inputs)
    sigma = _SIGMA * max(inputs.shape[2:])
    radius = max(1, round(_REACH * sigma))
    # In float32 at least: the CPU has no half-precision padding, and sums of many small weights want the bits.
    blurred = inputs if inputs.dtype == torch.float64 else inputs.float()
    offsets = torch.arange(-radius, radius + 1, dtype=blurred.dtype, device=inputs.device)
    kernel = torch.exp(-(offsets**2) / (2 * sigma**2))
    kernel /= kernel.sum()
    for shape, padding in (((1, 1, 1, -1), (radius, radius, 0, 0)), ((1, 1, -1, 1), (0, 0, radius, radius))):
        planes = functional.pad(blurred, padding, mode="replicate").flatten(0, 1)[:, None]
        blurred = functional.conv2d(planes, kernel.reshape(shape)).reshape(inputs.shape)
    return blurred.to(inputs.dtype)


def impute(inputs: Tensor, hidden: Tensor, *, noise: float = 0.01, seed: int = 0) -> Tensor:
    """Replace hidden pixels by noisy linear imputation, the fill of ROAD.

    Every hidden pixel becomes the weighted mean of its eight neighbours, hidden ones included: 1/6 for each direct and
    1/12 for each diagonal one, divided by the sum of the weights that lie inside the image. That is one sparse, linear
    system for each image. Gaussian noise on top covers how flat the solution is.

    Parameters
    ----------
    inputs : Tensor
        Floating-point ``(B, C, H, W)``.
    hidden : Tensor
        bool ``(B, H, W)``. Where all pixels of an image are hidden, the system has no unique solution, and each channel
        gets its mean.
    noise : float
        Standard deviation of the noise, in units of the inputs.
    seed : int
        Of the noise. It is drawn once for an image of this size and is the same for all samples, so that what is
        hidden in one image, or which images stand beside it, does not change it.

    Returns
    -------
    Tensor
        Same shape, dtype and device, detached; pixels that are not hidden are left as they are.

    Raises
    ------
    InputError
        Shapes or numbers do not fit.
    """
    check_images(inputs)
    check_tensors(hidden=hidden)
    (seed,) = check_whole(0, LARGEST_SEED, seed=seed)
    if hidden.dtype != torch.bool or tuple(hidden.shape) != (len(inputs), *inputs.shape[2:]):
        raise InputError(
            f"hidden is {hidden.dtype} of shape {tuple(hidden.shape)}: for these inputs it has to be torch.bool of "
            f"shape {(len(inputs), *inputs.shape[2:])}."
        )
    if not is_real(noise) or not 0 <= noise < float("inf"):
        raise InputError(f"noise={noise!r} has to be a standard deviation: a number from 0 on.")
    inputs, hidden = inputs.detach(), hidden.to(inputs.device)[:, None]
    # What is added to all pixels is added to the solution: without the mean, less is left to solve and to round.
    counted = ~hidden | hidden.all(3, keepdim=True).all(2, keepdim=True)
    exact = torch.where(counted, inputs.double(), 0)
    mean = exact.sum((2, 3), keepdim=True) / counted.sum((2, 3), keepdim=True)
    planes = torch.where(hidden, 0, exact - mean).flatten(0, 1)
    holes = hidden.expand_as(inputs).flatten(0, 1).double()
    together = len(planes) if inputs.is_cuda else imputed_at_once(inputs) * inputs.shape[1]
    parts = zip(torch.split(planes, together), torch.split(holes, together), strict=True)
    solved = torch.cat([_solve(*part) for part in parts]).reshape(inputs.shape) + mean
    generator = torch.Generator().manual_seed(seed)
    solved += float(noise) * torch.randn(inputs.shape[1:], generator=generator, dtype=torch.float64, device="cpu").to(
        inputs.device
    )
    return torch.where(hidden, solved.to(inputs.dtype), inputs)


def imputed_at_once(inputs: Tensor) -> int:
    """Return how many inputs `impute` is best given, and solves, at once on a CPU; a GPU takes all that fit into it.

    Parameters
    ----------
    inputs : Tensor
        ``(B, C, H, W)``.

    Returns
    -------
    int
        From 1 on.
    """
    return max(1, _AT_ONCE // inputs[0].numel())


def _solve(known: Tensor, hidden: Tensor) -> Tensor:
    """Solve planes ``(N, H, W)`` for their hidden pixels, where they hold 0; at other pixels 0 is returned.

    By conjugate gradients: the matrix is symmetric, and positive definite as soon as one pixel is known. It is never
    built, as a product with it is a few shifted sums of images. So many planes are solved at once, on the device where
    they are, without SciPy, on which the package does not depend. On the CPU its factorisations are no faster.
    """
    # The binomial sum counts a pixel itself too, in the diagonal as much as in the product: that cancels.
    diagonal = _binomial(torch.ones_like(hidden), *_buffers(hidden)).mul(hidden)
    first, second = _buffers(known)
    residual = _binomial(known, first, second).mul(hidden)
    solved = torch.zeros_like(known)
    solution, direction = torch.zeros_like(known), residual.clone()
    energy = _energy(residual)
    limit = energy * _RESIDUAL**2
    places = torch.arange(len(known), device=known.device)
    # In exact arithmetic as many steps are enough as there are pixels. Numbers that are not finite end it at once.
    for _ in range(known[0].numel()):
        # A plane that is solved stands still, so that no result depends on what it is solved together with.
        unsolved = energy > limit
        left = int(unsolved.sum())
        if left == 0:
            break
        if left <= _SHRINK * len(places):  # those that stand still cost as much as the others
            solved[places] = solution
            keep = unsolved.flatten()
            places, solution, residual, direction, energy, limit, diagonal, hidden = (
                planes[keep] for planes in (places, solution, residual, direction, energy, limit, diagonal, hidden)
            )
            unsolved, first, second = unsolved[keep], first[:left], second[:left]
        # The negative of the product, which spares a change of sign.
        product = _binomial(direction, first, second).mul_(hidden).addcmul_(diagonal, direction, value=-1)
        curvature = torch.mul(direction, product, out=first).sum((1, 2), keepdim=True).neg_()
        step = torch.where(unsolved, energy / curvature, 0)
        solution.addcmul_(direction, step)
        residual.addcmul_(product, step)
        renewed = _energy(residual)
        torch.addcmul(residual, direction, torch.where(unsolved, renewed / energy, 0), out=direction)
        energy = renewed
    solved[places] = solution
    return solved


def _energy(planes: Tensor) -> Tensor:
    """Return the sum of squares of each plane, ``(N, 1, 1)``; a norm reads them once and writes nothing large."""
    norm: Tensor = torch.linalg.vector_norm(planes, dim=(1, 2), keepdim=True)
    return norm.square_()


def _binomial(planes: Tensor, rows: Tensor, sums: Tensor) -> Tensor:
    """Weigh neighbours by 2 and 1, and the pixel itself by 4: (1, 2, 1) down times (1, 2, 1) across.

    That is 12 times the weights of the method: both sides of the system are. (1, 2, 1) is (1, 1) twice.
    """
    _pairs(planes, rows, 2)
    _pairs(rows, sums, 1)
    return sums


def _pairs(planes: Tensor, sums: Tensor, dim: int) -> None:
    """Write ``planes[i - 1] + 2 * planes[i] + planes[i + 1]``, with 0 beyond the edges."""
    torch.mul(planes, 2, out=sums)
    size = planes.shape[dim]
    sums.narrow(dim, 1, size - 1).add_(planes.narrow(dim, 0, size - 1))
    sums.narrow(dim, 0, size - 1).add_(planes.narrow(dim, 1, size - 1))


def _buffers(like: Tensor) -> tuple[Tensor, Tensor]:
    # Large arrays that come and go cost more than the sums in them: the system hands out their memory page by page.
    return torch.empty_like(like), torch.empty_like(like)
