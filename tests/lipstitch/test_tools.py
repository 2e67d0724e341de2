"""What a job uses that is slow, or needs weights."""

import pickle

import pytest

from lipstitch.tools import DEFAULT_TOOLS
from tests.support.doubles import QUICK_TOOLS
from tests.support.two_people import DIALOGUE_TOOLS


@pytest.mark.parametrize("tools", [DEFAULT_TOOLS, QUICK_TOOLS, DIALOGUE_TOOLS])
def test_tools_reach_a_worker_process_as_they_were(tools):
    """Else it would load everything again for every clip."""
    assert pickle.loads(pickle.dumps(tools)) == tools
