"""The settings of production, in a separate process."""

import re
from typing import Any

from apps.api.tests.production import in_production


def test_responses_require_https_from_then_on(production: dict[str, Any]) -> None:
    response = production["responses"]["proxied"]
    assert response["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains; preload"


def test_plain_http_is_redirected_except_for_probes(production: dict[str, Any]) -> None:
    responses = production["responses"]
    assert responses["plain"]["status"] == 301
    assert responses["plain"]["Location"] == "https://api.example.com/api/v1/nowhere/"
    assert responses["health"]["status"] == 200
    assert responses["proxied"]["status"] == 404


def test_pages_load_only_local_files_and_cannot_be_framed(production: dict[str, Any]) -> None:
    response = production["responses"]["proxied"]
    assert response["Content-Security-Policy"] == (
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none';"
        " form-action 'self'; frame-ancestors 'none'"
    )
    assert response["X-Frame-Options"] == "DENY"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Referrer-Policy"] == "same-origin"
    assert response["Cross-Origin-Opener-Policy"] == "same-origin"


def test_other_origins_cannot_read_responses(production: dict[str, Any]) -> None:
    assert "Access-Control-Allow-Origin" not in production["responses"]["foreign"]


def test_cookies_need_https(production: dict[str, Any]) -> None:
    assert production["SESSION_COOKIE_NAME"] == "__Secure-sessionid"
    assert production["CSRF_COOKIE_NAME"] == "__Secure-csrftoken"
    assert production["SESSION_COOKIE_SECURE"]
    assert production["SESSION_COOKIE_HTTPONLY"]
    assert production["CSRF_COOKIE_SECURE"]


def test_forwarded_addresses_are_ignored_by_default(production: dict[str, Any]) -> None:
    assert production["NUM_PROXIES"] == 0


def test_passwords_are_hashed_with_the_parameters_of_owasp(production: dict[str, Any]) -> None:
    assert production["password"].startswith("argon2$argon2id$v=19$m=19456,t=2,p=1$")


def test_development_features_are_off_in_production(production: dict[str, Any]) -> None:
    assert not production["DEBUG"]
    assert not production["REGISTER_RETURNS_CONFIRM_TOKEN"]
    assert production["REQUIRE_CONFIRMED_EMAIL"]


def test_weak_values_prevent_the_start() -> None:
    weak = {
        "DJANGO_SECRET_KEY": "short",
        "DJANGO_SECRET_KEY_FALLBACKS": "short",
        "DJANGO_DEBUG": "true",
        "DJANGO_ALLOWED_HOSTS": "*",
        "REGISTER_RETURNS_CONFIRM_TOKEN": "true",
        "URL_BASE": "http://api.example.com",
        "EMAIL_HOST": "",
        "EMAIL_HOST_USER": "service",
        "EMAIL_PORT": "25",
        "DATABASE_URL": "oracle",
        "SENTRY_DSN": "x",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "localhost:4317",
    }
    code = "import api_core.env as e\nwith e.exit_on_bad_variable(): import api_core.settings.prod"
    ran = in_production(code, **weak)
    assert ran.returncode == 1
    refused = set(re.findall(r"^  (\w+):", ran.stderr, flags=re.MULTILINE))
    # The port is valid, but the login needs TLS.
    assert refused == set(weak) - {"EMAIL_PORT"}
