"""Agreement: before anything counts, peers must compute the same as ours, on a small model of the same kind.

    python -m benchmarks.peers.agreement LIKE

Makes a narrow model of two layers, has llama.cpp and transformers write the same tokens, and compares their logits.
ZipMoE's are bit-identical to transformers' in its reference mode, which its own tests show. On random weights the
likeliest token is noise, so what counts is how logits correlate.
"""

import sys
import tempfile
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from benchmarks.gguf_file import convert, peer
from benchmarks.llamacpp import LlamaCpp
from benchmarks.peers.streams import Stream, streams
from zipmoe.synth.preset import Preset, preset
from zipmoe.synth.writer import write

TOKENS, LEAST_CORRELATION = 24, 0.99
NARROW = {
    "hidden_size": 256,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "num_experts": 16,
    "num_hidden_layers": 2,
    "vocab_size": 1024,
}
NARROWER = {"intermediate_size": 128, "moe_intermediate_size": 128, "shared_expert_intermediate_size": 256}
TOKEN_IDS = {"bos_token_id": 1022, "eos_token_id": 1023}


def narrow(like: str) -> Preset:
    """Of the same kind, small enough to be compared in seconds."""
    whole = preset(like)
    smaller = {name: value for name, value in (NARROWER | TOKEN_IDS).items() if name in whole.config}
    return Preset(f"narrow {like}", MappingProxyType({**whole.config, **NARROW, **smaller}), preset("tiny").tuning)


def correlation(like: str) -> float:
    """Of llama.cpp's and transformers' logits, where it is lowest."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint, gguf = Path(folder) / "checkpoint", Path(folder) / "model.gguf"
        write(narrow(like), 0, checkpoint, lambda *_: None)
        convert(checkpoint, gguf)
        (stream,) = streams(NARROW["vocab_size"], "agreement", 1, TOKENS)
        pairs = zip(_llamacpp(gguf, stream), _transformers(checkpoint, stream), strict=True)
        return float(min(np.corrcoef(one, other)[0, 1] for one, other in pairs))


def _llamacpp(gguf: Path, stream: Stream) -> list[NDArray[np.float32]]:
    model = LlamaCpp(gguf, 2, len(stream))
    model.begin(stream[:1])
    return [model.step(token).copy() for token in stream[1:]]


def _transformers(checkpoint: Path, stream: Stream) -> NDArray[np.float32]:
    import torch

    model = peer("transformers").AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.bfloat16)
    with torch.inference_mode():
        logits: NDArray[np.float32] = model(input_ids=torch.tensor([stream])).logits[0, 1:].float().numpy()
    return logits


if __name__ == "__main__":
    found = correlation(sys.argv[1])
    print(f"{sys.argv[1]}: logits of llama.cpp and transformers correlate by {found:.5f} or more")
    if found < LEAST_CORRELATION:
        raise SystemExit(f"void: on a model like {sys.argv[1]} peers do not compute the same")
