"""Webhooks: the client is told, signed, that a generation has ended; again, ever more rarely, until it has heard."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from typing import Any

from lipstitch.service.addresses import AddressRefused, AddressUnreachable, post
from lipstitch.service.settings import Addresses
from lipstitch.service.store import Delivery, Store

SIGNATURE_HEADER = "Sync-Signature"
RETRY_SECONDS = (1.0, 5.0, 30.0, 120.0, 600.0, 3600.0, 6 * 3600.0)
"""How long to wait before each further try."""


def sign(secret: str, timestamp: int, body: bytes) -> str:
    """Return the signature of a message: t=<timestamp>,v1=<hex>, HMAC with SHA-256 of "<timestamp>.<body>"."""
    digest = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={timestamp},v1={digest}"


def deliver(store: Store, generation: str, told: Mapping[str, Any], addresses: Addresses, secret: str) -> None:
    """Tell the client of a generation's end, if that is due. told: what it is told, the address not included."""
    with store.claim_delivery(generation) as is_mine:
        state, asked = store.state(generation), store.asked(generation)
        if not is_mine or state is None or asked is None or asked.request.webhook_url is None:
            return
        if not state.delivery.is_due or time.time() < state.delivery.next_try:
            return
        body, now = json.dumps(told).encode(), int(time.time())
        headers = {"Content-Type": "application/json", SIGNATURE_HEADER: sign(secret, now, body)}
        try:
            is_heard = post(asked.request.webhook_url, body, headers, addresses) in range(200, 300)
            may_try_again = True
        except AddressRefused as exc:
            is_heard, may_try_again = False, isinstance(exc, AddressUnreachable)
        tries = state.delivery.num_tries
        is_due = not is_heard and may_try_again and tries < len(RETRY_SECONDS)
        next_try = time.time() + RETRY_SECONDS[tries] if is_due else 0.0
        delivery = Delivery(is_due=is_due, num_tries=tries + 1, next_try=next_try)
        store.change(generation, lambda was: was.model_copy(update={"delivery": delivery}))
