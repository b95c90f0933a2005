"""The Python half of the widgets, and the data that they share with the page.

The widget classes are imported on first use: the page needs no Jupyter package.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlrp_nb.widgets.class_selector import ClassSelector
    from rlrp_nb.widgets.comparison_grid import ComparisonGrid
    from rlrp_nb.widgets.explorer import Explorer
    from rlrp_nb.widgets.layer_slider import LayerSlider
    from rlrp_nb.widgets.overlay import Overlay

_HOMES = {
    "ClassSelector": "class_selector",
    "ComparisonGrid": "comparison_grid",
    "Explorer": "explorer",
    "LayerSlider": "layer_slider",
    "Overlay": "overlay",
}

__all__ = ["ClassSelector", "ComparisonGrid", "Explorer", "LayerSlider", "Overlay"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module attribute can be of any type
    if name not in _HOMES:
        raise AttributeError(f"module 'rlrp_nb.widgets' has no attribute {name!r}; it offers: {', '.join(__all__)}")
    value = getattr(import_module(f"rlrp_nb.widgets.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
