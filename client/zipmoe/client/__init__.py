"""The client of a ZipMoE device: what an app imports. Needs grpcio and protobuf, neither torch nor any service.

async with Client() as client:
    async for piece in client.generate("def parse_args(", max_tokens=64):
        print(piece.text, end="")
"""

from zipmoe.client.client import Client, Completion, Model, Usage, default_address

__all__ = ["Client", "Completion", "Model", "Usage", "default_address"]
