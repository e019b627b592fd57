"""Sizes: bytes that a token is multiplied with, as a contestant has them in memory."""

from benchmarks.peers.ablation import CODEC, STEPS
from benchmarks.peers.model import Model
from zipmoe.cli.planning import dense_bytes, dense_weights
from zipmoe.expert_store.size import arena_header
from zipmoe.pack.reader import Pack
from zipmoe.synth.layout import layout


def sizes(model: Model, contestant: str) -> dict[str, int]:
    """Of `roofline.Sizes`."""
    entries = layout(model.preset.config)
    expert = sum(entry.size for entry in entries if entry.layer == 0 and ".experts.0." in entry.name)
    dense = [entry for entry in entries if ".experts." not in entry.name and "embed_tokens" not in entry.name]
    plain = {"words": expert, "packed": expert, "dense": sum(entry.size for entry in dense)}
    if contestant not in STEPS or not STEPS[contestant].packed:
        return plain
    with Pack.open(model.weights(contestant)) as pack:
        everything = sum(tensor.blob.weights for tensor in pack.dense.values())
        return plain | {
            "packed": arena_header(pack, "100%", CODEC).slot_bytes,
            "dense": int(dense_bytes(pack) * dense_weights(pack) / everything),
        }
