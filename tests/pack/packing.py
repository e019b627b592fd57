"""A process that packs SRC into DST and says so a blob, to be killed in the middle: python packing.py SRC DST CODEC."""

import sys

from zipmoe.pack.writer import pack

if __name__ == "__main__":
    src, dst, codec = sys.argv[1:]
    pack(src, dst, codec, lambda *now: print(*now, flush=True))
