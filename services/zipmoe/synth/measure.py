"""Measure: runs a synthetic checkpoint on random tokens and compares its routing with the published one."""

import os
from dataclasses import dataclass

import numpy as np

from zipmoe.errors import InvalidRequest
from zipmoe.pack.checkpoint import Checkpoint
from zipmoe.synth.forward import Progress, route
from zipmoe.synth.published import published
from zipmoe.synth.statistics import Statistics, measured, targets
from zipmoe.synth.words import Words, exponent_entropy

# Nothing is published of OLMoE. This has as many experts, and a token takes nearly as many of them.
TARGET = "DeepSeek-V2-Lite"


@dataclass(frozen=True, slots=True)
class Measurement:
    model: str  # whose published statistics `target` are, apart from `adjacent`
    routing: Statistics
    target: Statistics
    entropy: float  # bits of an exponent, mean over the matrices of each layer's first expert
    rms: tuple[float, ...]  # of the stream, by layer


def measure(folder: str | os.PathLike[str], requests: int, tokens: int, progress: Progress) -> Measurement:
    """Of an OLMoE checkpoint, on `requests` of `tokens` random tokens each. Reads every tensor that is used once.

    InvalidRequest if it is of another family, or if there are too few tokens."""
    with Checkpoint(folder) as checkpoint:
        config = {"norm_topk_prob": False, "rope_theta": 10000.0} | checkpoint.config
        if config["model_type"] != "olmoe":
            raise InvalidRequest(f"{folder} is of model_type {config['model_type']!r}: only olmoe can be measured")
        experts, k = config["num_experts"], config["num_experts_per_tok"]
        of = published(TARGET, experts, k)
        if requests < 1 or not 2 * of.window <= tokens <= config["max_position_embeddings"]:
            raise InvalidRequest(
                f"{requests} requests of {tokens} tokens: give at least 1 of {2 * of.window} to "
                f"{config['max_position_embeddings']} tokens"
            )

        def words(name: str) -> Words:
            tensor = checkpoint.tensors[name]
            buffer = np.empty(tensor.shape, "<u2")
            checkpoint.read_into(tensor, 0, buffer.data.cast("B"))
            return buffer

        ids = np.random.default_rng(0).integers(0, config["vocab_size"], (requests, tokens))
        routing = route(config, words, ids, progress)
        entropies = [exponent_entropy(words(name)) for name in checkpoint.tensors if ".experts.0." in name]
    statistics = measured(routing, experts, of.window)
    return Measurement(of.model, statistics, targets(of, statistics.chance), float(np.mean(entropies)), routing.rms)
