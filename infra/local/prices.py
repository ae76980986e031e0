"""A producer that is not a client: puts a price of each symbol on the event bus, once a second."""

import json
import random
import threading
import time

from botocore.exceptions import BotoCoreError, ClientError

ROOM = "prices"
EVERY_SECONDS = 1.0
OPENING = {"ACME": 120.0, "GLOBEX": 45.5, "INITECH": 310.0}


class Prices(threading.Thread):
    def __init__(self, events, bus: str, say):
        super().__init__(name="prices", daemon=True)
        self._events = events
        self._bus = bus
        self._say = say
        self._stopping = threading.Event()
        self._prices = dict(OPENING)
        # The clock, so that after a restart too a version is newer than every one that a client has seen.
        self._version = int(time.time() * 1000)

    def run(self) -> None:
        while not self._stopping.wait(EVERY_SECONDS):
            self._version += 1
            for symbol, price in self._prices.items():
                self._prices[symbol] = round(max(1.0, price * random.uniform(0.995, 1.005)), 2)
            try:
                self._put()
            except (BotoCoreError, ClientError) as error:
                if not self._stopping.is_set():
                    self._say(f"prices: could not put events: {error}")

    def _put(self) -> None:
        symbols = list(self._prices)
        reply = self._events.put_events(Entries=[self._entry(symbol) for symbol in symbols])
        # Each entry has an outcome of its own: the call succeeds even if all fail. A failed entry is not sent again,
        # because by then there is a newer price.
        if reply["FailedEntryCount"]:
            for symbol, outcome in zip(symbols, reply["Entries"], strict=True):
                if "ErrorCode" in outcome:
                    self._say(f"prices: {symbol} was refused: {outcome['ErrorCode']} {outcome.get('ErrorMessage', '')}")

    def _entry(self, symbol: str) -> dict[str, str]:
        return {
            "EventBusName": self._bus,
            "Source": "roomcast.demo",
            "DetailType": "roomcast.message",
            "Detail": json.dumps(
                {
                    "roomId": ROOM,
                    "data": {"symbol": symbol, "price": self._prices[symbol]},
                    "key": symbol,
                    "version": self._version,
                }
            ),
        }

    def stop(self) -> None:
        self._stopping.set()
        self.join(timeout=5)
