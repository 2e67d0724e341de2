"""C2PA: a manifest in the output, signed with the user's certificate, that says what was made anew, and of what.

The specification is that of the Coalition for Content Provenance and Authenticity, version 2; c2pa-python does the
work, an optional extra of 50 MB.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO, Final

from media.base.errors import ConfigError, ContractBroken, StitchError
from media.base.files import disk_errors
from stitcher.disclosure.statement import MARKER, SOURCE_TYPE, Disclosure

SIGNED_FORMATS: Final = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/quicktime",
}
"""Media type by file name ending. AVI could be signed as well, but only with all of its chunks in memory at once."""
KEY: Final = "stitcher.signing"
SOURCE: Final = "source"
"""By what the manifest calls the video that the output was made of."""
MOST_READ_BYTES: Final = 1 << 22
SETTINGS: Final[dict[str, dict[str, Any]]] = {
    # A hash for each MiB, in a tree: one of the whole is computed over 256 MiB of it at a time. And c2pa's own copies
    # of a file lie on the disk from 16 MiB on, not from 512.
    "core": {"merkle_tree_chunk_size_in_kb": 1024, "backing_store_memory_threshold_in_mb": 16},
    "builder": {"thumbnail": {"enabled": False}},
    # Which certificates to trust is the reader's question. Nothing is fetched. The finished file is verified anyway.
    "verify": {"verify_after_sign": False, "verify_trust": False, "remote_manifest_fetch": False},
}
TRIAL: Final = b'<svg xmlns="http://www.w3.org/2000/svg"></svg>'
"""The smallest thing that can be signed."""
INSTALL: Final = "pip install 'lipstitch[provenance]'"
_ENVIRONMENT: Final = Lock()
"""Held by who changes the environment of this process."""


@dataclass(frozen=True, slots=True)
class Signing:
    """What a manifest is signed with."""

    certificate: Path
    """PEM: the signer's certificate, then those that lead to its root."""
    key: Path
    """PEM (PKCS #8): the private key of the first of them, without a password."""
    algorithm: str
    """By its name in C2PA: es256, es384, es512, ps256, ps384, ps512 or ed25519."""
    timestamp_url: str | None
    """Who certifies the time of signing (RFC 3161); None: no one."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What is signed."""

    disclosure: Disclosure
    title: str
    """Name of the output."""
    source: Path
    """The video that it was made of, whose own manifest is carried along if it has one."""


def check_signing(signing: Signing) -> None:
    """Sign something small in memory; raise ConfigError, with the reason, if that fails.

    So a certificate that has run out, a foreign key or a time stamp server that does not answer is found before the
    long work.
    """
    manifest = {"claim_generator_info": [{"name": "lipstitch"}], "assertions": [_actions([_edited("lipstitch", [])])]}
    try:
        _sign(signing, manifest, None, "image/svg+xml", io.BytesIO(TRIAL), io.BytesIO())
    except OSError as exc:
        raise ConfigError(f"{KEY}: {exc.filename} cannot be read ({exc.strerror}). Check the path.") from exc
    except StitchError as exc:
        raise ConfigError(f"{KEY}: {exc}") from exc


def sign_file(unsigned: Path, signed: Path, signing: Signing, claim: Claim) -> None:
    """Write a copy of a finished MP4 or MOV file that holds a signed manifest; `signed` is overwritten.

    Packets stay as they are, and memory does not grow with the file. Raises StitchError, or WorkspaceError where the
    disk is full.
    """
    media_type = SIGNED_FORMATS[Path(claim.title).suffix.lower()]
    software, _, version = claim.disclosure.software.rpartition(" ")
    ranges = [(float(start), float(stop)) for start, stop in claim.disclosure.seconds]
    opened = {"action": "c2pa.opened", "parameters": {"ingredientIds": [SOURCE]}}
    manifest = {
        "claim_generator_info": [{"name": software, "version": version}],
        "title": claim.title,
        "format": media_type,
        "assertions": [_actions([opened, _edited(claim.disclosure.software, ranges)])],
    }
    with disk_errors(signed), _copies_in(signed.parent), unsigned.open("rb") as source, signed.open("w+b") as target:
        _sign(signing, manifest, claim.source, media_type, source, target)


def verify_manifest(path: Path) -> str:
    """Return who signed a file; raise ContractBroken if it is not signed, or is not what was signed.

    Where c2pa-python is not installed, that is said instead.
    """
    try:
        import c2pa
    except ImportError:
        return f"its signature was not checked, which c2pa-python does ({INSTALL})"
    context = c2pa.Context.from_dict(SETTINGS)
    try:
        with path.open("rb") as file, c2pa.Reader("video/mp4", _Chunked(file), context=context) as reader:
            state, found = reader.get_validation_state(), reader.get_active_manifest() or {}
    except c2pa.C2paError as exc:
        raise ContractBroken(f"Disclosure: the output holds no manifest that can be read ({_brief(exc)}).") from exc
    if state not in ("Valid", "Trusted"):
        raise ContractBroken("Disclosure: the output is not what its C2PA manifest was signed for.")
    if SOURCE_TYPE not in json.dumps(found):
        raise ContractBroken("Disclosure: its C2PA manifest does not say that the output is partly synthetic.")
    signer = found.get("signature_info", {})
    return f"signed by {signer.get('common_name') or signer.get('issuer') or 'a certificate without a name'} (C2PA)"


def _actions(actions: list[dict[str, Any]]) -> dict[str, Any]:
    return {"label": "c2pa.actions.v2", "data": {"actions": actions}}


def _edited(software: str, ranges: list[tuple[float, float]]) -> dict[str, Any]:
    """Return the action that says what was made anew; ranges in seconds."""
    name, _, version = software.rpartition(" ")
    action: dict[str, Any] = {
        "action": "c2pa.edited" if ranges else "c2pa.created",
        "softwareAgent": {"name": name or version, "version": version},
        "digitalSourceType": SOURCE_TYPE,
        "description": "Lips re-synced to another sound.",
    }
    if ranges:
        # npt: normal play time (RFC 2326), here in seconds.
        times = ({"type": "npt", "start": f"{start:.6f}", "end": f"{stop:.6f}"} for start, stop in ranges)
        action["changes"] = [{"description": MARKER, "region": [{"type": "temporal", "time": time}]} for time in times]
    return action


def _sign(
    signing: Signing,
    manifest: dict[str, Any],
    parent: Path | None,
    media_type: str,
    source: BinaryIO,
    target: BinaryIO,
) -> None:
    """Sign what `source` holds into `target`. parent: what it was made of. Raises StitchError."""
    try:
        import c2pa
    except ImportError as exc:
        raise StitchError(f"signing needs c2pa-python ({INSTALL}).") from exc
    settings = SETTINGS if parent else {**SETTINGS, "verify": {**SETTINGS["verify"], "verify_after_sign": True}}
    try:
        certificate, key = signing.certificate.read_bytes(), signing.key.read_bytes()
        info = c2pa.C2paSignerInfo(signing.algorithm, certificate, key, signing.timestamp_url)
        with ExitStack() as stack:
            if parent and parent.suffix.lower() not in SIGNED_FORMATS:
                manifest = {**manifest, "ingredients": [{**_parent(parent), "format": "application/octet-stream"}]}
            builder = stack.enter_context(c2pa.Builder(manifest, c2pa.Context.from_dict(settings)))
            if parent and parent.suffix.lower() in SIGNED_FORMATS:  # whose own manifest is carried along
                file = _Chunked(stack.enter_context(parent.open("rb")))
                builder.add_ingredient(_parent(parent), SIGNED_FORMATS[parent.suffix.lower()], file)
            signer = stack.enter_context(c2pa.Signer.from_info(info))
            builder.sign(signer, media_type, _Chunked(source), _Chunked(target))
    except c2pa.C2paError as exc:
        raise StitchError(f"signing with {signing.certificate} ({signing.algorithm}) failed: {_brief(exc)}.") from exc


@contextmanager
def _copies_in(folder: Path) -> Iterator[None]:
    """Let c2pa keep its copies of a large file, up to two at a time, in a folder.

    It knows no other word for that than the environment's, which all threads share: one of them signs at a time. The
    system's folder may be small, or lie in memory.
    """
    with _ENVIRONMENT:
        before = {name: os.environ.get(name) for name in ("TMPDIR", "TMP")}  # the latter on Windows
        os.environ.update(dict.fromkeys(before, str(folder.absolute())))
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name)
                if value is not None:
                    os.environ[name] = value


def _parent(path: Path) -> dict[str, Any]:
    return {"title": path.name, "relationship": "parentOf", "label": SOURCE}


def _brief(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")


class _Chunked:
    """A file that is read some MiB at a time; c2pa asks for 256 MiB at once, which Python would hold a second time."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell, self.write, self.flush = file.seek, file.tell, file.write, file.flush

    def read(self, size: int = -1) -> bytes:
        """Return up to so many bytes; fewer do not mean that the file has ended."""
        return self._file.read(size if size < 0 else min(size, MOST_READ_BYTES))
