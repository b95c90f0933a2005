"""Self-contained HTML pages: an explanation that opens anywhere, with no kernel and no request to anywhere."""

import base64
import hashlib
import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rlrp_nb import __version__
from rlrp_nb.errors import InputError
from rlrp_nb.output_file import check_output, write_whole
from rlrp_nb.widgets.buffers import Tree, detach
from rlrp_nb.widgets.bundle import asset
from rlrp_nb.widgets.fitting import smaller
from rlrp_nb.widgets.scene import build_scene

if TYPE_CHECKING:
    import os

    from rlrp_nb.engine.explanation import Explanation

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<meta name="generator" content="rlrp_nb {version}">
<title>{title}</title>
<style>{style}</style>
</head>
<body class="rl-page">
<div class="rl-page-body">
<header class="rl-page-head"><div class="rl"><h1>{title}</h1></div></header>
<main id="rl-root"><noscript>This page draws its pictures with a script that it carries; allow scripts to see them.\
</noscript></main>
<div class="rl"><footer class="rl-page-foot"><p>{about}</p></footer></div>
</div>
<script type="application/json" id="rl-scene">{scene}</script>
<script type="application/octet-stream" id="rl-data">{data}</script>
<script>{script}</script>
</body>
</html>
"""

_ABOUT = (
    "Positive relevance, orange or green, speaks for the class; negative, blue or purple, against it. "
    "The R-LRP shown here is this project's own reading of the abstract of Nyiri and Gibaru, arXiv 2501.14322. "
    "Written by rlrp_nb {version}. This file asks nothing of any network."
)

_MAX_BYTES = 8_000_000


def to_html(
    explanations: "Explanation | Sequence[Explanation]",
    path: "str | os.PathLike[str]",
    *,
    title: str | None = None,
) -> Path:
    """Write explanations as one HTML file that needs nothing else.

    Parameters
    ----------
    explanations : Explanation or sequence of Explanation
        One, or several of the same network: other methods, other targets, other images.
    path : path-like
        Where to write; an existing file is replaced.
    title : str or None
        Heading of the page; None asks why the first image got its class.

    Returns
    -------
    Path
        The absolute path of the file.

    Raises
    ------
    InputError
        If there is no explanation, something else is passed, or the file cannot be written there.
    FileFormatError
        If the name does not end in ``.html`` or ``.htm``.
    """
    target = check_output(path, (".html", ".htm"))
    page = render(build_scene(_listed(explanations), title=title, most=_MAX_BYTES))
    return write_whole(target, lambda file: file.write(page.encode()))


def render(scene: Tree) -> str:
    """Return the text of the page that shows a scene.

    Parameters
    ----------
    scene : dict
        What :func:`rlrp_nb.widgets.scene.build_scene` made.

    Returns
    -------
    str
        A whole HTML document of at most 8 MB. Where the scene is larger, layers are made coarser, and the page says so.

    Raises
    ------
    InputError
        If the maps at the input alone are too large.
    """
    for smaller_scene, note in smaller(scene):
        page = _page(smaller_scene, note)
        if len(page.encode()) <= _MAX_BYTES:
            return page
    raise InputError(
        f"The page would have {len(page.encode()) / 1e6:.0f} MB even with coarse layers, and at most "
        f"{_MAX_BYTES / 1e6:.0f} are written. Put fewer pictures, classes or methods on it, or write several pages."
    )


def _page(scene: Tree, note: str) -> str:
    tree, blocks = detach(scene)
    style, script = asset("rlrp.css"), asset("page.js")
    return _PAGE.format(
        policy=_policy(style, script),
        version=__version__,
        title=html.escape(scene["title"]),
        style=style,
        about=html.escape(" ".join(filter(None, [note, _ABOUT.format(version=__version__)]))),
        scene=_embedded({"lengths": [len(block) for block in blocks], "scene": tree}),
        data=base64.b64encode(b"".join(blocks)).decode("ascii"),
        script=script,
    )


def _listed(explanations: "Explanation | Sequence[Explanation]") -> "Sequence[Explanation]":
    return explanations if isinstance(explanations, Sequence) else [explanations]


def _policy(style: str, script: str) -> str:
    """Return a policy under which the page can run its own script and style, and reach nothing."""
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)]
    return (
        f"default-src 'none'; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}'; "
        "connect-src 'none'; base-uri 'none'; form-action 'none'; "
        # text can never become markup or code, not even by a mistake in the page's own script
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )


def _embedded(tree: Tree) -> str:
    """Return JSON that no HTML parser can mistake for markup: only ASCII, and no angle bracket or ampersand."""
    text = json.dumps(tree, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
