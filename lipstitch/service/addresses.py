"""Addresses of others: which may be called, files fetched from them, and messages sent. Nothing private is reached.

A name is resolved once, what it stands for is checked, and that very address is connected to: a name that stands for
something else a moment later leads nowhere. Redirections are followed one by one, each checked alike.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import time
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
UNICAST = ipaddress.IPv6Network("2000::/3")
"""What the public servers of IPv6 are among (RFC 4291); elsewhere lie translators and networks of sites (fec0::/10)."""
PATIENCE_SECONDS, LEAST_BYTES_A_SECOND = 60.0, 1 << 14
"""How long a server may take that sends little, and how much more it has to send in each second after that: one that
sends a byte a minute would hold a worker for ever."""
ANSWER_SECONDS = 10.0
"""How long the answer to a message may take: others wait to be told meanwhile."""
POLL_SECONDS = 0.5
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
    if not rules.allowed and not _is_trusted(host, port, rules):
        raise AddressRefused(f"{brief(address)}: this service does not call addresses. Upload the file instead.")
    return host, port


def _is_trusted(host: str, port: int, rules: Addresses) -> bool:
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return place in {trusted.lower() for trusted in rules.trusted}


def _resolve(host: str, port: int, rules: Addresses) -> str:
    """Return the number of a server; raise AddressRefused if its name stands for anything that may not be called."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        raise AddressUnreachable(f"{brief(host)}: no server of this name is known.") from exc
    numbers = [str(each[4][0]) for each in found]
    # One private number among them is one too many: which of them is connected to would be the name's choice.
    if not _is_trusted(host, port, rules) and not all(_is_public(number) for number in numbers):
        raise AddressRefused(f"{brief(host)}: an address in a private network, which this service does not call.")
    return numbers[0]


def fetch(address: str, target: Path, rules: Addresses, max_bytes: int, advance: Callable[[int], None]) -> None:
    """Write what an address holds to a file, which appears when it is complete.

    advance: is called with the bytes so far, at least about once a second while it waits for a server, and may raise to
    stop. Raises AddressRefused.
    """
    done = 0
    caller = _Caller(rules, lambda: advance(done))
    with caller, caller.get(address) as response, atomic_file(target) as partial:
        total = _length(response)
        if total > max_bytes:
            raise _too_large(address, max_bytes)
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
    with _Caller(rules, patience=ANSWER_SECONDS) as caller, caller.call("POST", address, body, headers) as response:
        return response.status


class _Caller:
    """Calls addresses, one connection each."""

    def __init__(
        self, rules: Addresses, on_wait: Callable[[], None] = lambda: None, patience: float | None = None
    ) -> None:
        """on_wait: is called again and again while it waits for a server, and may raise to stop.

        patience: seconds that a server may take that sends little; None: PATIENCE_SECONDS.
        """
        self._rules = rules
        network = _CheckedNetwork(rules, on_wait, PATIENCE_SECONDS if patience is None else patience)
        self._pool = httpcore.ConnectionPool(ssl_context=ssl.create_default_context(), network_backend=network)

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

    def __init__(self, rules: Addresses, on_wait: Callable[[], None], patience: float) -> None:
        self._rules, self._on_wait, self._patience = rules, on_wait, patience
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
        stream = self._network.connect_tcp(number, port, timeout, local_address, socket_options)
        return _PacedStream(stream, self._on_wait, self._patience)


class _PacedStream(httpcore.NetworkStream):
    """A connection whose other end has to send at a least pace, and may not answer for longer than it is waited for."""

    def __init__(self, stream: httpcore.NetworkStream, on_wait: Callable[[], None], patience: float) -> None:
        self._stream, self._on_wait, self._patience = stream, on_wait, patience
        self._end = time.monotonic() + patience

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Return what comes next, of at most so many bytes."""
        end = min(self._end, time.monotonic() + timeout) if timeout is not None else self._end
        while (left := end - time.monotonic()) > 0:
            try:
                chunk = self._stream.read(max_bytes, min(left, POLL_SECONDS))
            except httpcore.ReadTimeout:
                self._on_wait()
                continue
            self._end += len(chunk) / LEAST_BYTES_A_SECOND
            return chunk
        raise httpcore.ReadTimeout("too slow")

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send bytes."""
        self._stream.write(buffer, timeout)

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """Return the same connection, from now on encrypted."""
        stream = self._stream.start_tls(ssl_context, server_hostname, timeout)
        return _PacedStream(stream, self._on_wait, self._patience)

    def get_extra_info(self, info: str) -> Any:
        """Return what the connection itself knows."""
        return self._stream.get_extra_info(info)


def _is_public(text: str) -> bool:
    number = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(number, ipaddress.IPv6Address):
        inner = number.ipv4_mapped or number.sixtofour or (number.teredo or (None, None))[1]
        if number in TRANSLATED:
            inner = ipaddress.IPv4Address(int(number) & 0xFFFFFFFF)
        if inner is not None:
            return _is_public(str(inner))
        if number not in UNICAST:
            return False
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
