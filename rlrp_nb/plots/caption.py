"""The words on a picture or in a terminal: probabilities, relevance values and the headline of an explanation."""

import re
import unicodedata
from typing import TYPE_CHECKING

from rlrp_nb.errors import InputError

if TYPE_CHECKING:
    from rlrp_nb.engine.explanation import Explanation


# In Unicode's bidirectional algorithm: letters that run from right to left, and signs that turn what follows them.
_TURNS = frozenset({"R", "AL", "LRE", "RLE", "LRO", "RLO", "LRI", "RLI", "FSI"})
_AGAINST = " \N{MINUS SIGN} "
_ENDS = re.compile(r"[\n\r\x1c-\x1e\x85\u2029]")
_ISOLATES = re.compile(r"[\u2066-\u2069]")


def isolated(label: str) -> str:
    """Return a name as part of a sentence, whose direction it cannot turn; the names of a contrast each for itself.

    Parameters
    ----------
    label : str
        Of a class, a contrast, a network: from left to right or from right to left, or by somebody hostile.

    Returns
    -------
    str
        Each name between U+2068 and U+2069 where any of it runs from right to left. Signs that would end the isolation
        are left out; the end of a paragraph, which would as well, becomes a blank.
    """
    return _AGAINST.join(map(_isolated, label.split(_AGAINST)))


def _isolated(name: str) -> str:
    plain = _ENDS.sub(" ", _ISOLATES.sub("", name))
    turns = any(unicodedata.bidirectional(sign) in _TURNS for sign in plain)
    return f"\N{FIRST STRONG ISOLATE}{plain}\N{POP DIRECTIONAL ISOLATE}" if turns else plain


def percent(probability: float) -> str:
    """Return a probability as a percentage with one decimal that never claims certainty by rounding.

    Parameters
    ----------
    probability : float
        Between 0 and 1.

    Returns
    -------
    str
        Such as ``94.0 %``, ``< 0.1 %`` or ``> 99.9 %``.
    """
    if 0 < probability < 0.001:  # noqa: PLR2004 - what one decimal cannot show
        return "< 0.1 %"
    if 0.999 < probability < 1:  # noqa: PLR2004 - what one decimal cannot show
        return "> 99.9 %"
    return f"{100 * probability:.1f} %"


def number(value: float) -> str:
    """Return a relevance value with its sign and two or three significant digits.

    Parameters
    ----------
    value : float
        Any finite number.

    Returns
    -------
    str
        Such as ``+1.5e-05``, ``-0.25`` or ``0``, with the true minus sign U+2212.
    """
    if value == 0:
        return "0"
    # three digits where they need no exponent, which is what a person reads at a glance; two with one
    shape = "+.3g" if 1e-3 <= abs(value) < 999.5 else "+.1e"  # noqa: PLR2004
    return format(value, shape).replace("-", "\N{MINUS SIGN}")


def output(value: float) -> str:
    """Return what a network says where it is no class: a temperature, a price, a year.

    Parameters
    ----------
    value : float
        Any finite number.

    Returns
    -------
    str
        With up to six significant digits, such as ``1987.4``, and the true minus sign U+2212.
    """
    return format(value or 0.0, ".6g").replace("-", "\N{MINUS SIGN}")


def check_explanation(explanation: object) -> None:
    """Refuse what is no explanation.

    Raises
    ------
    InputError
        It is something else, or several.
    """
    if not hasattr(explanation, "heatmap"):
        raise InputError(
            f"an explanation is a {type(explanation).__name__}: accepted is one that rlrp_nb.explain returned; several "
            "are drawn by rlrp_nb.plots.picture.comparison."
        )


def headline(explanation: "Explanation", target: int = 0, sample: int = 0, *, isolate: bool = False) -> str:
    """Return what was explained, with how sure the network was.

    Parameters
    ----------
    explanation : Explanation
        What :func:`rlrp_nb.explain` returned.
    target : int
        Position among the explained targets, not a class index.
    sample : int
        Position in the batch.
    isolate : bool
        Whether the names are :func:`isolated`, for what draws both directions of writing.

    Returns
    -------
    str
        Such as ``espresso, 94.0 %`` or, for a contrast, ``espresso - cup, 94.0 % and 1.7 %``; of a network with one
        output, or with outputs that are no classes, the value: ``tumour, output -2``.
    """
    check_explanation(explanation)
    label = explanation.label(target, sample)  # refuses a position that is not there
    probable = explanation.has_probabilities
    outputs = (explanation.probabilities if probable else explanation.logits)[sample].flatten()
    classes = (int(explanation.targets[sample, target]), int(explanation.negatives[sample, target]))
    # a seed given as numbers has no class, and so no probability
    said = [float(outputs[index]) for index in classes if index >= 0]
    one = "output " if explanation.logits.dim() <= 2 else ""  # noqa: PLR2004 - others are called so already
    shown = " and ".join(percent(value) if probable else f"{one}{output(value)}" for value in said)
    named = isolated(label) if isolate else label
    return f"{named}, {shown}" if shown else named


def method_title(name: str) -> str:
    """Return how a method is written in figures.

    Parameters
    ----------
    name : str
        What :attr:`Explanation.method` says.

    Returns
    -------
    str
        Such as ``R-LRP`` for ``rlrp``; a name that is not one of the built-in methods' is returned as it is.
    """
    from rlrp_nb.engine.methods import METHODS  # noqa: PLC0415 - loads torch, which the rest of this module does not

    return METHODS[name].title if name in METHODS else name
