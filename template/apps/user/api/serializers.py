"""The fields of a user that the API reads and returns. Users may see read-only ones, not write them."""

from typing import Any

from django.utils.translation import gettext_lazy as _
from phonenumber_field.serializerfields import PhoneNumberField
from rest_framework import serializers
from rest_framework_simplejwt.exceptions import InvalidToken
from rest_framework_simplejwt.serializers import TokenRefreshSerializer

from apps.user import services
from apps.user.models import User
from apps.user.validators import MAX_PASSWORD_LENGTH
from common.email_addresses import MAX_LENGTH, normalise_email

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


class PasswordField(serializers.CharField):
    """A password as it was typed: outer spaces belong to it. OWASP ASVS 5.0: 6.2.8, 6.2.9."""

    def __init__(self, *, max_length: int = MAX_PASSWORD_LENGTH, **kwargs: Any) -> None:
        super().__init__(
            write_only=True,
            trim_whitespace=False,
            max_length=max_length,
            style={"input_type": "password"},
            **kwargs,
        )


class CurrentPasswordField(PasswordField):
    """A password that is set. Longer ones than today's could be set in the admin once."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=4096, **kwargs)


class EmailAddressField(serializers.EmailField):
    """An e-mail address that can receive mail, in its one spelling."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=MAX_LENGTH, **kwargs)

    def to_internal_value(self, data: Any) -> str:
        value: str = super().to_internal_value(data)
        try:
            return normalise_email(value)
        except ValueError:
            self.fail("invalid")


class KnownEmailAddressField(EmailAddressField):
    """The same for login: accounts from before addresses were checked may have another one."""

    def to_internal_value(self, data: Any) -> str:
        try:
            return super().to_internal_value(data)
        except serializers.ValidationError:
            return str(serializers.EmailField.to_internal_value(self, data))


class ProfileSerializer(serializers.ModelSerializer[User]):
    """The part of a user that its owner writes."""

    # The service checks that it is unique: it also sends a notice to the address's owner.
    email = EmailAddressField()
    phone = PhoneNumberField(
        required=False,
        allow_blank=True,
        help_text="E.164: +5511961234567",
        error_messages={"invalid": _("Enter a phone number such as +55 11 96123-4567.")},
    )

    class Meta:
        model = User
        fields: tuple[str, ...] = PROFILE


class UserMeSerializer(ProfileSerializer):
    """A user without the groups and permissions, which cost two queries."""

    class Meta(ProfileSerializer.Meta):
        fields: tuple[str, ...] = READ_ONLY + PROFILE
        read_only_fields: tuple[str, ...] = READ_ONLY


class UserSerializer(UserMeSerializer):
    """A user. ``current_password`` is needed only with another ``email``."""

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
    email = KnownEmailAddressField()
    password = CurrentPasswordField()


class TokenSerializer(serializers.Serializer[Any]):
    token = serializers.CharField(max_length=1024)


class ResetPasswordSerializer(TokenSerializer):
    password = PasswordField()


class ChangePasswordSerializer(serializers.Serializer[Any]):
    current_password = CurrentPasswordField()
    password = PasswordField()


class AuthenticatedSerializer(serializers.Serializer[Any]):
    """A user, a token of theirs, and the seconds that it still has."""

    user = UserMeSerializer()
    token = serializers.CharField()
    expired_at = serializers.IntegerField(min_value=0)


class MessageSerializer(serializers.Serializer[Any]):
    message = serializers.CharField()


class RefreshSerializer(TokenRefreshSerializer):
    """For services that mount simplejwt's refresh view, which fails when the session has ended."""

    def validate(self, attrs: dict[str, Any]) -> dict[str, str]:
        try:
            return super().validate(attrs)
        except User.DoesNotExist as error:
            raise InvalidToken from error
