"""Ablation: ZipMoE with its mechanisms taken away, from the raw slots of engines that stream experts to what is served.

Each step adds one mechanism to the step before it, in the real services; the memory limit is the same for all, so what
a mechanism costs in memory is taken from the slots.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

# That experts are stored in: what no core has to decode, for disks of 1 GB/s and more.
CODEC: Final = "pack3"


@dataclass(frozen=True, slots=True)
class Step:
    codec: str = "raw"
    # How experts lie in memory, where nothing is planned.
    form: str = "bf16"
    policy: str = "lru"
    # Which form, and how many slots for which part of experts: as planned for the device and the routing.
    planned: bool = False
    order: str = "asked"
    # Reads ahead, if the plan says that layers wait for the disk.
    forecast: bool = False
    # Multiplies with what is packed as it is. Otherwise it is unpacked for each use, and dense weights lie as BF16.
    packed: bool = False


RAW: Final = "raw"
OURS: Final = "zipmoe"


def _ladder() -> Mapping[str, Step]:
    found = {RAW: Step()}
    for name, added in (
        ("stored", {"codec": CODEC}),
        ("states", {"form": CODEC}),
        ("policy", {"policy": "affinity"}),
        ("planner", {"planned": True}),
        ("order", {"order": "tokens"}),
        ("forecast", {"forecast": True}),
        (OURS, {"packed": True}),
    ):
        found[name] = replace(list(found.values())[-1], **added)
    return MappingProxyType(found)


STEPS: Final = _ladder()

# What each adds, for people.
WORDS: Final = MappingProxyType(
    {
        RAW: "raw BF16 slots, LRU",
        "stored": "+ stored compressed",
        "states": "+ resident compressed",
        "policy": "+ affinity instead of LRU",
        "planner": "+ planner",
        "order": "+ order",
        "forecast": "+ forecast",
        OURS: "+ multiplied packed: ZipMoE",
    }
)
