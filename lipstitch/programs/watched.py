"""Runs another program, and ends it with all that it has started once the process that asked for it is gone.

    python watched.py PARENT WORD ...

PARENT: number of the process that asks. Run in a session of its own, so that one signal reaches everything. Ends with
the program's exit code. Imports the standard library alone: it is started for each call.
"""

import os
import signal
import subprocess
import sys

WATCH_SECONDS = 0.2
NOT_FOUND = 127
"""The exit code of shells for a program that cannot be started."""


def main() -> int:
    """Run the program, and return its exit code."""
    parent, words = int(sys.argv[1]), sys.argv[2:]
    try:
        program = subprocess.Popen(words, stdin=subprocess.DEVNULL)  # noqa: S603 - what the job file says
    except OSError as error:
        sys.stderr.write(f"{words[0]} cannot be started ({error.strerror})\n")
        return NOT_FOUND
    while True:
        try:
            code = program.wait(WATCH_SECONDS)
            return code if code >= 0 else 128 - code
        except subprocess.TimeoutExpired:
            if sys.platform != "win32" and os.getppid() != parent:
                os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
