"""The bootstrap: equal to a loop and to scipy's, and right about how often it is right."""

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from rlrp_nb.errors import InputError
from rlrp_nb.evaluation import bootstrap as module
from rlrp_nb.evaluation.bootstrap import Interval, bootstrap, flips_agree

VALUES = np.random.default_rng(5).normal(2.0, 1.0, 37)


def test_it_equals_the_loop_that_is_written_out():
    generator = np.random.default_rng(3)
    means = []
    for _ in range(500):
        total = 0.0
        for position in generator.integers(0, len(VALUES), len(VALUES)):
            total += VALUES[position]
        means.append(total / len(VALUES))
    found = bootstrap(VALUES, resamples=500, confidence=0.9, seed=3)
    assert found.mean == pytest.approx(sum(VALUES) / len(VALUES), rel=1e-14)
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(means, [5, 95])), rel=1e-12)
    assert found.count == 37


def test_it_equals_scipy():
    theirs = scipy.stats.bootstrap(
        (VALUES,), np.mean, n_resamples=3000, confidence_level=0.95, method="percentile", rng=np.random.default_rng(7)
    ).confidence_interval
    found = bootstrap(VALUES, resamples=3000, seed=7)
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), rel=1e-12)


def test_drawing_in_parts_draws_the_same(monkeypatch):
    whole = bootstrap(VALUES, resamples=333)
    monkeypatch.setattr(module, "_AT_ONCE", 100)
    assert bootstrap(VALUES, resamples=333) == whole


def test_nineteen_of_twenty_intervals_hold_the_truth():
    generator = np.random.default_rng(11)
    hits = 0
    for seed in range(300):
        found = bootstrap(generator.exponential(1.0, 100), resamples=400, seed=seed)
        hits += found.low <= 1.0 <= found.high
    assert 0.90 <= hits / 300 <= 0.98


@settings(max_examples=50)
@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20), st.floats(-1e3, 1e3))
def test_it_moves_with_the_values_and_stays_among_them(values, shift):
    found = bootstrap(values, resamples=50)
    slack = 1e-9 * (1 + max(map(abs, values)) + abs(shift))
    assert min(values) - slack <= found.low <= found.high <= max(values) + slack
    moved = bootstrap(np.array(values) + shift, resamples=50)
    assert moved.low == pytest.approx(found.low + shift, abs=slack)
    assert moved.high == pytest.approx(found.high + shift, abs=slack)


def test_what_is_missing_is_left_out_and_counted():
    gaps = np.insert(VALUES, [0, 10, 37], math.nan)
    assert bootstrap(gaps) == bootstrap(VALUES)
    assert bootstrap(VALUES, seed=1) == bootstrap(VALUES, seed=1) != bootstrap(VALUES, seed=2)


def test_one_value_has_no_interval_and_none_has_no_mean():
    one = bootstrap([4.0])
    assert (one.mean, one.count) == (4.0, 1)
    assert math.isnan(one.low)
    assert math.isnan(one.high)
    assert not one.excludes_zero
    none = bootstrap([math.nan, math.nan])
    assert none.count == 0
    assert math.isnan(none.mean)


def test_an_interval_says_whether_it_has_a_sign():
    assert Interval(1, 0.5, 1.5, 9).excludes_zero
    assert Interval(-1, -1.5, -0.5, 9).excludes_zero
    assert not Interval(0.1, -0.5, 0.7, 9).excludes_zero
    assert not Interval(0.1, 0.0, 0.7, 9).excludes_zero


def test_the_global_generator_is_left_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - the global one is what is looked at
    bootstrap(VALUES)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"resamples": 0}, "resamples=0"),
        ({"resamples": 2.5}, "resamples=2.5"),
        ({"resamples": True}, "resamples=True"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": 1.5}, "seed=1.5"),
        ({"confidence": 1}, "confidence=1"),
        ({"confidence": 0.0}, "confidence=0.0"),
        ({"confidence": "0.9"}, "confidence='0.9'"),
    ],
)
def test_numbers_out_of_range_are_named(options, words):
    with pytest.raises(InputError, match=words):
        bootstrap(VALUES, **options)


def test_values_of_another_shape_or_infinite_are_refused():
    with pytest.raises(InputError, match=r"shape \(2, 2\)"):
        bootstrap(np.zeros((2, 2)))
    with pytest.raises(InputError, match="finite"):
        bootstrap([1.0, math.inf])
    with pytest.raises(InputError, match="values is a dict; accepted are numbers"):
        bootstrap({})


@pytest.mark.parametrize("count", [2, 6, 9, 13])
def test_flips_equal_scipys_exact_test(count):
    generator = np.random.default_rng(count)
    told = []
    for shift in np.linspace(0, 2, 40):
        differences = generator.normal(shift, 1.0, count)
        theirs = scipy.stats.permutation_test(
            (differences, np.zeros(count)), lambda a, b: (a - b).mean(), permutation_type="samples", n_resamples=np.inf
        )
        told.append(flips_agree(differences))
        assert told[-1] == (theirs.pvalue <= 0.05)
    assert any(told) == (count >= 6)


@pytest.mark.parametrize("count", [8, 20])
def test_flips_find_a_sign_in_noise_as_rarely_as_promised(count):
    generator = np.random.default_rng(1)
    found = sum(flips_agree(generator.normal(0, 1, count), resamples=400, seed=seed) for seed in range(400))
    assert 0.02 <= found / 400 <= 0.08


def test_a_confidence_of_numpy_is_a_number():
    assert bootstrap(VALUES, confidence=np.float32(0.5)) == bootstrap(VALUES, confidence=0.5)


def test_flips_in_parts_are_the_same(monkeypatch):
    differences = np.random.default_rng(2).normal(0.45, 1.0, (20, 25))
    whole = [flips_agree(row, resamples=333) for row in differences]
    assert 0 < sum(whole) < 20
    monkeypatch.setattr(module, "_AT_ONCE", 100)
    assert [flips_agree(row, resamples=333) for row in differences] == whole


def test_flips_leave_out_what_is_missing():
    assert not flips_agree([])
    assert not flips_agree([math.nan] * 9)
    assert not flips_agree([1.0] * 5 + [math.nan] * 9)
    assert flips_agree([1.0] * 6 + [math.nan] * 9)
    assert flips_agree(np.arange(1, 29))
    assert not flips_agree(np.arange(1, 7), confidence=0.99)
    with pytest.raises(InputError, match="confidence=95 has to lie between 0 and 1"):
        flips_agree(np.arange(1, 7), confidence=95)
