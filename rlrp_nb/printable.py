"""Text from somebody else's files, made safe for a terminal: names of files, of tensors, of classes and of layers."""


def printable(text: object) -> str:
    """Write signs that a terminal would obey instead of showing (escape sequences, turns of direction) as escapes.

    Parameters
    ----------
    text : str or object
        A name from a file or a network that somebody else made; anything else is taken as ``str`` writes it.

    Returns
    -------
    str
        The same where every sign can be printed. An end of line is a sign too, so that a name stays on its line.
    """
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in str(text))


def whole_signs(text: str) -> str:
    """Replace halves of signs, which names of files and of classes can hold, and which nothing can write.

    Parameters
    ----------
    text : str
        A name: of a folder in an older encoding, or cut within an emoji.

    Returns
    -------
    str
        With a question mark for each half of a sign.
    """
    return text.encode("utf-8", "replace").decode("utf-8")
