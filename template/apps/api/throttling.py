"""Limits on what can be tried, counted per address and per account. OWASP ASVS 5.0: 6.3.1.

A view names what it limits in ``throttle_scope``; the rates of ``<scope>-address`` and
``<scope>-account`` stand in ``REST_FRAMEWORK["DEFAULT_THROTTLE_RATES"]``.
"""

import hashlib
import re
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Any, ClassVar

from rest_framework.request import Request
from rest_framework.throttling import SimpleRateThrottle
from rest_framework.views import APIView

# Some proxies write the client's port into X-Forwarded-For: 192.0.2.1:5000, [2001:db8::1]:5000.
_WITH_PORT = re.compile(r"^(?:\[(.+)\]|([\d.]+)):\d+$")


class _ScopedThrottle(SimpleRateThrottle):
    suffix: ClassVar[str]

    def __init__(self) -> None:
        """Leave the rate to ``allow_request``: it depends on the view."""

    def allow_request(self, request: Request, view: APIView) -> bool:
        self.scope = f"{view.throttle_scope}-{self.suffix}"  # type: ignore[attr-defined]
        self.rate = self.get_rate()
        self.num_requests, self.duration = self.parse_rate(self.rate)
        return super().allow_request(request, view)


class AddressThrottle(_ScopedThrottle):
    """Count by the client's address, IPv6 by its /64: one customer has that many addresses."""

    suffix = "address"

    def get_cache_key(self, request: Request, view: APIView) -> str:
        return f"throttle:{self.scope}:{_network(self.get_ident(request))}"


class AccountThrottle(_ScopedThrottle):
    """Count by the account that is tried, wherever the tries come from."""

    suffix = "account"

    def get_cache_key(self, request: Request, view: APIView) -> str | None:
        account = _account(request)
        if account is None:
            return None
        return (
            f"throttle:{self.scope}:{hashlib.sha256(account.encode(errors='replace')).hexdigest()}"
        )


def _network(address: str | None) -> str:
    try:
        ip = ip_address(_WITH_PORT.sub(r"\1\2", address or ""))
    except ValueError:
        return str(address)
    if isinstance(ip, IPv6Address):
        # A server that listens on IPv6 writes IPv4 clients as ::ffff:192.0.2.1, all in one /64.
        return str(ip.ipv4_mapped or IPv6Network((int(ip), 64), strict=False))
    return str(ip)


def _account(request: Request) -> str | None:
    if request.user and request.user.is_authenticated:
        return str(request.user.pk)
    data: Any = request.data
    email = data.get("email", data.get("username")) if isinstance(data, dict) else None
    return email.strip().lower() if isinstance(email, str) else None
