"""Train the demo model: a small OLMoE that has read the Python standard library, in about an hour on two CPU cores.

    nice -n 19 python models/demo/train.py --minutes 60              # writes the checkpoint beside this file
    python models/demo/train.py --minutes 2 --output /tmp/try        # a quick try
    python models/demo/evaluate.py                                   # bits per byte of the saved checkpoint

The run is bounded by time, not by steps: the learning rate follows the elapsed fraction of ``--minutes``, so it always
ends annealed and on time whatever else the machine is doing. Ctrl-C ends it early, with a checkpoint. ``--resume``
starts a further run from a checkpoint (with another ``--seed``, for another order of the text, and a lower ``--rate``).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

# Waiting threads spin for some microseconds only, then sleep: others may need the cores. Read as torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "20000")
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "8192")

import model
import torch
from data import END_OF_TEXT, Document, Stream, load_corpus, train_tokenizer
from muon import Adam, Muon
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor
from transformers import OlmoeConfig, PreTrainedTokenizerFast

MATRICES = ("qkv", "o", "gate_up", "down")
RATES = {  # Adam's rates
    "embed": 2e-2,
    "head": 8e-3,
    "router": 4e-3,
    "norm": 4e-3,
    "ln1": 4e-3,
    "ln2": 4e-3,
    "q_norm": 4e-3,
    "k_norm": 4e-3,
}


@dataclass(frozen=True)
class Plan:
    """How training changes with the elapsed fraction of the time."""

    lengths: tuple[tuple[float, int], ...] = ((0.0, 256), (0.5, 512), (0.85, 1024))  # from when on, sequence length
    batches: tuple[tuple[float, int], ...] = ((0.0, 2), (0.15, 4), (0.8, 6))  # from when on, parts a step
    warmup_steps: int = 10
    decay_from: float = 0.3
    tests: tuple[float, float] = (0.4, 0.0)  # share of rows from the test suite: at the start, at the end

    def length(self, fraction: float) -> int:
        """The sequence length: short rows are cheaper, and long ones only pay once the short range is learnt."""
        return [length for start, length in self.lengths if fraction >= start][-1]

    def parts(self, fraction: float) -> int:
        """The batch size, in parts of ``--part`` tokens: small steps early, when every one of them teaches a lot."""
        return [parts for start, parts in self.batches if fraction >= start][-1]

    def rate(self, fraction: float, step: int) -> float:
        """The learning rates' common factor: warm-up, plateau, linear to zero."""
        return min((step + 1) / self.warmup_steps, 1.0, max((1 - fraction) / (1 - self.decay_from), 0.01))

    def test_share(self, fraction: float) -> float:
        """The share of rows that come from the test suite."""
        return self.tests[0] + (self.tests[1] - self.tests[0]) * fraction


def save_checkpoint(folder: Path, master: model.Weights, config: OlmoeConfig, tokenizer: Tokenizer) -> None:
    """Write the model as transformers reads it; each file appears complete or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".writing-") as name:
        fresh = Path(name)
        save_file(dict(model.checkpoint_tensors(master)), fresh / "model.safetensors", metadata={"format": "pt"})
        described = config.to_dict() | {"architectures": ["OlmoeForCausalLM"]}
        (fresh / "config.json").write_text(json.dumps(described, indent=2, sort_keys=True) + "\n")
        special = {f"{kind}_token_id": config.eos_token_id for kind in ("bos", "eos", "pad")}
        sampling = {"do_sample": True, "temperature": 0.8, "top_p": 0.95}
        (fresh / "generation_config.json").write_text(json.dumps(special | sampling, indent=2) + "\n")
        wrapper: Any = PreTrainedTokenizerFast
        wrapper(
            tokenizer_object=tokenizer,
            bos_token=END_OF_TEXT,
            eos_token=END_OF_TEXT,
            pad_token=END_OF_TEXT,
            model_max_length=config.max_position_embeddings,
            clean_up_tokenization_spaces=False,
        ).save_pretrained(fresh)
        for file in fresh.iterdir():
            file.chmod(0o644)
            file.replace(folder / file.name)


def end_of_text(tokenizer: Tokenizer) -> int:
    """The end-of-text token's number."""
    number = tokenizer.token_to_id(END_OF_TEXT)
    assert number is not None
    return number


def encode(tokenizer: Tokenizer, documents: list[Document], limit: int | None = None) -> list[Tensor]:
    """Each document's tokens, after the end-of-text token: a list of [T]."""
    start = end_of_text(tokenizer)
    encoded = tokenizer.encode_batch([document.text for document in documents])
    return [torch.tensor([start, *encoding.ids][:limit]) for encoding in encoded]


@torch.no_grad()
def quick_loss(master: model.Weights, config: OlmoeConfig, tokens: Tensor, bytes_per_token: float) -> float:
    """Bits per byte on a fixed sample [B, T] of held-out text, for the progress line only."""
    weights = model.compute_weights(master, torch.bfloat16)
    total = 0.0
    for rows in torch.split(tokens, 8):
        logits, _ = model.forward(weights, config, rows[:, :-1].contiguous())
        total += torch.nn.functional.cross_entropy(logits.float(), rows[:, 1:].flatten(), reduction="sum").item()
    return total / tokens[:, 1:].numel() / math.log(2) / bytes_per_token


class Copies:
    """Every worker's BF16 copy of the weights: the values are shared, the gradients are each worker's own."""

    def __init__(self, master: model.Weights, workers: int) -> None:
        self.shared = model.compute_weights(master, torch.bfloat16)
        self.copies = [model.same_values(self.shared) for _ in range(workers)]
        self.free: SimpleQueue[dict[str, Any]] = SimpleQueue()
        for copy in self.copies:
            self.free.put(copy)

    @contextmanager
    def borrow(self) -> Iterator[dict[str, Any]]:
        """A copy that nobody else uses meanwhile."""
        copy = self.free.get()
        try:
            yield copy
        finally:
            self.free.put(copy)

    def refresh(self, master: model.Weights) -> None:
        """Take the masters' values again."""
        model.copy_values(master, self.shared)

    def gradient(self, name: str) -> Tensor:
        """The sum of all workers' gradients of one weight, in FP32 and stacked like its master; forgets them."""
        return torch.stack([model.take_gradient(copy[name]) for copy in self.copies]).sum(0)


def train(options: argparse.Namespace, report: Callable[[str], None]) -> dict[str, float | int]:
    """Train for ``options.minutes`` and save into ``options.output``; gives what the run was."""
    plan = Plan()
    torch.manual_seed(options.seed)
    corpus = load_corpus()
    library = [document for document in corpus.train if not document.is_test]
    tests = [document for document in corpus.train if document.is_test]
    if options.resume:
        tokenizer = Tokenizer.from_file(str(options.resume / "tokenizer.json"))
    else:
        tokenizer = train_tokenizer((document.text for document in library), options.vocab)
    config = model.make_config(tokenizer.get_vocab_size(), end_of_text(tokenizer))
    streams = [Stream(encode(tokenizer, documents), options.seed) for documents in (library, tests)]
    sample = torch.stack([t[:513] for t in encode(tokenizer, corpus.held_out) if len(t) >= 513])
    held_out_bytes = sum(len(document.text.encode()) for document in corpus.held_out)
    bytes_per_token = held_out_bytes / sum(len(t) - 1 for t in encode(tokenizer, corpus.held_out))
    sizes = [sum(map(len, stream.documents)) for stream in streams]
    report(f"library {sizes[0]:,} tokens, tests {sizes[1]:,}, {bytes_per_token:.2f} bytes a held-out token\n")

    if options.resume:
        master = model.read_checkpoint(options.resume / "model.safetensors")
    else:
        master = model.init_weights(config, options.seed)
    muon = Muon([master[name] for name in MATRICES])
    adam = Adam([master[name] for name in RATES], list(RATES.values()))
    pool = ThreadPoolExecutor(options.threads, initializer=torch.set_num_threads, initargs=(1,))
    copies = Copies(master, options.threads)
    lengths: set[int] = set()
    seen = step = 0
    average = float("nan")

    def next_part(length: int, test_share: float) -> Tensor:
        """The next rows to learn from: [rows, length + 1]."""
        from_tests = torch.rand(options.part // length) < test_share
        return torch.stack([streams[int(tests)].take(length + 1) for tests in from_tests])

    def learn(tokens: Tensor) -> tuple[float, float]:
        """Forward and backward for one part, by whichever worker is free: its loss and its balance loss."""
        with copies.borrow() as weights:
            logits, balance = model.forward(weights, config, tokens[:, :-1].contiguous())
            loss = model.cross_entropy(logits, tokens[:, 1:].flatten())
            (loss + config.router_aux_loss_coef * balance).backward()
        return loss.item(), balance.item()

    start = saved = measured = time.monotonic()
    try:
        while (elapsed := time.monotonic() - start) < 60 * options.minutes:
            fraction = elapsed / (60 * options.minutes)
            length, factor = plan.length(fraction), plan.rate(fraction, step)
            parts = plan.parts(fraction)
            batch = [next_part(length, plan.test_share(fraction)) for _ in range(parts)]
            copies.refresh(master)
            # A new length is compiled by one worker before the others follow.
            first = 0 if length in lengths else 1
            lengths.add(length)
            done = [pool.submit(learn, part).result() for part in batch[:first]]
            done += pool.map(learn, batch[first:])
            loss_sum, balance_sum = (sum(values) / parts for values in zip(*done, strict=True))
            gradients = dict(zip(master, pool.map(copies.gradient, master), strict=True))
            muon.step([gradients[name] / parts for name in MATRICES], options.rate * factor, pool)
            adam.step([gradients[name] / parts for name in RATES], options.adam * factor)
            seen, step = seen + parts * options.part, step + 1
            average = loss_sum if step <= 10 else 0.95 * average + 0.05 * loss_sum
            now = time.monotonic()
            report(
                f"\r{(now - start) / 60:5.1f}/{options.minutes:g} min  step {step}  {seen / 1e6:.2f} M tokens "
                f"({seen / (now - start):,.0f}/s)  loss {average:.3f}  balance {balance_sum:.2f}  length {length} "
            )
            if now - measured > 60 * options.measure_every:
                report(f" held-out sample {quick_loss(master, config, sample, bytes_per_token):.3f} bits/byte\n")
                measured = now
            if now - saved > 60 * options.save_every:
                save_checkpoint(options.output, master, config, tokenizer)
                saved = now
    except KeyboardInterrupt:
        report("\nended early\n")
    save_checkpoint(options.output, master, config, tokenizer)
    final = quick_loss(master, config, sample, bytes_per_token)
    report(f"\nheld-out sample {final:.3f} bits/byte; saved in {options.output}\n")
    return {
        "parameters": sum(weight.numel() for weight in master.values()),
        "steps": step,
        "tokens_seen": seen,
        "library_tokens": sizes[0],
        "library_epochs": round(streams[0].taken / sizes[0], 2),
        "test_tokens": sizes[1],
        "test_epochs": round(streams[1].taken / sizes[1], 2),
        "seconds": round(time.monotonic() - start),
        "threads": options.threads,
        "final_training_loss_nats_per_token": round(average, 4),
    }


def main() -> None:
    here = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--minutes", type=float, default=60, help="how long to train (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=here, help="where the checkpoint goes (default: beside this)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads (default: all cores)")
    parser.add_argument("--part", type=int, default=2048, help="tokens computed at a time (default: %(default)s)")
    parser.add_argument("--vocab", type=int, default=4096, help="tokens in the vocabulary (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=0.03, help="Muon's learning rate (default: %(default)s)")
    parser.add_argument("--adam", type=float, default=1.0, help="factor on Adam's rates (default: %(default)s)")
    parser.add_argument("--save-every", type=float, default=10, metavar="MINUTES", help="(default: %(default)s)")
    parser.add_argument("--measure-every", type=float, default=4, metavar="MINUTES", help="(default: %(default)s)")
    parser.add_argument("--resume", type=Path, metavar="FOLDER", help="start from this checkpoint's weights")
    parser.add_argument("--seed", type=int, default=1, help="(default: %(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(1)  # every worker computes alone: no barriers, so a core that others use holds nobody up

    def report(text: str) -> None:
        print(text, end="", file=sys.stderr, flush=True)

    run = train(options, report)
    (options.output / "training.json").write_text(json.dumps(run, indent=2) + "\n")


if __name__ == "__main__":
    main()
