"""Forward: where an OLMoE's own forward routes tokens. One pass over the weights, for all requests together.

R requests, T tokens each, H hidden width, N heads, D width of a head, k experts a token. In FP32 on the BF16 weights.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zipmoe.synth.words import Floats, Words, to_floats

# A tensor by its name.
Source = Callable[[str], Words]
Progress = Callable[[int, int, str], None]
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Routing:
    experts: Integers  # of every token, most wanted first: [layers, R, T, k]
    forecast: Integers  # what a layer's router says to the stream of the layer before: [layers - 1, R, T, k]
    rms: tuple[float, ...]  # of the stream behind each layer's attention


def route(config: Mapping[str, Any], weight: Source, tokens: Integers, progress: Progress) -> Routing:
    """Where tokens [R, T] go. The requests do not see each other."""
    layers, k, epsilon = config["num_hidden_layers"], config["num_experts_per_tok"], config["rms_norm_eps"]

    def floats(name: str) -> Floats:
        return to_floats(weight(name))

    x = to_floats(weight("model.embed_tokens.weight")[tokens])
    normed, routed, forecast, rms = x, list[Integers](), list[Integers](), list[float]()
    for layer in range(layers):
        at = f"model.layers.{layer}."
        x += _attention(config, floats, at + "self_attn.", _norm(x, floats(at + "input_layernorm.weight"), epsilon))
        router = floats(at + "mlp.gate.weight").T
        forecast.append(_top(normed @ router, k))
        normed = _norm(x, floats(at + "post_attention_layernorm.weight"), epsilon)
        logits = normed @ router
        routed.append(_top(logits, k))
        rms.append(float(np.sqrt(np.mean(x * x))))
        if layer < layers - 1:
            shares = np.take_along_axis(_softmax(logits), routed[-1], -1)
            if config["norm_topk_prob"]:
                shares /= shares.sum(-1, keepdims=True)
            x += _experts(config, floats, at + "mlp.experts.", normed, routed[-1], shares)
        progress(layer + 1, layers, f"layer {layer}")
    return Routing(np.stack(routed), np.stack(forecast)[1:], tuple(rms))


def _top(logits: Floats, k: int) -> Integers:
    top: Integers = np.argsort(-logits, axis=-1, kind="stable")[..., :k]
    return top


def _attention(config: Mapping[str, Any], weight: Callable[[str], Floats], at: str, x: Floats) -> Floats:
    heads, epsilon = config["num_attention_heads"], config["rms_norm_eps"]
    query = _norm(x @ weight(at + "q_proj.weight").T, weight(at + "q_norm.weight"), epsilon)
    key = _norm(x @ weight(at + "k_proj.weight").T, weight(at + "k_norm.weight"), epsilon)
    query, key, value = (_heads(part, heads) for part in (query, key, x @ weight(at + "v_proj.weight").T))
    query, key = (_rotate(part, config["rope_theta"]) for part in (query, key))
    scores = query @ key.swapaxes(-1, -2) * np.float32(query.shape[-1] ** -0.5)
    scores[..., np.triu(np.ones(scores.shape[-2:], bool), 1)] = -np.inf
    mixed: Floats = (_softmax(scores) @ value).swapaxes(1, 2).reshape(x.shape)
    return mixed @ weight(at + "o_proj.weight").T


def _experts(
    config: Mapping[str, Any], weight: Callable[[str], Floats], at: str, x: Floats, chosen: Integers, shares: Floats
) -> Floats:
    total = np.zeros_like(x)
    for expert in range(config["num_experts"]):
        *places, slot = np.nonzero(chosen == expert)
        mine = (places[0], places[1])
        if len(slot):
            gate, up = (x[mine] @ weight(f"{at}{expert}.{part}_proj.weight").T for part in ("gate", "up"))
            down = (gate / (1 + np.exp(-gate)) * up) @ weight(f"{at}{expert}.down_proj.weight").T
            total[mine] += down * shares[*mine, slot, None]
    return total


def _norm(x: Floats, weight: Floats, epsilon: float) -> Floats:
    normed: Floats = x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + np.float32(epsilon)) * weight
    return normed


def _softmax(x: Floats) -> Floats:
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    shares: Floats = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def _heads(x: Floats, heads: int) -> Floats:
    """[R, T, N·D] -> [R, N, T, D]"""
    return x.reshape(*x.shape[:2], heads, -1).swapaxes(1, 2)


def _rotate(x: Floats, base: float) -> Floats:
    """Turns x [R, N, T, D] by its positions."""
    width, tokens = x.shape[-1], x.shape[-2]
    frequencies = 1 / base ** (np.arange(0, width, 2) / width)
    angles = np.arange(tokens)[:, None] * frequencies
    cos, sin = (np.concatenate((part, part), -1).astype(np.float32) for part in (np.cos(angles), np.sin(angles)))
    first, second = x[..., : width // 2], x[..., width // 2 :]
    return x * cos + np.concatenate((-second, first), -1) * sin
