"""A writer of many logs."""

from __future__ import annotations

import datetime
import random
import re
import threading
import time
import uuid
from collections import deque
from typing import TYPE_CHECKING, Any, Callable, Deque, Dict, List, Optional

from ._errors import HearthError, Refused

if TYPE_CHECKING:
    from ._client import Client

_ITEM_OF_BODY = re.compile(r"^body\[(\d+)\]")


class Writer:
    """Sends logs in batches, from a thread of its own.

    size is the most logs of a batch (at most 10,000), delay the seconds that a log waits for others, pending how many may wait before
    write() does (default: 10 times size). refused is called with every log that the server refuses, and why.

    A batch is repeated, under one Idempotency-Key, until the server has stored or refused it: while the server is away logs wait, and
    write() with them. Close the writer, or leave its `with` block, or what waits is lost.
    """

    def __init__(
        self,
        client: Client,
        *,
        size: int = 1000,
        delay: float = 1.0,
        pending: Optional[int] = None,
        refused: Optional[Callable[[Dict[str, Any], HearthError], None]] = None,
    ):
        if not 1 <= size <= 10_000:
            raise ValueError("size must be from 1 to 10,000")
        self._client, self._size, self._delay = client, size, delay
        self._pending = pending or 10 * size
        self._on_refused = refused
        # changed guards what follows. A log counts as pending until it is stored or refused.
        self._changed = threading.Condition()
        self._queue: Deque[Dict[str, Any]] = deque()
        self._oldest = 0.0
        self._sending = 0
        self._flushing = 0
        self._closed = False
        self._abandoned = threading.Event()
        self.refused_count = 0
        self.first_error: Optional[HearthError] = None
        self._thread = threading.Thread(target=self._run, name="hearth-writer", daemon=True)
        self._thread.start()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        if kind is None:
            self.close()
            return
        try:
            self.close(timeout=10)
        except HearthError:
            pass  # the error that ends the block says more

    def write(self, *, event: str, value: Any, device_id: Optional[str] = None, timestamp: Any = None, timeout: Optional[float] = None) -> None:
        """Queues a log; one without a timestamp (RFC 3339, or a datetime with a zone) is of now. Waits while the writer is full, and raises
        TimeoutError after timeout seconds.
        """
        if timestamp is None:
            timestamp = datetime.datetime.now(datetime.timezone.utc)
        if isinstance(timestamp, datetime.datetime):
            timestamp = timestamp.isoformat(timespec="milliseconds")
        log = {"event": event, "value": value, "timestamp": timestamp}
        if device_id is not None:
            log["device_id"] = device_id
        with self._changed:
            if not self._changed.wait_for(lambda: self._closed or len(self._queue) < self._pending, timeout):
                raise TimeoutError("the writer is full")
            if self._closed:
                raise ValueError("the writer is closed")
            if not self._queue:
                self._oldest = time.monotonic()
            self._queue.append(log)
            self._changed.notify_all()

    def flush(self, timeout: Optional[float] = None) -> None:
        """Waits until everything that was written before is stored or refused; raises TimeoutError after timeout seconds."""
        with self._changed:
            self._flushing += 1
            self._changed.notify_all()
            try:
                if not self._changed.wait_for(lambda: not self._queue and not self._sending, timeout):
                    raise TimeoutError("the writer still has logs")
            finally:
                self._flushing -= 1

    def close(self, timeout: Optional[float] = None) -> None:
        """Sends what waits; what could not be sent within timeout seconds counts as refused. Raises the error of the first log that was
        refused since the writer began, if any; refused_count says how many were.
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(timeout)
        if self._thread.is_alive():
            self._abandoned.set()
            self._thread.join()
        if self.first_error:
            raise self.first_error

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._due():
                    if self._closed and not self._queue:
                        return
                    self._changed.wait(max(self._oldest + self._delay - time.monotonic(), 0) if self._queue else None)
                batch = [self._queue.popleft() for _ in range(min(self._size, len(self._queue)))]
                self._oldest = time.monotonic()
                self._sending = len(batch)
                self._changed.notify_all()
            self._send(batch)
            with self._changed:
                self._sending = 0
                self._changed.notify_all()

    def _due(self) -> bool:
        if not self._queue:
            return False
        return self._closed or self._flushing > 0 or len(self._queue) >= self._size or time.monotonic() >= self._oldest + self._delay

    def _send(self, batch: List[Dict[str, Any]]) -> None:
        """Stores a batch, without the logs that the server refuses."""
        key, attempt = uuid.uuid4().hex, 1
        while batch:
            wait = 0.25 * 2 ** min(attempt - 1, 7) * random.uniform(0.5, 1)
            try:
                self._client.create_logs(batch, idempotency_key=key)
                return
            except Refused as error:
                failure: HearthError = error
                if error.permanent:
                    rest = self._without_wrong(batch, error)
                    if len(rest) == len(batch):  # it names none: it is about all
                        self._refuse(batch, error)
                        return
                    batch, key, attempt = rest, uuid.uuid4().hex, 1  # another body needs another key
                    continue
                wait = max(wait, min(error.retry_after, 60))
            except HearthError as error:
                failure = error
            attempt += 1
            if self._abandoned.wait(wait):
                self._refuse(batch, failure)
                return

    def _without_wrong(self, batch: List[Dict[str, Any]], error: Refused) -> List[Dict[str, Any]]:
        matches = (_ITEM_OF_BODY.match(field["location"]) for field in error.fields)
        wrong = {int(match.group(1)) for match in matches if match}
        self._refuse([log for index, log in enumerate(batch) if index in wrong], error)
        return [log for index, log in enumerate(batch) if index not in wrong]

    def _refuse(self, logs: List[Dict[str, Any]], error: HearthError) -> None:
        if logs and self.first_error is None:
            self.first_error = error
        self.refused_count += len(logs)
        if self._on_refused:
            for log in logs:
                self._on_refused(log, error)
