import pytest

from rlrp_nb.engine.shortlist import shortlist


@pytest.mark.parametrize(
    ("names", "most", "expected"),
    [
        ([], 3, ""),
        (["a"], 3, "a"),
        (["a", "b", "c"], 3, "a, b, c"),
        (["a", "b", "c", "d", "e"], 3, "a, b, c and 2 more"),
        (["a", "b", "c"], 1, "a and 2 more"),
    ],
)
def test_the_first_few_names_stand_and_the_others_are_counted(names, most, expected):
    assert shortlist(names, most) == expected
