"""Foresight: forecasts on their way from the compute thread to the scheduler. Nobody waits for them, and the newest
takes the place of those before it."""

import asyncio

from zipmoe.inference.scheduler_client import Forecast, SchedulerClient


class Foresight:
    def __init__(self, client: SchedulerClient, loop: asyncio.AbstractEventLoop) -> None:
        self._client = client
        self._loop = loop
        self._newest: Forecast | None = None
        self._sending: asyncio.Task[None] | None = None

    def tell(self, forecast: Forecast) -> None:
        """Compute thread: returns at once."""
        self._loop.call_soon_threadsafe(self._post, forecast)

    def _post(self, forecast: Forecast) -> None:
        self._newest = forecast
        if self._sending is None or self._sending.done():
            self._sending = self._loop.create_task(self._send())

    async def _send(self) -> None:
        while self._newest is not None:
            forecast, self._newest = self._newest, None
            await self._client.forecast(forecast)
