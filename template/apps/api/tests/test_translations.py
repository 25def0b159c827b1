"""Translations are compiled when the service starts."""

import gettext
import os
from pathlib import Path

import pytest

from common.translations import compile_translations

GREETING = "Good morning"  # makemessages must not find it
CATALOG = f"""\
msgid ""
msgstr "Content-Type: text/plain; charset=UTF-8\\n"

msgid "{GREETING}"
msgstr "{{translation}}"
"""


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    path = tmp_path / "pt_BR/LC_MESSAGES/django.po"
    path.parent.mkdir(parents=True)
    return path


def write(catalog: Path, translation: str, *, time: int) -> None:
    catalog.write_text(CATALOG.format(translation=translation))
    os.utime(catalog, (time, time))


def translated(catalog: Path) -> str:
    compile_translations([catalog.parents[2]])
    with catalog.with_suffix(".mo").open("rb") as file:
        return gettext.GNUTranslations(file).gettext(GREETING)


def test_a_catalog_is_compiled_after_each_change(catalog: Path) -> None:
    write(catalog, "Bom dia", time=1)
    assert translated(catalog) == "Bom dia"
    os.utime(catalog.with_suffix(".mo"), (1, 1))
    write(catalog, "Bom dia!", time=2)
    assert translated(catalog) == "Bom dia!"
    assert {path.suffix for path in catalog.parent.iterdir()} == {".po", ".mo"}


def test_an_unchanged_catalog_is_not_compiled_again(catalog: Path) -> None:
    write(catalog, "Bom dia", time=1)
    compile_translations([catalog.parents[2]])
    os.utime(catalog.with_suffix(".mo"), (1, 1))  # as in an image, where all files have one time
    compile_translations([catalog.parents[2]])
    assert catalog.with_suffix(".mo").stat().st_mtime == 1


def test_a_merge_conflict_in_a_catalog_stops_the_start(catalog: Path) -> None:
    write(catalog, "Bom dia", time=1)
    catalog.write_text("<<<<<<< before updating\n" + catalog.read_text())
    with pytest.raises(ValueError, match=r"django\.po: Syntax error"):
        compile_translations([catalog.parents[2]])


def test_a_folder_that_cannot_be_written_stops_the_start_with_advice(
    catalog: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    write(catalog, "Bom dia", time=1)
    monkeypatch.setattr(Path, "write_bytes", refuse)
    advice = r"Run `python manage\.py check` when the service is built .* translations\.$"
    with pytest.raises(ValueError, match=rf"django\.mo .*\(Permission denied\)\. {advice}"):
        compile_translations([catalog.parents[2]])
