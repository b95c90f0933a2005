"""How Sphinx builds the documentation; `make docs` calls it with warnings as errors, and it asks no network."""  # noqa: INP001 - a script

from pathlib import Path
from typing import TYPE_CHECKING

from docutils import nodes
from latex2mathml.converter import convert

import rlrp_nb
from rlrp_nb.data.sample import sample_image

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.writers.html5 import HTML5Translator

project = "rlrp_nb"
author = "The rlrp_nb authors"
copyright = "2026, the rlrp_nb authors"  # noqa: A001 - the name that Sphinx reads
release = version = rlrp_nb.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinxarg.ext", "sphinx_copybutton"]
html_theme = "furo"
html_title = "rlrp_nb"
html_show_sphinx = False
html_copy_source = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#a34b00", "color-brand-content": "#1f5fa8"},
    "dark_css_variables": {"color-brand-primary": "#ff9d4d", "color-brand-content": "#7db4f0"},
}
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
autodoc_typehints = "none"  # the docstrings give types with shapes
autodoc_member_order = "bysource"
napoleon_numpy_docstring = True
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
suppress_warnings = ["myst.domains"]  # the extension for the command answers no general questions
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_math_renderer = "mathml"


def write_live_page(app: "Sphinx", error: Exception | None) -> None:
    """Explain a photograph, and put the interactive page beside the others, which show it."""
    if error is None and app.builder.format == "html":
        model, image = rlrp_nb.load_model("efficientnet_lite0"), sample_image("camera")
        rlrp_nb.explain(model, image, "top3", layers="all").to_html(Path(app.outdir) / "_static" / "tripod.html")


def write_formula(translator: "HTML5Translator", node: nodes.math) -> None:
    """Write a formula as MathML, which browsers draw without a script."""
    display = "block" if isinstance(node, nodes.math_block) else "inline"
    translator.body.append(convert(node.astext(), display=display))
    raise nodes.SkipNode


def setup(app: "Sphinx") -> None:
    """Tell Sphinx what is made here."""
    app.add_html_math_renderer("mathml", (write_formula, None), (write_formula, None))
    app.connect("build-finished", write_live_page)
