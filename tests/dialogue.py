"""Two people side by side who speak from stems of their own, and how far each mouth of the result follows a voice."""

from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
import soundfile

from segmenter.detector import build_detector
from tests.crowd import RATE, Place, make_crowd, still

SIDE, TOP = 320, 20
HALVES = {"anna": 0, "ben": SIDE}
"""Left edge of each speaker's half of the picture."""
EVERY_FRAMES = 10
"""Distance of frames in which mouths are looked for; heads hardly move."""
PATCH = 48
"""Side of the picture of a mouth; its corners are a little less than half of that apart."""
HEARD_SECONDS = 0.08
"""Which sound belongs to a frame: from its time on. Real mouths are open when it is loud, neither sooner nor later."""


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
        """Return the frames of somebody's turns."""
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


def energies(path, num_frames):
    """Return how loud a voice is while each frame is shown (root mean square)."""
    samples, rate = soundfile.read(path)
    starts = (round(frame / RATE * rate) for frame in range(num_frames))
    heard = (samples[start : start + round(HEARD_SECONDS * rate)] for start in starts)
    return np.array([np.sqrt(np.mean(part**2)) if len(part) else 0.0 for part in heard])


def openings(dialogue, output, weights):
    """Return {speaker: how far the mouth is open in each frame}: how much darker it is than the chin below it.

    Mouths are looked for in the source, whose faces stand where those of the output do. weights: of RetinaFace.
    """
    detector = build_detector("retinaface", weights)
    source, result = list(_pictures(dialogue.video)), list(_pictures(output))
    found = {}
    for who, left in HALVES.items():
        frames = range(0, len(source), EVERY_FRAMES)
        places = [_mouth(detector, np.ascontiguousarray(source[frame][:, left : left + SIDE])) for frame in frames]
        every = np.stack([np.interp(range(len(source)), frames, column) for column in np.array(places).T], axis=1)
        patches = np.stack([_patch(result[at][:, left : left + SIDE], *every[at]) for at in range(len(result))])
        red = patches[..., 2].astype(float)
        chin = np.median(red[:, 38:, 10:38].reshape(len(red), -1), axis=1)
        found[who] = chin - red[:, 16:36, 16:32].mean(axis=(1, 2))
    return found


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


def correlations(dialogue, output, weights):
    """Return {speaker: (correlation of their mouth's opening with their own voice, with the other's)}.

    Over the frames in which both speak: so each mouth has the other's voice to follow, if it were given it.
    """
    both = sorted(set.intersection(*(dialogue.spoken(who) for who in HALVES)))
    open_by = openings(dialogue, output, weights)
    loud_by = {who: energies(dialogue.stems[who], dialogue.num_frames) for who in HALVES}
    anna, ben = HALVES
    return {
        who: tuple(float(np.corrcoef(open_by[who][both], loud_by[voice][both])[0, 1]) for voice in (who, other))
        for who, other in ((anna, ben), (ben, anna))
    }
