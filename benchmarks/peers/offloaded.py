"""Offloaded: transformers with accelerate's disk offload as a contestant.

    python -m benchmarks.peers.offloaded FOLDER VOCABULARY PHASES...

Dense weights lie in memory. accelerate brings a layer's experts when the layer is computed; as safetensors maps files,
that reads what is touched, so the experts that a token wants, and what was read stays in the page cache while there is
room for it.
"""

import json
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch

from benchmarks.gguf_file import peer
from benchmarks.llamacpp import THREADS
from benchmarks.peers.contest import Counts, contest
from benchmarks.peers.offloading import DENSE, places
from benchmarks.peers.streams import Stream

accelerate, transformers, safetensors = peer("accelerate"), peer("transformers"), peer("safetensors.torch")


class Offloaded:
    def __init__(self, folder: Path) -> None:
        versions = f"transformers {transformers.__version__}, accelerate {accelerate.__version__}"
        self.about = f"{versions}, torch {torch.__version__}"
        self._model = load(folder)

    def begin(self, streams: Sequence[Stream], prompt: int) -> None:
        self._streams, self._at = torch.tensor(streams), prompt
        self._kept = None
        self._forward(self._streams[:, :prompt])

    def step(self) -> None:
        self._forward(self._streams[:, self._at : self._at + 1])
        self._at += 1

    def counts(self) -> Counts:
        return {}

    def still(self) -> AbstractContextManager[object]:
        return nullcontext()

    def _forward(self, tokens: torch.Tensor) -> None:
        with torch.inference_mode():
            found = self._model(input_ids=tokens, past_key_values=self._kept, use_cache=True, logits_to_keep=1)
        self._kept = found.past_key_values


def load(folder: Path) -> Any:
    """As `from_pretrained` would after it has offloaded, without saving all experts once more."""
    config = transformers.AutoConfig.from_pretrained(folder)
    with accelerate.init_empty_weights(include_buffers=False):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    for name, tensor in safetensors.load_file(folder / DENSE).items():
        accelerate.utils.set_module_tensor_to_device(model, name, "cpu", value=tensor.clone(), dtype=torch.bfloat16)
    kept = json.loads((folder / "config.json").read_text())
    where = places(kept["num_hidden_layers"], kept["model_type"])
    offloaded = {path.stem: path for path in folder.glob("*.safetensors") if path.name != DENSE}
    index = {
        name: {"safetensors_file": str(path), "weight_name": name, "dtype": "bfloat16"}
        for name, path in offloaded.items()
    }
    skipped = model._skip_keys_device_placement
    return accelerate.dispatch_model(
        model.eval(), where, offload_dir=str(folder), offload_index=index, skip_keys=skipped
    )


if __name__ == "__main__":
    torch.set_num_threads(THREADS)
    folder, vocabulary, *asked = sys.argv[1:]
    contest(Offloaded(Path(folder)), int(vocabulary), asked)
