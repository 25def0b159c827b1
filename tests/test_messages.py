"""The Portuguese of the service: complete, and compiled from what a translator reads."""

import io
import re

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import read_mo
from babel.messages.pofile import read_po
from support import TEMPLATE

MESSAGES = TEMPLATE / "locale/pt_BR/LC_MESSAGES"
KEYWORDS = dict.fromkeys(("_", "gettext", "gettext_lazy")) | {"ngettext": (1, 2)}
TRANSLATE_TAG = re.compile(
    r"""{%\s*translate\s+"([^"]+)"|{%\s*blocktranslate[^%]*%}(.*?){%""", re.DOTALL
)


def catalog() -> Catalog:
    return read_po(io.BytesIO((MESSAGES / "django.po").read_bytes()), locale="pt_BR")


def messages_of(catalog: Catalog) -> list[Message]:
    return [message for message in catalog if message.id]


def source_of(message: Message) -> str:
    """The text in the code: the singular where there are two."""
    return message.id if isinstance(message.id, str) else message.id[0]


def translations_of(message: Message) -> list[str]:
    """The translation: one text, or one for each plural form."""
    texts = message.string or []
    return [texts] if isinstance(texts, str) else list(texts)


def said_by_the_code() -> set[str]:
    """Every text that the template's Python, settings and pages hand to gettext."""
    python = extract_from_dir(
        TEMPLATE,
        method_map=[("**/tests/**", "ignore"), ("**.py", "python"), ("**.py.jinja", "python")],
        keywords=KEYWORDS,
    )
    texts = {found[2] if isinstance(found[2], str) else found[2][0] for found in python}
    for page in TEMPLATE.rglob("*.html"):
        for translate, block in TRANSLATE_TAG.findall(page.read_text()):
            texts.add(translate or re.sub(r"{{ (\w+) }}", r"%(\1)s", block.strip()))
    return texts


def test_every_text_of_the_code_is_translated() -> None:
    translated = {
        source_of(message)
        for message in messages_of(catalog())
        if all(translations_of(message)) and message.string and not message.fuzzy
    }
    assert said_by_the_code() - translated == set()


def test_no_translation_is_left_over() -> None:
    known = {source_of(message) for message in messages_of(catalog())}
    assert known - said_by_the_code() == set()


def test_placeholders_stay() -> None:
    placeholder = re.compile(r"%\(\w+\)[sd]|{{ \w+ }}")
    for message in messages_of(catalog()):
        source = message.id if isinstance(message.id, str) else message.id[-1]
        for text in translations_of(message):
            assert sorted(placeholder.findall(text)) == sorted(placeholder.findall(source)), text


def test_the_compiled_file_is_up_to_date() -> None:
    compiled = read_mo(io.BytesIO((MESSAGES / "django.mo").read_bytes()))
    texts = {source_of(message): translations_of(message) for message in messages_of(compiled)}
    assert texts == {
        source_of(message): translations_of(message) for message in messages_of(catalog())
    }
