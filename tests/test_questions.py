"""Accepted and refused answers, derived defaults, and the messages of Copier."""

from itertools import count
from pathlib import Path
from typing import Any

import copier
import pytest
from pytest_copier.plugin import CopierFixture
from support import answers_of, copy

ANSWERS = ".copier-answers.yml"


@pytest.fixture
def ask(template: Path, tmp_path: Path) -> Any:
    """Answer some questions, take the defaults of the others, and return all answers."""
    folders = (tmp_path / str(number) for number in count())
    return lambda **answers: answers_of(copy(template, next(folders), only=[ANSWERS], **answers))


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("My Service", "my-service"),
        ("Serviço de Cobrança", "servico-de-cobranca"),
        ("SERVIÇO ÚNICO", "servico-unico"),
        ("Cobranc\u0327a", "cobranca"),
        ("Straße", "strasse"),
        ("Ærø Łódź Đà Þór Ðan", "aero-lodz-da-thor-dan"),
        ("Œuvre d'Été", "oeuvre-dete"),
        ("L’École", "lecole"),
        ("İstanbul Işık", "istanbul-isik"),
        ("Ən yaxşı", "en-yaxsi"),
        ("ﬁnance ＡＰＩ", "finance-api"),
        ("R&D – Team #1", "r-d-team-1"),
        ("Billing   / Invoices.", "billing-invoices"),
        ("日本 API", "api"),
        # A name without a valid slug gets one.
        ("日本", "my-service"),
        ("3D Models", "my-3d-models"),
        ("Django", "my-django"),
        ("JSON", "json"),
        ("Class", "class"),
        ("Apps", "apps"),
        ("ß" * 40, "s" * 57),
        ("a" + " b" * 29, "a" + "-b" * 28),
    ],
)
def test_the_slug_is_derived_from_the_name(ask: Any, name: str, slug: str) -> None:
    assert ask(project_name=name)["project_slug"] == slug


@pytest.mark.parametrize(
    ("slug", "fault"),
    [
        ("", "Use a-z, 0-9"),
        ("Billing", "Use a-z, 0-9"),
        ("serviço", "Use a-z, 0-9"),
        ("billing_service", "Use a-z, 0-9"),
        ("3d-models", "start with a letter"),
        ("-billing", "Use a-z, 0-9"),
        ("billing-", "Use a-z, 0-9"),
        ("billing--service", "Use a-z, 0-9"),
        ("billing\n", "Use a-z, 0-9"),
        ("../billing", "Use a-z, 0-9"),
        ("a" * 61, "Use at most 60 characters; this has 61"),
        ("django", "a package that the service installs"),
        ("djangorestframework", "a package that the service installs"),
        ("pytest", "a package that the service installs"),
    ],
)
def test_an_invalid_slug_is_refused(ask: Any, slug: str, fault: str) -> None:
    with pytest.raises(ValueError, match="project_slug.*" + fault):
        ask(project_slug=slug)


@pytest.mark.parametrize("question", ["project_name", "project_description", "author_name"])
@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "Enter at least one word"),
        ("two\nlines", "Use one line"),
        ("two\r\nlines", "Use one line"),
        ("a\ttab", "Use one line"),
        ("a\x00null", "Use one line"),
        ("a\x7fdelete", "Use one line"),
        ("a\x85next line", "Use one line"),
        ("a\u2028separator", "Use one line"),
        ("a\u202eoverride", "Use one line"),
        (" outer space", "Remove the spaces"),
        ("outer space ", "Remove the spaces"),
        ('a "quote"', "are not allowed"),
        ('Team"""', "are not allowed"),
        ("a back\\slash", "are not allowed"),
        ("a `tick`", "are not allowed"),
        ("<script>", "are not allowed"),
        ("a {{ brace }}", "are not allowed"),
        ("a {% tag %}", "are not allowed"),
        ("# Heading", "Start with a letter"),
        ("- item", "Start with a letter"),
        ("'quoted", "Start with a letter"),
        ("x" * 201, "characters; this has 201"),
    ],
)
def test_an_invalid_text_is_refused(ask: Any, question: str, text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=f"{question}.*{fault}"):
        ask(**{question: text})


@pytest.mark.parametrize(
    "email", ["", "team", "team@example", "a b@example.com", 'a"@example.com', "a@example.com\n"]
)
def test_an_invalid_email_address_is_refused(ask: Any, email: str) -> None:
    with pytest.raises(ValueError, match=r"author_email.*such as team@example\.com"):
        ask(author_email=email)


@pytest.mark.parametrize("zone", ["", "Brasília", "america/sao_paulo", "BRT", "../UTC", "GMT+3"])
def test_an_invalid_time_zone_is_refused(ask: Any, zone: str) -> None:
    with pytest.raises(ValueError, match=r"time_zone.*such as America/Sao_Paulo"):
        ask(time_zone=zone)


def test_the_time_zone_follows_the_language(ask: Any) -> None:
    assert ask(language_code="pt-br")["time_zone"] == "America/Sao_Paulo"
    assert ask(language_code="en-us")["time_zone"] == "UTC"


@pytest.mark.parametrize("option", ["use_channels", "use_event_sync", "use_docker"])
def test_an_option_accepts_only_yes_or_no(ask: Any, option: str) -> None:
    assert ask(**{option: "no"})[option] is False
    assert ask(**{option: "Yes"})[option] is True
    with pytest.raises(ValueError, match=f"{option}.*Answer yes or no"):
        ask(**{option: "nao"})


@pytest.mark.parametrize("question", ["language_code", "database", "ci_provider", "license"])
def test_an_answer_that_is_not_a_choice_is_refused(ask: Any, question: str) -> None:
    with pytest.raises(ValueError, match=f"Invalid choice for '{question}': 'other' is not in"):
        ask(**{question: "other"})


def test_two_copies_have_the_same_answers(template: Path, tmp_path: Path) -> None:
    one = copy(template, tmp_path / "one", only=[ANSWERS])
    another = copy(template, tmp_path / "another", only=[ANSWERS])
    source = {"_src_path": str(template)}
    assert answers_of(one) | source == answers_of(another) | source


@pytest.mark.parametrize(
    ("licence", "text"),
    [
        ("MIT", "MIT License"),
        ("Apache-2.0", "Apache License"),
        ("BSD-3-Clause", "BSD 3-Clause License"),
        ("proprietary", "All rights reserved."),
    ],
)
def test_the_license_names_the_author_and_no_year(
    template: Path, tmp_path: Path, licence: str, text: str
) -> None:
    service = copy(
        template, tmp_path / "s", only=["LICENSE"], license=licence, author_name="Ana & Co"
    )
    written = (service / "LICENSE").read_text()
    assert text in written
    assert "Ana & Co" in written
    assert "Copyright (c) 20" not in written


def secret(service: Path) -> str:
    lines = (service / ".env").read_text().splitlines()
    return next(line for line in lines if line.startswith("DJANGO_SECRET_KEY=")).partition("=")[2]


def test_each_copy_has_a_strong_secret_of_its_own(template: Path, tmp_path: Path) -> None:
    secrets = [secret(copy(template, tmp_path / str(number), only=[".env"])) for number in range(3)]
    assert len(set(secrets)) == 3
    for value in secrets:
        assert len(value) == 64
        assert value.isalnum()
        # 64 of 62 possible letters: 40 different ones on average, hardly ever fewer than 25.
        assert len(set(value)) >= 25


def test_a_second_copy_keeps_the_secret(template: Path, tmp_path: Path) -> None:
    service = copy(template, tmp_path / "s", only=[".env"])
    first = secret(service)
    assert secret(copy(template, service, only=[".env"])) == first


def test_a_secret_is_in_no_other_file(copier: CopierFixture, tmp_path: Path) -> None:
    service = copier.copy(tmp_path / "s").path
    files = [path for path in service.rglob("*") if path.is_file()]
    value = secret(service).encode()
    assert [path.name for path in files if value in path.read_bytes()] == [".env"]


def said(template: Path, folder: Path, capsys: pytest.CaptureFixture[str], **answers: Any) -> str:
    copier.run_copy(str(template), folder, data=answers, defaults=True, exclude=["*"])
    return capsys.readouterr().err.partition("is ready.")[2]


def test_the_message_after_a_copy_lists_the_next_commands(
    template: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = said(template, tmp_path / "a folder", capsys, database="postgres")
    commands = [line.strip() for line in message.splitlines() if line.startswith("  ")]
    assert commands == [
        f"cd '{tmp_path}/a folder'",
        "uv run manage.py migrate",
        "uv run manage.py createsuperuser",
        "uv run manage.py runserver",
        "git init",
        "git add --all",
        'git commit --message "Start my-service"',
    ]
    assert "PostgreSQL" in message
    assert "db.sqlite3" not in message


def test_the_message_after_a_copy_depends_on_the_answers(
    template: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = said(template, tmp_path, capsys, database="sqlite", project_name="Billing")
    assert "db.sqlite3" in message
    assert "PostgreSQL" not in message
    assert "Start billing" in message
