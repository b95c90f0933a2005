"""What a comparison says: means, differences, ranks and failures, as a table, as Markdown and as CSV."""

import csv
import dataclasses
import math

import numpy as np
import pytest

from rlrp_nb.engine.methods import METHODS
from rlrp_nb.errors import FileFormatError, InputError
from rlrp_nb.evaluation.bootstrap import Interval, bootstrap
from rlrp_nb.evaluation.comparison import Comparison, Row, Statistics
from rlrp_nb.evaluation.contender import Contender
from rlrp_nb.evaluation.metric import Metric
from rlrp_nb.evaluation.store import Failure

NAN = math.nan
DRAWN = np.random.default_rng(2).normal(0, 1, (3, 40))
STATISTICS = Statistics("a", 200, 0.9, 6)


def contender(name):
    return Contender(name, name.upper(), f"what {name} does", lambda _network, inputs, _targets: inputs.sum(1))


def metric(name, better="higher", **options):
    return Metric(name, name.title(), f"what {name} measures", better, "unit", "somewhere", lambda _: {}, **options)


def comparison(values, metrics, names="abc", failures=(), reference="a"):
    contenders = tuple(contender(name) for name in names)
    statistics = STATISTICS._replace(reference=reference)
    setting, notes = ("What was compared on.",), {"a": "a note"}
    return Comparison(contenders, tuple(metrics), np.array(values), tuple(failures), statistics, setting, notes)


def test_means_and_differences_are_those_of_the_bootstrap():
    found = comparison(DRAWN[:, None], [metric("m")])
    options = {"resamples": 200, "confidence": 0.9, "seed": 6}
    assert found.interval("b", "m") == bootstrap(DRAWN[1], **options)
    assert found.difference("b", "m") == bootstrap(DRAWN[1] - DRAWN[0], **options)
    assert found.difference("b", "m", "c") == bootstrap(DRAWN[1] - DRAWN[2], **options)
    assert found.differences() == {"m": {name: found.difference(name, "m", "a") for name in "bc"}}
    assert list(found.differences("c")["m"]) == ["a", "b"]
    np.testing.assert_array_equal(found["c", "m"], DRAWN[2])


def test_a_difference_is_taken_over_the_images_that_both_have():
    values = DRAWN.copy()
    values[0, :5], values[1, 3:9] = NAN, NAN
    found = comparison(values[:, None], [metric("m")])
    gap = found.difference("b", "m")
    assert gap.count == 31
    assert gap.mean == pytest.approx((DRAWN[1] - DRAWN[0])[9:].mean())


@pytest.mark.parametrize(
    ("better", "ranks"),
    [("higher", ["", "tied", "tied"]), ("lower", ["best", "", ""]), (None, ["", "", ""])],
)
def test_ranks_follow_the_paired_differences(better, ranks):
    noise = DRAWN[0] * 5  # hides the difference between a and b but for the pairs
    values = np.stack([noise, noise + 1, noise + 1 + DRAWN[2] * 0.1])
    assert comparison(values, [metric("m", better)], failures=()).values.shape == (3, 40)
    found = comparison(values[:, None], [metric("m", better)])
    assert [row.rank for row in found.table()] == ranks


def test_the_highest_mean_is_not_the_best_where_another_beats_it_on_the_images_of_both():
    values = np.full((3, 1, 40), 0.1)
    values[1, 0, :20] = 0.95 + DRAWN[1, :20] * 1e-3
    values[0, 0, :20], values[0, 0, 20:] = 0.9, NAN  # the easy images alone
    rows = comparison(values, [metric("m")]).table()
    assert max(rows, key=lambda row: row.mean).method == "a"
    assert [row.rank for row in rows] == ["", "best", ""]


def test_where_each_is_beaten_by_another_none_is_best():
    values = np.array([[3, 1, NAN], [2, NAN, 3], [NAN, 2, 1]])  # b after a, c after b, a after c: pairs of images
    found = comparison(np.repeat(values, 5, 1)[:, None], [metric("m")])
    assert found.difference("a", "m", "b").low > 0
    assert found.difference("b", "m", "c").low > 0
    assert found.difference("c", "m", "a").low > 0
    assert [row.rank for row in found.table()] == ["", "", ""]


@pytest.mark.parametrize(("images", "ranks"), [(2, ["tied", "tied"]), (4, ["tied", "tied"]), (6, ["best", ""])])
def test_few_images_tell_nothing_apart_that_chance_could(images, ranks):
    values = np.stack([np.full(images, 0.9), np.full(images, 0.8)])[:, None]
    found = comparison(values, [metric("m")], "ab")
    assert found.difference("b", "m").excludes_zero
    assert [row.rank for row in found.table()] == ranks
    assert found.sign("b", "m") == -found.sign("a", "m", "b") == -(images == 6)
    assert "a sign-flip test says so too" in found.to_markdown()
    assert "a sign-flip test says so too" in found.protocol()
    many = comparison(np.repeat(values, 20, 2), [metric("m")], "ab")
    assert [row.rank for row in many.table()] == ["best", ""]
    assert "sign-flip" not in many.to_markdown() + many.protocol()


def test_rounding_is_no_difference():
    rounded = DRAWN[0] * (1 - 1e-9)
    found = comparison(np.abs(np.stack([DRAWN[0], rounded, DRAWN[0] * 0.99]))[:, None], [metric("m")])
    assert found.difference("b", "m") == Interval(0.0, 0.0, 0.0, 40)
    assert [row.rank for row in found.table()] == ["tied", "tied", ""]
    values = np.stack([DRAWN[0], rounded])
    values[0, 3] = values[1, 4] = NAN
    assert comparison(values[:, None], [metric("m")], "ab").difference("b", "m").count == 38


@pytest.mark.parametrize(("confidence", "words"), [(0.95, "95%"), (0.999, "99.9%"), (0.975, "97.5%"), (0.07, "7%")])
def test_the_confidence_is_said_in_full(confidence, words):
    found = comparison(DRAWN[:, None], [metric("m")])
    found = dataclasses.replace(found, statistics=found.statistics._replace(confidence=confidence))
    assert f"[{words} bootstrap interval]" in found.to_markdown()
    assert f"Intervals: {words} percentile bootstrap" in found.protocol()


def test_names_of_ones_own_are_shown_in_markdown_as_they_are():
    lost = Failure("c|d", "m", 0, "no <b> in `x`")
    found = comparison(DRAWN[:2, None], [metric("m_1 [x]")], ["a\nb", "c|d"], [lost], reference="a\nb")
    table, _, rest = found.to_markdown().partition("\n\n")
    assert [line.count(" | ") for line in table.splitlines()] == [1, 1, 1, 1]
    assert "| Method | M\\_1 \\[X\\] ↑ |" in table
    assert "| C\\|D | " in table
    assert "\n- **A B**: what a b does.\n" in rest
    assert "\n- C\\|D, m, 1 x: no \\<b\\> in \\`x\\`" in rest
    found = comparison(DRAWN[:1, None], [metric("$m$")], ["~~a~~ &lt;"])
    assert "| Method | &#36;M&#36; ↑ |" in found.grid()
    assert "| \\~\\~A\\~\\~ &#38;LT; | " in found.grid()
    found = comparison(DRAWN[:1, None], [metric("m")], ["# \\(x\\)"])
    assert "| &#35; &#92;(X&#92;) | " in found.grid()


def test_one_method_alone_is_the_best_of_nothing():
    found = comparison([[DRAWN[0]], [DRAWN[0] * NAN]], [metric("m")], "ab")
    assert [row.rank for row in found.table()] == ["", ""]


def test_the_reference_is_the_first_where_it_takes_no_part():
    found = comparison(DRAWN[:, None], [metric("m")], reference="rlrp")
    assert found.reference == "a"
    rows = found.table()
    assert math.isnan(rows[0].difference)
    assert rows[1].difference == found.difference("b", "m", "a").mean


def test_the_reference_is_found_under_a_name_of_ones_own():
    found = comparison(DRAWN[:, None], [metric("m")], reference="rlrp")
    own = dataclasses.replace(found.contenders[2], method=METHODS["rlrp"])
    assert found.reference == "a"
    assert dataclasses.replace(found, contenders=(*found.contenders[:2], own)).reference == "c"


def test_values_that_are_taken_out_are_ones_own():
    found = comparison(DRAWN[:, None], [metric("m")])
    before = found.table()
    found["a", "m"].sort()
    np.testing.assert_array_equal(found["a", "m"], DRAWN[0])
    assert repr(found.table()) == repr(before)


def test_what_is_timed_is_a_median_without_interval_or_rank():
    values = [[[1.0, 2.0, 9.0, NAN]], [[3.0, 4.0, 5.0, 6.0]]]
    rows = comparison(values, [metric("m", "lower", timed=True)], "ab").table()
    assert [(row.mean, row.images, row.rank) for row in rows] == [(2.0, 3, ""), (4.5, 4, "")]
    assert all(math.isnan(row.low) and math.isnan(row.high) for row in rows)


def full():
    values = np.full((3, 3, 40), NAN)
    values[0, 0], values[1, 0] = DRAWN[0] * 0.01 + 0.5, DRAWN[1] * 0.01 + 0.2
    values[1, 0, 7] = NAN
    values[:, 0, 39] = NAN
    values[0, 1, :39], values[:2, 2, :39] = 2e-6, 1234.5
    metrics = [metric("m"), metric("inner", "lower", engine_only=True), metric("t", None)]
    failures = [
        Failure(None, None, 39, "no picture."), Failure("b", "m", 7, "the value is nan."),
        *(Failure("c", None, k, "refused.") for k in range(39)),
    ]  # fmt: skip
    found = comparison(values, metrics, failures=failures)
    engine = Contender("a", "A", "what a does", found.contenders[0].attribute, method=METHODS["lrp-0"])
    return Comparison((engine, *found.contenders[1:]), *[getattr(found, part) for part in (
        "metrics", "values", "failures", "statistics", "setting", "notes"
    )])  # fmt: skip


def test_the_markdown_table():
    found = full()
    lines = found.grid().splitlines()
    assert lines[0] == "| Method | M ↑ | Inner ↓ | T |"
    assert lines[1] == "| --- | ---: | ---: | ---: |"
    first = found.interval("a", "m")
    assert lines[2].startswith(f"| A | **{first.mean:.3f}** [{first.low:.3f}, {first.high:.3f}] | 2.00e-06 [2.00e-06,")
    assert "(n = 38)" in lines[3]
    assert lines[3].endswith("| - | 1.23e+03 [1.23e+03, 1.23e+03] |")
    assert lines[4] == "| C | failed | - | failed |"
    text = found.to_markdown()
    assert text == found._repr_markdown_()
    assert "90% bootstrap interval" in text
    for words in (
        "- **A**: what a does (a note).",
        "- **M**: what m measures; unit: unit; higher is better (somewhere).",
        "Only for this engine's methods.",
        "- image, 1 x: no picture.",
        "- B, m, 1 x: the value is nan.",
        "- C, 39 x: refused.",
    ):
        assert words in text
        assert words in found.protocol()
    assert "What was compared on." in found.protocol()
    assert "200 resamples, seed 6" in found.protocol()
    assert repr(found) == "Comparison(3 methods, 3 metrics, 40 images, 41 failures)"
    assert repr(comparison([[[1.0]]], [metric("m")], "a")) == "Comparison(1 method, 1 metric, 1 image, 0 failures)"


def test_no_name_in_the_markdown_tells_the_terminal_what_to_do():
    found = comparison([[[1.0]]], [metric("m")], "a", failures=[Failure(None, None, 0, "no layer \x1b[2J\u202e.")])
    evil = Contender("a", "A\x1b]0;owned\x07", "what a does", found.contenders[0].attribute)
    found = dataclasses.replace(found, contenders=(evil,), setting=("Network: Net\x1b[2J",))
    for text in (found.to_markdown(), found.protocol()):
        assert all(line.isprintable() for line in text.split("\n"))
        assert r"A&#92;x1b\]0;owned&#92;x07" in text  # which Markdown shows as A\x1b]0;owned\x07
        assert r"no layer &#92;x1b\[2J&#92;u202e." in text
    assert r"Network: Net\x1b[2J" in found.protocol()


def test_the_csv_has_every_row(tmp_path):
    found = full()
    path = found.to_csv(tmp_path / "table.csv")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    table = found.table()
    assert list(rows[0]) == list(Row._fields)
    assert len(rows) == len(table) == 7
    for read, row in zip(rows, table, strict=True):
        assert (read["method"], read["metric"], read["rank"]) == (row.method, row.metric, row.rank)
        for field in ("mean", "low", "difference_high"):
            value = getattr(row, field)
            assert read[field] == ("" if math.isnan(value) else repr(value))
    with pytest.raises(FileFormatError, match=r"\.csv"):
        found.to_csv(tmp_path / "table.txt")


def test_names_that_took_no_part_are_named():
    found = comparison(DRAWN[:, None], [metric("m")])
    with pytest.raises(InputError, match="method 'd' took no part; there are a, b, c"):
        found.interval("d", "m")
    for names in ("a", "am", ("a", "m", "n")):
        with pytest.raises(InputError, match=r"as comparison\['rlrp', 'auc'\], not by"):
            _ = found[names]
    with pytest.raises(InputError, match="metric 'n' was not measured; there are m"):
        found.difference("a", "n")
    with pytest.raises(InputError, match="method 'd' took no part"):
        found.differences("d")


def test_a_plot_is_drawn():
    assert len(full().plot().data) == 5
