"""Serializers of users and of ``/api/v1/auth/``."""

from typing import Any

from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema_field
from phonenumber_field.serializerfields import PhoneNumberField
from rest_framework import serializers

from apps.user import services
from apps.user.models import Session, User
from apps.user.validators import MAX_PASSWORD_LENGTH
from common.email_addresses import MAX_LENGTH, normalise_email

NEVER_SHOWN = ("password", "security_stamp")
READ_ONLY = (
    "id",
    "pending_email",
    "email_confirmed_at",
    "is_active",
    "is_staff",
    "is_superuser",
    "last_login",
    "date_joined",
)
PROFILE = ("email", "first_name", "last_name", "phone", "gender", "date_of_birth")
ACCESS = ("groups", "user_permissions")


@extend_schema_field({"type": "string", "maxLength": 128, "example": "green-tram-42-to-lisbon"})
class PasswordField(serializers.CharField):
    """A password, with its leading and trailing spaces. OWASP ASVS 5.0: 6.2.8, 6.2.9."""

    def __init__(self, *, max_length: int = MAX_PASSWORD_LENGTH, **kwargs: Any) -> None:
        super().__init__(
            write_only=True,
            trim_whitespace=False,
            max_length=max_length,
            **kwargs,
        )


@extend_schema_field({"type": "string", "example": "+5511961234567"})
class PhoneField(PhoneNumberField):  # type: ignore[misc]  # it has no types
    default_error_messages = {
        "invalid": _("Enter a valid phone number, for example +55 11 96123-4567.")
    }


class CurrentPasswordField(PasswordField):
    """An existing password. Older ones may be longer than new ones can be."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=4096, **kwargs)


class EmailAddressField(serializers.EmailField):
    """A normalised e-mail address that can receive mail."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=MAX_LENGTH, **kwargs)

    def to_internal_value(self, data: Any) -> str:
        value: str = super().to_internal_value(data)
        try:
            return normalise_email(value)
        except ValueError:
            self.fail("invalid")


class LoginEmailField(EmailAddressField):
    """Also accepts what normalisation rejects: older accounts may have such an address."""

    def to_internal_value(self, data: Any) -> str:
        try:
            return super().to_internal_value(data)
        except serializers.ValidationError:
            return str(serializers.EmailField.to_internal_value(self, data))


class ProfileSerializer(serializers.ModelSerializer[User]):
    """The fields that users can write."""

    # Not validated as unique here: the service does that, and notifies the owner of the address.
    email = EmailAddressField()
    phone = PhoneField(required=False, allow_blank=True)

    class Meta:
        model = User
        fields: tuple[str, ...] = PROFILE


class UserMeSerializer(ProfileSerializer):
    """A user without groups and permissions, which cost two queries."""

    class Meta(ProfileSerializer.Meta):
        fields: tuple[str, ...] = READ_ONLY + PROFILE
        read_only_fields: tuple[str, ...] = READ_ONLY


class UserSerializer(UserMeSerializer):
    """A user. ``current_password`` is only required to change ``email``."""

    current_password = CurrentPasswordField(required=False, allow_blank=True)

    class Meta(UserMeSerializer.Meta):
        fields = (*READ_ONLY, *PROFILE, *ACCESS, "current_password")
        read_only_fields = READ_ONLY + ACCESS

    def update(self, instance: User, validated_data: dict[str, Any]) -> User:
        return services.update_profile(instance, **validated_data)


class RegisterSerializer(ProfileSerializer):
    password = PasswordField()

    class Meta(ProfileSerializer.Meta):
        fields = (*PROFILE, "password")


class EmailSerializer(serializers.Serializer[Any]):
    email = EmailAddressField()


class LoginSerializer(serializers.Serializer[Any]):
    email = LoginEmailField()
    password = CurrentPasswordField()


class TokenSerializer(serializers.Serializer[Any]):
    token = serializers.CharField(max_length=1024)


class ResetPasswordSerializer(TokenSerializer):
    password = PasswordField()


class ChangePasswordSerializer(serializers.Serializer[Any]):
    current_password = CurrentPasswordField()
    password = PasswordField()


class AuthenticatedSerializer(serializers.Serializer[Any]):
    """A user, a token, and the seconds until the token expires."""

    user = UserMeSerializer()
    token = serializers.CharField()
    expired_at = serializers.IntegerField(min_value=0)


class MessageSerializer(serializers.Serializer[Any]):
    message = serializers.CharField()


class SessionSerializer(serializers.ModelSerializer[Session]):
    """A session. ``address`` and ``user_agent`` are those of the last login or refresh.

    ``current`` is true for the session of the token in the request.
    """

    current = serializers.SerializerMethodField()

    class Meta:
        model = Session
        fields = (
            "id",
            "created_at",
            "last_used_at",
            "expires_at",
            "address",
            "user_agent",
            "current",
        )

    def get_current(self, session: Session) -> bool:
        return bool(self.context["request"].auth["sub"] == str(session.pk))
