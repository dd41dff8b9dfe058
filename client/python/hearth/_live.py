"""Live events over SSE, with tickets and resume."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from typing import TYPE_CHECKING, Any, Callable, Iterator, List, NamedTuple, Optional, Tuple

from ._errors import Refused, Unreachable

if TYPE_CHECKING:
    from ._client import Client

_LONGEST_BLOCK = 4 << 20
_SHORTEST_WAIT, _LONGEST_WAIT, _LONGEST_RETRY_AFTER = 0.5, 30.0, 300.0


class LiveEvent(NamedTuple):
    """One thing that happened. id is the position after it: what last_id takes."""

    id: str
    type: str
    at: str
    data: Any


def follow(
    client: Client, channels: List[str], last_id: str, silence: float, stop: Optional[threading.Event], opened: Optional[Callable[[], None]]
) -> Iterator[LiveEvent]:
    failures, refusals, shortest = 0, 0, _SHORTEST_WAIT
    while not (stop and stop.is_set()):
        after = 0.0
        try:
            # The ticket is what opens the stream: a stream's address is written to logs, and tickets are good for one use.
            query = {"ticket": client.create_stream_ticket()["ticket"]}
            if channels:
                query["channels"] = ",".join(channels)
            headers = {"Accept": "text/event-stream"}
            if last_id:
                headers["Last-Event-ID"] = last_id
            with client._open("GET", "/api/v1/realtime/sse", query, headers, None, "", silence) as response:
                refusals = 0
                if opened:
                    opened()
                for id_, data, retry in _blocks(response, stop):
                    failures = 0
                    if retry:
                        shortest = min(max(retry / 1000, _SHORTEST_WAIT), _LONGEST_WAIT)
                    if id_ is not None:
                        last_id = id_
                    if data:
                        event = json.loads(data)
                        yield LiveEvent(last_id, event["type"], event["at"], event.get("data"))
        except Refused as refused:
            refusals += refused.status == 401  # one may be a ticket that ran out on its way
            if refused.permanent and (refused.status != 401 or refusals > 1):
                raise
            after = min(refused.retry_after, _LONGEST_RETRY_AFTER)
        except (Unreachable, OSError, http.client.HTTPException):
            pass  # the loop connects again
        longest = min(_LONGEST_WAIT, shortest * 2 ** min(failures, 16))
        failures += 1
        _sleep(max(after, random.uniform(shortest / 2, longest)), stop)


def _sleep(seconds: float, stop: Optional[threading.Event]) -> None:
    if stop:
        stop.wait(seconds)
    else:
        time.sleep(seconds)


def _blocks(response: Any, stop: Optional[threading.Event]) -> Iterator[Tuple[Optional[str], str, int]]:
    """Reads a stream as the HTML standard says: yields id, data and retry of each block."""
    id_: Optional[str] = None
    data: List[str] = []
    retry, size = 0, 0
    while not (stop and stop.is_set()):
        line = response.readline(_LONGEST_BLOCK)
        size += len(line)
        if not line.endswith(b"\n"):
            if size >= _LONGEST_BLOCK:
                raise OSError("an event is larger than 4 MiB")
            return  # the end; a block that was cut off does not count
        text = line.rstrip(b"\r\n").decode("utf-8", "replace")
        if not text:
            yield id_, "\n".join(data), retry
            id_, data, retry, size = None, [], 0, 0
            continue
        name, _, value = text.partition(":")
        value = value[1:] if value.startswith(" ") else value
        if name == "id" and "\0" not in value:
            id_ = value
        elif name == "data":
            data.append(value)
        elif name == "retry" and value.isdigit():
            retry = int(value)
