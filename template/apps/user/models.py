import uuid
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.db import models, transaction
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from phonenumber_field.modelfields import PhoneNumberField

from apps.user.fields import LowercaseEmailField
from apps.user.validators import validate_not_in_the_future

# A change of one of these must log the user out.
_ENDS_SESSIONS = frozenset({"is_active", "password"})


class UserQuerySet(models.QuerySet["User"]):
    def update(self, **values: Any) -> int:
        """Update the rows. A new ``is_active`` or ``password`` ends the users' sessions, as in ``save``."""
        if not _ENDS_SESSIONS & values.keys():
            return super().update(**values)
        with transaction.atomic(using=self.db):
            # Read first: the update may change which rows the filter matches.
            users = list(self.values_list("pk", flat=True))
            count = super().update(**{"pending_email": None, **values})
            for pk in users:
                self.model.objects.filter(pk=pk).update(security_stamp=uuid.uuid4())
        return count


class UserManager(BaseUserManager["User"]):
    def get_queryset(self) -> UserQuerySet:
        return UserQuerySet(self.model, using=self._db)

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "User":
        """Create a user with an unconfirmed e-mail address."""
        user = self.model(email=email, **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> "User":
        """Create a superuser with a confirmed e-mail address."""
        fields |= {"is_staff": True, "is_superuser": True, "email_confirmed_at": timezone.now()}
        return self.create_user(email, password, **fields)


class User(AbstractBaseUser, PermissionsMixin):
    """A user, identified by an e-mail address."""

    class Gender(models.TextChoices):
        FEMALE = "female", _("female")
        MALE = "male", _("male")
        OTHER = "other", _("other")

    email = LowercaseEmailField(
        _("e-mail address"),
        unique=True,
        error_messages={"unique": _("There is already an account with this e-mail address.")},
    )
    email_confirmed_at = models.DateTimeField(_("e-mail confirmed at"), null=True, blank=True)
    pending_email = LowercaseEmailField[str | None, str | None](
        _("new e-mail address"),
        null=True,
        blank=True,
        help_text=_("Becomes the e-mail address once it is confirmed."),
    )
    first_name = models.CharField(_("first name"), max_length=150)
    last_name = models.CharField(_("last name"), max_length=150)
    phone = PhoneNumberField(
        _("phone"), blank=True, help_text=_("International: +55 11 96123-4567")
    )
    gender = models.CharField(_("gender"), max_length=10, choices=Gender.choices, blank=True)
    date_of_birth = models.DateField(
        _("date of birth"), null=True, blank=True, validators=[validate_not_in_the_future]
    )

    is_active = models.BooleanField(_("active"), default=True)
    is_staff = models.BooleanField(
        _("staff"), default=False, help_text=_("Can log in to the admin site.")
    )
    date_joined = models.DateTimeField(_("date joined"), default=timezone.now, editable=False)

    # Sessions, admin sessions and one-time tokens contain it. A new value ends all of them.
    security_stamp = models.UUIDField(
        default=uuid.uuid4, unique=True, editable=False, db_column="session_id"
    )

    objects: ClassVar[UserManager] = UserManager()

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        verbose_name = _("user")
        verbose_name_plural = _("users")
        indexes = [
            # See apps.user.backends. Empty when every password uses the preferred hasher.
            models.Index(
                fields=["password"],
                condition=~models.Q(("password__startswith", "argon2$")),
                name="user_older_hasher",
            ),
        ]
        constraints = [
            # With unique=True, addresses are unique regardless of case.
            models.CheckConstraint(
                condition=models.Q(email=Lower("email")), name="user_email_is_lowercase"
            ),
        ]

    def __str__(self) -> str:
        return self.email

    def end_sessions(self) -> None:
        """End every session, admin session and e-mailed link of the user when the user is saved.

        Also cancels a pending change of the address, which a thief may have requested.
        """
        self.security_stamp = uuid.uuid4()
        self.pending_email = None

    def set_password(self, raw_password: str | None) -> None:
        super().set_password(raw_password)
        self.end_sessions()

    def set_unusable_password(self) -> None:
        super().set_unusable_password()
        self.end_sessions()

    def save(self, *, update_fields: Iterable[str] | None = None, **kwargs: Any) -> None:
        """Save the user. Saving an inactive user ends its sessions permanently."""
        changed = None if update_fields is None else set(update_fields)
        if not self.is_active and (changed is None or "is_active" in changed):
            self.end_sessions()
        if changed is not None and changed & _ENDS_SESSIONS:
            changed |= {"security_stamp", "pending_email"}
        super().save(update_fields=changed, **kwargs)

    def get_session_auth_hash(self) -> str:
        """Include the stamp, so that ``end_sessions`` ends Django sessions too."""
        return f"{super().get_session_auth_hash()}{self.security_stamp.hex}"

    def get_session_auth_fallback_hash(self) -> Iterator[str]:
        for auth_hash in super().get_session_auth_fallback_hash():
            yield f"{auth_hash}{self.security_stamp.hex}"

    def get_full_name(self) -> str:
        return f"{self.first_name} {self.last_name}".strip()

    def get_short_name(self) -> str:
        return self.first_name


class SessionQuerySet(models.QuerySet["Session"]):
    def live(self) -> "SessionQuerySet":
        # The join leaves out sessions whose user has a new stamp.
        return self.filter(expires_at__gt=timezone.now(), user__is_active=True)

    def ended(self) -> "SessionQuerySet":
        users = User.objects.filter(security_stamp=models.OuterRef("user_id"))
        return self.filter(models.Q(expires_at__lte=timezone.now()) | ~models.Exists(users))


class Session(models.Model):
    """A login to the API on one device, which is the subject of its JWTs."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    # Refers to the stamp, so that a new one ends the session without a write to this table. A login
    # during a change of the password thus creates a session that has already ended.
    user = models.ForeignKey(
        User,
        verbose_name=_("user"),
        on_delete=models.CASCADE,
        to_field="security_stamp",
        db_column="security_stamp",
        db_constraint=False,
        related_name="sessions",
    )
    created_at = models.DateTimeField(_("created at"), default=timezone.now)
    last_used_at = models.DateTimeField(
        _("last used at"), help_text=_("The last login or refresh.")
    )
    expires_at = models.DateTimeField(_("expires at"))
    address = models.GenericIPAddressField(_("IP address"), null=True)
    user_agent = models.CharField(_("user agent"), max_length=255)

    objects = SessionQuerySet.as_manager()

    class Meta:
        verbose_name = _("session")
        verbose_name_plural = _("sessions")
        ordering = ["-last_used_at"]
        default_permissions = ()  # see apps.user.admin.SessionAdmin

    def __str__(self) -> str:
        return self.user_agent or str(self.pk)
