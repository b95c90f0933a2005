"""The diverging colour maps: zero in the middle, even, alike in lightness, apart for every kind of colour vision."""

import hashlib
import itertools

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlrp_nb.errors import InputError
from rlrp_nb.plots import colormap

THEMES = ("light", "dark")
PALETTES = ("blue-orange", "purple-green")
STEP = np.arange(1, 128)

# Linear sRGB to cone responses (Ottosson 2020), written out here so that the module is checked against the forward map.
CONES_FROM_RGB = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
OKLAB_FROM_CONES = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)
# How linear sRGB looks without one kind of cone (Machado, Oliveira and Fernandes 2009, severity 1).
VISION = {
    "full": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def oklab(rgb, vision="full"):
    encoded = np.asarray(rgb) / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(VISION[vision]).T, 0, 1)
    return np.cbrt(seen @ CONES_FROM_RGB.T) @ OKLAB_FROM_CONES.T


@pytest.mark.parametrize("theme", THEMES)
def test_the_middle_is_neutral_and_the_ends_are_blue_and_vermilion(theme):
    table = colormap.table(theme)
    assert table.shape == (256, 3)
    assert table.dtype == np.uint8
    assert np.ptp(table[colormap.ZERO]) == 0
    assert (table[0] == table[1]).all()
    lightness = oklab(table)[colormap.ZERO, 0]
    assert lightness > 0.95 if theme == "light" else lightness < 0.25
    negative, positive = table[64].astype(int), table[192].astype(int)
    assert negative[2] > negative[0] + 60
    assert positive[0] > positive[2] + 60


@pytest.mark.parametrize("theme", THEMES)
def test_the_second_palette_shares_the_middle_and_goes_from_purple_to_green(theme):
    table = colormap.table(theme, "purple-green")
    assert (table[colormap.ZERO] == colormap.table(theme)[colormap.ZERO]).all()
    assert (table[0] == table[1]).all()
    negative, positive = table[64].astype(int), table[192].astype(int)
    assert min(negative[0], negative[2]) > negative[1] + 60
    assert positive[1] > max(positive[0], positive[2]) + 60


@pytest.mark.parametrize(("theme", "palette"), list(itertools.product(THEMES, PALETTES)))
def test_both_signs_are_equally_light_at_equal_distance(theme, palette):
    lightness = oklab(colormap.table(theme, palette))[:, 0]
    assert np.abs(lightness[128 + STEP] - lightness[128 - STEP]).max() < 0.005


@pytest.mark.parametrize(("theme", "palette", "sign"), list(itertools.product(THEMES, PALETTES, (1, -1))))
def test_equal_steps_in_value_are_equal_steps_to_the_eye(theme, palette, sign):
    arm = oklab(colormap.table(theme, palette)[128 + sign * np.arange(128)])
    # eight entries at a time: a single step is as small as the rounding to bytes
    steps = np.linalg.norm(arm[8:] - arm[:-8], axis=1)
    assert steps.max() / steps.min() < 1.25
    assert (np.diff(arm[::4, 0]) < 0).all() if theme == "light" else (np.diff(arm[::4, 0]) > 0).all()


@pytest.mark.parametrize(("theme", "palette", "vision"), list(itertools.product(THEMES, PALETTES, VISION)))
def test_the_signs_stay_apart_for_every_kind_of_colour_vision(theme, palette, vision):
    seen = oklab(colormap.table(theme, palette), vision)
    apart = np.linalg.norm(seen[128 + STEP] - seen[128 - STEP], axis=1)
    # 0.02 is about one just noticeable difference in Oklab
    assert apart[15:].min() > 0.06
    assert apart[40:].min() > 0.15


def test_the_tables_are_the_same_on_every_machine():
    digests = {
        (theme, palette): hashlib.sha256(colormap.table(theme, palette).tobytes()).hexdigest()[:16]
        for theme, palette in itertools.product(THEMES, PALETTES)
    }
    assert digests == {
        ("light", "blue-orange"): "ef79b8658569c98b",
        ("dark", "blue-orange"): "1092acd960aa45a5",
        ("light", "purple-green"): "45404a23355287ef",
        ("dark", "purple-green"): "1631b4a67f9db780",
    }


def test_a_table_cannot_be_changed_by_accident():
    with pytest.raises(ValueError, match="read-only"):
        colormap.table()[0] = 0


def test_an_unknown_theme_is_refused():
    with pytest.raises(InputError, match=r"no colour theme 'jet'.*'light' or 'dark'"):
        colormap.table("jet")


def test_an_unknown_palette_is_refused():
    with pytest.raises(InputError, match=r"no palette 'jet'.*'blue-orange' or 'purple-green'"):
        colormap.table("light", "jet")


def test_levels_by_hand():
    values = [-9.0, -2.0, -1.0, -1e-30, 0.0, 1e-30, 0.5, 1.0, 2.0, 9.0]
    assert colormap.levels(values, 2.0).tolist() == [1, 1, 64, 128, 128, 128, 160, 192, 255, 255]


FINITE = arrays.arrays(np.float64, arrays.array_shapes(max_dims=3), elements=st.floats(-1e300, 1e300))


@given(FINITE)
def test_levels_are_odd_monotonic_and_reach_the_end(values):
    limit = colormap.symmetric_limit(values)
    found = colormap.levels(values, limit).astype(int)
    assert (found - 128 == 128 - colormap.levels(-values, limit).astype(int)).all()
    assert (np.diff(found.ravel()[np.argsort(values.ravel())]) >= 0).all()
    assert (found[values == 0] == 128).all()
    if limit > 0:
        assert np.abs(found - 128).max() == 127


@given(FINITE, st.floats(1, 100))
def test_the_limit_is_zero_only_for_a_map_of_zeros(values, percentile):
    limit = colormap.symmetric_limit(values, percentile)
    assert (limit == 0) == (not values.any())
    assert limit <= np.abs(values).max()


def test_a_percentile_clips_the_outliers():
    values = np.concatenate([np.linspace(-1, 1, 999), [1000.0]])
    assert colormap.symmetric_limit(values) == 1000
    assert colormap.symmetric_limit(values, 99) < 1


def test_paint_is_the_table_at_the_levels():
    values = np.linspace(-3, 3, 7).reshape(1, 7)
    painted = colormap.paint(values, theme="dark")
    assert painted.shape == (1, 7, 3)
    assert (painted == colormap.table("dark")[colormap.levels(values, 3.0)]).all()
    assert (colormap.paint(values, limit=1.0)[0, 0] == colormap.table()[1]).all()
    green = colormap.paint(values, limit=1.0, palette="purple-green")
    assert (green[0, -1] == colormap.table("light", "purple-green")[255]).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_without_a_colour_are_refused(bad):
    for call in (colormap.paint, colormap.symmetric_limit):
        with pytest.raises(InputError, match="1 of 2 values are NaN or infinite"):
            call([0.0, bad])


@pytest.mark.parametrize("limit", [-1.0, np.nan, np.inf])
def test_an_impossible_limit_is_refused(limit):
    with pytest.raises(InputError, match="limit of the colour scale"):
        colormap.levels([0.0], limit)


@pytest.mark.parametrize("percentile", [0, -5, 101, np.nan])
def test_an_impossible_percentile_is_refused(percentile):
    with pytest.raises(InputError, match="above 0 and at most 100"):
        colormap.symmetric_limit([1.0], percentile)


def test_an_empty_map_is_refused():
    with pytest.raises(InputError, match="no values"):
        colormap.symmetric_limit(np.zeros((0, 4)))
