"""What the widgets are made with, which is of packages that pages and figures do without."""

from rlrp_nb.errors import MissingPackageError

try:
    from anywidget import AnyWidget
    from traitlets import Bool, CFloat, Dict, Enum, Float, Int, List, TraitError, Unicode, validate
except ImportError as error:
    raise MissingPackageError(
        f"The widgets need a package that is not installed ({error}). Install it with: pip install 'rlrp-nb[lab]'"
    ) from error

__all__ = ["AnyWidget", "Bool", "CFloat", "Dict", "Enum", "Float", "Int", "List", "TraitError", "Unicode", "validate"]
