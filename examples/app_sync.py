"""The same without an event loop: python examples/app_sync.py"""

from zipmoe.client import SyncClient
from zipmoe.errors import ZipMoEError

with SyncClient() as client:
    try:
        for piece in client.generate("def parse_args(", max_tokens=64, timeout=60, patience=30):
            print(piece.text, end="", flush=True)
    except ZipMoEError as error:
        print(f"\nno more: {error}")
