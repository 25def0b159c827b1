"""The names of the files in template/, and the table in copier.yml that excludes some."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2 import Template
from pytest_copier.plugin import CopierFixture
from support import (
    OPTIONS,
    ROOT,
    TEMPLATE,
    VARIANTS,
    Answers,
    combinations_of,
    copy,
    name_of,
    tracked,
)

FILES = [file for file in tracked(TEMPLATE) if file.name != "{{_copier_conf.answers_file}}.jinja"]
EXCLUDE: list[str] = yaml.safe_load((ROOT / "copier.yml").read_text())["_exclude"]
ROWS = [row for row in EXCLUDE if "{%" in row]


def test_names_are_valid_on_windows() -> None:
    odd = re.compile(r'[<>:"|?*\\{}%\x00-\x1f]|[. ]$')
    reserved = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
    parts = {part for file in FILES for part in file.parts}
    assert not [part for part in parts if odd.search(part) or reserved.match(part)]


def test_rendered_names_differ_in_more_than_case() -> None:
    """Also, no file exists both with and without .jinja."""
    names = [file.as_posix().lower().removesuffix(".jinja") for file in FILES]
    assert len(names) == len(set(names))


def test_every_file_is_text_in_utf8_with_unix_line_ends() -> None:
    for file in FILES:
        text = (TEMPLATE / file).read_bytes().decode()
        assert "\r" not in text, file


@pytest.mark.parametrize("row", ROWS)
def test_a_row_names_one_option_and_a_path_that_exists(row: str) -> None:
    match = re.fullmatch(
        r"\{% if (not )?\w+( [!=]= '\w+')? %\}/(?P<path>[\w./-]*\w)\{% endif %\}", row
    )
    assert match
    path = match["path"]
    assert (TEMPLATE / path).exists() or (TEMPLATE / f"{path}.jinja").exists()


def excluded(row: str, answers: Answers) -> bool:
    return bool(Template(row).render(answers))


def path_of(row: str) -> str:
    return row.split("%}/")[1].removesuffix("{% endif %}")


@pytest.mark.parametrize("answers", VARIANTS, ids=name_of)
def test_a_service_has_exactly_the_files_of_its_answers(
    copier: CopierFixture, tmp_path: Path, answers: Answers
) -> None:
    """The variants contain every answer, and a row depends on one question."""
    service = copier.copy(tmp_path / "service", **answers).path
    for row in ROWS:
        assert (service / path_of(row)).exists() != excluded(row, answers), row


@pytest.mark.parametrize("answers", combinations_of(OPTIONS), ids=name_of)
def test_no_folder_is_empty_in_any_combination_of_answers(answers: Answers) -> None:
    """Copier also creates a folder if all of its files are excluded."""
    paths = [path_of(row) for row in ROWS if excluded(row, answers)]

    def is_left(path: Path) -> bool:
        return not any(f"{path}/".startswith(f"{other}/") for other in paths)

    files = [file.with_name(file.name.removesuffix(".jinja")) for file in FILES]
    folders = {folder for file in files for folder in file.parents if is_left(folder)}
    assert folders == {folder for file in files if is_left(file) for folder in file.parents}


def test_the_answers_file_contains_only_answers(template: Path, tmp_path: Path) -> None:
    service = copy(template, tmp_path / "service", only=[".copier-answers.yml"])
    answers: dict[str, Any] = yaml.safe_load((service / ".copier-answers.yml").read_text())
    questions = yaml.safe_load((ROOT / "copier.yml").read_text())
    assert set(answers) - {"_src_path", "_commit"} == {
        question for question in questions if not question.startswith("_")
    }
