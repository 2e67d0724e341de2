"""Media as people have them: a table of small stamped videos made with the ffmpeg command, and how an output is made.

Each kind is a list of ffmpeg arguments; `{base}` stands for stamped frames, `{tone}` for a sound, `{plain}` for an
H.264 file with sound, `{prores}` for a ProRes file, `{titles}` for subtitles, `{cover}` for a picture, `{chapters}` for
a metadata file.
"""

import shlex
import subprocess
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np

from lipstitch.plan.output_timeline import identity_timeline
from media.clips import FaceSpan, RenderedClip
from media.coding.output_codec import choose_stream
from media.coding.writer import ClipWriter
from media.faces import FaceBox, FacePath
from media.intervals import contains
from media.packets.scan import scan_packets
from media.picture import plane_views
from media.probe import probe
from media.reader import FrameReader
from media.source_video import SourceVideo
from segmenter.planner import ClipSettings, CopyRule, plan_clips
from stitcher.assemble import HIDING, Assembled, NewTags, assemble, muxer_of
from stitcher.container import check_container
from stitcher.packet_sources import OutputVideo
from stitcher.verify.contract import Contract, verify_packets
from stitcher.verify.provenance import FrameProvenance
from stitcher.verify.sampling import Sampling
from tests.support.synthetic import stamped_frame

NUM_FRAMES = 60
SIZE, ODD_SIZE = (192, 108), (175, 97)
BOX = (60, 50, 40, 40)
"""x, y, width, height of the rectangle that is painted where a face would be."""
FACES = [(17, 20), (40, 47)]
TITLES = "1\n00:00:00,200 --> 00:00:00,900\nOne\n\n2\n00:00:01,000 --> 00:00:01,500\nTwo\n\n"
CHAPTERS = """;FFMETADATA1
title=A talk
[CHAPTER]
TIMEBASE=1/1000
START=0
END=1000
title=First
[CHAPTER]
TIMEBASE=1/1000
START=1000
END=2400
title=Second
"""

X264 = (
    "-c:v libx264 -preset veryfast -crf 20 -g 12 -keyint_min 12 -sc_threshold 0 -bf 2 -threads 1"
    " -pix_fmt yuv420p -x264-params b-adapt=0"
)
X265 = (
    "-c:v libx265 -preset ultrafast -crf 20 -pix_fmt yuv420p"
    " -x265-params log-level=none:pools=1:keyint=12:min-keyint=12:scenecut=0:bframes=2:b-adapt=0"
)
MPEG = "-qscale:v 3 -g 12 -bf 2 -sc_threshold 1000000000"
VP9 = "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 12 -b:v 1M"
BT2020 = "-colorspace bt2020nc -color_primaries bt2020 -color_trc"
MASTERING = (
    "hdr10=1:master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1):max-cll=1000,400"
)


@dataclass(frozen=True)
class Kind:
    """One kind of file."""

    arguments: str
    """Of the ffmpeg command, between its input of frames and the name of the output."""
    copied: int = 44
    """Least number of frames whose packets must be copied."""
    least_psnr: float = 45.0
    """Of frames that are re-encoded unchanged, in dB."""
    base: str = "{base}"
    """The first input."""
    drops: int = 0
    """Streams that may be lost, and are said to be."""


KINDS = {
    # Containers and their clocks
    "plain.mp4": Kind(f"{{tone}} {X264} -c:a aac"),
    "negative_offsets.mp4": Kind(f"{X264} -movflags negative_cts_offsets"),
    "no_edit_list.mp4": Kind(f"{X264} -use_editlist 0"),
    "fragmented.mp4": Kind(f"{{tone}} {X264} -c:a aac -movflags frag_keyframe+empty_moov"),
    "fragments_late.mp4": Kind(f"{X264} -movflags frag_keyframe+empty_moov+default_base_moof+delay_moov"),
    "cut.mp4": Kind("-c copy", 30, base="-ss 0.52 -i {plain}"),
    "late.mp4": Kind("-i {plain} -map 0:v -map 1:a -c copy", base="-itsoffset 0.7 -i {plain}"),
    "hidden.mp4": Kind("-i {plain} -map 0:v -map 1:a -c copy", 28, base="-itsoffset -0.3 -i {plain}"),
    "plain.mkv": Kind(f"{{tone}} {X264} -bf 3 -c:a aac", 42),
    "pyramid.mkv": Kind(f"{X264} -bf 7 -x264-params b-pyramid=normal:b-adapt=0", 36),
    "plain.ts": Kind(f"{{tone}} {X264} -c:a aac"),
    "wrap.ts": Kind(f"{{tone}} {X264} -c:a aac -output_ts_offset 95442.3"),
    "gap.ts": Kind(
        "-c copy -an -bsf:v setts=pts=PTS+gte(N\\,30)*90000:dts=DTS+gte(N\\,30)*90000",
        base="-i {plain}",
    ),
    "plain.flv": Kind(f"{{tone}} {X264} -c:a aac"),
    "film.mkv": Kind(X264, base="-r 24000/1001 {base}"),
    "ntsc.mp4": Kind(X264, base="-r 30000/1001 {base}"),
    "fast.mp4": Kind(X264, base="-r 60000/1001 {base}"),
    "screencast.mkv": Kind(f"-vf \"setpts='if(gt(N,20),N+50,N)/25/TB'\" -vsync vfr {X264}"),
    # H.264
    "slices.mp4": Kind(f"{X264} -slices 4"),
    "in_band.mp4": Kind("-c copy -an -tag:v avc3", base="-i {plain}"),
    "other_ids.mkv": Kind(f"{X264} -x264-params sps-id=5:b-adapt=0"),
    "refresh.mp4": Kind(f"{X264} -bf 0 -x264-params intra-refresh=1", 17),
    "intra.mp4": Kind(f"{X264} -g 1 -bf 0", 50),
    "long_gop.mp4": Kind(f"{X264} -g 600 -keyint_min 600", 15),
    "open_gop.mp4": Kind(f"{X264} -x264-params open-gop=1:b-adapt=0", 15),
    "baseline.mp4": Kind(f"{X264} -profile:v baseline -bf 0"),
    "lossless.mp4": Kind(f"{X264} -qp 0"),
    "deep.mp4": Kind(f"{X264} -pix_fmt yuv420p10le"),
    "422.mp4": Kind(f"{X264} -pix_fmt yuv422p"),
    "422_deep.mov": Kind(f"{X264} -pix_fmt yuv422p10le"),
    "444.mp4": Kind(f"{X264} -pix_fmt yuv444p"),
    "grey.mp4": Kind(f"{X264} -pix_fmt gray"),
    "full_range.mp4": Kind(f"-vf scale=out_range=full {X264} -pix_fmt yuvj420p"),
    "bt601.mp4": Kind(f"{X264} -colorspace bt470bg -color_primaries bt470bg -color_trc gamma28"),
    "pq.mp4": Kind(f"{X264} -pix_fmt yuv420p10le {BT2020} smpte2084"),
    "chroma.mp4": Kind(f"{X264} -chroma_sample_location topleft"),
    "aspect.mp4": Kind(f"-vf setsar=4/3 {X264}"),
    "top_first.mp4": Kind(f"-vf setfield=tff {X264} -flags +ildct+ilme"),
    "bottom_first.mp4": Kind(f"-vf setfield=bff {X264} -flags +ildct+ilme -x264-params bff=1:b-adapt=0"),
    "odd.mp4": Kind(f"{X264} -pix_fmt yuv444p", base="{odd}"),
    "cropped.mkv": Kind("-c copy -an -bsf:v h264_metadata=crop_right=6:crop_bottom=4", base="-i {plain}"),
    "turned_90.mp4": Kind("-c copy -metadata:s:v rotate=90", base="-i {plain}"),
    "turned_180.mov": Kind("-c copy -metadata:s:v rotate=180", base="-i {plain}"),
    "turned_270.mp4": Kind("-c copy -metadata:s:v rotate=270", base="-i {plain}"),
    "one.mp4": Kind(f"{X264} -frames:v 1", 1),
    "two.mkv": Kind(f"{X264} -frames:v 2", 2),
    "three.ts": Kind(f"{X264} -frames:v 3", 3),
    # HEVC
    "hevc.mp4": Kind(X265, 43),
    "hevc_hvc1.mp4": Kind(f"{X265} -tag:v hvc1", 43),
    "hevc_closed.mp4": Kind(f"{X265}:open-gop=0", 43),
    "hevc_radl.mp4": Kind(f"{X265}:open-gop=0:radl=2", 41),
    "hevc_in_band.mp4": Kind(f"{X265}:repeat-headers=1 -tag:v hev1", 43),
    "hevc.ts": Kind(X265, 43),
    "hevc_hdr.mp4": Kind(f"{X265}:{MASTERING} -pix_fmt yuv420p10le {BT2020} smpte2084 -color_range tv", 43),
    "hevc_hlg.mkv": Kind(f"{X265} -pix_fmt yuv420p10le {BT2020} arib-std-b67", 43),
    "hevc_422.mp4": Kind(f"{X265} -pix_fmt yuv422p10le", 43),
    "hevc_grey.mp4": Kind(f"{X265} -pix_fmt gray", 43),
    "hevc_full.mp4": Kind(f"-vf scale=out_range=full {X265} -pix_fmt yuvj420p", 43),
    "hevc_slices.mp4": Kind(f"{X265}:slices=3", 43),
    # Other codecs
    "mpeg2.mpg": Kind(f"{{tone}} -c:v mpeg2video {MPEG} -c:a mp2 -f vob"),
    "dvd.vob": Kind(f"{{tone}} -c:v mpeg2video {MPEG} -c:a ac3"),
    "mpeg2_closed.mpg": Kind(f"-c:v mpeg2video {MPEG} -flags +cgop -f vob"),
    "mpeg2.ts": Kind(f"{{tone}} -c:v mpeg2video {MPEG} -c:a mp2"),
    "mpeg2.mkv": Kind(f"-c:v mpeg2video {MPEG}"),
    "mpeg2_fields.ts": Kind(f"-vf setfield=tff -c:v mpeg2video {MPEG} -flags +ildct+ilme -top 1"),
    "mpeg2_mixed.ts": Kind(f"-c:v mpeg2video {MPEG} -flags +ildct+ilme", least_psnr=44.9),
    "mpeg1.mpg": Kind(f"{{tone}} -c:v mpeg1video {MPEG} -c:a mp2"),
    "mpeg4.avi": Kind(f"{{tone}} -c:v mpeg4 {MPEG} -c:a mp3", 0),
    "mpeg4.mkv": Kind(f"-c:v mpeg4 {MPEG}", 0),
    "mjpeg.avi": Kind("{tone} -c:v mjpeg -qscale:v 2 -pix_fmt yuvj420p -c:a pcm_s16le", 50),
    "mjpeg.mov": Kind("-c:v mjpeg -qscale:v 2 -pix_fmt yuvj422p", 50),
    "prores.mov": Kind("{tone} -c:v prores_ks -profile:v 3 -c:a pcm_s24le -timecode 01:00:00:00", 50),
    "prores_lt.mov": Kind("-c:v prores_ks -profile:v 1", 50, 40.0),
    "prores_4444.mov": Kind("-c:v prores_ks -profile:v 4 -pix_fmt yuv444p10le", 50),
    "dnxhr.mov": Kind("-vf scale=512:288:flags=neighbor -c:v dnxhd -profile:v dnxhr_hq -pix_fmt yuv422p", 50),
    "ffv1.mkv": Kind("-c:v ffv1", 0),
    "huffyuv.avi": Kind("-c:v huffyuv -pix_fmt yuv422p", 0),
    "sorenson.flv": Kind("-c:v flv -qscale:v 3 -g 12", 0),
    "vp8.webm": Kind("{tone} -c:v libvpx -deadline realtime -cpu-used 8 -g 12 -b:v 1M -c:a libvorbis", 0),
    "vp9.webm": Kind(f"{{tone}} {VP9} -auto-alt-ref 0 -c:a libopus"),
    "vp9_hidden.webm": Kind("-c:v libvpx-vp9 -cpu-used 5 -g 20 -b:v 1M -auto-alt-ref 1 -lag-in-frames 16", 36),
    "vp9.mp4": Kind(VP9),
    "av1.webm": Kind("{tone} -c:v libsvtav1 -preset 12 -g 12 -crf 25 -c:a libopus"),
    "av1_deep.mp4": Kind("-c:v libsvtav1 -preset 12 -g 12 -crf 25 -pix_fmt yuv420p10le"),
    "av1.mp4": Kind("-c:v libsvtav1 -preset 12 -g 12 -crf 25"),
    # What else files hold
    "rich.mkv": Kind(
        f"{{tone}} -f lavfi -t 2 -i sine=880 {{titles}} -map 0:v -map 1:a -map 2:a -map 3:s {X264} -c:a:0 aac"
        " -c:a:1 flac -c:s ass -metadata:s:a:0 language=eng -metadata:s:a:1 language=deu -metadata title=Talk"
        " -attach {cover} -metadata:s:t mimetype=application/x-font -metadata:s:t filename=font.ttf"
    ),
    "rich.mp4": Kind(
        f"{{tone}} -f lavfi -t 2 -i sine=880 {{titles}} -map 0:v -map 1:a -map 2:a -map 3:s {X264} -c:a aac"
        " -c:s mov_text -metadata:s:a:0 language=eng -metadata:s:a:1 language=deu -metadata title=Talk"
    ),
    "late_sound.mkv": Kind(f"-itsoffset 0.5 {{tone}} {X264} -map 0:v -map 1:a -c:a aac"),
    "short_sound.mp4": Kind(f"-f lavfi -t 0.7 -i sine=440 {X264} -c:a aac"),
    "surround.mkv": Kind(f"-f lavfi -t 2.4 -i anullsrc=channel_layout=5.1:sample_rate=48000 {X264} -c:a ac3"),
    "telephone.mkv": Kind(f"-f lavfi -t 2.4 -i sine=440:sample_rate=8000 {X264} -c:a pcm_s16le"),
    "chapters.mp4": Kind("-i {chapters} -map 0 -map_metadata 1 -c copy", base="-i {plain}"),
    "chapters.mkv": Kind("-i {chapters} -map 0 -map_metadata 1 -c copy", base="-i {plain}"),
    "cover.mp4": Kind("-i {cover} -map 0 -map 1 -c copy -disposition:v:1 attached_pic", base="-i {plain}"),
    "cover_first.mp4": Kind("-i {cover} -map 1 -map 0 -c copy -disposition:v:0 attached_pic", base="-i {plain}"),
    "cover.mkv": Kind(
        "-c copy -attach {cover} -metadata:s:t mimetype=image/jpeg -metadata:s:t filename=cover.jpg", base="-i {plain}"
    ),
    "timecode.mov": Kind(f"{X264} -timecode 10:00:00:00"),
}

REFUSED = {
    # name: (how it is made, what is said)
    "picture.jpg": (Kind("-frames:v 1 -pix_fmt yuvj420p"), "this is a picture, not a video"),
    "song.mp3": (Kind("{tone} -i {cover} -map 1 -map 2 -c:a mp3 -c:v copy -disposition:v attached_pic"), "no video"),
    "sound.m4a": (Kind("{tone} -map 1 -c:a aac"), "no video stream"),
    "raw.h264": (Kind(X264), "has no time"),
    "encrypted.mp4": (
        Kind(
            f"-c copy -encryption_scheme cenc-aes-ctr -encryption_key {'76' * 16} -encryption_kid {'a7' * 16}",
            base="-i {plain}",
        ),
        "the video is encrypted",
    ),
    "twice_a_time.mp4": (
        Kind("-c copy -an -bsf:v setts=pts=if(eq(N\\,30)\\,PTS-512\\,PTS):dts=DTS", base="-i {plain}"),
        "have the same time",
    ),
}

TRANSCODED = {
    # name: (how it is made, ending of the output, codec of the output, why no packet is copied)
    "theora.ogv": (
        Kind("{tone} -c:v libtheora -qscale:v 8 -c:a libvorbis"),
        ".mkv",
        "h264",
        "no .* encoder for theora",
    ),
    "theora_wide.ogv": (Kind("-vf setsar=4/3 -c:v libtheora -qscale:v 8"), ".mp4", "h264", "cannot hold its theora"),
    "theora_444.ogv": (Kind("-c:v libtheora -qscale:v 8 -pix_fmt yuv444p"), ".ts", "h264", "cannot hold its theora"),
    "dnxhd.mov": (
        Kind("-vf scale=1280:720:flags=neighbor -c:v dnxhd -b:v 90M -pix_fmt yuv422p -frames:v 24"),
        ".mov",
        "h264",
        "no .* encoder for dnxhd in yuv422p",
    ),
    "msmpeg4.avi": (Kind("-c:v msmpeg4 -qscale:v 2"), ".avi", "mpeg4", "no .* encoder for msmpeg4v3"),
    "svq1.mov": (Kind("-c:v svq1 -pix_fmt yuv410p"), ".mkv", "ffv1", "cannot hold its svq1"),
    "plain.mp4": (KINDS["plain.mp4"], ".webm", "vp9", "webm files cannot hold its h264"),
    "screencast.mkv": (KINDS["screencast.mkv"], ".webm", "vp9", "cannot hold its h264"),
    "hidden.mp4": (KINDS["hidden.mp4"], ".webm", "vp9", "cannot hold its h264"),
    "full_range.mp4": (KINDS["full_range.mp4"], ".webm", "vp9", "cannot hold its h264"),
    "bt601.mp4": (KINDS["bt601.mp4"], ".webm", "vp9", "cannot hold its h264"),
    "turned_90.mp4": (KINDS["turned_90.mp4"], ".webm", "vp9", "cannot hold its h264"),
    "deep.mp4": (KINDS["deep.mp4"], ".webm", "av1", "cannot hold its h264"),
    "prores_4444.mov": (KINDS["prores_4444.mov"], ".mp4", "hevc", "mp4 files cannot hold its prores"),
    "prores_fields.mov": (
        Kind(f"-vf setfield=tff -c:v prores_ks -flags +ildct -pix_fmt yuv422p10le {BT2020} smpte2084"),
        ".ts",
        "h264",
        "mpegts files cannot hold its prores",
    ),
    "turned_270.mov": (
        Kind("-c copy -metadata:s:v rotate=270", base="-i {prores}"),
        ".mp4",
        "h264",
        "mp4 files cannot hold its prores",
    ),
    "vp8.webm": (KINDS["vp8.webm"], ".mp4", "h264", "mp4 files cannot hold its vp8"),
    # The classic files whose packets tell when they are decoded
    "reordered.avi": (Kind(X264), ".avi", "h264", "does not tell when its frames are shown"),
    "open.avi": (
        Kind(f"{X264} -bf 5 -x264-params open-gop=1:b-pyramid=normal:b-adapt=0"),
        ".mp4",
        "h264",
        "does not tell when its frames are shown",
    ),
    "late.avi": (
        Kind(f"-vf \"setpts='if(gt(N,20),N+5,N)/25/TB'\" -vsync vfr {X264}"),
        ".avi",
        "h264",
        "does not tell when its frames are shown",
    ),
    "packed.avi": (Kind("-c:v libxvid -qscale:v 3 -bf 2"), ".avi", "mpeg4", "does not tell when its frames are shown"),
    "divx.avi": (Kind("-c:v libxvid -qscale:v 3 -bf 2"), ".mkv", "mpeg4", "does not tell when its frames are shown"),
}


class Zoo:
    """Makes files of the table in a folder."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.names = {
            "base": f"-i {self._base('base.nut', SIZE, 'yuv420p')}",
            "odd": f"-i {self._base('odd.nut', ODD_SIZE, 'yuv444p')}",
            "tone": "-f lavfi -t 2.4 -i sine=440:sample_rate=44100",
            "titles": f"-i {self._text('titles.srt', TITLES)}",
            "chapters": self._text("chapters.txt", CHAPTERS),
            "cover": self._ffmpeg("-f lavfi -i testsrc=s=64x64 -frames:v 1", "cover.jpg"),
        }
        self.names["plain"] = self.make("plain.mp4", KINDS["plain.mp4"])
        self.names["prores"] = self.make("prores_lt.mov", KINDS["prores_lt.mov"])

    def make(self, name, kind):
        """Return the path of a file; raise RuntimeError, with what ffmpeg says, if it cannot be made."""
        return self._ffmpeg(f"{kind.base} {kind.arguments}".format(**self.names), name)

    def _ffmpeg(self, arguments, name):
        path = self.folder / name
        command = ["ffmpeg", "-v", "error", "-y", "-nostdin", *shlex.split(arguments.replace("\\", "\\\\")), str(path)]
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        if result.returncode:
            raise RuntimeError(result.stderr.strip().splitlines()[0][:200])
        return path

    def _text(self, name, text):
        (self.folder / name).write_text(text)
        return self.folder / name

    def _base(self, name, size, pixel_format):
        with av.open(str(self.folder / name), "w") as container:
            stream = container.add_stream("ffv1", rate=25)
            (stream.width, stream.height), stream.pix_fmt = size, pixel_format
            stream.codec_context.color_range = 1
            for number in range(NUM_FRAMES):
                frame = stamped_frame(number, size, pixel_format)
                frame.pts, frame.time_base, frame.color_range = number, Fraction(1, 25), 1
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return self.folder / name


# From a source to an output as a job does, but painting instead of rendering


@dataclass
class Output:
    """A finished output and what it was made from."""

    path: Path
    source: SourceVideo
    timeline: object
    clips: list
    assembled: Assembled
    damaged: set
    codec: str

    @property
    def info(self):
        """What the source holds."""
        return self.source.info

    @property
    def table(self):
        """The source's frames."""
        return self.source.table

    @property
    def copied(self):
        """Source frames whose packets are copied."""
        return {f for clip in self.clips if clip.path is None for f in clip.clip.source_frames}

    @property
    def losses(self):
        """What the output cannot hold of its source, a sentence each."""
        return [loss.describe() for loss in self.assembled.losses]

    def verify(self):
        """Check the output as a job does by default."""
        seams = tuple(b.clip.start_frame for a, b in pairwise(self.clips) if a.path or b.path)
        return verify_packets(self.path, self.promised(), self.assembled, None, Sampling(seams, "zoo"))

    def promised(self):
        """Return what the output has to be."""
        marks, dropped = FrameProvenance.of(self.clips), self.assembled.dropped_streams
        codec = self.codec if any(clip.path for clip in self.clips) else ""
        return Contract(self.source, self.timeline, None, marks, dropped, codec)


NO_TAGS = NewTags()


def produce(path, output, faces=FACES, *, lay_out=identity_timeline, soundtrack=None, tags=NO_TAGS, driven=None):
    """Go from a source to an output as a job does, but paint instead of rendering."""
    info = probe(path)
    source = SourceVideo(info, table := scan_packets(info))
    timeline = lay_out(table)
    muxer = muxer_of(output)
    coding = choose_stream(source, crf=13, preset="auto", muxer=muxer)
    check_container(source, timeline, muxer, replaces_sound=soundtrack is not None, coding=coding)
    spans = [
        FaceSpan(start, min(stop, len(table)), FacePath((start,), (FaceBox(0, 0, 9, 9),)))
        for start, stop in faces
        if start < len(table)
    ]
    clips = plan_clips(
        spans,
        table,
        timeline,
        driven=[(0, len(timeline))] if driven is None else driven,
        copying=CopyRule(coding.reason, coding.may_copy_whole, may_hide=muxer in HIDING),
        settings=ClipSettings(Fraction(1)),
    )
    damaged = set()
    finished = [
        paint(source, clip, coding.frames, output.with_name(f"{output.stem}.{clip.index}.nut"), damaged)
        for clip in clips
    ]
    video = OutputVideo(source, timeline, finished, is_new=coding.is_new)
    assembled = assemble(video, soundtrack, output, muxer=muxer, tags=tags)
    return Output(output, source, timeline, finished, assembled, damaged, coding.codec)


def paint(source, clip, coding, path, damaged):
    """Make the coded file of a clip."""
    if clip.action == "copy":
        return RenderedClip(clip, None, "copied", clip.reason, 0, 0.0)
    with (
        FrameReader(source, num_threads=1) as reader,
        ClipWriter(path, source.video, coding) as writer,
    ):
        for number, (index, frame) in enumerate(reader.read(clip.source_frames), clip.start_frame):
            if is_painted := contains(clip.rendered, number):
                frame.make_writable()
                paint_box(frame)
            writer.write(frame, keyframe=bool(source.table.keyframe[index]), is_unchanged=not is_painted)
    kept = [
        decibels for number, decibels in enumerate(writer.psnr, clip.start_frame) if not contains(clip.rendered, number)
    ]
    damaged |= reader.damaged & set(clip.source_frames)
    outcome = "rendered" if clip.action == "render" else "reencoded"
    x, y, width, height = BOX
    boxes = ((x, y, x + width, y + height),) * len(clip.rendered)
    least = min(kept, default=99.0)
    return RenderedClip(clip, str(path), outcome, clip.reason, 0, 0.0, boxes=boxes, least_psnr=least)


def paint_box(frame):
    """Paint the box into the luma of a frame."""
    x, y, width, height = BOX
    luma = plane_views(frame)[0]
    scale = luma.shape[0] / frame.height
    assert scale == 1
    luma[y : y + height, x : x + width] = 200 << (frame.format.components[0].bits - 8)


def outside_box(plane, frame):
    """Return a plane's samples away from the box, of which a coder's filters blur the edge."""
    step_x, step_y = -(-frame.width // plane.shape[1]), -(-frame.height // plane.shape[0])
    x, y, width, height = BOX
    mask = np.ones(plane.shape, bool)
    margin = 16
    mask[
        max(y - margin, 0) // step_y : -(-(y + height + margin) // step_y),
        max(x - margin, 0) // step_x : -(-(x + width + margin) // step_x),
    ] = False
    return plane[mask]
