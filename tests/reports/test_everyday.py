"""Development on the first days.

ReDoc loaded its logo from elsewhere: https://github.com/Redocly/redoc/issues/2108
Errors without "detail": https://github.com/encode/django-rest-framework/issues/2378
Deferred tasks need a backend that stores them: https://github.com/django/deps/pull/86
"""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from support import run
from support.browser import browser
from support.live import Server, Service
from support.servers import free_port, started, wait_for
from support.walk import Api
from support.websocket_stack import needs

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("reports")]


@pytest.fixture(scope="module")
def development(live_service: Service) -> Iterator[str]:
    """The service as ``runserver`` starts it in development, on the same database."""
    port = free_port()
    python = live_service.folder / ".venv/bin/python"
    command = ("manage.py", "runserver", "--noreload", f"127.0.0.1:{port}")
    with started(python, *command, cwd=live_service.folder):
        url = f"http://127.0.0.1:{port}"
        wait_for(f"{url}/api/v1/health/")
        yield url


def manage(service: Service, *arguments: str) -> str:
    """Run a command in development."""
    return run(service.folder / ".venv/bin/python", "manage.py", *arguments, cwd=service.folder)


def test_a_request_is_logged_once_in_development(live_service: Service, development: str) -> None:
    marker = uuid4().hex
    Api(development)("GET", f"health/?{marker}")
    Api(development)("GET", f"nothing/?{marker}")
    log = (live_service.folder / "program.log").read_text()
    assert len([line for line in log.splitlines() if f"health/?{marker}" in line]) == 1
    assert len([line for line in log.splitlines() if f"nothing/?{marker}" in line]) == 1


def test_the_api_documentation_loads_without_an_error(development: str, tmp_path: Path) -> None:
    with browser(needs("chromium"), tmp_path) as page:
        page.open(f"{development}/api/docs/")
        page.wait_for("document.querySelectorAll('.opblock-summary-description').length > 10")
        assert page.errors == []


def test_dbshell_opens_the_embedded_database(live_service: Service) -> None:
    sql = "select count(*) > 0 as tables from information_schema.tables"
    assert manage(live_service, "dbshell", "--", "-tAc", sql).strip() == "t"


def test_a_deferred_task_runs_in_development(live_service: Service) -> None:
    code = """
from django.utils import timezone
from apps.communication.tasks import send_due_emails

send_due_emails.using(run_after=timezone.now()).enqueue()
"""
    manage(live_service, "shell", "-c", code)
    manage(live_service, "db_worker", "--batch")
    status = (
        "select status from django_tasks_database_dbtaskresult order by enqueued_at desc limit 1"
    )
    assert manage(live_service, "dbshell", "--", "-tAc", status).strip() == "SUCCESSFUL"


def test_a_refused_key_and_a_refused_token_are_explained(live_server: Server) -> None:
    api = live_server.api("abc")
    assert api("GET", "users/me/").body["detail"] == "Token inválido ou expirado."
    api.token = ""
    assert api("POST", "event-sync/", {}).body["detail"] == "Chave inválida."


def test_a_national_phone_number_is_accepted_in_brazil(live_server: Server) -> None:
    body = {
        "email": f"{uuid4().hex}@example.com",
        "password": "green-tram-42-to-lisbon",
        "first_name": "Ana",
        "last_name": "Souza",
        "phone": "11961234567",
    }
    registered = live_server.api()("POST", "auth/register/", body)
    assert registered.status == 201, registered
    assert registered.body["user"]["phone"] == "+5511961234567"
