"""python -m zipmoe.inference --pack MODEL.zipmoe"""

import argparse
import asyncio
import logging
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

import torch

from zipmoe.arena.arena import Arena
from zipmoe.errors import InvalidRequest
from zipmoe.inference.chat import load_chat
from zipmoe.inference.engine import Engine
from zipmoe.inference.experts import Experts
from zipmoe.inference.heap import keep_little
from zipmoe.inference.model.decoder import Decoder
from zipmoe.inference.model.families import decoder
from zipmoe.inference.model.kv_cache import pages_for
from zipmoe.inference.model.modes import arithmetic
from zipmoe.inference.scheduler_client import SchedulerClient
from zipmoe.inference.service import InferenceService
from zipmoe.inference.text import end_tokens, load_tokenizer
from zipmoe.inference.weights import load_dense
from zipmoe.pack.reader import Pack
from zipmoe.routing.record import Record
from zipmoe.v1 import inference_pb2_grpc
from zipmoe.wire import places, public
from zipmoe.wire.channel import connect
from zipmoe.wire.instance import only_instance
from zipmoe.wire.places import Places
from zipmoe.wire.public import Public
from zipmoe.wire.server import run, serving

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class InferenceConfig:
    pack: Path
    places: Places
    public: Public | None
    mode: str
    threads: int
    forecast: int
    batch: int
    kv_tokens: int
    record: Path | None

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
            "--threads",
            type=positive,
            default=os.environ.get("ZIPMOE_THREADS") or os.cpu_count() or 1,
            metavar="N",
            help="multiplying threads [%(default)s]",
        )
        parser.add_argument(
            "--forecast",
            type=layers,
            default=os.environ.get("ZIPMOE_FORECAST", "0"),
            metavar="LAYERS",
            help="for how many layers ahead experts are read that will probably be wanted, 0: none [%(default)s]",
        )
        parser.add_argument(
            "--batch",
            type=positive,
            default=os.environ.get("ZIPMOE_BATCH", "16"),
            metavar="N",
            help="most sequences that run at once [%(default)s]",
        )
        parser.add_argument(
            "--kv-tokens",
            type=positive,
            default=os.environ.get("ZIPMOE_KV_TOKENS", "8192"),
            metavar="TOKENS",
            help="memory for keys and values: tokens that all sequences together may have [%(default)s]",
        )
        parser.add_argument(
            "--record",
            type=Path,
            default=os.environ.get("ZIPMOE_RECORD"),
            metavar="FILE",
            help="where the routing of decoded tokens is written down, to plan with [nowhere]",
        )
        places.add_arguments(parser)
        public.add_arguments(parser)
        arguments = parser.parse_args()
        return cls(
            arguments.pack,
            places.from_arguments(arguments),
            public.from_arguments(arguments),
            arguments.mode,
            arguments.threads,
            arguments.forecast,
            arguments.batch,
            arguments.kv_tokens,
            arguments.record,
        )


def layers(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} (or ZIPMOE_FORECAST) must be a number of layers, 0 or more")
    return int(text)


def positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} must be a number, 1 or more")
    return int(text)


async def serve(config: InferenceConfig) -> None:
    torch.set_num_threads(config.threads)
    with only_instance(config.places.inference), Pack.open(config.pack) as pack:
        tokenizer, chat = load_tokenizer(pack), load_chat(pack.small_file_if_any)
        model = decoder(pack.config, load_dense(pack), arithmetic(config.mode, config.threads), config.forecast)
        async with connect(config.places.scheduler) as channel:
            client = SchedulerClient(channel)
            arena = attach(await client.arena(), pack)
            experts, record = Experts(arena, pack.geometry.hidden, client), recorded(config.record, pack, model)
            pages = pages_for(config.kv_tokens)
            engine = Engine(model, experts, tokenizer, end_tokens(pack), pages, config.batch, record)
            service = InferenceService(engine, pack.geometry.family, pack.fingerprint, chat)
            register = partial(inference_pb2_grpc.add_InferenceServiceServicer_to_server, service)
            async with engine.running() as steps, serving(config.places.inference, register, config.public):
                await asyncio.wait([steps])
                steps.result()


def attach(path: Path, pack: Pack) -> Arena:
    """Raises InvalidRequest if the arena holds another model than the pack."""
    arena = Arena.open(path)
    if arena.header.fingerprint != pack.fingerprint:
        raise InvalidRequest(
            f"the arena {path} holds model {arena.header.fingerprint}, the pack {pack.path} is {pack.fingerprint}: "
            "start all services with the same pack"
        )
    return arena


def recorded(path: Path | None, pack: Pack, model: Decoder) -> Record | None:
    """Where routing is written down. A place that cannot be written to costs the plan its knowledge, nobody a token."""
    if path is None:
        return None
    sizes = pack.geometry
    try:
        return Record(path, pack.fingerprint, sizes.layers, sizes.experts, model.config.experts_per_token)
    except OSError as error:
        log.warning("routing is not recorded: %s: %s", path, error.strerror)
        return None


def main() -> None:
    keep_little()
    run("inference", serve(InferenceConfig.from_arguments()))


if __name__ == "__main__":
    main()
