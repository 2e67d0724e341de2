"""The promise that an output says which of its pictures are synthetic, checked on the file."""

from __future__ import annotations

from pathlib import Path

from media.base.errors import ContractBroken
from media.probe import open_input
from stitcher.disclosure.embedded import RIFF_FORM, WITH_XMP, XMP_RANGE, xmp_packets
from stitcher.disclosure.manifest import verify_manifest
from stitcher.disclosure.statement import SOURCE_TYPE, Disclosure


def verify_disclosure(path: Path, disclosure: Disclosure) -> str:
    """Return what a file says of its making; raise ContractBroken if that is not what it has to say."""
    with open_input(path) as container:
        holds_xmp = any(muxer in container.format.name.split(",") for muxer in WITH_XMP)
        tags = {(key.upper(), value) for key, value in container.metadata.items()}
    if not (_says_in_xmp(path, disclosure) if holds_xmp else _says_in_tags(tags, disclosure)):
        raise ContractBroken("Disclosure: the output does not say which parts of it are synthetic. Please report this.")
    count = len(disclosure.ranges)
    said = f"{count} synthetic range{'' if count == 1 else 's'}, in {'XMP' if holds_xmp else 'tags'}"
    return f"{said}; {verify_manifest(path)}" if disclosure.is_signed else said


def _says_in_xmp(path: Path, disclosure: Disclosure) -> bool:
    with path.open("rb") as file:
        for packet in xmp_packets(file):
            found = tuple((int(start), int(start) + int(length)) for start, length in XMP_RANGE.findall(packet))
            if SOURCE_TYPE.encode() in packet and found == disclosure.ranges:
                return True
    return False


def _says_in_tags(tags: set[tuple[str, str]], disclosure: Disclosure) -> bool:
    return (RIFF_FORM, disclosure.sentence()) in tags or tags >= disclosure.tags().items()
