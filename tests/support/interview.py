"""An interview of real people, with known speakers: who is heard talks, the others listen or talk on.

turns        anna . ben . anna . someone off screen ...     the sound is that of the speaker's own clip
anna's half  talks| listens    | talks | listens            in step with that sound
"""

from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np

from media.audio.reader import read_samples
from media.packets.scan import scan_packets
from media.probe import probe
from tests.support.crowd import GROUND, RATE, SIZE, Place, paste, pictures

SOUND_RATE = 16_000
STEP = SOUND_RATE // RATE
SIDE, TOP = 320, 20
MOST_FRAMES = 250
"""Of a clip; then it begins again, picture and sound."""
SWAY_PX, MOST_SWAY_PX = 0.15, 4.0
"""Of 448: by how much a listener's head moves about from frame to frame, and at most."""
LIPS = np.s_[300:400, 160:290]
"""Where the lips of most clips are, in a picture of 448."""


class Turn(NamedTuple):
    """Who is heard, and for how long; someone who is not in the picture is heard off screen."""

    person: str
    num_frames: int


class Shown(NamedTuple):
    """One person in one frame."""

    person: str
    index: int
    """Frame of their clip."""
    left: int
    sway: tuple


@dataclass
class Interview:
    """A video and the truth about it."""

    path: Path
    heard: list
    """Whose sound each 1/25 s has; None in pauses."""
    seen: list
    """Who is in the picture."""

    def spoken(self, person):
        """Return the frames of 1/25 s in which a person is heard and seen."""
        return {number for number, who in enumerate(self.heard) if who == person and person in self.seen[number]}


def make_interview(path, clips, people, turns, *, pause=10, listening="still", side_by_side=True, rate=RATE):
    """Write an interview.

    pause: frames of near silence after each turn. listening: what those do who are not heard. still: their lips stay
    closed, and their heads move a little. talk: their clip goes on, to another's sound. side_by_side: else only who
    speaks is in the picture, one after the other. rate: frames a second of the video.
    """
    closed = {person: frame_with_closed_lips(clips, person) for person in people}
    at = dict.fromkeys([*people, *(turn.person for turn in turns)], 0)
    sway = {person: np.zeros(2) for person in people}
    random = np.random.default_rng(3)
    sounds = {person: sound_of(clips, person) for person in at}
    heard, scenes, pieces = [], [], []
    for turn in turns:
        for number in range(turn.num_frames + pause):
            who = turn.person if number < turn.num_frames else None
            scene = []
            for place, person in enumerate(people):
                talks = person == who or listening == "talk"
                if not talks:
                    sway[person] = np.clip(sway[person] + random.normal(0, SWAY_PX, 2), -MOST_SWAY_PX, MOST_SWAY_PX)
                if side_by_side or person == turn.person:
                    index = at[person] if talks else closed[person]
                    moved = (0.0, 0.0) if talks else tuple(sway[person])
                    scene.append(Shown(person, index, place * SIDE if side_by_side else SIDE // 2, moved))
            first = at[turn.person] * STEP
            pieces.append(sounds[turn.person][first : first + STEP] if who else random.normal(0, 1e-4, STEP))
            for person in at:
                at[person] += person == who or listening == "talk"
            heard.append(who)
            scenes.append(scene)
    _write(path, clips, scenes, np.concatenate(pieces).astype(np.float32), rate)
    return Interview(path, heard, [{shown.person for shown in scene} for scene in scenes])


def _write(path, clips, scenes, sound, rate):
    """Write scenes, 25 a second, at a frame rate. Pictures are read as they come, and once more where they return."""
    films = {person: _Film(clips, person) for person in {shown.person for scene in scenes for shown in scene}}
    with av.open(str(path), "w") as target:
        video = target.add_stream("libx264", rate=rate, options={"preset": "superfast", "crf": "18", "g": "50"})
        video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
        audio = target.add_stream("aac", rate=SOUND_RATE, layout="mono")
        for number in range(int(len(scenes) * Fraction(rate) / RATE)):
            canvas = np.full((SIZE[1], SIZE[0], 3), GROUND, np.uint8)
            for shown in scenes[int(number * RATE / Fraction(rate))]:
                move = np.float32([[1, 0, shown.sway[0]], [0, 1, shown.sway[1]]])
                picture = films[shown.person].picture(shown.index)
                picture = cv2.warpAffine(picture, move, picture.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
                paste(canvas, picture, Place(shown.person, shown.left, TOP, SIDE))
            frame = av.VideoFrame.from_ndarray(canvas, format="bgr24")
            frame.pts, frame.time_base = number, 1 / Fraction(rate)
            target.mux(video.encode(frame))
        target.mux(video.encode(None))
        for first in range(0, len(sound), 1024):
            block = av.AudioFrame.from_ndarray(sound[None, first : first + 1024], format="fltp", layout="mono")
            block.sample_rate, block.pts, block.time_base = SOUND_RATE, first, Fraction(1, SOUND_RATE)
            target.mux(audio.encode(block))
        target.mux(audio.encode(None))


class _Film:
    """The pictures of a clip, small, all of them: some hundred."""

    def __init__(self, clips, person):
        length = num_frames(clips, person)
        small = (cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for picture in pictures(clips, person))
        self._pictures = list(islice(small, length))

    def picture(self, index):
        return self._pictures[index % len(self._pictures)]


def num_frames(clips, person):
    """Return how many frames of a clip are used."""
    return min(len(scan_packets(probe(clips / f"{person}.mp4"))), MOST_FRAMES)


def frame_with_closed_lips(clips, person):
    """Return the frame of a clip in which the lips look most closed: evenly light, without a dark gap."""

    def openness(picture):
        lips = cv2.cvtColor(picture[LIPS], cv2.COLOR_BGR2GRAY).astype(float)
        return (lips.std() + lips.mean() - np.percentile(lips, 5)) / lips.mean()

    looks = [openness(picture) for picture in islice(pictures(clips, person), num_frames(clips, person))]
    return int(np.argmin(looks))


def sound_of(clips, person):
    """Return the sound of a clip, mono, endlessly long enough."""
    info = probe(clips / f"{person}.mp4")
    blocks = read_samples(
        info.path,
        stream_index=info.audio[0].index,
        rate=SOUND_RATE,
        layout="mono",
        zero=info.require_video().clock.start_seconds,
    )
    length = num_frames(clips, person) * STEP
    whole = np.concatenate([block[0] for block in blocks])[:length]
    return np.tile(np.pad(whole, (0, length - len(whole))), 4)
