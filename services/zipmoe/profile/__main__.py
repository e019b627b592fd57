"""python -m zipmoe.profile MODEL.zipmoe: measures, for `profile` alone, and says on standard output what it finds."""

import json
import signal
import sys
from pathlib import Path

from zipmoe.errors import ServiceRestarting, ZipMoEError
from zipmoe.profile.measure import measure


def main() -> None:
    signal.signal(signal.SIGTERM, _unwind)
    try:
        answer: dict[str, object] = {"rates": measure(Path(sys.argv[1]), lambda *step: _say({"step": step})).to_json()}
    except ZipMoEError as error:
        answer = {"error": [error.status, str(error)]}
    except OSError as error:
        answer = {"error": [ServiceRestarting.status, f"this device cannot be measured: {error}"]}
    except KeyboardInterrupt:
        sys.exit(1)
    # Nothing is left to be tidied up, and who hears the answer may end this at once.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _say(answer)


def _unwind(number: int, frame: object) -> None:  # noqa: ARG001
    """Told to end, it leaves nothing behind; told again (by each thread of a parent that was killed), it still does."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def _say(what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
