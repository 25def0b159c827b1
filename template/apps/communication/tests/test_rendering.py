import pytest
from django.core.exceptions import ValidationError
from django.template import Engine
from django.utils import translation
from pytest_django import Settings

from apps.communication import texts
from apps.communication.emails import email_kind
from apps.communication.kinds import (
    EmailKind,
    UnknownEmailKindError,
    all_kinds,
    get_kind,
)
from apps.communication.languages import supported_language
from apps.communication.models import EmailTemplate
from apps.communication.plain_text import html_to_text
from apps.communication.rendering import render_email, render_text
from apps.communication.texts import Text, fill_html, fill_subject, find_errors, shipped_text
from common.html import sanitise_html

KIND = EmailKind(
    "any",
    "Any",
    {"name": "Ana", "page_url": "https://e.com/"},
    frozenset({"page_url"}),
    lambda: None,
)
VALUES = {"name": "Ana", "page_url": "https://e.com/x?a=1&b=2"}
LINK = '<a href="{{ page_url }}">x</a>'


@pytest.mark.parametrize("language", ["pt-br", "en"])
@pytest.mark.parametrize("kind", all_kinds(), ids=lambda kind: kind.name)
def test_every_kind_has_a_text_in_every_language(kind: EmailKind, language: str, db: None) -> None:
    text = shipped_text(kind, language)
    assert text is not None
    assert find_errors(kind, text.subject, text.html) == {}
    email = render_email(kind, language, kind.placeholders)
    assert email.subject
    assert f'lang="{language}"' in email.html
    assert "{{" not in email.subject + email.html + email.text
    for name in kind.required:
        value = kind.placeholders[name]
        assert value in email.text
        if name.endswith("_url"):
            assert f'href="{value}"' in email.html
            assert f"<{value}>" in email.text.split()


def test_an_active_template_replaces_the_built_in_text(db: None) -> None:
    kind = get_kind("reset_password")
    override = EmailTemplate.objects.create(
        kind=kind.name, language="en", subject="Ours", html='<p><a href="{{ reset_url }}">x</a></p>'
    )
    assert render_email(kind, "en", kind.placeholders).subject == "Ours"
    assert render_email(kind, "pt-br", kind.placeholders).subject == "Redefina sua senha"
    override.is_active = False
    override.save()
    assert render_email(kind, "en", kind.placeholders).subject == "Reset your password"


def test_a_template_of_another_kind_is_not_used(greeting_text: EmailTemplate) -> None:
    kind = get_kind("account_deleted")
    EmailTemplate.objects.update(html="<p>x</p>", subject="x")
    assert render_email(kind, "en", kind.placeholders).subject == "Your account was deleted"


def test_an_invalid_stored_template_is_replaced_by_the_built_in_text(
    db: None, caplog: pytest.LogCaptureFixture
) -> None:
    kind = get_kind("reset_password")
    EmailTemplate.objects.create(
        kind=kind.name, language="en", subject="Ours", html="<p>{{ gone }}</p>"
    )
    assert render_email(kind, "en", kind.placeholders).subject == "Reset your password"
    (line,) = [r.msg for r in caplog.records if isinstance(r.msg, dict)]
    logged = {name: line[name] for name in ("event", "template", "fields")}
    assert logged == {
        "event": "email_template_unusable",
        "template": "reset_password (en)",
        "fields": ["html"],
    }


@pytest.mark.parametrize(("default", "expected"), [("pt-br", "pt-br"), ("en-us", "en")])
def test_a_language_without_text_falls_back(
    default: str,
    expected: str,
    db: None,
    settings: Settings,
) -> None:
    settings.LANGUAGE_CODE = default
    settings.LANGUAGES = [("fr", "French"), ("pt-br", "Portuguese"), ("en", "English")]
    kind = get_kind("reset_password")
    assert f'lang="{expected}"' in render_email(kind, "fr", kind.placeholders).html


def test_a_kind_without_a_text_raises_an_error(db: None) -> None:
    with pytest.raises(LookupError, match="any"):
        render_email(KIND, "en", VALUES)


def test_a_built_in_text_without_a_subject_raises_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Nameless:
        source = "<p>text</p>"

    monkeypatch.setattr(Engine, "get_template", lambda *args: Nameless)
    with pytest.raises(ValueError, match="<title>"):
        shipped_text(KIND, "en")


@pytest.mark.parametrize(
    ("code", "expected"),
    [("pt-br", "pt-br"), ("pt", "pt-br"), ("PT-BR", "pt-br"), ("en-us", "en"), ("en-gb", "en")],
)
def test_a_language_code_is_mapped_to_a_language_of_the_service(code: str, expected: str) -> None:
    assert supported_language(code) == expected


def test_an_unknown_language_becomes_the_default_one(settings: Settings) -> None:
    settings.LANGUAGE_CODE = "pt-br"
    assert supported_language("xx") == supported_language(None) == "pt-br"


def test_an_email_names_the_service_first(settings: Settings) -> None:
    settings.SERVICE_NAME = "Cats & Dogs"
    email = render_text(Text("x", "<p>Hello</p>"), "en", VALUES)
    assert email.text.startswith("Cats & Dogs\n\nHello\n")
    body = email.html.partition("<body")[2]
    assert body.index("Cats &amp; Dogs") < body.index("<p>Hello</p>")


def test_a_subject_is_cut_to_the_length_of_its_column() -> None:
    assert len(fill_subject("{{ name }}", {"name": "a" * 300})) == 255


def test_an_email_ends_with_a_footer_in_its_language(settings: Settings) -> None:
    settings.URL_BASE = "https://api.example.com"
    email = render_text(Text("Hi", "<p>Hello</p>"), "en", VALUES)
    footer = "This message was sent automatically by api.example.com. Please do not reply."
    assert email.text.endswith(f"Hello\n\n-- \n{footer}\n")
    assert email.html.index("<p>Hello</p>") < email.html.index(f"\n{footer}\n")
    assert "<title>Hi</title>" in email.html


# Values


def test_values_are_escaped_only_in_the_html() -> None:
    values = VALUES | {"name": "<b>A & B</b>"}
    email = render_text(Text("Hi {{ name }}", "<p>Hi {{name}}</p>" + LINK), "en", values)
    assert email.subject == "Hi <b>A & B</b>"
    assert "<p>Hi &lt;b&gt;A &amp; B&lt;/b&gt;</p>" in email.html
    assert "Hi <b>A & B</b>" in email.text
    assert 'href="https://e.com/x?a=1&amp;b=2"' in email.html
    assert "x: <https://e.com/x?a=1&b=2>\n" in email.text


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r", "\x0b", "\x0c", "\x85", "\u2028"])
def test_a_value_cannot_add_a_header(line_break: str) -> None:
    subject = fill_subject("Hi {{ name }}", {"name": f"Ana{line_break}Bcc: all@example.com"})
    assert subject == "Hi Ana Bcc: all@example.com"


def test_a_placeholder_in_a_value_is_not_filled_in() -> None:
    html = fill_html("<p>{{ name }}</p>", VALUES | {"name": "{{ page_url }} {% debug %}"})
    assert html == "<p>{{ page_url }} {% debug %}</p>"


def test_a_value_cannot_become_a_script_link() -> None:
    html = fill_html('<a href="{{ name }}">x</a>', {"name": "javascript:alert(1)"})
    assert html == "<a>x</a>"


@pytest.mark.parametrize("name", ["Win at evil.example/x", "https://evil.example", "www.evil.com"])
def test_a_value_that_looks_like_a_link_is_not_linked(name: str) -> None:
    html = fill_html("<p>{{ name }}</p>", {"name": name})
    assert "evil.com" not in html
    assert "evil.example" not in html
    assert "://" not in html
    assert html.replace(texts.ZERO_WIDTH_SPACE, "").startswith("<p>")


def test_a_missing_value_raises_an_error() -> None:
    with pytest.raises(KeyError):
        fill_html("<p>{{ name }}</p>", {})


# Texts of administrators


@pytest.mark.parametrize(
    "attack",
    [
        "{{ settings.SECRET_KEY }}",
        "{{ name|safe }}",
        "{{ name }",
        "{% debug %}",
        "{% load log %}",
        "{# comment #}",
        "{{ <b>name</b> }}",
        "{{ ''.__class__ }}",
    ],
)
def test_template_syntax_is_rejected(attack: str) -> None:
    errors = find_errors(KIND, attack, LINK + sanitise_html(f"<p>{attack}</p>"))
    assert [error.code for error in errors["html"]] == ["syntax"]
    assert [error.code for error in errors["subject"]] == ["syntax"]


@pytest.mark.parametrize("attack", ["{{ settings.SECRET_KEY }}", "{% debug %}", "{{ name|safe }}"])
def test_template_syntax_is_never_executed(attack: str, settings: Settings) -> None:
    email = render_text(Text(attack, f"<p>{attack}</p>"), "en", VALUES)
    assert settings.SECRET_KEY not in email.html + email.subject
    assert attack in email.html
    assert email.subject == attack


def test_unknown_and_missing_placeholders_are_rejected() -> None:
    errors = find_errors(KIND, "{{ pagina }}", "<p>{{ nome }} {{ name }}</p>")
    assert [error.code for error in errors["subject"]] == ["unknown"]
    assert [error.code for error in errors["html"]] == ["unknown", "missing"]


def test_every_error_of_a_text_is_explained() -> None:
    links = {"a_url": "https://e.com/", "b_url": "https://e.com/"}
    kind = EmailKind("any", "Any", {"name": "Ana"} | links, frozenset(links), lambda: None)
    subject = "{{ nome }} {{ apelido }} {% debug %} {{ a_url }} {{ b_url }}"
    html = "<p>https://evil.example/?{{ a_url }}</p><p>https://evil.example/?{{ b_url }}</p>"
    with translation.override("en"):
        errors = ValidationError(find_errors(kind, subject, html)).message_dict
        missing = ValidationError(find_errors(kind, "x", "<p>y</p>")).message_dict
    misplaced = (
        "Use the placeholder of a link as the whole address of a link, or in the text with a "
        "space before it. No other placeholder can be in an address. Misplaced: a_url, b_url."
    )
    assert errors == {
        "subject": [
            "Unknown placeholders: apelido, nome. Available: a_url, b_url, name.",
            "Braces can only be used for placeholders, such as {{ first_name }}.",
            "The subject cannot contain a link: a_url, b_url.",
        ],
        "html": [misplaced],
    }
    assert missing == {"html": ["Missing placeholders: a_url, b_url."]}


COLLECTING = [
    '<a href="https://evil.example/?{{ page_url }}">x</a>',
    '<a href="https://evil.example/?{{page_url}}">x</a>',
    '<a href="https://evil.example/?%7B%7B%20page_url%20%7D%7D">x</a>',
    '<a href="https://evil.example/?&#123;&#123; page_url &#125;}">x</a>',
    '<a href="https://evil.example/?{{&#160;page_url }}">x</a>',
    '<a href="https://evil.example/?https://{{ page_url }}">x</a>',
    '<a href="https://evil.example/#{{\tpage_url\n}}">x</a>',
    '<a href="//evil.example/?{{ page_url }}">x</a>',
    '<a href="{{ name }}?{{ page_url }}">x</a>',
    '<a href="{{ page_url }}@evil.example">x</a>',
    '<a href="{{ page_url }}{{ page_url }}">x</a>',
    '<a href="mailto:a@evil.example?body={{ page_url }}">x</a>',
    '<a href="https://evil.example/?{{ name }}">x</a>',
    '<a href="{{ name }}">x</a>',
    '<table><tbody><tr><td colspan="{{ page_url }}">x</td></tr></tbody></table>',
    "<p>https://evil.example/?{{ page_url }}</p>",
    "<p>https://evil.example/?<b>{{ page_url }}</b></p>",
    "<p>https://evil.example/?({{ page_url }})</p>",
    "<p>https://evil.example/?\u200b{{ page_url }}</p>",
    "<p>www.evil.example/{{ page_url }}</p>",
]


@pytest.mark.parametrize("html", COLLECTING)
def test_a_link_placeholder_inside_another_url_is_rejected(html: str) -> None:
    errors = find_errors(KIND, "x", sanitise_html(html + LINK))
    assert {error.code for error in errors["html"]} <= {"misplaced", "syntax"}


@pytest.mark.parametrize("html", COLLECTING)
def test_a_stored_link_placeholder_inside_another_url_is_never_sent(html: str, db: None) -> None:
    kind = get_kind("reset_password")
    EmailTemplate.objects.create(kind=kind.name, language="en", subject="Ours", html="x")
    html = html.replace("page_url", "reset_url").replace("name", "first_name")
    EmailTemplate.objects.update(html=html + '<a href="{{ reset_url }}">x</a>')
    email = render_email(kind, "en", kind.placeholders)
    assert email.subject == "Reset your password"
    assert "evil" not in email.html + email.text


@pytest.mark.parametrize(
    "html",
    [
        LINK,
        '<a href=" {{ page_url }} ">x</a>',
        '<a href="https://{{page_url}}">x</a>',
        '<a href="{{ page_url }}"><b>{{ page_url }}</b></a>',
        '<p>https://example.com/ <a href="{{ page_url }}">x</a></p>',
        "<p>Open {{ page_url }}.</p>",
        "<p>Open ({{ page_url }}).</p>",
        "<p>https://example.com/<br>{{ page_url }}</p>",
        "<p>Hello,{{ name }}</p><p>{{ page_url }}</p>",
    ],
)
def test_a_link_placeholder_can_be_a_whole_url_or_text(html: str) -> None:
    clean = sanitise_html(html)
    assert find_errors(KIND, "x", clean) == {}
    assert VALUES["page_url"] in render_text(Text("x", clean), "en", VALUES).text


def test_a_link_in_the_subject_is_rejected() -> None:
    """The delivery log contains the subject."""
    errors = find_errors(KIND, "{{ page_url }}", LINK)
    assert [error.code for error in errors["subject"]] == ["link_in_subject"]


def test_a_required_link_must_be_in_the_text() -> None:
    assert "html" in find_errors(KIND, "{{ page_url }}", "<p>x</p>")


def test_a_stored_template_is_sanitised_on_saving_and_rendering(db: None) -> None:
    template = EmailTemplate.objects.create(
        kind="reset_password", language="en", subject="x", html="<p>a<script>alert(1)</script></p>"
    )
    assert template.html == "<p>a</p>"
    # As stored by a fixture or another program:
    EmailTemplate.objects.update(html='<a href="{{ reset_url }}" onclick="alert(1)">x</a>')
    kind = get_kind("reset_password")
    assert "onclick" not in render_email(kind, "en", kind.placeholders).html


# Kinds


def test_a_kind_cannot_be_declared_twice(greeting: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="greeting"):
        email_kind("greeting", label="x", placeholders={})(lambda: None)


def test_the_error_for_an_unknown_kind_names_it() -> None:
    with pytest.raises(UnknownEmailKindError, match="nonsense"):
        get_kind("nonsense")


# The text part


def test_html_is_converted_to_plain_text() -> None:
    html = (
        "<h1>Olá,\n   Ana!</h1><p>One <b>two</b><br>three&nbsp;&amp; four</p><hr>"
        '<ul><li>a</li><li>b</li></ul><p>Go <a href="https://e.com/?a=(1)&amp;b=_c_">there</a>.</p>'
        '<p><a href="https://e.com/">https://e.com/</a></p><table><tr><td>x</td><td>y</td></tr></table>'
    )
    assert html_to_text(html) == (
        "Olá, Ana!\n\nOne two\nthree & four\n\n----\n\n- a\n- b\n\n"
        "Go there: <https://e.com/?a=(1)&b=_c_>.\n\n<https://e.com/>\n\nx y\n"
    )


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<table><tr><th>x</th><th>y</th></tr></table>", "x y"),
        ('<a href="https://e.com/"><b>The</b> page </a>', "The page: <https://e.com/>"),
        ("<a>The page</a>", "The page"),
        ("<p>One </p> <p> two</p>", "One\n\ntwo"),
        ("One <b> two</b>", "One two"),
    ],
)
def test_white_space_and_links_in_plain_text(html: str, text: str) -> None:
    assert html_to_text(html) == f"{text}\n"
