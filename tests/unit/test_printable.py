"""What a terminal would obey is shown to it instead."""

from pathlib import Path

from rlrp_nb.printable import printable


def test_what_a_terminal_would_obey_is_escaped():
    assert printable("\x1b]0;owned\x07cat\u202e\n") == "\\x1b]0;owned\\x07cat\\u202e\\n"
    assert printable("Blässhuhn 猫") == "Blässhuhn 猫"
    assert printable(Path("a\udcff.pth")) == "a\\udcff.pth"
