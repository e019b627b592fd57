"""The door to the store: however it is away, that is ServiceRestarting, which the scheduler outlives."""

from pathlib import Path

import pytest

from zipmoe.arena.layout import Part, Slot
from zipmoe.errors import ServiceRestarting
from zipmoe.scheduler import store_client
from zipmoe.scheduler.store_client import DEMAND, LOAD, Placement, StoreClient
from zipmoe.wire.channel import connect


async def test_a_drain_that_nobody_answers_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_client, "PATIENCE_SECONDS", 0.1)
    async with connect(f"unix:{tmp_path}/nobody.sock") as channel:
        with pytest.raises(ServiceRestarting):
            await StoreClient(channel).drain()


async def test_a_load_that_nobody_takes(tmp_path: Path) -> None:
    async with connect(f"unix:{tmp_path}/nobody.sock") as channel:
        with pytest.raises(ServiceRestarting):
            await anext(
                aiter(StoreClient(channel).load(1, 8, [Placement(3, LOAD, {Part.WORDS: Slot(4096, 4096)})], DEMAND))
            )
