"""A scene made smaller, so that its page can be sent by mail: first the layers of the methods beside the first one."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from rlrp_nb.widgets.buffers import Dtype, Tree, pack, unpack
from rlrp_nb.widgets.scene import masses

# How many cells a side the layers beside the first result keep, and those of the first result.
_STAGES: tuple[tuple[int | None, int | None], ...] = (
    (None, None), (112, None), (56, None), (28, None), (14, None), (7, None), (7, 28), (7, 7),
)  # fmt: skip
_MAP = 2


def smaller(scene: Tree) -> Iterator[tuple[Tree, str]]:
    """Yield a scene as it is, and then ever smaller.

    Parameters
    ----------
    scene : dict
        What :func:`rlrp_nb.widgets.scene.build_scene` made; it is left as it is.

    Yields
    ------
    scene : dict
        Maps at the input are whole in every one.
    note : str
        A sentence on what was left out; empty for the first.
    """
    yield scene, ""
    figures: dict[int, Tree] = {}  # of the whole maps, by identity: the same at every stage
    for others, first in _STAGES:
        images = [
            {
                **image,
                "results": [
                    _coarse(
                        result,
                        first if (place, rank) == (0, 0) else others,
                        figures,
                        keep=(place, rank, first) == (0, 0, None),
                    )
                    for rank, result in enumerate(image["results"])
                ],
            }
            for place, image in enumerate(scene["images"])
        ]
        yield {**scene, "images": images}, _note(scene, others, first)


def _coarse(result: Tree, cells: int | None, figures: dict[int, Tree], *, keep: bool) -> Tree:
    if keep:
        return result
    targets = {
        key: {**explained, "pieces": [first, *(_reduced(piece, cells, figures) for piece in others)]}
        for key, explained in result["targets"].items()
        for first, *others in [explained["pieces"]]
    }
    return {**result, "targets": targets}


def _reduced(piece: Tree, cells: int | None, figures: dict[int, Tree]) -> Tree:
    if "indices" in piece or len(piece["shape"]) != _MAP:
        return piece
    dtype: Dtype = "int8"
    factor = 1 if cells is None else max(1, -(-max(piece["shape"]) // cells))
    if factor == 1 and piece["dtype"] == dtype:
        return piece
    values = unpack(piece)
    if id(piece) not in figures:
        figures[id(piece)] = _figures(values.astype(np.float64))
    return {**pack(_blocks(values, factor), dtype), "whole": figures[id(piece)]}


def _figures(values: NDArray[np.float64]) -> dict[str, float]:
    """Return what is said of a map in numbers, which its sums do not tell: opposite relevance cancels in them."""
    import torch  # noqa: PLC0415 - loaded on first use

    from rlrp_nb.evaluation.complexity import gini  # noqa: PLC0415 - likewise

    return {**masses(values), "sparseness": float(gini(torch.from_numpy(values)[None]))}


def _blocks(values: NDArray[np.float32], factor: int) -> NDArray[np.float64]:
    """Return the sum of each block of cells: what relevance there is stays, only its place is less exact."""
    rows, columns = (np.arange(0, extent, factor) for extent in values.shape)
    sums: NDArray[np.float64] = np.add.reduceat(np.add.reduceat(values.astype(np.float64), rows, 0), columns, 1)
    return sums


def _note(scene: Tree, others: int | None, first: int | None) -> str:
    method = scene["images"][0]["results"][0]["method"]
    beside = "all other layers" if len(scene["images"]) > 1 else "the layers of the other methods"
    how = "one byte a value" if others is None else f"one byte a value and at most {others} x {others} cells"
    whole = "keep all their cells" if first is None else f"have one byte a value and at most {first} x {first} cells"
    return (
        f"To keep this page small, {beside} have {how}, each the sum of the relevance in it. Maps at the input are "
        f"whole, and the layers of the first picture by {method} {whole}. Shares and sparseness are those of the whole "
        "maps; a shared colour scale compares what cells hold, of whatever size."
    )
