"""The client of a hearth server, in the standard library alone."""

from ._api import UNSET
from ._client import Client
from ._errors import HearthError, Refused, Unreachable
from ._live import LiveEvent
from ._writer import Writer

__all__ = ["UNSET", "Client", "HearthError", "LiveEvent", "Refused", "Unreachable", "Writer"]
