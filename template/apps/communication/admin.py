from collections.abc import Mapping
from typing import Any, ClassVar, override
from urllib.parse import urlencode

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.csp import CSP
from django.utils.decorators import method_decorator
from django.utils.text import Truncator
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from django.views.decorators.csp import csp_override

from apps.communication import services, texts
from apps.communication.kinds import UnknownEmailKindError, all_kinds, get_kind
from apps.communication.languages import fallback_languages, language_choices
from apps.communication.models import Email, EmailTemplate
from apps.communication.rendering import RenderedEmail, render_text
from apps.communication.texts import Text
from apps.communication.widgets import SummernoteEditor
from common.admin import SafeInputMixin

# The editor and the e-mails use inline styles. Inline scripts remain forbidden.
_EDITOR_CSP: dict[str, Any] = {
    **settings.SECURE_CSP,
    "style-src": [CSP.SELF, CSP.UNSAFE_INLINE],
}
INLINE_STYLES = method_decorator(csp_override(_EDITOR_CSP))


@admin.register(Email)
class EmailAdmin(SafeInputMixin, admin.ModelAdmin[Email]):
    """The delivery log, read-only, with an action to send e-mails again."""

    list_display = ("created_at", "state", "to", "kind", "attempts", "error", "next_attempt_at")
    list_display_links = ("created_at", "to")
    list_filter = ("state", "kind", "language", "created_at")
    show_facets = admin.ShowFacets.ALWAYS
    search_fields = ("to",)
    actions = ("send_again",)

    @admin.display(description=_("last error"))
    def error(self, email: Email) -> str:
        return Truncator(email.last_error).chars(80)

    @admin.action(description=_("Send again"), permissions=["send_again"])
    def send_again(self, request: HttpRequest, queryset: QuerySet[Email]) -> None:
        count = services.requeue_emails(queryset)
        message = ngettext(
            "%(count)d e-mail will be sent again.", "%(count)d e-mails will be sent again.", count
        )
        self.message_user(request, message % {"count": count}, messages.SUCCESS)

    def has_send_again_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("communication.change_email")

    @override
    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    @override
    def has_change_permission(self, request: HttpRequest, obj: Email | None = None) -> bool:
        return False


class EmailTemplateForm(forms.ModelForm[EmailTemplate]):
    class Meta:
        model = EmailTemplate
        fields = ("kind", "language", "subject", "html", "is_active")
        widgets: ClassVar[Mapping[str, forms.Widget]] = {
            "subject": forms.TextInput({"class": "vTextField"}),
            "html": SummernoteEditor(),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        kind_name = self.instance.kind or self.initial.get("kind", "")
        try:
            kind = get_kind(kind_name)
        except UnknownEmailKindError:
            return
        if "html" in self.fields:
            names = ", ".join(f"{{{{ {name} }}}}" for name in kind.placeholders)
            self.fields["html"].help_text = _("Placeholders: %(names)s") % {"names": names}


@admin.register(EmailTemplate)
class EmailTemplateAdmin(SafeInputMixin, admin.ModelAdmin[EmailTemplate]):
    form = EmailTemplateForm
    fields = ("kind", "language", "subject", "html", "is_active")
    list_display = ("kind", "language", "subject", "is_active", "updated_at")
    list_filter = ("kind", "language", "is_active")

    @override
    def get_urls(self) -> list[URLPattern]:
        preview = self.admin_site.admin_view(self.preview_view)
        return [
            path("preview/", preview, name="communication_emailtemplate_preview_new"),
            path("<int:pk>/preview/", preview, name="communication_emailtemplate_preview"),
            *super().get_urls(),
        ]

    @override
    def get_readonly_fields(
        self, request: HttpRequest, obj: EmailTemplate | None = None
    ) -> tuple[str, ...]:
        return ("kind", "language") if obj else ()

    @override
    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if request.method == "GET" and "kind" not in request.GET:
            return self._choose_view(request)
        return super().add_view(request, form_url, extra_context)

    @override
    @INLINE_STYLES
    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        return super().changeform_view(request, object_id, form_url, extra_context)

    @override
    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Start a new template with the built-in text."""
        initial = {name: request.GET.get(name, "") for name in ("kind", "language")}
        try:
            kind = get_kind(initial["kind"])
        except UnknownEmailKindError:
            return {}
        candidates = (
            texts.shipped_text(kind, code) for code in fallback_languages(initial["language"])
        )
        text = next((text for text in candidates if text), Text("", ""))
        return {**initial, "subject": text.subject, "html": text.html}

    @INLINE_STYLES
    def preview_view(self, request: HttpRequest, pk: int | None = None) -> HttpResponse:
        """Show a stored template, or one posted by the form, with sample values."""
        template = None if pk is None else get_object_or_404(EmailTemplate, pk=pk)
        if not self._may_preview(request, template):
            raise PermissionDenied
        if request.method == "POST":
            form = self.get_form(request, template)(request.POST, instance=template)
            errors: dict[str, Any] = dict(form.errors)
            template = form.instance
        elif template is None:
            return redirect("admin:communication_emailtemplate_changelist")
        else:
            errors = _errors_of(template)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": _("Preview"),
            "form_errors": errors,
            "email": None if errors else _sample(template),
        }
        return TemplateResponse(request, "admin/communication/emailtemplate/preview.html", context)

    def _may_preview(self, request: HttpRequest, template: EmailTemplate | None) -> bool:
        if template is None:
            return self.has_add_permission(request)
        if request.method == "POST":
            return self.has_change_permission(request, template)
        return self.has_view_or_change_permission(request, template)

    def _choose_view(self, request: HttpRequest) -> HttpResponse:
        """List every kind in every language, with a link to add or change its template."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        written = {(row.kind, row.language): row.pk for row in EmailTemplate.objects.all()}
        choices = [
            (
                kind.label,
                [
                    (name, *_address(kind.name, code, written.get((kind.name, code))))
                    for code, name in language_choices()
                ],
            )
            for kind in all_kinds()
        ]
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": _("Rewrite an e-mail"),
            "choices": choices,
        }
        return TemplateResponse(request, "admin/communication/emailtemplate/choose.html", context)


def _errors_of(template: EmailTemplate) -> dict[str, list[str]]:
    try:
        template.full_clean()
    except ValidationError as error:
        return error.message_dict
    return {}


def _sample(template: EmailTemplate) -> RenderedEmail:
    text = Text(template.subject, template.html)
    return render_text(text, template.language, get_kind(template.kind).placeholders)


def _address(kind: str, language: str, pk: int | None) -> tuple[str, bool]:
    if pk is not None:
        return reverse("admin:communication_emailtemplate_change", args=[pk]), True
    query = urlencode({"kind": kind, "language": language})
    return f"{reverse('admin:communication_emailtemplate_add')}?{query}", False
