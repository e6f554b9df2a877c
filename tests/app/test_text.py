"""Numbers in words."""

from __future__ import annotations

import time

import pytest

from app import text


@pytest.mark.parametrize(
    ("function", "value", "words"),
    [
        (text.size, 98_352_304, "93.8 MiB"),
        (text.size, 12, "12 B"),
        (text.gib, 98_352_304, "0.1"),
        (text.mib, 98_352_304, "93.8"),
        (text.mib, 2304, "0.0022"),
        (text.count, 134_515_008, "134.5 M"),
        (text.count, 9999, "9999"),
        (text.count, 7.2e9, "7.2 B"),
        (text.exact, 134_515_008, "134\u2009515\u2009008"),
        (text.duration, 0.42, "0.4 s"),
        (text.duration, 9.97, "10 s"),
        (text.duration, 59.7, "1 min"),
        (text.duration, 80, "1 min 20 s"),
        (text.duration, 120, "2 min"),
        (text.duration, 3600, "1 h"),
        (text.duration, 5400, "1 h 30 min"),
        (text.remaining, 0.1, "1 s"),
        (text.remaining, 42.4, "42 s"),
        (text.remaining, 80, "1 min 20 s"),
        (text.percent, 0.999, "99 %"),
        (text.percent, 1.0, "100 %"),
        (text.percent, 0.29, "29 %"),
        (text.bits, 4.5, "4.50"),
        (text.number, 0.000170312, "0.0001703"),
    ],
)
def test_words(function, value, words):
    assert function(value) == words


def test_amounts_and_rates_carry_their_unit():
    assert text.amount(2048, "bytes") == "2.0 KiB"
    assert text.amount(134_515_008, "weights") == "134.5 M weights"
    assert text.rate(2048, "bytes") == "2.0 KiB/s"


def test_a_moment_today_is_an_hour_and_an_earlier_one_a_date():
    assert len(text.moment(time.time())) == len("17:10")
    assert text.moment(0).startswith("19")
