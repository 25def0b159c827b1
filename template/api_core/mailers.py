"""Settings of the SMTP server."""

from typing import Any


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
