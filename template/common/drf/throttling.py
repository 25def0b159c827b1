"""Rate limits. OWASP ASVS 5.0: 6.3.1.

Every view has the limit of ``ClientThrottle``, unless it has ``throttle_classes`` of its own. Those
below limit the attempts from an address, and on an account, across all processes.
A view selects its limits by ``throttle_scope``. The rates are in
``REST_FRAMEWORK["DEFAULT_THROTTLE_RATES"]``: ``<scope>-address`` for each client address,
``<scope>-account`` for each account from all networks together, and optionally
``<scope>-account-network`` for each account from one network.
"""

import hashlib
import math
import re
import time
from collections.abc import Iterator
from ipaddress import IPv6Address, IPv6Network, ip_address
from itertools import count
from typing import TYPE_CHECKING, Any

from django.core.cache import caches
from django.db import connection
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle, SimpleRateThrottle, UserRateThrottle

from common.email_addresses import normalise_email

if TYPE_CHECKING:
    # It loads this module, for the default limit.
    from rest_framework.views import APIView

# Some proxies add the port of the client to X-Forwarded-For: 192.0.2.1:5000, [2001:db8::1]:5000.
_WITH_PORT = re.compile(r"^(?:\[(.+)\]|([\d.]+)):\d+$")

# A single statement is atomic, so that concurrent requests are all counted.
# For a refused request it changes nothing and returns no row.
_COUNT = """
    INSERT INTO drf_counter AS counter (key, count, expires_at)
    VALUES (%(key)s, 1, %(expires_at)s)
    ON CONFLICT (key) DO UPDATE SET
        count = CASE WHEN counter.expires_at > %(now)s THEN counter.count + 1 ELSE 1 END,
        expires_at = CASE WHEN counter.expires_at > %(now)s
            THEN counter.expires_at ELSE excluded.expires_at END
    WHERE counter.count < %(limit)s OR counter.expires_at <= %(now)s
    RETURNING count
"""
_EXPIRES_AT = "SELECT expires_at FROM drf_counter WHERE key = %s"
_PRUNE = "DELETE FROM drf_counter WHERE expires_at <= %s"

# Each process deletes expired rows after it has started this many windows, instead of a cron job.
PRUNE_EVERY = 1000
_windows = count(1)


def seconds_to_wait(key: str, limit: int, seconds: int) -> int:
    """Count an attempt and return 0, or return the time to wait if the limit is reached.

    A window of ``seconds`` starts with its first attempt.
    """
    now = time.time()
    with connection.cursor() as cursor:
        cursor.execute(
            _COUNT, {"key": key, "now": now, "expires_at": now + seconds, "limit": limit}
        )
        if row := cursor.fetchone():
            if row[0] == 1 and next(_windows) % PRUNE_EVERY == 0:
                cursor.execute(_PRUNE, [now])
            return 0
        cursor.execute(_EXPIRES_AT, [key])
        row = cursor.fetchone()
    return max(1, math.ceil(row[0] - now)) if row else 1


class _ScopedThrottle(SimpleRateThrottle):
    seconds = 0

    def __init__(self) -> None:
        """Do not read the rate, which depends on the view."""

    def allow_request(self, request: Request, view: "APIView") -> bool:
        # DRF calls every throttle of a view, even after one has refused the request. From then on
        # the body must not be read, and no account must be counted.
        if getattr(request, "is_throttled", False):
            return True
        for scope, key in self.counters(request, view):
            self.scope = scope
            limit, seconds = self.parse_rate(self.get_rate())
            if limit is None or seconds is None:
                continue
            self.seconds = seconds_to_wait(f"{scope}:{key}", limit, seconds)
            if self.seconds:
                request.is_throttled = True  # type: ignore[attr-defined]
                return False
        return True

    def counters(self, request: Request, view: "APIView") -> Iterator[tuple[str, str]]:
        """Yield the scope of each rate that applies, and the key to count."""
        raise NotImplementedError

    def wait(self) -> int:
        return self.seconds


class ClientThrottle(UserRateThrottle):
    """Limit each user, or each network without a user, in this process: a default without queries."""

    scope = "client"
    cache = caches["throttle"]

    def get_ident(self, request: Request) -> str:
        return _network(request)


class AddressThrottle(_ScopedThrottle):
    """Limit by network: an IPv4 address, or the /64 of an IPv6 address."""

    def counters(self, request: Request, view: "APIView") -> Iterator[tuple[str, str]]:
        yield f"{_scope(view)}-address", _network(request)


class AccountThrottle(_ScopedThrottle):
    """Limit by account: strictly for each network, loosely for all networks together.

    Attempts from one network therefore do not lock out the owner, who is in another network.
    """

    def counters(self, request: Request, view: "APIView") -> Iterator[tuple[str, str]]:
        account = self.get_cache_key(request, view)
        if account is None:
            return
        scope = f"{_scope(view)}-account"
        if f"{scope}-network" in self.THROTTLE_RATES:
            yield f"{scope}-network", f"{account}:{_network(request)}"
        yield scope, account

    def get_cache_key(self, request: Request, view: "APIView") -> str | None:
        """Return the key of the account, or None if the request does not contain one."""
        account = _account(request)
        return account and hashlib.sha256(account.encode(errors="replace")).hexdigest()


def client_address(request: Request) -> str | None:
    """Return the IP address of the client, as far as ``NUM_PROXIES`` says."""
    try:
        ip = ip_address(_WITH_PORT.sub(r"\1\2", BaseThrottle().get_ident(request) or ""))
    except ValueError:
        return None
    if isinstance(ip, IPv6Address):
        # On an IPv6 socket, IPv4 clients are ::ffff:192.0.2.1. The zone of fe80::1%eth0 is ours.
        return str(ip.ipv4_mapped or IPv6Address(int(ip)))
    return str(ip)


def _scope(view: "APIView") -> str:
    return view.throttle_scope  # type: ignore[attr-defined, no-any-return]


def _network(request: Request) -> str:
    address = client_address(request)
    if address and ":" in address:
        return str(IPv6Network((address, 64), strict=False))
    return address or "unknown"


def _account(request: Request) -> str | None:
    if request.user and request.user.is_authenticated:
        return str(request.user.pk)
    data: Any = request.data
    email = data.get("email") if isinstance(data, dict) else None
    if not isinstance(email, str):
        return None
    try:
        return normalise_email(email)
    except ValueError:
        return email.strip().lower()
