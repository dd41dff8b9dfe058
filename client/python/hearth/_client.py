"""The requests: sessions, retries, errors."""

from __future__ import annotations

import http.client
import json
import random
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from typing import Any, Callable, Iterable, Iterator, Mapping, Optional

from ._api import Api, Tokens
from ._errors import HearthError, Refused, Unreachable
from ._live import LiveEvent, follow
from ._writer import Writer

_RENEW_BEFORE = 20  # seconds
_MOST_OF_A_PROBLEM = 64 << 10


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A token must not follow a redirect to another host."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Client(Api):
    """Calls one server. It may be used by several threads.

    token is an API key ("hk_…"), a device's token ("hd_…") or an access token. With email and password the client signs in at its first
    call, renews the access token before it ends, and signs in again once the session is over. session continues one: the answer of
    log_in or refresh that an earlier client saved; on_session is called with the new one after each renewal, which spends the old
    refresh token.

    A call is attempted `attempts` times at most, and a Retry-After beyond longest_wait seconds fails at once. timeout is in seconds.
    """

    def __init__(
        self,
        url: str,
        *,
        token: Optional[str] = None,
        email: Optional[str] = None,
        password: Optional[str] = None,
        session: Optional[Mapping[str, Any]] = None,
        on_session: Optional[Callable[[Tokens], None]] = None,
        attempts: int = 4,
        longest_wait: float = 30.0,
        timeout: float = 60.0,
        user_agent: str = "hearth-python",
        ssl_context: Optional[ssl.SSLContext] = None,
    ):
        parsed = urllib.parse.urlsplit(url)
        if parsed.scheme not in ("http", "https") or not parsed.netloc:
            raise ValueError("the address must be like https://hearth.example")
        self._base = url.rstrip("/")
        self._token = token
        self._email, self._password = email, password
        self._on_session = on_session
        self._attempts, self._longest_wait, self._timeout = max(attempts, 1), longest_wait, timeout
        self._agent = user_agent
        self._opener = urllib.request.build_opener(_NoRedirects(), urllib.request.HTTPSHandler(context=ssl_context))
        self._renewing = threading.Lock()
        self._access, self._refresh, self._ends = "", "", 0.0
        if session:
            self._keep(session)

    # Sessions

    def _keep(self, tokens: Mapping[str, Any]) -> None:
        self._access, self._refresh = tokens.get("access_token", ""), tokens.get("refresh_token", "")
        self._ends = time.monotonic() + tokens.get("expires_in", 0)

    def _bearer(self, rejected: str) -> str:
        """Returns an access token that is not the rejected one. Threads that need a new one wait for the one that renews it."""
        if self._token is not None or not (self._email or self._refresh):
            return self._token or ""
        with self._renewing:
            if not self._access or self._access == rejected or self._ends - time.monotonic() < _RENEW_BEFORE:
                tokens = self._new_tokens()
                self._keep(tokens)
                if self._on_session:
                    self._on_session(tokens)
            return self._access

    def _new_tokens(self) -> Tokens:
        # The server answers a refresh token that is sent again at once with the same tokens: a lost answer does no harm.
        if self._refresh:
            try:
                return self._call("POST", "/api/v1/auth/refresh", body={"refresh_token": self._refresh}, public=True, repeatable=True)
            except Refused as refused:
                if refused.status != 401 or not self._email:
                    raise
        body = {"email": self._email, "password": self._password}
        return self._call("POST", "/api/v1/auth/login", body=body, public=True, repeatable=True)

    # Requests

    def _call(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Optional[Mapping[str, Any]] = None,
        creates: bool = False,
        public: bool = False,
        raw: bool = False,
        repeatable: bool = False,
        idempotency_key: Optional[str] = None,
        if_match: Optional[str] = None,
    ) -> Any:
        """Makes a call until it succeeds, is refused, or its attempts are spent. A 429 was refused before it had an effect, so that it
        is repeated always; what failed in another way only where repeating has no second effect.
        """
        headers = {"Accept": "application/json, */*;q=0.5"}
        if creates:
            headers["Idempotency-Key"] = idempotency_key or uuid.uuid4().hex
        if if_match is not None:
            headers["If-Match"] = if_match
        if body is not None:
            headers["Content-Type"] = "application/json"
        data = None if body is None else json.dumps(body, allow_nan=False).encode()
        safe = method == "GET" or creates or repeatable
        rejected, renewed, attempt = "", False, 1
        while True:
            token = "" if public else self._bearer(rejected)
            wait = 0.25 * 2 ** min(attempt - 1, 7) * random.uniform(0.5, 1)
            try:
                response = self._open(method, path, query, headers, data, token)
                if raw:
                    return response
                with response:
                    answer = response.read()
                return json.loads(answer) if answer else None
            except Refused as refused:
                # invalid_credentials is about a password in the body.
                renewable = refused.status == 401 and refused.code != "invalid_credentials"
                if renewable and not public and not renewed and self._token is None and token:
                    rejected, renewed = token, True
                    continue
                repeat = refused.status == 429 or safe and refused.status in (502, 503, 504)
                wait = max(wait, refused.retry_after)
                failure: HearthError = refused
            except (OSError, http.client.HTTPException) as error:
                repeat = safe
                failure = Unreachable("%s %s: %s" % (method, path, error))
                failure.__cause__ = error
            if not repeat or attempt >= self._attempts or wait > self._longest_wait:
                raise failure
            attempt += 1
            time.sleep(wait)

    def _open(
        self,
        method: str,
        path: str,
        query: Optional[Mapping[str, Any]],
        headers: Mapping[str, str],
        data: Optional[bytes],
        token: str,
        timeout: Optional[float] = None,
    ) -> Any:
        """Makes one attempt and returns the response."""
        url = self._base + path
        if query:
            url += "?" + urllib.parse.urlencode({name: _text(value) for name, value in query.items() if value is not None})
        request = urllib.request.Request(url, data=data, method=method, headers=dict(headers))
        request.add_header("User-Agent", self._agent)
        if token:
            request.add_header("Authorization", "Bearer " + token)
        try:
            return self._opener.open(request, timeout=timeout or self._timeout)
        except urllib.error.HTTPError as error:
            with error:
                raise Refused(error.code, error.headers, error.read(_MOST_OF_A_PROBLEM)) from None

    # Comfort

    def writer(self, **options: Any) -> Writer:
        """Returns a writer of many logs: see Writer for its options."""
        return Writer(self, **options)

    def follow(
        self,
        channels: Iterable[str] = (),
        last_id: str = "",
        *,
        silence: float = 60.0,
        stop: Optional[threading.Event] = None,
        opened: Optional[Callable[[], None]] = None,
    ) -> Iterator[LiveEvent]:
        """Iterates over events as they happen, each once and in order, across lost connections.

        channels are "device:ID", "org:ID", "user:ID"; none is everything of your own devices. last_id continues after an event of an
        earlier run. An event of type "reset" says that events were missed that the server no longer has: read anew what you keep. A
        connection that brings nothing for `silence` seconds counts as lost; the server sends a comment every 15 s. The iteration ends
        once stop is set, which is looked at with every line, and raises Refused where the server refuses. opened is called whenever
        the stream is open.
        """
        return follow(self, list(channels), last_id, silence, stop, opened)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return ",".join(map(_text, value))
    return str(value)


