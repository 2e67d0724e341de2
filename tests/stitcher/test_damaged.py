"""Sources with holes, as recordings have them: what decoders guess there refuses no output, and hides nothing else."""

import random

import pytest

from stitcher.verify.contract import verify_full
from tests.support.synthetic import make_video
from tests.support.zoo import produce

PACKET = 188


def with_loss(path, output):
    """Write a transport stream again without six of its packets."""
    content = path.read_bytes()
    at = len(content) // PACKET // 3 * PACKET
    output.write_bytes(content[:at] + content[at + 6 * PACKET :])
    return output


def with_noise(path, output):
    """Write a transport stream again with noise in three of its packets."""
    content, dice = bytearray(path.read_bytes()), random.Random(3)
    for number in range(3):
        at = (len(content) // PACKET // 2 + 7 * number) * PACKET + 20
        content[at : at + 140] = dice.randbytes(140)
    output.write_bytes(content)
    return output


@pytest.mark.parametrize("spoil", [with_loss, with_noise])
@pytest.mark.parametrize("ending", [".ts", ".mkv", ".mp4"])
@pytest.mark.parametrize("faces", [[(0, 6)], [(60, 70)], [(0, 5), (40, 50)]])
def test_an_output_is_not_refused_for_what_its_source_lost(tmp_path, spoil, ending, faces):
    whole = make_video(tmp_path / "whole.ts", 100, gop=25, b_frames=3, size=(256, 144))
    source = spoil(whole, tmp_path / "source.ts")
    output = produce(source, tmp_path / f"out{ending}", faces)
    output.verify()
    assert [each.found for each in verify_full(output.path, output.promised()) if not each.is_kept] == []


def test_a_fault_away_from_the_damage_is_seen(tmp_path):
    whole = make_video(tmp_path / "whole.ts", 100, gop=10, b_frames=2, size=(256, 144))
    source = with_loss(whole, tmp_path / "source.ts")
    output = produce(source, tmp_path / "out.mkv", [(80, 84)])
    moved = [clip for clip in output.clips if not clip.clip.rendered]
    output.clips[:] = moved  # what was rendered is taken for copied
    broken = {each.promise: each.found for each in verify_full(output.path, output.promised()) if not each.is_kept}
    assert broken["untouched pixels"].startswith("Untouched pixels: frame 80 ")
