"""Planning: the best division of memory for a pack on this device, with all that it was computed from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from zipmoe.arena.layout import Header
from zipmoe.expert_store.size import FORMS, arena_header
from zipmoe.pack.reader import Pack
from zipmoe.plan.cost import Device
from zipmoe.plan.known import Known, known
from zipmoe.plan.model import Model
from zipmoe.plan.planner import plan
from zipmoe.plan.popularity import popularity
from zipmoe.plan.prediction import Prediction, Predictor
from zipmoe.plan.rates import Rates
from zipmoe.profile.kept import cache_folder

# Layers that a search looks at, of many alike.
SEARCHED: Final = 4


@dataclass(frozen=True, slots=True)
class Planned:
    """`header` is of an arena for all experts in the form that was chosen."""

    header: Header
    model: Model
    found: Prediction
    known: Known
    device: Device


def planned(pack: Pack, rates: Rates, workers: int, cores: int, slots: int, resident: str) -> Planned:
    """The plan for so many bytes of slots, with experts kept in one of FORMS, or in the best of them (`auto`)."""
    device = Device(rates, workers, cores)
    return min(
        _each(pack, device, slots, FORMS if resident == "auto" else [resident]), key=lambda one: one.found.seconds
    )


def _each(pack: Pack, device: Device, slots: int, forms: Sequence[str]) -> Iterator[Planned]:
    for form in forms:
        header = arena_header(pack, "100%", form)
        model = Model.of(pack, header)
        of = known(model, record_file(pack), pack.fingerprint)
        predictor = Predictor(model, device, popularity(of.routing), SEARCHED)
        if slots >= 2 * header.slot_bytes:
            yield Planned(header, model, plan(predictor, slots), of, device)


def record_file(pack: Pack) -> Path:
    """Where the routing of this model is recorded on this device."""
    return cache_folder() / f"{pack.fingerprint}.routing"


def dense_bytes(pack: Pack) -> int:
    """Of the weights that are no experts, as inference keeps them."""
    return sum(tensor.resident_bytes for tensor in pack.dense.values())


def dense_weights(pack: Pack) -> int:
    """That every token is multiplied with: all but the embedding, of which it takes a row."""
    tied = pack.config.get("tie_word_embeddings", False)
    return sum(
        tensor.blob.weights
        for name, tensor in pack.dense.items()
        if len(tensor.shape) == 2 and (tied or "embed_tokens" not in name)
    )


def sequence_bytes(pack: Pack, tokens: int) -> int:
    """Of keys and values, or of the latents that stand for them."""
    config, geometry = pack.config, pack.geometry
    if rank := config.get("kv_lora_rank"):
        row = int(rank) + int(config["qk_rope_head_dim"])
    else:
        heads = int(config.get("num_attention_heads", 1))
        row = (
            2
            * int(config.get("num_key_value_heads") or heads)
            * int(config.get("head_dim") or geometry.hidden // heads)
        )
    return 2 * int(config["num_hidden_layers"]) * row * tokens
