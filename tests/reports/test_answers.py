"""Valid answers with a special meaning in the format of a generated file.

Each file is read by that language's own parser. YAML reads `yes` and `null` as other types:
https://github.com/cookiecutter/cookiecutter/issues/1789
"""

import ast
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from markdown_it import MarkdownIt
from support import ROOT, TEMPLATE, Answers, answers_of, copy, run, tracked
from support.updating import ANSWERS, FEW_FILES, RELEASES, assert_same, committed, fresh, update

TEXTS = ["project_name", "project_description", "author_name"]
HOSTILE_TEXTS = [
    *["null", "Yes", "1e3", "2026-11-25", "0x1F", "1.10", "1:30", "NaN"],
    *["1. API", "2) API", "C #", "C ##", "Água: 100% #1", "é, no | & Cia!"],
    *["R$ 5, $HOME and $(id)", "x *a* _b_ [c](d) ![e](f) ~~g~~", "a &amp; b &#38; c &copy d"],
    *["O'Brien's API", "a --- b", "a %s %(name)s %d", "日本語 API", "x" * 60],
]
SLUGS = ["null", "yes", "no", "on", "off", "y", "n", "a" * 60]
EMAILS = ["o'brien@example.com", "a%b+c_d-e.f@sub-1.example.com", "1e3@example.com"]


def leaves(data: Any) -> Iterator[str]:
    """Return all strings in the result of a parser."""
    if isinstance(data, dict):
        data = data.values()
    if isinstance(data, str):
        yield data
    elif not isinstance(data, int | float | None):
        for item in data:
            yield from leaves(item)


def python(file: Path) -> Iterator[str]:
    nodes = ast.walk(ast.parse(file.read_text()))
    return leaves([node.value for node in nodes if isinstance(node, ast.Constant)])


def markdown(file: Path) -> Iterator[str]:
    tokens = MarkdownIt().parse(file.read_text())
    for token in tokens:
        if token.type == "inline" and {child.type for child in token.children or []} == {"text"}:
            yield "".join(child.content for child in token.children or [])


def dotenv(file: Path) -> Iterator[str]:
    example = re.sub("^#(?=DEFAULT_FROM_EMAIL=)", "", file.read_text(), flags=re.MULTILINE)
    yield run("sh", "-c", f'{example}\nprintf %s "$DEFAULT_FROM_EMAIL"', cwd=file.parent)


def lines(file: Path) -> Iterator[str]:
    for line in file.read_text().splitlines():
        yield from (line, line.removeprefix("Copyright (c) "))


def shell(file: Path) -> Iterator[str]:
    for line in file.read_text().splitlines():
        if "docker" in line:
            yield from shlex.split(line)


def toml(file: Path) -> Iterator[str]:
    return leaves(tomllib.loads(file.read_text()))


def yml(file: Path) -> Iterator[str]:
    return leaves(yaml.safe_load(file.read_text()))


# The files that contain unchanged answers, and the parser of each.
PLACES: dict[str, tuple[Callable[[Path], Iterator[str]], list[str]]] = {
    "pyproject.toml": (toml, ["project_slug", *TEXTS[1:], "author_email"]),
    "api_core/settings/base.py": (python, ["project_slug", *TEXTS[:2], "author_email"]),
    "README.md": (markdown, TEXTS[:2]),
    "LICENSE": (lines, ["author_name"]),
    ".env.example": (dotenv, ["author_email"]),
    "docker-compose.yml": (yml, ["project_slug"]),
    "docker-compose.local.yml": (yml, ["project_slug"]),
    "check.sh": (shell, ["project_slug"]),
}


def test_the_table_has_every_file_that_contains_an_answer() -> None:
    questions = r"\b(project_name|project_slug|project_description|author_name|author_email)\b"
    found = {
        (file.as_posix().removesuffix(".jinja"), question)
        for file in tracked(TEMPLATE)
        for question in re.findall(questions, (TEMPLATE / file).read_text())
    }
    licences = [file.read_text() for file in (ROOT / "extensions/licenses").iterdir()]
    found |= {("LICENSE", name) for text in licences for name in re.findall(questions, text)}
    for file in (ROOT / "extensions/readmes").iterdir():
        found |= {("README.md", name) for name in re.findall(questions, file.read_text())}
    # Examples of a path.
    assert found - {(".env.example", "project_slug"), ("README.md", "project_slug")} == {
        (file, question) for file, (_read, listed) in PLACES.items() for question in listed
    }


def assert_unharmed(template: Path, folder: Path, answers: Answers) -> None:
    """Check that the parser of each file finds every answer that the file contains."""
    service = copy(template, folder, only=[*PLACES, ANSWERS.name], **answers)
    assert answers_of(service).items() >= answers.items()
    for file, (read, questions) in PLACES.items():
        strings = set(read(service / file))
        for question in questions:
            given = answers.get(question, answers_of(service)[question])
            expected = f"{given}-local" if ".local." in file else given
            assert expected in strings, (file, question)


@pytest.mark.parametrize("text", HOSTILE_TEXTS)
def test_a_valid_text_is_not_changed(template: Path, tmp_path: Path, text: str) -> None:
    assert_unharmed(template, tmp_path, dict.fromkeys(TEXTS, text))


@pytest.mark.parametrize("slug", SLUGS)
def test_a_valid_slug_is_not_changed(template: Path, tmp_path: Path, slug: str) -> None:
    assert_unharmed(template, tmp_path, {"project_slug": slug})


@pytest.mark.parametrize("email", EMAILS)
def test_a_valid_email_address_is_not_changed(template: Path, tmp_path: Path, email: str) -> None:
    assert_unharmed(template, tmp_path, {"author_email": email})


@pytest.mark.updates
@pytest.mark.parametrize("version", RELEASES)
def test_an_update_keeps_the_answers_of_a_release(
    small_history: Path, tmp_path: Path, version: str
) -> None:
    answers = {
        "project_name": "Água & Cia: 100% #1",
        "project_slug": "null",
        "project_description": "1. API d'Água *a* | é, no: $HOME",
        "author_name": "2026-11-25",
        "author_email": "a..%b.@example.com",
        "language_code": "en-us",
        "time_zone": "America/Argentina/Buenos_Aires",
        "database": "sqlite",
        "use_channels": False,
        "use_event_sync": True,
        "use_docker": True,
        "license": "BSD-3-Clause",
    }
    assert PLACES.keys() <= set(FEW_FILES)
    service = committed(small_history, tmp_path / "service", version, **answers)
    update(service)
    assert answers_of(service).items() >= answers.items()
    assert_same(service, fresh(small_history, tmp_path / "fresh", like=service))
