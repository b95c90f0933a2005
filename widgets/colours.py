"""Write src/table.js: the colour tables of the Python half, for the browser half."""  # noqa: INP001 - a script

from pathlib import Path
from typing import get_args

from rlrp_nb.plots.colormap import Palette, Theme, table

_TARGET = Path(__file__).parent / "src" / "table.js"
_COLUMNS = 108
_HEAD = (
    "// The colour tables of rlrp_nb/plots/colormap.py, 256 colours of three bytes. "
    "Written by ../colours.py; a test compares."
)


def script() -> str:
    """Return the JavaScript module that holds all tables.

    Returns
    -------
    str
        Text of the module, six hexadecimal digits for a colour.
    """
    lines = [_HEAD, "", "export const TABLES = {"]
    for theme in get_args(Theme):
        lines.append(f"  {theme}: {{")
        for palette in get_args(Palette):
            digits = table(theme, palette).tobytes().hex()
            parts = [f'      "{digits[start : start + _COLUMNS]}"' for start in range(0, len(digits), _COLUMNS)]
            lines += [f'    "{palette}":', " +\n".join(parts) + ","]
        lines.append("  },")
    return "\n".join([*lines, "};", ""])


if __name__ == "__main__":
    _TARGET.write_text(script(), encoding="utf-8", newline="\n")
