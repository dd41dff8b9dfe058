"""What can go wrong."""

from __future__ import annotations

import json
from typing import Any, List, Mapping, Optional


class HearthError(Exception):
    """Any failure of a call."""


class Unreachable(HearthError):
    """The server cannot be reached, or its answer was lost. __cause__ says why."""


class Refused(HearthError):
    """The server refused the call.

    status is the HTTP status; code names what went wrong, for programs ("" if a proxy answered); detail describes it, for display;
    request_id names the request in the server's log; limit is the rate limit that was hit; fields is a list of
    {"location", "message"}, one for each wrong part of the request; retry_after is in seconds, 0 if the server does not say.
    """

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes):
        self.status = status
        self.code = ""
        self.detail = ""
        self.limit = ""
        self.fields: List[Any] = []
        self.request_id: Optional[str] = headers.get("X-Request-ID")
        after = headers.get("Retry-After") or ""
        self.retry_after = int(after) if after.isdigit() else 0
        if (headers.get("Content-Type") or "").startswith("application/problem+json"):
            try:
                problem = json.loads(body)
            except ValueError:  # cut off: the status says enough
                problem = {}
            self.code = problem.get("code", "")
            self.detail = problem.get("detail", "")
            self.limit = problem.get("limit", "")
            self.fields = problem.get("errors") or []
        text = " ".join(filter(None, [str(status), self.code])) + (": " + self.detail if self.detail else "")
        for field in self.fields:
            text += "; %s: %s" % (field["location"], field["message"])
        if self.request_id:
            text += " (request %s)" % self.request_id
        super().__init__(text)

    @property
    def permanent(self) -> bool:
        """Whether repeating the call changes nothing."""
        return self.status < 500 and self.status != 429
