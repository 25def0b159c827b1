"""The Portuguese of the service is complete.

An optional app has its own catalogue. All others share one.
"""

import io
import re
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract
from babel.messages.pofile import read_po
from support import TEMPLATE

MESSAGES = "locale/pt_BR/LC_MESSAGES"
KEYWORDS = dict.fromkeys(("_", "gettext", "gettext_lazy", "gettext_noop")) | {"ngettext": (1, 2)}
TRANSLATE_TAG = re.compile(
    r"""{%\s*translate\s+"([^"]+)"|{%\s*blocktranslate[^%]*%}(.*?){%""", re.DOTALL
)


# The folders with a catalogue, each for its own messages.
OWNERS = sorted(file.parents[3] for file in TEMPLATE.rglob(f"{MESSAGES}/django.po"))
each_owner = pytest.mark.parametrize(
    "owner", OWNERS, ids=lambda owner: owner.relative_to(TEMPLATE).as_posix()
)


def catalog(owner: Path) -> Catalog:
    return read_po(io.BytesIO((owner / MESSAGES / "django.po").read_bytes()), locale="pt_BR")


def messages_of(catalog: Catalog) -> list[Message]:
    return [message for message in catalog if message.id]


def source_of(message: Message) -> str:
    """Return the text in the code: the singular if there is a plural."""
    return message.id if isinstance(message.id, str) else message.id[0]


def translations_of(message: Message) -> list[str]:
    """Return the translation: one text, or one for each plural form."""
    texts = message.string or []
    return [texts] if isinstance(texts, str) else list(texts)


def files_of(owner: Path, pattern: str) -> list[Path]:
    """Return the files of a folder, without tests and subfolders with their own catalogue."""
    others = [other for other in OWNERS if other != owner and other.is_relative_to(owner)]
    return [
        file
        for file in owner.rglob(pattern)
        if "tests" not in file.parts and not any(map(file.is_relative_to, others))
    ]


def said_by_the_code(owner: Path) -> set[str]:
    """Return every text that a folder's Python files and templates pass to gettext."""
    texts = set()
    for file in [*files_of(owner, "*.py"), *files_of(owner, "*.py.jinja")]:
        # Optional code is between Jinja lines, which are not Python.
        python = re.sub(r"^{%.*%}\n", "", file.read_text(), flags=re.MULTILINE)
        for _line, found, _comments, _context in extract(
            "python", io.BytesIO(python.encode()), keywords=KEYWORDS
        ):
            texts.add(found if isinstance(found, str) else found[0])
    for page in files_of(owner, "*.html"):
        for translate, block in TRANSLATE_TAG.findall(page.read_text()):
            texts.add(translate or re.sub(r"{{ (\w+) }}", r"%(\1)s", block.strip()))
    return texts


def test_the_root_of_the_template_has_a_catalogue() -> None:
    assert TEMPLATE in OWNERS


@each_owner
def test_every_text_of_the_code_is_translated(owner: Path) -> None:
    """In the folder's own catalogue, because ``makemessages`` knows no other one."""
    translated = {
        source_of(message)
        for message in messages_of(catalog(owner))
        if all(translations_of(message)) and message.string and not message.fuzzy
    }
    assert said_by_the_code(owner) - translated == set()


@each_owner
def test_every_translation_belongs_to_a_message_in_the_code(owner: Path) -> None:
    known = {source_of(message) for message in messages_of(catalog(owner))}
    assert known - said_by_the_code(owner) == set()


@each_owner
def test_translations_keep_the_placeholders(owner: Path) -> None:
    placeholder = re.compile(r"%\(\w+\)[sd]|{{ \w+ }}")
    for message in messages_of(catalog(owner)):
        source = message.id if isinstance(message.id, str) else message.id[-1]
        for text in translations_of(message):
            assert sorted(placeholder.findall(text)) == sorted(placeholder.findall(source)), text
