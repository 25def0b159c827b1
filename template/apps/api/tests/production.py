"""Processes with the settings of production."""

import json
import os
import re
import secrets
import subprocess
import sys
from typing import Any

from api_core.env import BASE_DIR

NAMES = [
    "CORS_ALLOWED_ORIGINS",
    "CSRF_COOKIE_NAME",
    "CSRF_COOKIE_SECURE",
    "DEBUG",
    "MIDDLEWARE",
    "NUM_PROXIES",
    "REGISTER_RETURNS_CONFIRM_TOKEN",
    "REQUIRE_CONFIRMED_EMAIL",
    "SESSION_COOKIE_HTTPONLY",
    "SESSION_COOKIE_NAME",
    "SESSION_COOKIE_SECURE",
]

CODE = f"""
import json
import sys
import django
django.setup()
from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.test import Client

client = Client(HTTP_HOST="api.example.com")
responses = {{
    "plain": client.get("/api/v1/nowhere/"),
    "health": client.get("/api/v1/health/"),
    "proxied": client.get("/api/v1/nowhere/", headers={{"X-Forwarded-Proto": "https"}}),
    "foreign": client.get("/api/v1/nowhere/", headers={{"X-Forwarded-Proto": "https"}},
        HTTP_ORIGIN="https://evil.example"),
}}
modules = [*sys.modules]
from api_core import asgi
print(json.dumps({{
    "responses": {{
        name: {{"status": response.status_code, **dict(response.headers)}}
        for name, response in responses.items()
    }},
    "password": make_password("x"),
    "modules": modules,
    "modules_with_asgi": [*sys.modules],
    **{{name: getattr(settings, name) for name in {NAMES}}},
}}))
"""


def in_production(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run code with the variables that .env.example marks as required, and the given ones."""
    example = (BASE_DIR / ".env.example").read_text()
    required = re.findall(r"^# Required\b(?:.*\n#)+?(\w+)=(.*)", example, flags=re.MULTILINE)
    return subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", code],
        cwd=BASE_DIR,
        env=os.environ
        | {name: value or secrets.token_urlsafe(64) for name, value in required}
        | {"DJANGO_SETTINGS_MODULE": "api_core.settings.prod", **variables},
        check=False,
        capture_output=True,
        text=True,
    )


def started_in_production() -> dict[str, Any]:
    """Return settings, responses and modules of a process that only has the required variables."""
    ran = in_production(CODE)
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found
