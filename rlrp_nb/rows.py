"""Pictures in, rows of a table out: the two steps that an engine for large data maps over batches of columns.

:class:`ReadPictures` turns paths into pixels, :class:`ExplainPictures` turns pixels into rows, and :func:`heatmap_of`
reads a heatmap back from a row. None of them knows the engine that calls them: Ray Data, Dask, Spark or a loop.
`docs/scale.md` has the recipe. A picture that cannot be used becomes a row that says why, and never stops a job of a
million others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import torch
from PIL import Image

from rlrp_nb.checks import is_whole
from rlrp_nb.engine.copies import copy_of
from rlrp_nb.engine.explainer import explain
from rlrp_nb.engine.methods import resolve
from rlrp_nb.errors import InputError, MissingPackageError, RlrpError
from rlrp_nb.models.preprocess import Preprocess

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa
    from torch import Tensor, nn

    from rlrp_nb.engine.methods import Method
    from rlrp_nb.models.classifier import Classifier

    Columns: TypeAlias = Mapping[str, np.ndarray[Any, Any]]
    Measure: TypeAlias = Callable[[nn.Module, Tensor, Tensor, Tensor], Tensor]

_HEATMAP = np.dtype("<f2")


class ReadPictures:
    """Turns paths into pictures as a network sees them: read, decoded, turned upright, resized and cropped.

    Parameters
    ----------
    preprocess : Preprocess
        Of the classifier that the pictures are for.

    Raises
    ------
    InputError
        It is something else.
    """

    def __init__(self, preprocess: Preprocess) -> None:
        if not isinstance(preprocess, Preprocess):
            raise InputError(
                f"preprocess is a {type(preprocess).__name__}; accepted is that of a classifier, model.preprocess."
            )
        self._preprocess = preprocess

    def __call__(self, columns: Columns) -> dict[str, np.ndarray[Any, Any]]:
        """Read a batch.

        Parameters
        ----------
        columns : mapping of str to numpy.ndarray
            ``path``: N paths that this machine can open.

        Returns
        -------
        dict of str to numpy.ndarray
            ``path``; ``picture``, uint8 ``(N, H, W, 3)``, black where a file cannot be read; ``error``, N texts that
            say why, empty where all is well.

        Raises
        ------
        InputError
            There is no column ``path``.
        """
        if "path" not in columns:
            raise InputError(
                f"there is no column 'path', only {', '.join(map(repr, columns))}: rename that of the paths."
            )
        height, width = self._preprocess.shape[1:]
        pictures = np.zeros((len(columns["path"]), height, width, 3), dtype=np.uint8)
        errors = [self._read(str(path), picture) for path, picture in zip(columns["path"], pictures, strict=True)]
        return {"path": columns["path"], "picture": pictures, "error": np.array(errors, dtype=object)}

    def _read(self, path: str, picture: np.ndarray[Any, np.dtype[np.uint8]]) -> str:
        """Fill a picture, or return what is wrong with its file."""
        try:
            picture[:] = np.asarray(self._preprocess.view(path))
        except RlrpError as error:
            return str(error)
        return ""


class _Explained(NamedTuple):
    """What is known about one picture."""

    target: int
    label: str
    probability: float | None
    heatmap: np.ndarray[Any, np.dtype[np.float64]]
    measures: dict[str, float]


class ExplainPictures:
    """Explains and scores pictures; an engine makes one for each of its workers, which keeps the network.

    Parameters
    ----------
    model : Classifier
        Whose network is run. It is left as it is: for another device a copy is made.
    target : int, optional
        The class to explain; without it, the most probable class of each picture.
    method : str or Method
        As in :func:`rlrp_nb.explain`.
    measures : mapping of str to callable, optional
        Scores by column name. Each is called with the network, the inputs ``(B, C, H, W)``, the heatmaps
        ``(B, H, W)`` and the targets, int64 ``(B,)``, and returns ``(B,)``.
    device : str or torch.device
        Where the network runs, such as "cpu" or "cuda".

    Raises
    ------
    InputError
        There is no such class or method, a measure is no callable, or it has the name of another column.
    MissingPackageError
        pyarrow is not installed.
    """

    def __init__(
        self,
        model: Classifier,
        *,
        target: int | None = None,
        method: str | Method = "rlrp",
        measures: Mapping[str, Measure] | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        if not hasattr(model, "preprocess"):
            raise InputError(
                f"model is a {type(model).__name__}; accepted is a classifier, from load_model or "
                "rlrp_nb.Classifier(...)."
            )
        classes = len(model.categories)
        if target is not None and not (is_whole(target) and 0 <= int(target) < classes):
            raise InputError(f"target={target!r} is no class: accepted is None, or an integer from 0 to {classes - 1}.")
        if not isinstance(measures, Mapping | None):
            raise InputError(f"measures is a {type(measures).__name__}: give a dict, from column names to callables.")
        self._measures = dict(measures or {})
        wrong = [name for name, measure in self._measures.items() if not (isinstance(name, str) and callable(measure))]
        if wrong:
            raise InputError(f"the measure {wrong[0]!r} has to be a callable, and its name a text.")
        self._schema = _schema(tuple(self._measures))
        place = next(iter(model.network.parameters()), torch.empty(0, device="cpu")).device
        try:
            self._device = torch.device(device)
            torch.empty(0, device=self._device)
        except (RuntimeError, AssertionError, TypeError) as error:  # each kind of device refuses in its own way
            raise InputError(f"device={device!r} is not there ({str(error).splitlines()[0]}).") from error
        if place != self._device:
            model = replace(model, network=copy_of(model.network).to(self._device))
        self._model, self._target, self._method = model, target, resolve(method)
        self._tried = False

    def __call__(self, columns: Columns) -> pa.Table:
        """Explain a batch.

        Parameters
        ----------
        columns : mapping of str to numpy.ndarray
            What :class:`ReadPictures` returned.

        Returns
        -------
        pyarrow.Table
            One row for each picture, in the same order:

            - ``path`` (string; bytes of a name that are not UTF-8 as escapes);
            - ``error`` (string): why there is nothing else in this row, or null;
            - ``target`` (int64), ``label`` (string), ``probability`` (float64): the class, its name, its softmax, null
              where the network has one output alone;
            - ``heatmap`` (binary): relevance summed over channels, divided by ``scale``, as little-endian float16 in
              row-major order; ``height``, ``width`` (int32); ``scale`` (float64): the largest absolute relevance, or
              1 where all is zero. :func:`heatmap_of` reads them;
            - one column (float64) for each measure.

        Raises
        ------
        UnsupportedNetworkError, InputError
            No picture at all can be explained and scored: the network has a part without a rule, or a measure was
            given an option that it does not have. Or the columns are not those of a `ReadPictures` for this classifier.
        """
        import pyarrow as pa  # noqa: PLC0415 - optional package, asked for above

        self._check(columns)
        readable = [i for i, error in enumerate(columns["error"]) if not error]
        outcomes: dict[int, _Explained | str] = {i: str(columns["error"][i]) for i in range(len(columns["error"]))}
        outcomes.update(zip(readable, self._explained(columns["picture"][readable]), strict=True))
        rows = [_row(str(path), outcomes[i]) for i, path in enumerate(columns["path"])]
        return pa.Table.from_pylist(rows, schema=self._schema)

    def _check(self, columns: Columns) -> None:
        shape = (*self._model.preprocess.shape[1:], 3)
        missing = [name for name in ("path", "picture", "error") if name not in columns]
        if missing:
            there = ", ".join(map(repr, columns))
            raise InputError(f"there is no column {missing[0]!r}, only {there}: give what ReadPictures returns.")
        pictures = columns["picture"]
        if pictures.dtype != np.uint8 or pictures.shape[1:] != shape:
            raise InputError(
                f"the column 'picture' is {pictures.dtype} {pictures.shape}; accepted is uint8 (N, {shape[0]}, "
                f"{shape[1]}, 3): read the pictures by ReadPictures(model.preprocess) of the same classifier."
            )

    def _explained(self, pictures: np.ndarray[Any, Any]) -> list[_Explained | str]:
        """Explain all at once; where that is refused, one by one, so that only those to blame go without."""
        if not len(pictures):
            return []
        try:
            return list(self._explained_together(pictures))
        except RlrpError as error:
            self._try_noise()
            if len(pictures) == 1:
                return [str(error)]
            return [outcome for i in range(len(pictures)) for outcome in self._explained(pictures[i : i + 1])]

    def _try_noise(self) -> None:
        """Stop the job when faint noise is refused too: then no picture is to blame, but the network or a setting."""
        if not self._tried:
            shape = 1, *self._model.preprocess.shape[1:], 3
            self._explained_together(np.random.default_rng(0).integers(112, 144, shape, np.uint8))
            self._tried = True

    def _explained_together(self, pictures: np.ndarray[Any, Any]) -> list[_Explained]:
        preprocess, network = self._model.preprocess, self._model.network
        inputs = torch.stack([preprocess.normalise(Image.fromarray(picture)) for picture in pictures])
        inputs = inputs.to(next(iter(network.parameters()), torch.empty(0, device="cpu")))
        explanation = explain(self._model, inputs, self._target, self._method)
        heatmaps = torch.stack([explanation.heatmap(sample=i) for i in range(len(inputs))])
        targets = explanation.targets[:, 0]
        scores = {
            # of copies, since a measure may write into what it is given
            name: _scores(name, measure(network, inputs.clone(), heatmaps.clone(), targets.clone()), len(inputs))
            for name, measure in self._measures.items()
        }
        probabilities: list[float | None] = [None] * len(inputs)
        if explanation.has_probabilities:
            probabilities = explanation.probabilities.gather(1, targets[:, None])[:, 0].tolist()
        arrays = heatmaps.double().cpu().numpy()
        return [
            _Explained(
                target=int(targets[i]),
                label=explanation.label(sample=i),
                probability=probabilities[i],
                heatmap=arrays[i],
                measures={name: values[i] for name, values in scores.items()},
            )
            for i in range(len(inputs))
        ]


def _scores(name: str, values: Any, count: int) -> list[float]:  # noqa: ANN401 - whatever a measure returns
    """Return a measure's values, or stop the job, which no other picture would mend."""
    if tuple(getattr(values, "shape", ())) != (count,) or not hasattr(values, "tolist"):
        given = tuple(values.shape) if hasattr(values, "shape") else type(values).__name__
        raise TypeError(
            f"the measure {name!r} returned {given}; it has to be a tensor ({count},), a number per picture."
        )
    return [float(value) for value in values.tolist()]


def heatmap_of(row: Mapping[str, Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Read the heatmap of a row.

    Parameters
    ----------
    row : mapping of str to object
        With ``heatmap``, ``height``, ``width`` and ``scale``.

    Returns
    -------
    numpy.ndarray
        ``(H, W)``, float64, as :meth:`rlrp_nb.Explanation.heatmap` gave it up to 2^-11 of each value, or to 2^-25 of
        the largest one.

    Raises
    ------
    InputError
        The row says that its picture could not be explained.
    """
    if not isinstance(row["heatmap"], bytes):  # None, or what pandas makes of it
        raise InputError(f"{row['path']!r} has no heatmap: {row['error']}")
    shares = np.frombuffer(row["heatmap"], dtype=_HEATMAP).astype(np.float64)
    height, width = int(row["height"]), int(row["width"])  # floats, where a table has rows without
    heatmap: np.ndarray[Any, np.dtype[np.float64]] = shares.reshape(height, width) * row["scale"]
    return heatmap


def _schema(measures: tuple[str, ...]) -> pa.Schema:
    """Name the type of every column, so that a batch of errors alone has the same ones."""
    try:
        import pyarrow as pa  # noqa: PLC0415 - optional package
    except ImportError as error:
        raise MissingPackageError(
            "rows are made with pyarrow, which is not installed: pip install 'rlrp-nb[scale]'."
        ) from error
    columns = {
        "path": pa.string(),
        "error": pa.string(),
        "target": pa.int64(),
        "label": pa.string(),
        "probability": pa.float64(),
        "heatmap": pa.binary(),
        "height": pa.int32(),
        "width": pa.int32(),
        "scale": pa.float64(),
    }
    taken = columns.keys() & set(measures)
    if taken:
        raise InputError(f"{min(taken)!r} is the name of another column: give the measure a name of its own.")
    return pa.schema([*columns.items(), *((name, pa.float64()) for name in measures)])


@np.errstate(under="ignore")  # a value far below the scale becomes 0, whatever np.seterr says
def _row(path: str, outcome: _Explained | str) -> dict[str, object]:
    path = path.encode(errors="backslashreplace").decode()  # a table holds no bytes that are not UTF-8
    if isinstance(outcome, str):
        return {"path": path, "error": outcome}
    scale = float(np.abs(outcome.heatmap).max()) or 1.0
    height, width = outcome.heatmap.shape
    return {
        "path": path,
        "target": outcome.target,
        "label": outcome.label,
        "probability": outcome.probability,
        "heatmap": (outcome.heatmap / scale).astype(_HEATMAP).tobytes(),
        "height": height,
        "width": width,
        "scale": scale,
        **outcome.measures,
    }
