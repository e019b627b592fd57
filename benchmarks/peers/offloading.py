"""Offloading: a checkpoint as transformers and accelerate offload it to the disk.

    python -m benchmarks.peers.offloading CHECKPOINT FOLDER

transformers stacks the experts of a layer, so it cannot read them where they lie in the checkpoint: it saves them anew,
a file a matrix. That is done once here, and not at each start, which is to its advantage. Beside them lie the weights
that are not offloaded.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from benchmarks.gguf_file import peer

DENSE = "dense.safetensors"


def main() -> None:
    import torch

    checkpoint, folder = map(Path, sys.argv[1:])
    config = json.loads((checkpoint / "config.json").read_text())
    where = places(config["num_hidden_layers"], config["model_type"])
    model = peer("transformers").AutoModelForCausalLM.from_pretrained(
        checkpoint, device_map=where, offload_folder=str(folder), dtype=torch.bfloat16
    )
    dense = {name: tensor for name, tensor in model.named_parameters() if tensor.device.type != "meta"}
    peer("safetensors.torch").save_file(
        {name: tensor.detach().contiguous() for name, tensor in dense.items()}, folder / DENSE
    )
    shutil.copy(checkpoint / "config.json", folder)


def places(layers: int, family: str) -> dict[str, Any]:
    """Experts on the disk, everything else in memory."""
    inner = ["self_attn", "input_layernorm", "post_attention_layernorm", "mlp.gate"]
    if family == "qwen2_moe":
        inner += ["mlp.shared_expert", "mlp.shared_expert_gate"]
    outer = dict.fromkeys(["model.embed_tokens", "model.norm", "model.rotary_emb", "lm_head"], "cpu")
    dense = {f"model.layers.{layer}.{name}": "cpu" for layer in range(layers) for name in inner}
    return outer | dense | {f"model.layers.{layer}.mlp.experts": "disk" for layer in range(layers)}


if __name__ == "__main__":
    main()
