"""What several tests of the stitcher begin with."""

import pytest


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder that the tests of one file share."""
    return tmp_path_factory.mktemp("stitcher")
