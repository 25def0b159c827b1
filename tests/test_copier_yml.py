"""The settings and questions in copier.yml. Copier ignores unknown keys without an error."""

from typing import Any

import pytest
import yaml
from copier._template import DEFAULT_EXCLUDE
from copier._user_data import Question
from support import ROOT

CONFIG: dict[str, Any] = yaml.safe_load((ROOT / "copier.yml").read_text())
SETTINGS = {key for key in CONFIG if key.startswith("_")}
QUESTIONS = {key: value for key, value in CONFIG.items() if key not in SETTINGS}

# https://copier.readthedocs.io/en/stable/configuring/#available-settings
KNOWN_SETTINGS = {
    "_answers_file",
    "_envops",
    "_exclude",
    "_external_data",
    "_jinja_extensions",
    "_message_after_copy",
    "_message_after_update",
    "_message_before_copy",
    "_message_before_update",
    "_migrations",
    "_min_copier_version",
    "_preserve_symlinks",
    "_secret_questions",
    "_skip_if_exists",
    "_subdirectory",
    "_tasks",
    "_templates_suffix",
}


def test_every_setting_is_known_to_copier() -> None:
    assert not SETTINGS - KNOWN_SETTINGS


def test_nothing_asks_for_trust() -> None:
    assert not SETTINGS & {"_tasks", "_jinja_extensions", "_migrations"}


def test_the_questions_are_asked_in_this_order() -> None:
    assert list(QUESTIONS) == [
        "project_name",
        "project_slug",
        "project_description",
        "author_name",
        "author_email",
        "language_code",
        "time_zone",
        "database",
        "use_channels",
        "use_event_sync",
        "use_docker",
        "ci_provider",
        "license",
    ]


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
def test_each_question_has_a_help_text_and_a_default(question: dict[str, Any]) -> None:
    assert not set(question) - set(Question.__dataclass_fields__)
    assert question["type"]
    assert question["help"].endswith(("?", "."))
    assert question["default"] is not None
    # Copier itself validates choices.
    assert "validator" in question or "choices" in question


def test_the_default_exclusions_of_copier_are_kept() -> None:
    assert set(DEFAULT_EXCLUDE) <= set(CONFIG["_exclude"])


def test_an_undefined_variable_is_an_error() -> None:
    assert CONFIG["_envops"]["undefined"] == "jinja2.StrictUndefined"


def test_an_existing_env_file_is_never_overwritten() -> None:
    assert ".env" in CONFIG["_skip_if_exists"]
