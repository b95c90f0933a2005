"""What an error says can be printed: names in it can be a stranger's."""

import pickle

import pytest

from rlrp_nb import errors


@pytest.mark.parametrize(
    "kind",
    ["RlrpError", "InputError", "UnsupportedNetworkError", "WeightsError", "FileFormatError", "MissingPackageError"],
)
def test_no_name_in_an_error_tells_the_terminal_what_to_do(kind):
    error = getattr(errors, kind)("no rule for layer a\x1b[2J\u202e.\nUse another.")
    for each in (error, pickle.loads(pickle.dumps(error))):  # noqa: S301 - our own bytes
        assert str(each) == f"{each}" == "no rule for layer a\\x1b[2J\\u202e.\nUse another."
