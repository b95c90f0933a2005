"""Class names as people type them: an index, a name, the beginning of a name, a contrast of two names, or ``top3``.

And as people read them: a class whose name shows nothing is called by its number.
"""

import re
import unicodedata
from collections.abc import Sequence
from difflib import get_close_matches
from typing import TypeAlias

from rlrp_nb.checks import check_texts
from rlrp_nb.errors import InputError
from rlrp_nb.printable import printable, whole_signs

Target: TypeAlias = int | tuple[int, int]

_TOP = re.compile(r"top-?(\d{1,18})", re.IGNORECASE)
_LISTED = 8
_UNSEEN = frozenset({"Zs", "Zl", "Zp", "Cc", "Cf"})  # Unicode's categories of blanks, controls and formatting
LONGEST = 1000  # far beyond any name, and below the digits that Python turns into a number


def shown_name(categories: Sequence[str] | None, index: int) -> str:
    """Return what a class is called where people read it.

    Parameters
    ----------
    categories : sequence of str or None
        The class names, where they are known.
    index : int
        Which class.

    Returns
    -------
    str
        Its name, or ``class 7`` where it has none or nothing of it would be seen.
    """
    name = whole_signs(categories[index]) if categories is not None and index < len(categories) else ""
    seen = any(unicodedata.category(sign) not in _UNSEEN for sign in name)
    return name if seen else f"class {index}"


def distinct_name(categories: Sequence[str] | None, index: int) -> str:
    """Return what a class is called where nothing but its name tells it from others.

    Parameters
    ----------
    categories : sequence of str or None
        The class names, where they are known.
    index : int
        Which class.

    Returns
    -------
    str
        As :func:`shown_name`, with its number where another class has the same name, such as ``crane (134)``.
    """
    name = shown_name(categories, index)
    if categories is None or list(categories).count(name) <= 1:
        return name
    return f"{name} ({index})"


def find_class(text: str, categories: Sequence[str]) -> int:
    """Return the index of the class that a text names.

    Tried in this order: an index (that is no other class's name, or has a plus sign); the name as it is; the name in
    any case; the name with its index, as in ``crane (134)``; the beginning or whole words of exactly one name; a part
    of exactly one name. Spaces, hyphens and underscores count as the same, and an apostrophe as none. An accent may be
    a part of its letter or a sign behind it, as in the names of a Mac's folders.

    Parameters
    ----------
    text : str
        What a person typed, such as ``281``, ``tabby`` or ``egyptian``.
    categories : sequence of str
        The class names, in the order of the logits.

    Returns
    -------
    int
        The class index.

    Raises
    ------
    InputError
        If `text` is none, the index is out of range, no name fits (with the closest ones), or several do (with their
        indices).
    """
    check_texts(text=text)
    wanted = text.strip()
    if len(wanted) > LONGEST:
        raise InputError(f"the class name has {len(wanted)} characters: give one of at most {LONGEST}, or an index.")
    if re.fullmatch(r"[+-]?\d+", wanted):
        return _index(wanted, categories)
    key, keys = _key(wanted), [_key(category) for category in categories]
    if not key:
        raise InputError("the class name is empty: give a name, such as 'tabby', or an index.")
    attempts = (
        [k for k, category in enumerate(categories) if category == wanted],
        [k for k in range(len(categories)) if shown_name(categories, k) == wanted],  # one without a name of its own
        [k for k, other in enumerate(keys) if other == key],
        [k for k, other in enumerate(keys) if f"{other} ({k})" == key],
        # a beginning goes before no word: of ImageNet's names catamaran alone begins with "cat", which five cats have
        [k for k, other in enumerate(keys) if other.startswith(key) or f" {key} " in f" {other} "],
        [k for k, other in enumerate(keys) if key in other],
    )
    found = next((indices for indices in attempts if indices), [])
    if len(found) == 1:
        return found[0]
    if found:
        listed = ", ".join(f"{k} ({printable(categories[k])})" for k in found[:_LISTED])
        more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
        raise InputError(
            f"{wanted!r} fits {len(found)} classes: {listed}{more}. Give one of these indices, or more of the name."
        )
    close = get_close_matches(key, keys, n=3, cutoff=0.6)
    names = [categories[keys.index(other)] for other in close]
    hint = f"did you mean {' or '.join(map(repr, names))}?" if names else "give its index, or another name for it."
    raise InputError(f"none of the {len(categories)} classes is called {wanted!r}: {hint}")


def read_targets(texts: Sequence[str], categories: Sequence[str], ranking: Sequence[int]) -> list[Target]:
    """Turn what a person typed into targets for :func:`rlrp_nb.explain`.

    Parameters
    ----------
    texts : sequence of str
        Each one a class as in :func:`find_class`, a contrast ``"tabby - tiger cat"`` (a minus sign between spaces), or
        ``top3`` for the three most probable classes.
    categories : sequence of str
        The class names, in the order of the logits.
    ranking : sequence of int
        All class indices, the most probable one first.

    Returns
    -------
    list of int or (int, int)
        Class indices, and (positive, negative) pairs for contrasts; what is named twice is there once.

    Raises
    ------
    InputError
        As :func:`find_class`; if ``topN`` asks for no class or more than there are; if a contrast compares a class
        with itself.
    """
    targets: list[Target] = []
    for text in texts:
        check_texts(text=text)
        targets.extend(_read(text, categories, ranking))
    return list(dict.fromkeys(targets))


def _read(text: str, categories: Sequence[str], ranking: Sequence[int]) -> Sequence[Target]:
    top = _TOP.fullmatch(text.strip())
    # a class may be called top3, or have a minus sign in its name
    if _composed(text.strip()) in map(_composed, categories):
        return [find_class(text, categories)]
    if top:
        count = int(top[1])
        if not 1 <= count <= len(categories):
            raise InputError(
                f"{text.strip()!r} asks for {count} of {len(categories)} classes: top1 to top{len(categories)} exist."
            )
        return ranking[:count]
    # spaces around it, so that a minus sign at an end is one as well
    parts = f" {text.strip()} ".replace("\N{MINUS SIGN}", "-").split(" - ")
    if len(parts) == 1:
        return [find_class(text, categories)]
    sides = [(" - ".join(parts[:n]).strip(), " - ".join(parts[n:]).strip()) for n in range(1, len(parts))]
    if len(sides) > 1:  # a name may have a minus sign in it
        sides = [side for side in sides if _are_classes(side, categories)] or sides[:1]
    if len(sides) > 1:
        readings = " or ".join(f"{printable(positive)!r} minus {printable(negative)!r}" for positive, negative in sides)
        raise InputError(f"{text!r} can be read as {readings}: give indices, such as '3 - 7'.")
    ((positive, negative),) = sides
    if not positive or not negative:
        raise InputError(
            f"{text!r} has a minus sign with a class on one side at most: name two classes, such as 'tabby - tiger "
            "cat', or leave the minus sign out."
        )
    pair = find_class(positive, categories), find_class(negative, categories)
    if pair[0] == pair[1]:
        raise InputError(
            f"{text!r} compares class {pair[0]} ({printable(categories[pair[0]])}) with itself: name two classes."
        )
    return [pair]


def _are_classes(names: Sequence[str], categories: Sequence[str]) -> bool:
    """Tell whether each of some names is one class's."""
    try:
        return bool([find_class(name, categories) for name in names])
    except InputError:
        return False


def _index(wanted: str, categories: Sequence[str]) -> int:
    """Return the index that a number stands for, unless it is another class's name as well."""
    named = [k for k, category in enumerate(categories) if category.strip() == wanted]
    if len(named) == 1 and not 0 <= int(wanted) < len(categories):
        return named[0]
    index = _checked(int(wanted), len(categories))
    if named and index not in named:
        raise InputError(
            f"{wanted!r} is an index, that of {categories[index]!r}, and the name of class {named[0]} as well: give "
            f"+{index} for the one, or +{named[0]} for the other."
        )
    return index


def _checked(index: int, count: int) -> int:
    if not 0 <= index < count:
        raise InputError(f"there is no class {index}: the network has {count} classes, numbered 0 to {count - 1}.")
    return index


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _key(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", _composed(name).casefold()).replace("'", "").strip()
