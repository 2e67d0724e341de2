"""What a test's Dask worker loads first: mouths without a network, a few a second, so that it can be caught at work."""

import time

from tests.support.quick_jobs import DarkMouths, quick_jobs

MOUTH_SECONDS = 0.25
"""How long a batch takes."""

quick = quick_jobs()
draw = DarkMouths.render


def draw_slowly(self, faces, mel_windows):
    time.sleep(MOUTH_SECONDS)
    return draw(self, faces, mel_windows)


def dask_setup(_worker):
    quick.__enter__()
    DarkMouths.render = draw_slowly
