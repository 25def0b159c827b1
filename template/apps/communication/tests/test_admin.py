import re
from collections.abc import Iterator, Sequence
from html import unescape
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.core.mail import EmailMessage
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django.utils import timezone, translation
from pytest_django import DjangoCaptureOnCommitCallbacks

from apps.communication.kinds import get_kind
from apps.communication.models import Email, EmailTemplate
from apps.communication.services import queue_email
from apps.communication.texts import shipped_text
from apps.communication.widgets import SummernoteEditor
from apps.user.models import User
from apps.user.tests.factories import make_user

TEMPLATES = reverse("admin:communication_emailtemplate_changelist")
ADD = reverse("admin:communication_emailtemplate_add")
PREVIEW = reverse("admin:communication_emailtemplate_preview_new")
LOG = reverse("admin:communication_email_changelist")
TEXT = {
    "kind": "reset_password",
    "language": "en",
    "subject": "Reset it, {{ first_name }}",
    "html": '<p><a href="{{ reset_url }}">Reset</a></p>',
    "is_active": "on",
}


def staff_client(*permissions: str) -> Client:
    """Return a client of a staff user with this permission in this app."""
    user = make_user(is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def editor(db: None) -> Client:
    return staff_client(
        "add_emailtemplate", "change_emailtemplate", "view_emailtemplate", "delete_emailtemplate"
    )


@pytest.fixture
def template(db: None) -> EmailTemplate:
    return EmailTemplate.objects.create(**TEXT | {"is_active": True})


def change_url(template: EmailTemplate) -> str:
    return reverse("admin:communication_emailtemplate_change", args=[template.pk])


def preview_url(template: EmailTemplate) -> str:
    return reverse("admin:communication_emailtemplate_preview", args=[template.pk])


# The package's vulnerabilities


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("staff", [False, True])
@pytest.mark.parametrize(
    "path",
    [
        "/summernote/editor/id_html/",
        "/summernote/editor/</script>/",
        "/summernote/upload_attachment/",
    ],
)
def test_the_urls_of_django_summernote_are_not_mounted(
    db: None, admin_client: Client, path: str, staff: bool, method: str
) -> None:
    client = admin_client if staff else Client()
    assert getattr(client, method)(path).status_code == 404


def views(patterns: Sequence[URLPattern | URLResolver]) -> Iterator[str]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from views(pattern.url_patterns)
        else:
            yield pattern.callback.__module__


def test_no_view_and_no_model_of_django_summernote_is_in_use() -> None:
    modules = set(views(get_resolver().url_patterns))
    assert "common.drf.health" in modules
    assert not [module for module in modules if module.startswith("django_summernote")]
    assert "django_summernote" not in {model._meta.app_label for model in admin.site._registry}


def test_the_editor_loads_files_only_from_this_service(editor: Client) -> None:
    page = editor.get(f"{ADD}?kind=reset_password&language=en").content.decode()
    assert "summernote-lite.min.js" in page
    sources = re.findall(r'(?:src|href)="([^"#?]+)', page)
    assert sources
    assert [source for source in sources if source.startswith(("//", "http"))] == []
    assert "<script>" not in page


def test_summernote_loads_before_the_admin_hides_jquery(editor: Client) -> None:
    page = editor.get(f"{ADD}?kind=reset_password&language=en").content.decode()
    names = ["jquery.js", "summernote-lite.min.js", "jquery.init.js", "communication/editor.js"]
    places = [page.replace("jquery.min.js", "jquery.js").index(name) for name in names]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("language", "locale"), [("pt-br", "pt-BR"), ("en", "en-US"), ("xx", "en-US")]
)
def test_the_editor_uses_the_language_of_the_admin(language: str, locale: str) -> None:
    with translation.override(language):
        widget = SummernoteEditor()
        assert f'data-language="{locale}"' in widget.render("html", "")
        assert 'class="summernote-editor"' in widget.render("html", "")
        assert f"summernote-{locale}.min.js" in str(widget.media)


def test_the_editor_is_a_textarea_that_is_not_required(editor: Client) -> None:
    empty = SummernoteEditor().render("html", None)
    assert '<textarea name="html"' in empty
    assert "None" not in empty
    page = editor.get(f"{ADD}?kind=reset_password&language=en").content.decode()
    (textarea,) = re.findall(r"<textarea[^>]*>", page)
    assert "required" not in textarea


def test_inline_scripts_are_forbidden_on_the_pages_of_the_editor(
    editor: Client, template: EmailTemplate
) -> None:
    for url in (ADD + "?kind=reset_password", change_url(template), preview_url(template)):
        policy = editor.get(url).headers["Content-Security-Policy"]
        assert "default-src 'self';" in policy
        assert "style-src 'self' 'unsafe-inline'" in policy
        assert "script-src" not in policy
    assert "unsafe" not in editor.get(TEMPLATES).headers["Content-Security-Policy"]


# Writing


def test_a_new_template_starts_with_the_built_in_text(editor: Client) -> None:
    shipped = shipped_text(get_kind("reset_password"), "pt-br")
    assert shipped is not None
    chooser = editor.get(ADD).content.decode()
    url = f"{ADD}?kind=reset_password&amp;language=pt-br"
    assert f'href="{url}"' in chooser
    assert "csrfmiddlewaretoken" in chooser, "the form to log out needs it"
    page = unescape(editor.get(unescape(url)).content.decode())
    assert f'value="{shipped.subject}"' in page
    assert shipped.html in page


def test_the_chooser_links_to_existing_templates(editor: Client, template: EmailTemplate) -> None:
    response = editor.get(ADD, headers={"Accept-Language": "en"})
    page = response.content.decode()
    assert "<h1>Rewrite an e-mail</h1>" in page
    assert 'id="logout-form"' in page
    assert f'<a href="{change_url(template)}" class="changelink">' in page
    assert f'<a href="{ADD}?kind=reset_password&amp;language=pt-br" class="addlink">' in page


def test_the_form_lists_the_placeholders_of_the_kind(
    editor: Client, template: EmailTemplate
) -> None:
    for url in (f"{ADD}?kind=reset_password", change_url(template)):
        page = editor.get(url, headers={"Accept-Language": "en"}).content.decode()
        assert ">Placeholders: {{ first_name }}, {{ reset_url }}, {{ minutes }}<" in page


@pytest.mark.parametrize("query", ["kind=", "kind=nonsense&language=en", "kind=a&language=../.."])
def test_an_unknown_kind_or_language_in_the_url_is_ignored(editor: Client, query: str) -> None:
    assert editor.get(f"{ADD}?{query}").status_code == 200


def test_a_saved_template_is_sanitised(editor: Client) -> None:
    attack = '<p onclick="x()">Hi</p><script>alert(1)</script><a href="http://{{reset_url}}">x</a>'
    response = editor.post(ADD, TEXT | {"html": attack})
    assert response.status_code == 302
    template = EmailTemplate.objects.get()
    assert template.html == '<p>Hi</p><a href="{{ reset_url }}">x</a>'
    assert editor.get(change_url(template)).status_code == 200


@pytest.mark.parametrize(
    ("field", "text", "message"),
    [
        ("html", "<p>x</p>", "Missing placeholders: reset_url."),
        ("subject", "{{ nome }}", "Unknown placeholders: nome."),
        ("subject", "{{ settings.SECRET_KEY }}", "Braces can only be used for placeholders"),
        ("html", "<p>{% debug %}{{ reset_url }}</p>", "Braces can only be used for placeholders"),
        ("html", '<a href="https://evil.example/?{{ reset_url }}">x</a>', "Misplaced: reset_url."),
        ("html", "<p>https://evil.example/?{{ reset_url }}</p>", "Misplaced: reset_url."),
        ("subject", "{{ reset_url }}", "The subject cannot contain a link: reset_url."),
    ],
)
def test_a_template_that_cannot_be_sent_is_rejected(
    editor: Client, field: str, text: str, message: str
) -> None:
    for url in (ADD, PREVIEW):
        response = editor.post(url, TEXT | {field: text}, headers={"Accept-Language": "en"})
        assert response.status_code == 200
        assert message in unescape(response.content.decode())
    assert not EmailTemplate.objects.exists()


def test_a_rejected_template_is_shown_again_without_scripts(editor: Client) -> None:
    response = editor.post(ADD, TEXT | {"html": "<p>kept</p><img src=x onerror=alert(1)>"})
    page = unescape(response.content.decode())
    assert "<p>kept</p>" in page
    assert "onerror" not in page


def test_a_second_template_for_a_kind_and_language_is_rejected(
    editor: Client, template: EmailTemplate
) -> None:
    response = editor.post(ADD, TEXT, headers={"Accept-Language": "en"})
    assert "There is already a template for this language." in response.content.decode()
    assert EmailTemplate.objects.count() == 1


def test_the_kind_and_language_of_a_template_cannot_be_changed(
    editor: Client, template: EmailTemplate
) -> None:
    editor.post(change_url(template), TEXT | {"kind": "confirm_email", "subject": "New"})
    template.refresh_from_db()
    assert (template.kind, template.subject) == ("reset_password", "New")


# Previewing


def sandboxed(page: str) -> str:
    """Return the content of the preview's frame."""
    match = re.search(r'<iframe[^>]* sandbox srcdoc="([^"]*)"', page)
    assert match
    return unescape(match[1])


def test_a_preview_shows_the_sample_values(editor: Client, template: EmailTemplate) -> None:
    page = editor.get(preview_url(template)).content.decode()
    assert "Reset it, Ana" in page
    sample = get_kind("reset_password").placeholders["reset_url"]
    assert f'<a href="{sample}">Reset</a>' in sandboxed(page)
    assert '<html lang="en">' in sandboxed(page)
    assert sandboxed(page).rstrip().endswith("</html>")
    assert f"Reset: &lt;{sample}&gt;" in page


def test_a_preview_shows_unsaved_changes(editor: Client, template: EmailTemplate) -> None:
    for url in (PREVIEW, preview_url(template)):
        page = editor.post(url, TEXT | {"language": "pt-br", "subject": "Unsaved"}).content.decode()
        assert '<p id="email-subject">Unsaved</p>' in page
    template.refresh_from_db()
    assert template.subject == TEXT["subject"]
    assert EmailTemplate.objects.count() == 1


def test_a_preview_is_escaped(editor: Client) -> None:
    html = '<p>&lt;/pre&gt;&lt;script&gt;alert(1)&lt;/script&gt;</p><a href="{{ reset_url }}">x</a>'
    text = TEXT | {"subject": '"><script>alert(2)</script>', "html": html}
    page = editor.post(PREVIEW, text).content.decode()
    assert "<script>alert" not in page
    assert "<script>alert" not in sandboxed(page)


def test_a_template_of_a_removed_kind_can_be_opened(editor: Client) -> None:
    template = EmailTemplate.objects.create(**TEXT | {"kind": "gone", "is_active": True})
    assert "errornote" in editor.get(preview_url(template)).content.decode()
    assert editor.get(change_url(template)).status_code == 200


def test_a_preview_requires_the_permission_to_view_or_change(template: EmailTemplate) -> None:
    anonymous, nobody, reader = Client(), staff_client(), staff_client("view_emailtemplate")
    for url in (PREVIEW, preview_url(template)):
        assert anonymous.get(url).status_code == 302
        assert nobody.get(url).status_code == 403
        assert nobody.post(url, TEXT).status_code == 403
        assert reader.post(url, TEXT).status_code == 403
    assert reader.get(preview_url(template)).status_code == 200
    assert f'href="{preview_url(template)}"' in reader.get(change_url(template)).content.decode()
    assert reader.get(ADD).status_code == 403
    outsider = Client()
    outsider.force_login(make_user())
    assert outsider.get(preview_url(template)).status_code == 302


def test_a_preview_without_a_template_redirects_to_the_list(editor: Client) -> None:
    assert editor.get(PREVIEW).headers["Location"] == TEMPLATES
    assert editor.get(PREVIEW.replace("preview", "99/preview")).status_code == 404


def test_a_preview_requires_a_csrf_token(admin_user: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_user)
    assert client.post(PREVIEW, TEXT).status_code == 403


# The log


@pytest.fixture
def failed(greeting_text: EmailTemplate) -> Email:
    email = queue_email("greeting", to="a@example.com", context={}, language="en")
    error = "SMTPServerDisconnected: " + "x" * 500
    Email.objects.filter(pk=email.pk).update(
        state=Email.State.FAILED, attempts=15, last_error=error, next_attempt_at=None
    )
    return email


def test_the_log_shows_errors_and_counts_states(admin_client: Client, failed: Email) -> None:
    page = admin_client.get(LOG, {"state": "failed"}, headers={"Accept-Language": "en"})
    text = page.content.decode()
    assert "SMTPServerDisconnected" in text
    assert "failed (1)" in text
    assert "sent (0)" in text
    detail = admin_client.get(reverse("admin:communication_email_change", args=[failed.pk]))
    assert "x" * 500 in detail.content.decode()


def test_the_log_is_read_only(admin_client: Client, failed: Email) -> None:
    assert admin_client.get(reverse("admin:communication_email_add")).status_code == 403
    url = reverse("admin:communication_email_change", args=[failed.pk])
    assert admin_client.post(url, {"to": "evil@example.com"}).status_code == 403
    failed.refresh_from_db()
    assert failed.to == "a@example.com"


def send_again(client: Client, email: Email) -> Any:
    return client.post(LOG, {"action": "send_again", "_selected_action": [email.pk]}, follow=True)


def test_an_email_can_be_sent_again_from_the_log(
    admin_client: Client,
    failed: Email,
    mailoutbox: Sequence[EmailMessage],
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        send_again(admin_client, failed)
    failed.refresh_from_db()
    assert failed.state == Email.State.SENT
    assert len(mailoutbox) == 1


def test_sending_again_and_deleting_require_a_permission(failed: Email) -> None:
    client = staff_client("view_email")
    send_again(client, failed)
    assert not Email.objects.due(timezone.now()).exists()
    delete = reverse("admin:communication_email_delete", args=[failed.pk])
    assert client.post(delete, {"post": "yes"}).status_code == 403
    send_again(staff_client("view_email", "change_email"), failed)
    assert Email.objects.due(timezone.now()).exists()
    staff_client("view_email", "delete_email").post(delete, {"post": "yes"})
    assert not Email.objects.exists()
