"""What of a user goes in and out. Read-only is all that a user may see and not write."""

from typing import Any

from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema_field
from phonenumber_field.serializerfields import PhoneNumberField
from rest_framework import serializers

from apps.user import services
from apps.user.models import User

NEVER_SHOWN = ("password", "session_id")
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
    """A password as it was typed: outer spaces belong to it. OWASP ASVS 5.0: 6.2.8, 6.2.9."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            write_only=True,
            trim_whitespace=False,
            max_length=128,
            style={"input_type": "password"},
            **kwargs,
        )


@extend_schema_field({"type": "string", "example": "+5511961234567"})
class PhoneField(PhoneNumberField):  # type: ignore[misc]  # it has no types
    default_error_messages = {
        "invalid": _("Enter a valid phone number, for example +55 11 96123-4567.")
    }


class ProfileSerializer(serializers.ModelSerializer[User]):
    """The part of a user that its owner writes."""

    # Uniqueness is the service's to check: it also tells the address's owner.
    email = serializers.EmailField(max_length=254)
    phone = PhoneField(required=False, allow_blank=True)

    class Meta:
        model = User
        fields: tuple[str, ...] = PROFILE


class UserMeSerializer(ProfileSerializer):
    """All of a user but the groups and permissions, which cost two queries."""

    class Meta(ProfileSerializer.Meta):
        fields: tuple[str, ...] = READ_ONLY + PROFILE
        read_only_fields: tuple[str, ...] = READ_ONLY

    def update(self, instance: User, validated_data: dict[str, Any]) -> User:
        return services.update_profile(instance, **validated_data)


class UserSerializer(UserMeSerializer):
    """All of a user."""

    class Meta(UserMeSerializer.Meta):
        fields = READ_ONLY + PROFILE + ACCESS
        read_only_fields = READ_ONLY + ACCESS


class RegisterSerializer(ProfileSerializer):
    password = PasswordField()

    class Meta(ProfileSerializer.Meta):
        fields = (*PROFILE, "password")


class EmailSerializer(serializers.Serializer[Any]):
    email = serializers.EmailField(max_length=254)


class LoginSerializer(EmailSerializer):
    password = PasswordField()


class TokenSerializer(serializers.Serializer[Any]):
    token = serializers.CharField(max_length=1024)


class ResetPasswordSerializer(TokenSerializer):
    password = PasswordField()


class ChangePasswordSerializer(serializers.Serializer[Any]):
    current_password = PasswordField()
    password = PasswordField()


class AuthenticatedSerializer(serializers.Serializer[Any]):
    """A user, a token of theirs, and the seconds that it still has."""

    user = UserMeSerializer()
    token = serializers.CharField()
    expired_at = serializers.IntegerField(min_value=0)


class MessageSerializer(serializers.Serializer[Any]):
    message = serializers.CharField()
