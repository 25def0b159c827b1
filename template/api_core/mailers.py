"""The SMTP server that sends e-mails, and their sender."""

from email.headerregistry import Address
from email.utils import parseaddr
from typing import Any


def named_sender(sender: str | None, name: str) -> str:
    """Return the sender, with ``name`` as its display name if it has none."""
    display_name, address = parseaddr(sender or "")
    if display_name or not address:
        return sender or ""
    return str(Address(name, addr_spec=address))


def smtp_mailers(host: str, port: int, username: str, password: str) -> dict[str, Any]:
    """Return ``MAILERS``. Port 465 uses implicit TLS, 587 uses STARTTLS (RFC 8314)."""
    backend = "django.core.mail.backends.smtp.EmailBackend"
    options = {
        "host": host,
        "port": port,
        "username": username,
        "password": password,
        "use_ssl": port == 465,
        "use_tls": port == 587,
        "timeout": 10,
    }
    return {"default": {"BACKEND": backend, "OPTIONS": options}}
