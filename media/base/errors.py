"""The whole error tree. Every error a user can meet is one of these; the exit code is a class attribute.

LipstitchError 1
 ├─ ConfigError 2            the job file or the command line: key path, value, what is allowed
 ├─ MediaError 3             an input file
 │   ├─ UnreadableMedia        it cannot be opened, decoded or trusted
 │   ├─ MissingStream          it lacks the video or the sound that the job needs
 │   └─ UnsupportedMedia       it is intact, but keeping the contract on it is not possible
 ├─ CheckpointError 4        network weights
 │   ├─ CheckpointNotFound     neither on disk nor available for download
 │   ├─ ChecksumMismatch       not the file that the registry names
 │   └─ UnsupportedCheckpoint  another network, or a file that would have to execute code
 ├─ RenderError 5            the clip and its time
 │   └─ OutOfMemory
 ├─ StitchError 6            the output could not be put together
 │   └─ ContractBroken         it was, and breaks a promise: which one, where
 ├─ WorkspaceError 7         disk full, workspace locked by another run
 ├─ TrainingError 8          too little footage, or a result that is worse than what training began with
 └─ Cancelled 130            the work was called off

A message says what failed, where, and what to do. Errors carry that one sentence alone, so they pickle and cross
process borders unchanged.
"""

from __future__ import annotations


class LipstitchError(Exception):
    """Base of every error that is shown to the user as one sentence."""

    exit_code = 1


class ConfigError(LipstitchError):
    """The job file or the command line asks for something that is not allowed."""

    exit_code = 2


class MediaError(LipstitchError):
    """An input file cannot be used."""

    exit_code = 3


class UnreadableMedia(MediaError):
    """The file cannot be opened, decoded or trusted."""


class MissingStream(MediaError):
    """The file lacks the video or the sound that the job needs."""


class UnsupportedMedia(MediaError):
    """The file is intact, but keeping the contract on it is not possible."""


class CheckpointError(LipstitchError):
    """Network weights cannot be used."""

    exit_code = 4


class CheckpointNotFound(CheckpointError):
    """The weights are neither on this machine nor to be downloaded."""


class ChecksumMismatch(CheckpointError):
    """The file's SHA-256 is not the one the registry names."""


class UnsupportedCheckpoint(CheckpointError):
    """The file holds another network, or would have to execute code to load."""


class RenderError(LipstitchError):
    """A clip could not be rendered."""

    exit_code = 5


class OutOfMemory(RenderError):
    """The device ran out of memory."""


class StitchError(LipstitchError):
    """The output could not be put together."""

    exit_code = 6


class ContractBroken(StitchError):
    """The output was written and breaks a promise; it never got its final name."""


class WorkspaceError(LipstitchError):
    """The workspace cannot be used: disk full, or locked by another run."""

    exit_code = 7


class TrainingError(LipstitchError):
    """Training cannot begin with what was prepared, or its result is not worth saving."""

    exit_code = 8


class Cancelled(LipstitchError):
    """The work was called off. What was finished of it is kept."""

    exit_code = 130
