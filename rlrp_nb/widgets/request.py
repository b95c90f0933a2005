"""What a browser asks for, read with care: a message can hold anything, and what it lacks is said in words."""

from collections.abc import Mapping
from typing import Any, TypeAlias

from rlrp_nb.errors import InputError

Message: TypeAlias = Mapping[str, Any]

_SHOWN = 40


def whole(message: Message, key: str) -> int:
    """Return a whole number.

    Parameters
    ----------
    message : mapping
        From the browser.
    key : str
        Where the number is.

    Returns
    -------
    int
        JavaScript's 3.0 counts as 3.

    Raises
    ------
    InputError
        If there is none.
    """
    return _whole(message.get(key), key)


def wholes(message: Message, key: str, count: int | None = None) -> list[int]:
    """Return a list of whole numbers.

    Parameters
    ----------
    message : mapping
        From the browser.
    key : str
        Where the list is.
    count : int or None
        How many there have to be; None takes any number.

    Returns
    -------
    list of int
        The numbers.

    Raises
    ------
    InputError
        If there is no such list.
    """
    numbers = [_whole(value, key) for value in _listed(message, key)]
    if count is not None and len(numbers) != count:
        raise InputError(f"The request has {len(numbers)} numbers as {key!r}; {count} are needed. Ask again.")
    return numbers


def text(message: Message, key: str) -> str:
    """Return a text.

    Parameters
    ----------
    message : mapping
        From the browser.
    key : str
        Where the text is.

    Returns
    -------
    str
        As it was sent.

    Raises
    ------
    InputError
        If there is none.
    """
    return _text(message.get(key), key)


def texts(message: Message, key: str) -> list[str]:
    """Return a list of at least one text.

    Parameters
    ----------
    message : mapping
        From the browser.
    key : str
        Where the list is.

    Returns
    -------
    list of str
        As they were sent.

    Raises
    ------
    InputError
        If there is no such list.
    """
    return [_text(value, key) for value in _several(message, key)]


def parts(message: Message, key: str) -> list[dict[str, Any]]:
    """Return a list of at least one message within the message.

    Parameters
    ----------
    message : mapping
        From the browser.
    key : str
        Where the list is.

    Returns
    -------
    list of dict
        As they were sent.

    Raises
    ------
    InputError
        If there is no such list.
    """
    found = _several(message, key)
    for part in found:
        if not isinstance(part, dict):
            raise _unusable(part, key, "a list of objects")
    return found


def _listed(message: Message, key: str) -> list[Any]:
    value = message.get(key)
    if not isinstance(value, list):
        raise _unusable(value, key, "a list")
    return value


def _several(message: Message, key: str) -> list[Any]:
    """Return a list that asks for something: to an empty one there would be no answer, for which a browser waits."""
    found = _listed(message, key)
    if not found:
        raise _unusable(found, key, "a list of at least one")
    return found


def _whole(value: object, key: str) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _unusable(value, key, "a whole number")
    if abs(value) >= 2**53:  # beyond what a JavaScript number holds exactly
        raise _unusable("a number of more digits than a browser counts with", key, "a whole number")
    return value


def _text(value: object, key: str) -> str:
    if not isinstance(value, str):
        raise _unusable(value, key, "a text")
    return value


def _unusable(value: object, key: str, wanted: str) -> InputError:
    shown = repr(value)
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
    return InputError(f"The request has {shown} as {key!r}; {wanted} is needed. Ask again.")
