"""What the benchmark of clicks makes of its figures."""

import pytest

from benchmarks.waits import HEADER, Waits, rows


def test_fifty_milliseconds_are_taken_off_a_click_before_it_is_divided_by_the_engine():
    waits = Waits("VGG16", "all", [(150.0, 100.0), (290.0, 200.0), (50.0, 10.0)])
    assert waits.ratios == pytest.approx([1.0, 1.2, 0.0])
    assert waits.met


def test_a_click_may_take_no_more_than_it_is_allowed():
    assert Waits("VGG16", "all", [(165.0, 100.0)] * 3).met
    assert not Waits("VGG16", "all", [(165.1, 100.0)] * 3).met


def test_the_table_has_medians_with_their_spread():
    found = [
        Waits("VGG16", "all", [(150.0, 100.0), (250.0, 100.0), (350.0, 200.0)]),
        Waits("ResNet50", "none", [(60.0, 100.0)] * 2),
    ]
    header, _, *lines = [line.strip("| ").split(" | ") for line in rows(found)]
    assert tuple(header) == HEADER
    assert lines == [
        ["VGG16", "all", "3", "250 (200 to 300)", "100 (100 to 150)", "1.50 (1.25 to 1.75)", "no"],
        ["ResNet50", "none", "2", "60 (60 to 60)", "100 (100 to 100)", "0.10 (0.10 to 0.10)", "yes"],
    ]
