"""GGUF: a checkpoint of OLMoE or Qwen1.5-MoE as the file that llama.cpp reads: the same BF16 words under other names.

Types and names are those of llama.cpp's own converter: an expert's matrices are stacked over the experts of a layer,
norms and routers are FP32. No tensor is kept longer than it takes to write it. There is no vocabulary: tokens go in as
numbers.
"""

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zipmoe.pack.checkpoint import Checkpoint

DENSE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
IN_LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate": "ffn_gate_inp",
}
# What a family has besides.
BESIDES = {
    "olmoe": {"self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm"},
    "qwen2_moe": {
        "mlp.shared_expert.gate_proj": "ffn_gate_shexp",
        "mlp.shared_expert.up_proj": "ffn_up_shexp",
        "mlp.shared_expert.down_proj": "ffn_down_shexp",
        "mlp.shared_expert_gate": "ffn_gate_inp_shexp",
    },
}
BIASES = {"olmoe": (), "qwen2_moe": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")}


@dataclass(frozen=True, slots=True)
class Entry:
    """A tensor of the file. With sources it is made of the checkpoint's tensors; without, it is zeros."""

    name: str
    sources: tuple[str, ...]
    shape: tuple[int, ...]
    wide: bool  # FP32 instead of BF16


def peer(name: str) -> Any:
    """A package that only comparisons need."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise SystemExit(
            f"{error.name} is missing; install it: CMAKE_ARGS=-DGGML_NATIVE=ON .venv/bin/pip install -e '.[peers]'"
        ) from None


def convert(folder: Path, path: Path) -> None:
    """Writes `path`, whole or not at all, from the checkpoint in `folder`."""
    gguf = peer("gguf")
    partial = path.with_name(path.name + ".partial")
    with Checkpoint(folder) as checkpoint:
        config = checkpoint.config
        writer = gguf.GGUFWriter(partial, _architecture(config))
        _describe(writer, gguf, config)
        entries = list(_entries(config, {name: tensor.shape for name, tensor in checkpoint.tensors.items()}))
        for entry in entries:
            dtype, raw = (np.float32, None) if entry.wide else (np.uint16, gguf.GGMLQuantizationType.BF16)
            size = prod(entry.shape) * np.dtype(dtype).itemsize
            writer.add_tensor_info(entry.name, entry.shape, np.dtype(dtype), size, raw)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for entry in entries:
            writer.write_tensor_data(_words(checkpoint, entry))
        writer.close()
    partial.rename(path)


def _architecture(config: Mapping[str, Any]) -> str:
    """As llama.cpp calls it. Its OLMoE never normalises gate weights. MiniMax-M2 there is the same graph of the same
    tensors, and does; what it has besides is a bias on the choice of experts: zeros."""
    family, normalised = config["model_type"], config.get("norm_topk_prob", False)
    unlike = family == "qwen2_moe" and (normalised or config.get("mlp_only_layers"))
    if family not in BESIDES or unlike or config.get("clip_qkv") is not None or config.get("tie_word_embeddings"):
        raise SystemExit(
            f"this {family} is not converted: compare with an OLMoE, or a Qwen1.5-MoE of experts alone that does not "
            "normalise gate weights, without clip_qkv or tied embeddings"
        )
    return "qwen2moe" if family == "qwen2_moe" else "minimax-m2" if normalised else "olmoe"


def _describe(writer: Any, gguf: Any, config: Mapping[str, Any]) -> None:
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_expert_feed_forward_length(config.get("moe_intermediate_size", config["intermediate_size"]))
    if shared := config.get("shared_expert_intermediate_size"):
        writer.add_expert_shared_feed_forward_length(shared)
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_freq_base((config.get("rope_parameters") or config)["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_expert_count(config["num_experts"])
    writer.add_expert_used_count(config["num_experts_per_tok"])
    writer.add_expert_gating_func(gguf.ExpertGatingFuncType.SOFTMAX)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("none")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def _entries(config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> Iterator[Entry]:
    def entry(name: str, *sources: str) -> Entry:
        shape = shapes[sources[0]]
        wide = len(shape) == 1 or "ffn_gate_inp" in name
        # Of one row, llama.cpp wants a vector.
        shape = shape[1:] if shape[0] == 1 else shape
        return Entry(name, sources, (len(sources), *shape) if len(sources) > 1 else shape, wide)

    experts = config["num_experts"]
    for source, name in DENSE.items():
        yield entry(f"{name}.weight", f"{source}.weight")
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        for source, name in (IN_LAYER | BESIDES[config["model_type"]]).items():
            yield entry(f"blk.{layer}.{name}.weight", f"{at}.{source}.weight")
        for source in BIASES[config["model_type"]]:
            yield entry(f"blk.{layer}.{IN_LAYER[source]}.bias", f"{at}.{source}.bias")
        for part in ("gate", "up", "down"):
            stack = (f"{at}.mlp.experts.{expert}.{part}_proj.weight" for expert in range(experts))
            yield entry(f"blk.{layer}.ffn_{part}_exps.weight", *stack)
        if config.get("norm_topk_prob"):
            yield Entry(f"blk.{layer}.exp_probs_b.bias", (), (experts,), True)


def _words(checkpoint: Checkpoint, entry: Entry) -> NDArray[Any]:
    if not entry.sources:
        return np.zeros(entry.shape, np.float32)
    words = np.empty(entry.shape, np.uint16)
    for source, rows in zip(entry.sources, words.reshape(len(entry.sources), -1), strict=True):
        checkpoint.read_into(checkpoint.tensors[source], 0, rows.data.cast("B"))
    # A BF16 word is the upper half of the FP32 number.
    return (words.astype(np.uint32) << 16).view(np.float32) if entry.wide else words
