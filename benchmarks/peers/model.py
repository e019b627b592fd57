"""Model: a synthetic checkpoint in a real one's shape, and where it and what contestants need of it lie. Pure."""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.ablation import STEPS
from benchmarks.peers.case import ACCELERATE, LLAMACPP
from zipmoe.synth.layout import layout
from zipmoe.synth.preset import Preset, preset


@dataclass(frozen=True, slots=True)
class Model:
    like: str
    layers: int
    work: Path

    @property
    def preset(self) -> Preset:
        return preset(self.like).with_layers(self.layers)

    @property
    def name(self) -> str:
        return f"{self.like}-{self.layers}-layers"

    @property
    def checkpoint(self) -> Path:
        return self.work / self.name

    @property
    def size(self) -> int:
        """Bytes of all tensors in BF16."""
        return sum(entry.size for entry in layout(self.preset.config))

    @property
    def vocabulary(self) -> int:
        return int(self.preset.config["vocab_size"])

    def packed(self, codec: str) -> Path:
        return self.work / f"{self.name}-{codec}.zipmoe"

    @property
    def gguf(self) -> Path:
        return self.work / f"{self.name}.gguf"

    @property
    def offloaded(self) -> Path:
        return self.work / f"{self.name}-offloaded"

    def weights(self, contestant: str) -> Path:
        """What the contestant reads."""
        peers = {LLAMACPP: self.gguf, ACCELERATE: self.offloaded}
        return peers[contestant] if contestant in peers else self.packed(STEPS[contestant].codec)


def most_layers(like: str, free: int, spare: int) -> int:
    """Of a model, so that its checkpoint and two forms of it besides fit on the disk; no more than it has."""
    whole = preset(like)
    one, two = (Model(like, layers, Path()).size for layers in (1, 2))
    fitting = ((free - spare) // 3 - (2 * one - two)) // (two - one)
    return max(0, min(int(whole.config["num_hidden_layers"]), fitting))
