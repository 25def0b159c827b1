"""Users and groups in the admin site, with the rate limits, log events and notices of the API."""

from collections.abc import Sequence
from typing import Any, override

from django.contrib import admin, messages
from django.contrib.admin.options import ActionLocation
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from apps.user import services
from apps.user.forms import AdminLoginForm, OwnPasswordForm, SetPasswordForm, UserForm
from apps.user.models import Session, User
from common.admin import SafeInputMixin

admin.site.login_form = AdminLoginForm
admin.site.password_change_form = OwnPasswordForm
admin.site.unregister(Group)

# Permission to change these is permission to do everything.
PRIVILEGES = ("is_staff", "is_superuser", "groups", "user_permissions")


@admin.register(Group)
class GroupAdmin(SafeInputMixin, DjangoGroupAdmin):
    """Groups, which only superusers can change."""

    @override
    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.is_superuser

    @override
    def has_change_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        return request.user.is_superuser

    @override
    def has_delete_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        return request.user.is_superuser


@admin.register(User)
class UserAdmin(SafeInputMixin, DjangoUserAdmin[User]):
    """Users. Only superusers can change privileges and the accounts of staff."""

    form = UserForm
    change_password_form = SetPasswordForm
    actions = ("end_sessions",)
    list_display = (
        "email",
        "first_name",
        "last_name",
        "email_confirmed_at",
        "is_active",
        "is_staff",
    )
    list_filter = ("is_active", "is_staff", "is_superuser", "groups")
    search_fields = ("email", "first_name", "last_name", "phone")
    ordering = ("email",)
    readonly_fields = ("pending_email", "last_login", "date_joined", "session_list")
    fieldsets = (
        (None, {"fields": ("email", "password")}),
        (
            _("Profile"),
            {"fields": ("first_name", "last_name", "phone", "gender", "date_of_birth")},
        ),
        (_("E-mail"), {"fields": ("email_confirmed_at", "pending_email")}),
        (
            _("Access"),
            {"fields": ("is_active", "is_staff", "is_superuser", "groups", "user_permissions")},
        ),
        (_("History"), {"fields": ("last_login", "date_joined", "session_list")}),
    )
    add_fieldsets = (
        (
            None,
            {
                "classes": ("wide",),
                "fields": (
                    "email",
                    "first_name",
                    "last_name",
                    "usable_password",
                    "password1",
                    "password2",
                ),
            },
        ),
    )

    @override
    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return super().has_change_permission(request, obj) and _can_manage(request, obj)

    @override
    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return super().has_delete_permission(request, obj) and _can_manage(request, obj)

    @override
    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> tuple[str, ...]:
        own = self.readonly_fields
        return own if request.user.is_superuser else (*own, *PRIVILEGES)

    @override
    def get_deleted_objects(
        self, objs: Sequence[User] | QuerySet[User], request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[str]]:
        deleted, counts, permissions_needed, protected = super().get_deleted_objects(objs, request)
        if services.include_last_superuser(objs):
            protected = [*protected, gettext("the last superuser")]
        return deleted, counts, permissions_needed, protected

    @admin.display(description=_("sessions"))
    def session_list(self, user: User) -> str:
        url = reverse("admin:user_session_changelist", query={"user__id": user.pk})
        return format_html('<a href="{}">{}</a>', url, gettext("Show sessions"))

    @override
    def save_model(
        self, request: HttpRequest, obj: User, form: ModelForm[User], change: bool
    ) -> None:
        old_email = form.initial.get("email") if change else None
        super().save_model(request, obj, form, change)
        if old_email and old_email != obj.email:
            services.end_sessions(obj)
            services.notify_email_changed(obj, old_email=old_email)

    @admin.action(
        description=_("End all sessions"),
        permissions=["change"],
        location=[ActionLocation.CHANGE_LIST, ActionLocation.CHANGE_FORM],
    )
    def end_sessions(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        users = list(queryset)
        if not all(self.has_change_permission(request, user) for user in users):
            raise PermissionDenied
        for user in users:
            services.end_sessions(user)
            self.log_change(request, user, gettext("Ended all sessions."))
        count = len(users)
        message = ngettext(
            "The sessions of %(count)d user have ended.",
            "The sessions of %(count)d users have ended.",
            count,
        )
        self.message_user(request, message % {"count": count}, messages.SUCCESS)


@admin.register(Session)
class SessionAdmin(admin.ModelAdmin[Session]):
    """Sessions of the API. Deleting one ends it, which requires permission to change its user."""

    list_display = ("user", "created_at", "last_used_at", "expires_at", "address", "user_agent")
    list_select_related = ("user",)
    search_fields = ("user__email", "address")

    @override
    def get_queryset(self, request: HttpRequest) -> QuerySet[Session]:
        return Session.objects.live()

    @override
    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    @override
    def has_change_permission(self, request: HttpRequest, obj: Session | None = None) -> bool:
        return False

    @override
    def has_view_permission(self, request: HttpRequest, obj: Session | None = None) -> bool:
        return request.user.has_perm("user.view_user") or self.has_delete_permission(request, obj)

    @override
    def has_delete_permission(self, request: HttpRequest, obj: Session | None = None) -> bool:
        return request.user.has_perm("user.change_user") and _can_manage(
            request, obj.user if obj else None
        )

    @override
    def delete_model(self, request: HttpRequest, obj: Session) -> None:
        services.end_session(obj.user, obj.pk)

    @override
    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Session]) -> None:
        for session in queryset.select_related("user"):
            services.end_session(session.user, session.pk)


def _can_manage(request: HttpRequest, user: User | None) -> bool:
    return user is None or request.user.is_superuser or not (user.is_staff or user.is_superuser)
