"""Write src/table.js: the colour tables of the Python half, for the browser half."""  # noqa: INP001 - a script

from pathlib import Path

from rlrp_nb.plots.colormap import table

_TARGET = Path(__file__).parent / "src" / "table.js"
_COLUMNS = 108
_HEAD = (
    "// The colour tables of rlrp_nb/plots/colormap.py, 256 colours of three bytes. "
    "Written by ../colours.py; a test compares."
)


def script() -> str:
    """Return the JavaScript module that holds both tables.

    Returns
    -------
    str
        Text of the module, six hexadecimal digits for a colour.
    """
    lines = [_HEAD]
    for theme in ("light", "dark"):
        digits = table(theme).tobytes().hex()
        parts = [f'  "{digits[start : start + _COLUMNS]}"' for start in range(0, len(digits), _COLUMNS)]
        lines += ["", f"export const {theme.upper()} =", " +\n".join(parts) + ";"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    _TARGET.write_text(script(), encoding="utf-8", newline="\n")
