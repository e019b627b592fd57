"""The client of a ZipMoE device: what an app imports. Needs grpcio and protobuf, neither torch nor any service.

async with Client() as client:
    async for piece in client.generate("def parse_args(", max_tokens=64):
        print(piece.text, end="")

A prompt is a text, tokens, or a conversation: [{"role": "user", "content": "..."}]. SyncClient is for apps without an
event loop.
"""

from zipmoe.client.client import Client
from zipmoe.client.connection import default_address
from zipmoe.client.sync_client import SyncClient
from zipmoe.client.values import Completion, Load, Logprobs, Message, Model, Prompt, Usage

__all__ = [
    "Client",
    "Completion",
    "Load",
    "Logprobs",
    "Message",
    "Model",
    "Prompt",
    "SyncClient",
    "Usage",
    "default_address",
]
