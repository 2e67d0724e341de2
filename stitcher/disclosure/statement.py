"""What an output says of its own making, as a value, and the words and packets in which files hold it.

Article 50 of the EU's AI Act asks since August 2026 for synthetic and manipulated video to be marked in a
machine-readable form. The form is that of the press: IPTC's digital source type, in an XMP packet (ISO 16684-1) where
players and editors look for one, or in plain tags.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from media.intervals import Interval
from media.timeline import OutputTimeline

SOURCE_TYPE: Final = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
"""IPTC's term for a mix of what was captured with what trained networks made."""
RANGES_TAG: Final = "SYNTHETIC_RANGES"
DECIMALS: Final = 6
"""Of the seconds in a text."""
NAMESPACES: Final = {
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "xmpMM": "http://ns.adobe.com/xap/1.0/mm/",
    "stEvt": "http://ns.adobe.com/xap/1.0/sType/ResourceEvent#",
    "xmpDM": "http://ns.adobe.com/xmp/1.0/DynamicMedia/",
}
MARKER: Final = "new mouths"
"""What an editor shows beside each of the ranges."""


@dataclass(frozen=True, slots=True)
class Disclosure:
    """Which pictures of an output are partly synthetic."""

    software: str
    """What made them, with its version."""
    ranges: tuple[Interval, ...]
    """In ticks since the first frame: sorted, disjoint, at least one."""
    time_base: Fraction
    """Seconds per tick."""
    is_signed: bool = False
    """Whether a signed C2PA manifest says the same."""

    @classmethod
    def of(cls, software: str, synthetic: Sequence[Interval], timeline: OutputTimeline) -> Disclosure | None:
        """Return what an output has to say; None if it has nothing to say.

        synthetic: frames of the output in which something was made anew, sorted and disjoint.
        """
        if not synthetic:
            return None
        borders = [*timeline.pts, timeline.end_pts]
        first = borders[0]
        ranges = ((borders[start] - first, borders[stop] - first) for start, stop in synthetic)
        return cls(software, tuple(ranges), timeline.time_base)

    @property
    def seconds(self) -> tuple[tuple[Fraction, Fraction], ...]:
        """The ranges in seconds since the first frame."""
        return tuple((start * self.time_base, stop * self.time_base) for start, stop in self.ranges)

    def describe_ranges(self) -> str:
        """Return the ranges in seconds, as 1.2-3.04 7-9.5, to the microsecond."""
        return " ".join(f"{_decimal(start)}-{_decimal(stop)}" for start, stop in self.seconds)

    def tags(self) -> dict[str, str]:
        """Return it as tags, for files that hold tags of any name."""
        return {
            "DIGITAL_SOURCE_TYPE": SOURCE_TYPE,
            "SYNTHETIC_SOFTWARE": self.software,
            RANGES_TAG: self.describe_ranges(),
        }

    def sentence(self) -> str:
        """Return it as one line, for files with a fixed set of tags."""
        return f"{SOURCE_TYPE}; {self.software}; {self.describe_ranges()}"

    def xmp(self) -> bytes:
        """Return it as an XMP packet: the source type, who edited what, and each range as a marker.

        Times of markers are counts of xmpDM:frameRate, here of ticks, and so exact (XMP specification part 2).
        """
        spaces = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in NAMESPACES.items())
        per_second = 1 / self.time_base
        seconds = "" if per_second.denominator == 1 else f"s{per_second.denominator}"
        rate = f"f{per_second.numerator}{seconds}"
        markers = "".join(
            f'<rdf:li rdf:parseType="Resource"><xmpDM:startTime>{start}</xmpDM:startTime>'
            f"<xmpDM:duration>{stop - start}</xmpDM:duration><xmpDM:name>{MARKER}</xmpDM:name></rdf:li>\n"
            for start, stop in self.ranges
        )
        packet = (
            '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
            f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF {spaces}><rdf:Description rdf:about="">\n'
            f"<Iptc4xmpExt:DigitalSourceType>{SOURCE_TYPE}</Iptc4xmpExt:DigitalSourceType>\n"
            '<xmpMM:History><rdf:Seq><rdf:li rdf:parseType="Resource"><stEvt:action>edited</stEvt:action>'
            f"<stEvt:softwareAgent>{self.software}</stEvt:softwareAgent>"
            "<stEvt:parameters>lips re-synced to another sound</stEvt:parameters></rdf:li></rdf:Seq></xmpMM:History>\n"
            '<xmpDM:Tracks><rdf:Bag><rdf:li rdf:parseType="Resource"><xmpDM:trackName>lipstitch</xmpDM:trackName>'
            f"<xmpDM:frameRate>{rate}</xmpDM:frameRate><xmpDM:markers><rdf:Seq>\n{markers}"
            "</rdf:Seq></xmpDM:markers></rdf:li></rdf:Bag></xmpDM:Tracks>\n"
            '</rdf:Description></rdf:RDF></x:xmpmeta>\n<?xpacket end="r"?>'
        )
        return packet.encode()


def _decimal(seconds: Fraction) -> str:
    units = round(seconds * 10**DECIMALS)
    return f"{units // 10**DECIMALS}.{units % 10**DECIMALS:0{DECIMALS}d}".rstrip("0").rstrip(".")
