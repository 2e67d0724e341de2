"""What a test's Dask worker loads first: it draws a few mouths a second, so that it can be caught at work."""

import time

from tests.support.doubles import DarkMouths

MOUTH_SECONDS = 0.25
"""How long a batch takes."""

draw = DarkMouths.render


def draw_slowly(self, *given):
    time.sleep(MOUTH_SECONDS)
    return draw(self, *given)


def dask_setup(_worker):
    DarkMouths.render = draw_slowly
