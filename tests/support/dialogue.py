"""Two people side by side who speak from stems of their own, and how far each mouth of the result follows a voice."""

from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
import soundfile

from segmenter.find_detector import build_detector
from tests.support.crowd import RATE, Place, make_crowd, still

SIDE, TOP = 320, 20
HALVES = {"anna": 0, "ben": SIDE}
"""Left edge of each speaker's half of the picture."""
EVERY_FRAMES = 10
"""Distance of frames in which mouths are looked for; heads hardly move."""
PATCH = 48
"""Side of the picture of a mouth; its corners are a little less than half of that apart."""


@dataclass
class Dialogue:
    """A video, its stems, and who speaks when."""

    video: Path
    dub: Path
    stems: dict
    """Path by speaker."""
    turns: Path
    times: dict
    """Turns (start, stop) in seconds by speaker."""
    num_frames: int

    def spoken(self, who):
        """Return the frames of one speaker's turns."""
        return {
            frame for start, stop in self.times[who] for frame in range(self.num_frames) if start <= frame / RATE < stop
        }

    def speakers(self):
        """Return the section `input.speakers` of a job."""
        cast = {who: {"person": {"at": 1, "point": [left + SIDE / 2, TOP + SIDE / 2]}} for who, left in HALVES.items()}
        return {"turns": self.turns, "cast": {who: {**cast[who], "stem": self.stems[who]} for who in cast}}


def make_dialogue(folder, clips, people, times, seconds, *, offsets=(0, 20)):
    """Write the video, the stems (one minute of English from different places), the dub and the turns of a dialogue."""
    num_frames = round(seconds * RATE)
    scene = still(*(Place(person, left, TOP, SIDE) for person, left in zip(people, HALVES.values(), strict=True)))
    make_crowd(folder / "dialogue.mp4", clips, [(num_frames, scene)])
    voice, rate = soundfile.read(clips / "dub_english_60s.wav")
    stems, dub = {}, np.zeros(round(seconds * rate))
    for who, offset in zip(HALVES, offsets, strict=True):
        stem = np.zeros_like(dub)
        for start, stop in times[who]:
            a, b, shift = round(start * rate), round(stop * rate), round(offset * rate)
            stem[a:b] = voice[a + shift : b + shift]
        stems[who] = folder / f"{who}.wav"
        soundfile.write(stems[who], stem, rate)
        dub += stem
    soundfile.write(folder / "dub.wav", np.clip(dub, -1, 1), rate)
    lines = [(start, stop, who) for who in times for start, stop in times[who]]
    rttm = (f"SPEAKER talk 1 {start:.3f} {stop - start:.3f} <NA> <NA> {who} <NA> <NA>\n" for start, stop, who in lines)
    (folder / "turns.rttm").write_text("".join(rttm))
    return Dialogue(folder / "dialogue.mp4", folder / "dub.wav", stems, folder / "turns.rttm", times, num_frames)


def mouths(dialogue, videos, weights):
    """Return, for each video, {speaker: pictures of their mouth (frames, PATCH, PATCH, 3)}.

    Mouths are looked for in the source, whose faces stand where those of the videos do. weights: of RetinaFace.
    """
    detector = build_detector("retinaface", weights)
    source = list(_pictures(dialogue.video))
    frames = range(0, len(source), EVERY_FRAMES)
    places = {}
    for who, left in HALVES.items():
        found = [_mouth(detector, np.ascontiguousarray(source[frame][:, left : left + SIDE])) for frame in frames]
        places[who] = np.stack([np.interp(range(len(source)), frames, column) for column in np.array(found).T], axis=1)
    return [
        {
            who: np.stack(
                [_patch(frame[:, left : left + SIDE], *at) for frame, at in zip(pictures, places[who], strict=True)]
            )
            for who, left in HALVES.items()
        }
        for pictures in (list(_pictures(video)) for video in videos)
    ]


def _pictures(path):
    with av.open(str(path)) as file:
        for frame in file.decode(video=0):
            yield frame.to_ndarray(format="bgr24")


def _mouth(detector, picture):
    """Return the middle of a mouth and how wide a face is."""
    face = detector.detect(picture)[0]
    (x1, y1), (x2, y2) = face.landmarks[3:]
    return (x1 + x2) / 2, (y1 + y2) / 2, face.box.width


def _patch(picture, x, y, width):
    scale = PATCH / (0.56 * width)
    turn = np.array([[scale, 0, PATCH / 2 - scale * x], [0, scale, PATCH / 2 - scale * y]], np.float32)
    return cv2.warpAffine(picture, turn, (PATCH, PATCH))


def differences(dialogue, output, alone, weights):
    """Return {speaker: (how far their mouth is from the one drawn for their own voice, for the other's)}, in levels.

    alone: {voice: the same video, every mouth drawn for this voice}. Measured over the frames in which both speak;
    there each mouth would follow the other's voice if it were given it. Unlike how far a mouth opens with the loudness
    of a voice, which is as uncertain as with real people, this works equally well with any network.
    """
    both = sorted(set.intersection(*(dialogue.spoken(who) for who in HALVES)))
    result, *drawn = mouths(dialogue, [output, *alone.values()], weights)
    drawn_for = dict(zip(alone, drawn, strict=True))

    def distance(who, voice):
        change = result[who][both].astype(float) - drawn_for[voice][who][both]
        return float(np.abs(change).mean())

    anna, ben = HALVES
    return {who: (distance(who, who), distance(who, other)) for who, other in ((anna, ben), (ben, anna))}
