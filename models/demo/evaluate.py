"""Measure the saved demo model on the held-out modules: bits per byte, beside xz on the same bytes.

    python models/demo/evaluate.py                     # the checkpoint beside this file; writes results.json there
    python models/demo/evaluate.py --sample            # also lets it write some Python
    python models/demo/evaluate.py --compare           # only compare the training code's forward with transformers'

The checkpoint is read by ``transformers``, unmodified, in BF16 as it was saved. Every byte of every held-out file
counts: a file is read in windows of ``--context`` tokens that overlap by half, and each token is predicted once, from
at least half a window of its file before it (or from all there is, at the file's beginning).
"""

from __future__ import annotations

import argparse
import datetime
import json
import lzma
import math
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "20000")

import torch
import torch.nn.functional as F
from data import Document, load_corpus
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

PROMPTS = ("def parse_args(", 'class Queue:\n    """')


def xz_bits_per_byte(documents: list[Document]) -> float:
    """The best general-purpose compressor on all held-out files in a row, at its strongest setting."""
    together = b"".join(document.text.encode() for document in documents)
    return 8 * len(lzma.compress(together, preset=9 | lzma.PRESET_EXTREME)) / len(together)


@torch.inference_mode()
def document_nats(model: Any, tokens: Tensor, context: int) -> tuple[float, Tensor]:
    """The loss over one document's tokens [T] (all but the first), and how often each layer chose each expert [L, E].

    Windows overlap by half; a window's loss and expert choices count for the tokens that are new in it.
    """
    config = model.config
    nats, done = 0.0, 1
    chosen = torch.zeros(config.num_hidden_layers, config.num_experts)
    while done < len(tokens):
        start = max(0, done - context // 2) if done > 1 else 0
        window = tokens[start : start + context + 1]
        output = model(window[None, :-1], output_router_logits=True, use_cache=False)
        new = done - start - 1
        targets = window[done - start :]
        nats += F.cross_entropy(output.logits[0, new:].float(), targets, reduction="sum").item()
        for layer, logits in enumerate(output.router_logits):
            picks = logits[new:].topk(config.num_experts_per_tok, dim=-1).indices
            chosen[layer] += torch.bincount(picks.flatten(), minlength=config.num_experts)
        done += len(targets)
    return nats, chosen


def evaluate(folder: Path, context: int) -> dict[str, Any]:
    """Everything results.json says about the held-out modules."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")  # in evaluation mode
    tokenizer = AutoTokenizer.from_pretrained(folder)
    documents = load_corpus().held_out
    total_bits = total_bytes = total_tokens = 0.0
    chosen: Any = 0
    per_file = {}
    for document in documents:
        tokens = torch.tensor([tokenizer.bos_token_id, *tokenizer(document.text, verbose=False)["input_ids"]])
        nats, counts = document_nats(model, tokens, context)
        size = len(document.text.encode())
        per_file[document.path] = {"bytes": size, "bits_per_byte": round(nats / math.log(2) / size, 4)}
        total_bits, total_bytes = total_bits + nats / math.log(2), total_bytes + size
        total_tokens, chosen = total_tokens + len(tokens) - 1, chosen + counts
        print(f"{document.path:20s} {size:8,} bytes  {per_file[document.path]['bits_per_byte']:.3f}", file=sys.stderr)
    share = chosen / chosen.sum(-1, keepdim=True)
    return {
        "bits_per_byte": round(total_bits / total_bytes, 4),
        "xz_bits_per_byte": round(xz_bits_per_byte(documents), 4),
        "held_out_bytes": int(total_bytes),
        "held_out_tokens": int(total_tokens),
        "context": context,
        "per_file": per_file,
        "expert_share_if_even": round(1 / model.config.num_experts, 4),
        "expert_share_per_layer": [
            {"busiest": round(layer.max().item(), 4), "idlest": round(layer.min().item(), 4)} for layer in share
        ],
        "python": platform.python_version(),
    }


def machine() -> str:
    """The processor's and the threads' description, as far as the system tells."""
    info = Path("/proc/cpuinfo")
    flags = info.read_text() if info.exists() else ""
    extra = ", ".join(flag for flag in ("avx512_bf16", "amx_bf16") if flag in flags)
    return f"{os.cpu_count()} cores of {platform.machine()}" + (f" with {extra}" if extra else "") + ", no accelerator"


def sample(folder: Path, tokens: int) -> None:
    """Print what the model writes after each prompt: its likeliest text, and one drawn at temperature 0.8."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")  # in evaluation mode
    tokenizer = AutoTokenizer.from_pretrained(folder)
    torch.manual_seed(0)
    for prompt in PROMPTS:
        ids = torch.tensor([[tokenizer.bos_token_id, *tokenizer(prompt)["input_ids"]]])
        for how in ({"do_sample": False}, {"do_sample": True, "temperature": 0.8, "top_p": 0.95}):
            written = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, **how)
            print(f"--- {how}\n{tokenizer.decode(written[0, 1:])}\n")


def compare(folder: Path) -> None:
    """Print the largest difference between the training code's logits and transformers', both in FP32."""
    import model as fast

    reference: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    weights = fast.compute_weights(fast.read_checkpoint(folder / "model.safetensors"), torch.float32)
    tokens = torch.randint(reference.config.vocab_size, (2, 512), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = reference(tokens).logits.flatten(0, 1)
    with torch.no_grad():
        logits, _ = fast.forward(weights, reference.config, tokens)
    print(f"largest difference of a logit: {(logits - expected).abs().max():.2e} (logits' spread {expected.std():.2f})")


def main() -> None:
    here = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--model", type=Path, default=here, help="the checkpoint's folder (default: beside this file)")
    parser.add_argument("--context", type=int, default=1024, help="tokens in a window (default: %(default)s)")
    parser.add_argument("--sample", action="store_true", help="also print what the model writes")
    parser.add_argument("--sample-tokens", type=int, default=160, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--compare", action="store_true", help="only check the fast forward pass against transformers'")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads (default: all cores)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.compare:
        compare(options.model)
        return
    start = time.monotonic()
    results = evaluate(options.model, options.context)
    results["evaluation_seconds"] = round(time.monotonic() - start)
    results["date"] = datetime.date.today().isoformat()
    results["machine"] = machine()
    run = options.model / "training.json"
    if run.exists():
        results["training"] = json.loads(run.read_text())
    (options.model / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    print(f"model {results['bits_per_byte']:.4f} bits/byte, xz {results['xz_bits_per_byte']:.4f} bits/byte")
    if options.sample:
        sample(options.model, options.sample_tokens)


if __name__ == "__main__":
    main()
