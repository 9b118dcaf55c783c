"""The command `lowerbound`, also as `python -m lowerbound`."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any


def main() -> None:
    """Import the command line, which takes seconds, and run it. Ctrl-C in these seconds is one line, too."""
    earlier = signal.getsignal(signal.SIGINT)
    if earlier is signal.default_int_handler:  # else Ctrl-C is ignored, as by nohup
        signal.signal(signal.SIGINT, _end_import)
    from lowerbound.inference.cli.app import app

    signal.signal(signal.SIGINT, earlier)
    app(prog_name="lowerbound")


def _end_import(number: int, frame: Any) -> None:
    # not by an exception: in the middle of an import, a library may turn it into another one
    if os.environ.get("RANK", "0") == "0":
        print("interrupted: nothing was written", file=sys.stderr, flush=True)
    os._exit(130)


if __name__ == "__main__":
    main()
