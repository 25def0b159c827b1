"""Texts with placeholders, built in or written by administrators.

Only ``{{ name }}`` is replaced. Texts are never passed to Django's template engine, which would
execute what an administrator has written (server-side template injection).
"""

import re
from collections.abc import Mapping
from html.parser import HTMLParser
from typing import NamedTuple

from django.core.exceptions import ValidationError
from django.template import Engine, TemplateDoesNotExist
from django.utils.html import escape
from django.utils.translation import gettext as _

from apps.communication.kinds import EmailKind
from apps.communication.plain_text import html_to_text
from common.html import sanitise_html

_PLACEHOLDER = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_LINK = re.compile(r"\{\{\s*(\w+_url)\s*\}\}")
# Text that may precede a link, so that no mail program joins the link to a word.
_BEFORE_A_LINK = re.compile(r"(?:^|[\s<])[(\[\"'“‘«]*$")
_TEMPLATE_SYNTAX = re.compile(r"\{\{|\}\}|\{%|%\}|\{#|#\}")
_SHIPPED = re.compile(r"\s*<title>(?P<subject>[^<]+)</title>(?P<html>.+)", re.DOTALL)
_LINK_LIKE = re.compile(r"(?<=\w)\.(?=\w)|(?<=:)(?=//)")
ZERO_WIDTH_SPACE = "\u200b"


class Text(NamedTuple):
    subject: str
    html: str


def shipped_text(kind: EmailKind, language: str) -> Text | None:
    """Return the built-in text, or None if there is none in this language."""
    name = f"communication/email/{kind.name}/{language}.html"
    try:
        source = Engine.get_default().get_template(name).source
    except TemplateDoesNotExist:
        return None
    match = _SHIPPED.fullmatch(source)
    if match is None:
        raise ValueError(
            f"{name} must contain a <title>, which is the subject, and a text below it."
        )
    return Text(match["subject"].strip(), sanitise_html(match["html"]))


def find_errors(kind: EmailKind, subject: str, html: str) -> dict[str, list[ValidationError]]:
    """Return the validation errors of a text of this kind, by field."""
    errors: dict[str, list[ValidationError]] = {}
    for field, text in (("subject", subject), ("html", html)):
        names = set(_PLACEHOLDER.findall(text))
        if unknown := sorted(names - kind.placeholders.keys()):
            message = _("Unknown placeholders: %(names)s. Available: %(known)s.")
            params = {"names": ", ".join(unknown), "known": ", ".join(sorted(kind.placeholders))}
            errors.setdefault(field, []).append(ValidationError(message, "unknown", params))
        if _TEMPLATE_SYNTAX.search(_PLACEHOLDER.sub("", text)):
            message = _("Braces can only be used for placeholders, such as {{ first_name }}.")
            errors.setdefault(field, []).append(ValidationError(message, "syntax"))
    if in_subject := sorted(_LINK.findall(subject)):
        message = _("The subject cannot contain a link: %(names)s.")
        params = {"names": ", ".join(in_subject)}
        errors.setdefault("subject", []).append(ValidationError(message, "link_in_subject", params))
    if misplaced := sorted(_misplaced(html)):
        message = _(
            "Use the placeholder of a link as the whole address of a link, or in the text with a "
            "space before it. No other placeholder can be in an address. Misplaced: %(names)s."
        )
        params = {"names": ", ".join(misplaced)}
        errors.setdefault("html", []).append(ValidationError(message, "misplaced", params))
    if missing := sorted(kind.required - set(_PLACEHOLDER.findall(html))):
        message = _("Missing placeholders: %(names)s.")
        params = {"names": ", ".join(missing)}
        errors.setdefault("html", []).append(ValidationError(message, "missing", params))
    return errors


class _Attributes(HTMLParser):
    """Collect the placeholders in attributes, except links that are the whole ``href``."""

    def __init__(self) -> None:
        super().__init__()
        self.misplaced: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if (tag, name) != ("a", "href") or not _LINK.fullmatch(value or ""):
                self.misplaced.update(_PLACEHOLDER.findall(value or ""))


def _misplaced(html: str) -> set[str]:
    """Return the placeholders whose value could be sent to another server.

    Examples are ``<a href="https://example.com/?{{ reset_url }}">`` and the same URL as text, which
    mail programs turn into a link.
    """
    attributes = _Attributes()
    attributes.feed(html)
    attributes.close()
    text = html_to_text(html)
    joined = {
        link[1] for link in _LINK.finditer(text) if not _BEFORE_A_LINK.search(text[: link.start()])
    }
    return attributes.misplaced | joined


def fill_subject(subject: str, values: Mapping[str, object]) -> str:
    """Return the subject with its values, on one line: a line break would end the header."""
    filled = _PLACEHOLDER.sub(lambda match: str(values[match[1]]), subject)
    return " ".join(filled.split())[:255]


def fill_html(html: str, values: Mapping[str, object]) -> str:
    """Return sanitised HTML with the values filled in."""

    def value_of(match: re.Match[str]) -> str:
        name, value = match[1], str(values[match[1]])
        return escape(value if name.endswith("_url") else _not_a_link(value))

    # A value may have become the URL of a link.
    return sanitise_html(_PLACEHOLDER.sub(value_of, html))


def _not_a_link(value: str) -> str:
    # Mail programs turn text that looks like a URL into a link. Without this, someone could sign up
    # with another person's address and an advertisement as the name, and our e-mail would contain it.
    return _LINK_LIKE.sub(lambda match: match[0] + ZERO_WIDTH_SPACE, value)
