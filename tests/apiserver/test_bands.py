"""The low band of a range is left, as long as can be, to those who choose their own."""

import random

import pytest

from pilothouse.apiserver.bands import candidates, static_band


@pytest.mark.parametrize(
    ("size", "step", "most", "band"),
    [(16, 16, 256, 0), (17, 16, 256, 16), (512, 16, 256, 32), (2**64, 16, 256, 256), (2768, 32, 128, 86)],
)
def test_the_band_of_a_range(size, step, most, band):
    assert static_band(size, step, most) == band


def test_each_of_a_range_comes_once_the_low_band_last():
    found = list(candidates(range(100, 200), 16, random.Random(1)))
    assert set(found[:84]) == set(range(116, 200))
    assert set(found[84:]) == set(range(100, 116))
    assert len(found) == 100


def test_a_range_may_be_larger_than_any_list():
    assert next(candidates(range(2**120, 2**120 + 2**64), 256, random.Random(1))) >= 2**120 + 256
