"""A decoder process: does again and again what a worker of the store does between reading an expert and answering.

    python -m zipmoe.profile.decoder

Started by `decode` alone. A line names a pack, the bits of the form to decode into, and seconds; it warms up and says
so; after another line it decodes for so long, and says nanoseconds a weight. Small, as a worker is.
"""

import itertools
import json
import sys

from zipmoe.arena.huge_pages import anonymous
from zipmoe.pack.codec import codec
from zipmoe.pack.reader import Pack
from zipmoe.pack.restore import Scratch
from zipmoe.profile.form import bring
from zipmoe.profile.timing import median_of


def main() -> None:
    with Scratch() as scratch:
        while line := sys.stdin.readline():
            packed, bits, seconds = json.loads(line)
            _task(packed, bits, seconds, scratch)


def _task(packed: str, bits: int, seconds: float, scratch: Scratch) -> None:
    with Pack.open(packed) as pack:
        how, blobs = codec(pack.codec), pack.manifest.experts[0]
        slot = anonymous(max(blob.resident_bytes(bits) for blob in blobs))
        turn = itertools.cycle(blobs)

        def decode() -> float:
            blob = next(turn)
            return bring(pack.experts_file, blob, how, bits, slot, scratch).decode_ns / blob.weights

        decode()
        _say("warm")
        # All begin together.
        sys.stdin.readline()
        _say(median_of(decode, seconds))


def _say(what: object) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
