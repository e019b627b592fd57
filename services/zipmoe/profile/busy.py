"""python -m zipmoe.profile.busy: says that it is there, then keeps a core busy, as far as nobody else wants it."""

import os
import sys


def main() -> None:
    os.nice(19)
    sys.stdout.write("busy\n")
    sys.stdout.flush()
    while True:
        pass


if __name__ == "__main__":
    main()
