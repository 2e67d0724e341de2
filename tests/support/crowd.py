"""Footage of several people with a known position in every frame: real heads, pasted on a canvas."""

from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import av
import cv2
import numpy as np

from media.packets.scan import scan_packets
from media.picture import plane_views
from media.probe import probe
from media.reader import FrameReader
from media.source_video import SourceVideo
from renderer.clip_frames import ClipFrames

SIZE = (640, 360)
RATE = 25
GROUND = (70, 60, 50)


class Place(NamedTuple):
    """Where a person is in a frame."""

    person: str
    left: int
    top: int
    side: int
    is_mirrored: bool = False


@dataclass
class Crowd:
    """A video and the truth about it."""

    path: Path
    frames: list
    """The places of each frame."""
    cuts: list

    def of(self, person):
        """Return the frames in which a person is wholly in the picture."""
        return {
            number
            for number, places in enumerate(self.frames)
            for place in places
            if place.person == person and place.left >= 0 and place.left + place.side <= SIZE[0]
        }

    def part_of(self, person):
        """Return the frames in which a person is in the picture, at least in part."""
        return {number for number, places in enumerate(self.frames) for place in places if place.person == person}

    def place(self, frame, person):
        return next((place for place in self.frames[frame] if place.person == person), None)


def still(*places):
    """Return a scene in which everyone stays in place."""
    return lambda number: places


def crossing(person, num_frames, away, top=20, side=320):
    """Return a scene of a person who leaves to the right, is away for some frames, and comes back from the left."""
    moving = (num_frames - away) // 2

    def places(number):
        if number < moving:
            left = 160 + max(number - moving // 2, 0) * 2 * (SIZE[0] - 160) // moving
        elif number < moving + away:
            return ()
        else:
            left = min(-side + (number - moving - away) * 2 * (side + 160) // moving, 160)
        return (Place(person, left, top, side),) if left < SIZE[0] else ()

    return places


def make_crowd(path, clips, scenes, *, encoder="libx264"):
    """Write scenes, each (number of frames, function from a frame's number to its places), joined by hard cuts.

    clips: folder. Each person's frames continue where they stopped in the previous scene.
    """
    readers = {}
    frames, cuts = [], []
    with av.open(str(path), "w") as target:
        stream = target.add_stream(encoder, rate=RATE, options={"preset": "superfast", "crf": "18", "g": "50"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        context = stream.codec_context
        context.color_range, context.colorspace, context.color_primaries, context.color_trc = 1, 1, 1, 1
        for scene, (num_frames, places_at) in enumerate(scenes):
            cuts += [len(frames)] if frames else []
            for number in range(num_frames):
                places = places_at(number)
                canvas = np.full((SIZE[1], SIZE[0], 3), GROUND, np.uint8)
                canvas[:, :, 1] += np.uint8(30 * (scene % 3))
                for place in places:
                    paste(canvas, next(readers.setdefault(place.person, pictures(clips, place.person))), place)
                frame = av.VideoFrame.from_ndarray(canvas, format="bgr24").reformat(
                    format="yuv420p", dst_colorspace=1, dst_color_range=1
                )
                frame.pts, frame.time_base = len(frames), Fraction(1, RATE)
                target.mux(stream.encode(frame))
                frames.append(places)
        target.mux(stream.encode(None))
    return Crowd(path, frames, cuts)


def pictures(clips, person, first=0):
    """Yield a person's frames as square BGR pictures, endlessly; the small second picture in a corner is cut off."""
    while True:
        with av.open(str(clips / f"{person}.mp4")) as source:
            for frame in islice(source.decode(video=0), first, None):
                yield frame.to_ndarray(format="bgr24")[:448, 32:480]


def paste(canvas, picture, place):
    """Put a square picture where it belongs, as far as it lies on the canvas."""
    small = cv2.resize(picture, (place.side, place.side), interpolation=cv2.INTER_AREA)
    if place.is_mirrored:
        small = small[:, ::-1]
    left, right = max(place.left, 0), min(place.left + place.side, SIZE[0])
    if left < right:
        canvas[place.top : place.top + place.side, left:right] = small[:, left - place.left : right - place.left]


def write_photo(path, clips, person, frame):
    """Write one frame of a person's clip as a JPEG file: a reference photo."""
    picture = next(pictures(clips, person, frame))
    cv2.imwrite(str(path), picture)
    return path


@contextmanager
def watching_changes(video, parts=None):
    """Compare what all jobs in this process give the encoder with the source, while the context lasts.

    parts: {name: (left, right)} of the picture; None: all of it, with the name None.
    Yields {(source frame, name): the rectangle (left, top, right, bottom) that differs}.
    """
    info = probe(video)
    table = scan_packets(info)
    with FrameReader(SourceVideo(info, table)) as reader:
        source = [[plane.copy() for plane in plane_views(frame)] for _, frame in reader.read(range(len(table)))]
    found = {}
    write = ClipFrames.write

    def compare(self, writer, in_flight):
        new = plane_views(in_flight.frame)
        for name, columns in (parts or {None: (0, SIZE[0])}).items():
            if box := changed_box(source[in_flight.source_frame], new, columns):
                found[in_flight.source_frame, name] = box
        write(self, writer, in_flight)

    with patch.object(ClipFrames, "write", compare):
        yield found


def changed_box(old_planes, new_planes, columns):
    """Return the rectangle (left, top, right, bottom) in which planes differ between two columns of the picture."""
    boxes = []
    for old, new in zip(old_planes, new_planes, strict=True):
        step = old_planes[0].shape[0] // old.shape[0]
        first, last = (column // step for column in columns)
        y, x = np.nonzero(old[:, first:last] != new[:, first:last])
        if len(y):
            boxes.append([x.min() + first, y.min(), x.max() + first + 1, y.max() + 1] * np.array(step))
    if not boxes:
        return None
    left, top, right, bottom = zip(*boxes, strict=True)
    return int(min(left)), int(min(top)), int(max(right)), int(max(bottom))


def touching_others(changes, crowd, person):
    """Return the frames in which a changed rectangle touches another person's picture, or the person is absent."""
    return [
        frame
        for frame, (left, top, right, bottom) in changes.items()
        if crowd.place(frame, person) is None
        or any(
            place.person != person
            and left < place.left + place.side
            and place.left < right
            and top < place.top + place.side
            and place.top < bottom
            for place in crowd.frames[frame]
        )
    ]


def precision_and_recall(rendered, crowd, person):
    """Return both for rendered frames: those with the person half outside the picture may be rendered or not."""
    wanted = crowd.of(person)
    precision = len(rendered & crowd.part_of(person)) / len(rendered) if rendered else 0.0
    return precision, len(rendered & wanted) / len(wanted)
