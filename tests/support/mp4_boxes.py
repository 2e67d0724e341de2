"""MP4 files rewritten box by box (ISO/IEC 14496-12), for what no muxer writes: trims, and sample descriptions."""

import struct
from dataclasses import dataclass

PARENTS = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts"}


@dataclass
class Box:
    """A box of a file: what it holds, or the boxes in it."""

    kind: bytes
    payload: bytes
    boxes: "list[Box] | None" = None

    @staticmethod
    def read_all(content):
        found, at = [], 0
        while at < len(content):
            size, kind = struct.unpack_from(">I4s", content, at)
            head = 8
            if size == 1:
                (size,), head = struct.unpack_from(">Q", content, at + 8), 16
            payload = bytes(content[at + head : at + size])
            found.append(Box(kind, payload, Box.read_all(payload) if kind in PARENTS else None))
            at += size
        return found

    def write(self):
        payload = self.payload if self.boxes is None else b"".join(box.write() for box in self.boxes)
        return struct.pack(">I4s", 8 + len(payload), self.kind) + payload

    def __getitem__(self, path):
        """Return the first box at a path, such as mdia/minf/stbl."""
        first, _, rest = path.partition("/")
        box = next(box for box in self.boxes if box.kind == first.encode())
        return box[rest] if rest else box

    def number(self, at, form=">I"):
        return struct.unpack_from(form, self.payload, at)[0]


def read_movie(path):
    """Return the boxes of a file, its `moov`, and the `trak` of its video."""
    boxes = Box.read_all(path.read_bytes())
    moov = next(box for box in boxes if box.kind == b"moov")
    tracks = [box for box in moov.boxes if box.kind == b"trak"]
    video = next(track for track in tracks if track["mdia/hdlr"].payload[8:12] == b"vide")
    return boxes, moov, video


def trimmed(path, output, *parts):
    """Write a copy whose edit list shows some parts of its video alone, one behind another.

    parts: (start, stop) in seconds, Fractions; (None, length) is a pause before what follows. The packets all stay, as
    in what phones and editors trim without re-encoding. `moov` must stand behind the samples: its length may change.
    """
    boxes, moov, video = read_movie(path)
    movie_clock, media_clock = moov["mvhd"].number(12), video["mdia/mdhd"].number(12)
    first = video["edts/elst"].number(12, ">i")  # where the first frame is shown, on the media's clock
    edits = b""
    for start, stop in parts:
        length, at = (stop, -1) if start is None else (stop - start, first + round(start * media_clock))
        edits += struct.pack(">IiI", round(length * movie_clock), at, 1 << 16)
    video["edts/elst"].payload = bytes(4) + struct.pack(">I", len(parts)) + edits
    output.write_bytes(b"".join(box.write() for box in boxes))
    return output


def _full_table(payload, num_samples):
    """Return a table of runs (count, value) with an entry for each sample."""
    values = []
    for number in range(struct.unpack_from(">I", payload, 4)[0]):
        count, value = struct.unpack_from(">II", payload, 8 + 8 * number)
        values += [value] * count
    return values or [0] * num_samples


@dataclass
class _Track:
    """The samples of a video track that lie in one chunk, in decode order."""

    entry: bytes
    durations: list
    offsets: list
    keyframes: list
    sizes: list
    content: bytes

    @staticmethod
    def of(path):
        _, _, video = read_movie(path)
        table = video["mdia/minf/stbl"]
        count = table["stsz"].number(8)
        sizes = list(struct.unpack_from(f">{count}I", table["stsz"].payload, 12))
        starts = []
        chunks = struct.unpack_from(f">{table['stco'].number(4)}I", table["stco"].payload, 8)
        runs = [struct.unpack_from(">III", table["stsc"].payload, 8 + 12 * n) for n in range(table["stsc"].number(4))]
        for chunk, at in enumerate(chunks, 1):
            for _ in range(next(run[1] for run in reversed(runs) if run[0] <= chunk)):
                starts.append(at)
                at += sizes[len(starts) - 1]
        whole = path.read_bytes()
        offsets = [0] * count
        if any(box.kind == b"ctts" for box in table.boxes):
            offsets = _full_table(table["ctts"].payload, count)
        keyframes = list(struct.unpack_from(f">{table['stss'].number(4)}I", table["stss"].payload, 8))
        samples = b"".join(whole[at : at + size] for at, size in zip(starts, sizes, strict=True))
        durations = _full_table(table["stts"].payload, count)
        return _Track(table["stsd"].payload[8:], durations, offsets, keyframes, sizes, samples)


def with_descriptions(parts, output):
    """Write the videos of several files one behind another as one track, with a sample description for each.

    The files hold nothing but a video, of one size and on one clock.
    """
    tracks = [_Track.of(path) for path in parts]
    boxes, moov, video = read_movie(parts[0])
    sizes = [size for track in tracks for size in track.sizes]
    durations = [ticks for track in tracks for ticks in track.durations]
    starts = [sum(len(track.sizes) for track in tracks[:number]) for number in range(len(tracks))]
    keyframes = [start + key for start, track in zip(starts, tracks, strict=True) for key in track.keyframes]
    head = next(box for box in boxes if box.kind == b"ftyp").write()
    chunks = [len(head) + 8 + sum(len(track.content) for track in tracks[:number]) for number in range(len(tracks))]

    def table(kind, form, rows, before=b""):
        return Box(
            kind, bytes(4) + before + struct.pack(">I", len(rows)) + b"".join(struct.pack(form, *r) for r in rows)
        )

    described = struct.pack(">I", len(tracks)) + b"".join(track.entry for track in tracks)
    video["mdia/minf/stbl"].boxes = [
        Box(b"stsd", bytes(4) + described),
        table(b"stts", ">II", [(1, ticks) for ticks in durations]),
        table(b"ctts", ">II", [(1, ticks) for track in tracks for ticks in track.offsets]),
        table(b"stss", ">I", [(key,) for key in keyframes]),
        table(b"stsz", ">I", [(size,) for size in sizes], before=bytes(4)),
        table(b"stsc", ">III", [(n, len(track.sizes), n) for n, track in enumerate(tracks, 1)]),
        table(b"stco", ">I", [(at,) for at in chunks]),
    ]
    total = sum(durations)
    clocks = {"mvhd": moov["mvhd"].number(12), "mdhd": video["mdia/mdhd"].number(12)}
    movie_ticks = total * clocks["mvhd"] // clocks["mdhd"]
    first = tracks[0].offsets[0]
    video["edts"].boxes = [Box(b"elst", bytes(4) + struct.pack(">IIiI", 1, movie_ticks, first, 1 << 16))]
    for box, at, ticks in (
        (moov["mvhd"], 16, movie_ticks),
        (video["tkhd"], 20, movie_ticks),
        (video["mdia/mdhd"], 16, total),
    ):
        box.payload = box.payload[:at] + struct.pack(">I", ticks) + box.payload[at + 4 :]
    content = b"".join(track.content for track in tracks)
    output.write_bytes(head + Box(b"mdat", content).write() + moov.write())
    return output
