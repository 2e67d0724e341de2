"""Renumbered parameter sets: decoders find both encoders' sets by their ids, and pictures stay what they are."""

from fractions import Fraction

import av
import numpy as np
import pytest

from media.base.errors import StitchError, UnsupportedMedia
from media.bitstream.hevc_ids import RenumberedSets, add_hevc_sets
from media.bitstream.units import join_units, parameter_sets, split_units, unit_type
from media.probe import probe
from tests.support.synthetic import make_video, stamped_frame


def coded(path, *, params="", preset="ultrafast", size=(192, 108), pixel_format="yuv420p", num_frames=8):
    """Return the sets and the packets of a fading video, as x265 codes it with the options of the renderer."""
    with av.open(str(path), "w", format="nut") as container:
        options = f"bframes=0:keyint=-1:scenecut=0:open-gop=0:pools=1:frame-threads=1:log-level=none{params}"
        stream = container.add_stream(
            "libx265", rate=25, options={"preset": preset, "crf": "20", "x265-params": options}
        )
        (stream.width, stream.height), stream.pix_fmt = size, pixel_format
        for number in range(num_frames):
            frame = stamped_frame(number, size, pixel_format)
            rows = np.frombuffer(frame.planes[0], np.uint8)
            rows[:] = rows // (number + 1)  # a fade, for weighted prediction
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        sets = parameter_sets("hevc", bytes(stream.codec_context.extradata))
        return sets, [bytes(packet) for packet in container.demux(stream) if packet.size]


def pictures(sets, packets):
    """Decode packets behind parameter sets; any complaint of the decoder is an error."""
    decoder = av.CodecContext.create("hevc", "r")
    decoder.options = {"err_detect": "explode"}
    first, *others = packets
    frames = [frame for packet in (join_units(sets, 0) + first, *others) for frame in decoder.decode(av.Packet(packet))]
    return [frame.to_ndarray().tobytes() for frame in [*frames, *decoder.decode(None)]]


def renumbered(sets, packets, source):
    """Return sets and packets under other ids."""
    other = RenumberedSets(sets, source)
    changed = [
        join_units([other.slice(u) if unit_type("hevc", u) < 32 else u for u in split_units(packet, 0)], 0)
        for packet in packets
    ]
    return other.sets, changed


CODINGS = {
    "ultrafast": {},
    "medium": {"preset": "medium", "size": (320, 400)},
    "slow": {"preset": "slow"},
    "rows": {"size": (256, 1088), "num_frames": 4, "params": ":ctu=16"},
    "slices": {"size": (256, 512), "params": ":slices=4"},
    "planes": {"pixel_format": "yuv444p", "preset": "medium"},
    "grey": {"pixel_format": "gray"},
    "noise": {"params": ":crf=2:qp-adaptation-range=3:cbqpoffs=3:deblock=2,2", "preset": "fast"},
}


@pytest.mark.parametrize("name", CODINGS)
def test_pictures_stay_what_they_are(tmp_path, name):
    sets, packets = coded(tmp_path / "a.nut", **CODINGS[name])
    before = pictures(sets, packets)
    others, changed = renumbered(sets, packets, sets)
    assert len(before) == len(packets)
    # The source's sets stand behind them: what is found under the old ids would be decoded wrongly.
    strange, _ = coded(tmp_path / "b.nut", size=(64, 64), num_frames=1)
    assert pictures([*others, *strange], changed) == before


def test_ids_are_those_that_the_source_leaves(tmp_path):
    sets, packets = coded(tmp_path / "a.nut", num_frames=2)
    taken = list(sets)
    for _ in range(15):
        taken += renumbered(sets, packets, taken)[0]
        assert len(set(taken)) == len(taken)
    with pytest.raises(UnsupportedMedia, match="every HEVC parameter set id"):
        RenumberedSets(sets, taken)


def test_what_is_not_known_is_refused(tmp_path):
    sets, packets = coded(tmp_path / "a.nut", num_frames=2)
    other = RenumberedSets(sets, sets)
    unit = next(unit for unit in split_units(packets[1], 0) if unit_type("hevc", unit) < 32)
    with pytest.raises(StitchError, match="in its header"):
        other.slice(unit[:4])


def test_records_hold_both(tmp_path):
    sets, packets = coded(tmp_path / "a.nut", num_frames=1)
    record = probe(make_video(tmp_path / "b.mp4", 4, codec="libx265", tag="hvc1")).require_video().coded.extradata
    own = parameter_sets("hevc", record)
    others, _ = renumbered(sets, packets, own)
    both = parameter_sets("hevc", add_hevc_sets(record, others))
    assert sorted(both) == sorted([*own, *others])
    assert [unit_type("hevc", unit) for unit in both] == [32, 32, 33, 33, 34, 34]
