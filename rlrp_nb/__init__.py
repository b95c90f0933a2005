"""rlrp_nb: see why an image network decided what it decided, with Relative Layer-Wise Relevance Propagation.

The names below are imported on first use, so that ``import rlrp_nb`` costs nothing and does not load torch.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlrp_nb.data.image import load_image
    from rlrp_nb.engine.attribution import RLRP
    from rlrp_nb.engine.explainer import explain
    from rlrp_nb.engine.explanation import Explanation
    from rlrp_nb.engine.methods import Method, available_methods
    from rlrp_nb.errors import (
        FileFormatError,
        InputError,
        MissingPackageError,
        RlrpError,
        UnsupportedNetworkError,
        WeightsError,
    )
    from rlrp_nb.evaluation.comparing import compare
    from rlrp_nb.evaluation.comparison import Comparison
    from rlrp_nb.models.classifier import Classifier
    from rlrp_nb.models.zoo import available_models, load_model
    from rlrp_nb.widgets.class_selector import ClassSelector
    from rlrp_nb.widgets.comparison_grid import ComparisonGrid
    from rlrp_nb.widgets.explorer import Explorer
    from rlrp_nb.widgets.layer_slider import LayerSlider
    from rlrp_nb.widgets.overlay import Overlay

__version__ = "0.1.0"

_HOMES = {
    "Classifier": "models.classifier",
    "ClassSelector": "widgets.class_selector",
    "Comparison": "evaluation.comparison",
    "ComparisonGrid": "widgets.comparison_grid",
    "Explanation": "engine.explanation",
    "Explorer": "widgets.explorer",
    "FileFormatError": "errors",
    "InputError": "errors",
    "LayerSlider": "widgets.layer_slider",
    "Method": "engine.methods",
    "MissingPackageError": "errors",
    "Overlay": "widgets.overlay",
    "RLRP": "engine.attribution",
    "RlrpError": "errors",
    "UnsupportedNetworkError": "errors",
    "WeightsError": "errors",
    "available_methods": "engine.methods",
    "available_models": "models.zoo",
    "compare": "evaluation.comparing",
    "explain": "engine.explainer",
    "load_image": "data.image",
    "load_model": "models.zoo",
}

__all__ = [  # noqa: RUF022 - the same names as _HOMES, spelled out for type checkers
    "Classifier",
    "Comparison",
    "Explanation",
    "FileFormatError",
    "InputError",
    "Method",
    "MissingPackageError",
    "RLRP",
    "RlrpError",
    "UnsupportedNetworkError",
    "WeightsError",
    "available_methods",
    "available_models",
    "compare",
    "explain",
    "load_image",
    "load_model",
]


if find_spec("anywidget") is not None:  # without which ``from rlrp_nb import *`` would fail
    __all__ += ["ClassSelector", "ComparisonGrid", "Explorer", "LayerSlider", "Overlay"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module attribute can be of any type
    if name not in _HOMES:
        message = f"module 'rlrp_nb' has no attribute {name!r}; it offers: {', '.join(__all__)}"
        raise AttributeError(message)
    value = getattr(import_module(f"rlrp_nb.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
