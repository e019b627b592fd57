"""python -m zipmoe.inference --pack MODEL.zipmoe"""

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch

from zipmoe.arena.arena import Arena
from zipmoe.errors import InvalidRequest
from zipmoe.inference.engine import Engine
from zipmoe.inference.experts import Experts
from zipmoe.inference.model.families import arithmetic, decoder
from zipmoe.inference.scheduler_client import SchedulerClient
from zipmoe.inference.service import InferenceService
from zipmoe.inference.text import load_tokenizer
from zipmoe.inference.weights import load_dense
from zipmoe.pack.reader import Pack
from zipmoe.v1 import inference_pb2_grpc
from zipmoe.wire import places
from zipmoe.wire.channel import connect
from zipmoe.wire.instance import only_instance
from zipmoe.wire.places import Places
from zipmoe.wire.server import run, serving


@dataclass(frozen=True, slots=True)
class InferenceConfig:
    pack: Path
    places: Places
    address: str
    mode: str
    threads: int

    @classmethod
    def from_arguments(cls) -> Self:
        parser = argparse.ArgumentParser(
            prog="python -m zipmoe.inference",
            description="Inference: runs the model's layers and streams text. Waits for the scheduler.",
        )
        parser.add_argument("--pack", type=Path, required=True, help="the packed model")
        parser.add_argument(
            "--mode",
            choices=("fast", "reference"),
            default=os.environ.get("ZIPMOE_MODE", "fast"),
            help="reference: bit-identical to transformers' eager BF16 on this machine; fast: free to sum in another "
            "order [%(default)s]",
        )
        parser.add_argument(
            "--threads", type=int, default=os.cpu_count() or 1, metavar="N", help="multiplying threads [%(default)s]"
        )
        parser.add_argument(
            "--listen", metavar="ADDRESS", default=os.environ.get("ZIPMOE_LISTEN"), help="host:port [a socket in --run]"
        )
        places.add_arguments(parser)
        arguments = parser.parse_args()
        where = places.from_arguments(arguments)
        return cls(arguments.pack, where, arguments.listen or where.inference, arguments.mode, arguments.threads)


async def serve(config: InferenceConfig) -> None:
    torch.set_num_threads(config.threads)
    with only_instance(config.places.inference), Pack.open(config.pack) as pack:
        tokenizer = load_tokenizer(pack)
        model = decoder(pack.config, load_dense(pack), arithmetic(config.mode, config.threads))
        async with connect(config.places.scheduler) as channel:
            client = SchedulerClient(channel)
            arena = attach(await client.arena(), pack)
            engine = Engine(model, Experts(arena, pack.geometry.hidden, client), tokenizer, end_tokens(pack.config))
            service = InferenceService(engine, pack.geometry.family, pack.fingerprint)
            register = partial(inference_pb2_grpc.add_InferenceServiceServicer_to_server, service)
            async with serving(config.address, register):
                await engine.fatal


def attach(path: Path, pack: Pack) -> Arena:
    """Raises InvalidRequest if the arena holds another model than the pack."""
    arena = Arena.open(path)
    if arena.header.fingerprint != pack.fingerprint:
        raise InvalidRequest(
            f"the arena {path} holds model {arena.header.fingerprint}, the pack {pack.path} is {pack.fingerprint}: "
            "start all services with the same pack"
        )
    return arena


def end_tokens(config: Mapping[str, Any]) -> frozenset[int]:
    """A checkpoint names one end token, several, or none."""
    named = config.get("eos_token_id")
    return frozenset(named if isinstance(named, list) else [] if named is None else [named])


def main() -> None:
    run("inference", serve(InferenceConfig.from_arguments()))


if __name__ == "__main__":
    main()
