"""Times as people read them."""

from fractions import Fraction

import pytest

from media.base.clock import format_clock


@pytest.mark.parametrize(
    ("seconds", "digits", "expected"),
    [
        (Fraction(0), 3, "00:00:00.000"),
        (Fraction(1001, 30000), 3, "00:00:00.033"),
        (Fraction("59.9996"), 3, "00:01:00.000"),
        (Fraction("3599.96"), 1, "01:00:00.0"),
        (Fraction("7384.05"), 3, "02:03:04.050"),
        (Fraction(100 * 3600), 1, "100:00:00.0"),
    ],
)
def test_a_time_is_hours_minutes_and_seconds(seconds, digits, expected):
    assert format_clock(seconds, digits=digits) == expected
