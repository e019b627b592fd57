"""Model: what the planner has to know of a packed model, for one way of keeping its experts."""

from dataclasses import dataclass
from typing import Self

from zipmoe.arena.layout import Header, Part, round_up
from zipmoe.errors import InvalidRequest
from zipmoe.pack.reader import Pack


@dataclass(frozen=True, slots=True)
class Model:
    """`weights` are those of an expert. Sizes are in bytes: of the slots for its parts, and on average of its exponents
    as they are stored. `form` is how packed experts are kept, `codec` how they are stored."""

    layers: int
    experts: int
    k: int
    weights: int
    form: str
    codec: str
    words: int
    sign_mantissas: int
    exponents: int
    stored: int

    @classmethod
    def of(cls, pack: Pack, header: Header) -> Self:
        """Of a pack, kept in an arena with this header. InvalidRequest if the pack does not say how many experts a
        token has."""
        blobs = [blob for layer in pack.manifest.experts for blob in layer]
        return cls(
            layers=header.layers,
            experts=header.experts,
            k=experts_per_token(pack),
            weights=header.weights,
            form=header.form,
            codec=pack.codec,
            words=header.part_bytes(Part.WORDS),
            sign_mantissas=header.part_bytes(Part.SIGN_MANTISSAS),
            exponents=header.part_bytes(Part.EXPONENTS),
            stored=sum(blob.exponent_bytes for blob in blobs) // len(blobs),
        )

    @property
    def total(self) -> int:
        return self.layers * self.experts

    @property
    def read(self) -> int:
        """Bytes that a wholly absent expert takes from the disk."""
        return round_up(self.weights) + self.stored


def experts_per_token(pack: Pack) -> int:
    for name in ("num_experts_per_tok", "num_experts_per_token", "top_k_experts", "moe_topk"):
        if name in pack.config:
            return int(pack.config[name])
    raise InvalidRequest(f"{pack.path}: its config.json does not say how many experts a token has")
