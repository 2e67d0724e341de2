"""Addresses of others: which may be called, files fetched from them, and messages sent. Nothing private is reached.

A name is resolved once, what it stands for is checked, and that very address is connected to: a name that stands for
something else a moment later leads nowhere. Redirections are followed one by one, each checked alike.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpcore

from lipstitch.service.settings import Addresses
from media.base.errors import LipstitchError
from media.base.files import atomic_file
from media.base.text import brief

MAX_REDIRECTIONS = 5
CONNECT_SECONDS, READ_SECONDS = 10.0, 60.0
PORTS = {"http": 80, "https": 443}
REDIRECTIONS = (301, 302, 303, 307, 308)
TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")
"""Through which networks that translate reach IPv4 (RFC 6052)."""
TIMEOUTS = {"connect": CONNECT_SECONDS, "read": READ_SECONDS, "write": READ_SECONDS, "pool": CONNECT_SECONDS}


class AddressRefused(LipstitchError):
    """An address that may not be called, or that does not give what is asked of it."""


class AddressUnreachable(AddressRefused):
    """An address that did not answer this time."""


def check_address(address: str, rules: Addresses) -> None:
    """Raise AddressRefused for an address that may not be called; its name is looked up."""
    _resolve(*_allowed(address, rules), rules)


def _allowed(address: str, rules: Addresses) -> tuple[str, int]:
    """Return host and port of an address, whatever its name stands for; raise AddressRefused if none may be called."""
    host, port = _split(address)
    if not rules.allowed and f"{host}:{port}" not in rules.trusted:
        raise AddressRefused(f"{brief(address)}: this service does not call addresses. Upload the file instead.")
    return host, port


def _resolve(host: str, port: int, rules: Addresses) -> str:
    """Return the number of a server; raise AddressRefused if its name stands for anything that may not be called."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        raise AddressUnreachable(f"{brief(host)}: no server of this name is known.") from exc
    numbers = [str(each[4][0]) for each in found]
    # One private number among them is one too many: which of them is connected to would be the name's choice.
    if f"{host}:{port}" not in rules.trusted and not all(_is_public(number) for number in numbers):
        raise AddressRefused(f"{brief(host)}: an address in a private network, which this service does not call.")
    return numbers[0]


def fetch(address: str, target: Path, rules: Addresses, max_bytes: int, advance: Callable[[int], None]) -> None:
    """Write what an address holds to a file, which appears when it is complete.

    advance: is called with the bytes so far, and may raise to stop. Raises AddressRefused.
    """
    with _Caller(rules) as caller, caller.get(address) as response, atomic_file(target) as partial:
        total = _length(response)
        if total > max_bytes:
            raise _too_large(address, max_bytes)
        done = 0
        with partial.open("wb") as file:
            for part in response.iter_stream():
                done += len(part)
                if done > max_bytes:
                    raise _too_large(address, max_bytes)
                file.write(part)
                advance(done)
        if not done or done < total:
            raise AddressUnreachable(f"{brief(address)}: only {done} of {total} bytes came. Try again.")


def post(address: str, body: bytes, headers: Mapping[str, str], rules: Addresses) -> int:
    """Send a message and return the status of the answer. Raises AddressRefused. Redirections are not followed."""
    _allowed(address, rules)
    with _Caller(rules) as caller, caller.call("POST", address, body, headers) as response:
        return response.status


class _Caller:
    """Calls addresses, one connection each."""

    def __init__(self, rules: Addresses) -> None:
        self._rules = rules
        self._pool = httpcore.ConnectionPool(
            ssl_context=ssl.create_default_context(), network_backend=_CheckedNetwork(rules)
        )

    def __enter__(self) -> _Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.close()

    @contextmanager
    def get(self, address: str) -> Iterator[httpcore.Response]:
        """Yield the answer of an address, behind redirections."""
        for _ in range(MAX_REDIRECTIONS + 1):
            _allowed(address, self._rules)
            with self.call("GET", address, None, {}) as response:
                if response.status not in REDIRECTIONS:
                    if response.status in range(500, 600):
                        raise AddressUnreachable(f"{brief(address)}: the server answered {response.status}. Try later.")
                    if response.status != 200:
                        raise AddressRefused(f"{brief(address)}: the server answered {response.status}. Check it.")
                    yield response
                    return
                headers = {name.lower(): value for name, value in response.headers}
                address = urljoin(address, headers.get(b"location", b"").decode("latin-1"))
        raise AddressRefused(f"{brief(address)}: more than {MAX_REDIRECTIONS} redirections. Give the last address.")

    @contextmanager
    def call(
        self, method: str, address: str, body: bytes | None, headers: Mapping[str, str]
    ) -> Iterator[httpcore.Response]:
        """Yield the answer to one request; its content is not read yet."""
        said = [("Host", urlsplit(address).netloc.rpartition("@")[2]), ("User-Agent", "lipstitch"), *headers.items()]
        if body is not None:
            said.append(("Content-Length", str(len(body))))
        try:
            with self._pool.stream(
                method, address, headers=said, content=body, extensions={"timeout": TIMEOUTS}
            ) as response:
                yield response
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as exc:
            raise AddressUnreachable(f"{brief(address)}: cannot be reached ({exc or type(exc).__name__}).") from exc
        except (httpcore.UnsupportedProtocol, ValueError, TypeError) as exc:
            raise AddressRefused(f"{brief(address)}: not an address that can be called. Check it.") from exc


class _CheckedNetwork(httpcore.NetworkBackend):
    """Connects to public addresses alone, and to what the operator trusts."""

    def __init__(self, rules: Addresses) -> None:
        self._rules = rules
        self._network = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to what a name stands for."""
        number = _resolve(host, port, self._rules)
        return self._network.connect_tcp(number, port, timeout, local_address, socket_options)


def _is_public(text: str) -> bool:
    number = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(number, ipaddress.IPv6Address):
        inner = number.ipv4_mapped or number.sixtofour or (number.teredo or (None, None))[1]
        if number in TRANSLATED:
            inner = ipaddress.IPv4Address(int(number) & 0xFFFFFFFF)
        if inner is not None:
            return _is_public(str(inner))
    return number.is_global and not number.is_multicast


def _split(address: str) -> tuple[str, int]:
    try:
        parts = urlsplit(address)
        port = parts.port or PORTS[parts.scheme]
        host = (parts.hostname or "").encode("idna").decode("ascii")
    except (ValueError, KeyError, UnicodeError) as exc:
        raise AddressRefused(f"{brief(address)}: addresses begin with http:// or https://. Check it.") from exc
    if not host or parts.username is not None or any(c.isspace() or not c.isprintable() for c in address):
        raise AddressRefused(f"{brief(address)}: not an address of a server. Check it.")
    return host, port


def _length(response: httpcore.Response) -> int:
    headers = {name.lower(): value for name, value in response.headers}
    text = headers.get(b"content-length", b"0")
    return int(text) if text.isdigit() else 0


def _too_large(address: str, max_bytes: int) -> AddressRefused:
    return AddressRefused(f"{brief(address)}: larger than {max_bytes} bytes, the most that this service takes.")
