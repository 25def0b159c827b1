import re
from itertools import count
from typing import Any

from django.core.mail import EmailMessage
from django.utils import timezone

from apps.user import services
from apps.user.models import User
from apps.user.tokens import issue_jwt

PASSWORD = "correct horse battery"
_number = count(1)


def make_user(password: str = PASSWORD, **fields: Any) -> User:
    """Store a user. By default it is confirmed, and has a unique name and address."""
    defaults: dict[str, Any] = {
        "email": f"user{next(_number)}@example.com",
        "first_name": "Ana",
        "last_name": "Souza",
        "email_confirmed_at": timezone.now(),
    }
    return User.objects.create_user(password=password, **(defaults | fields))


def make_token(user: User) -> str:
    """Start a session of the user, and return its JWT."""
    return issue_jwt(services.start_session(user, services.Device())).token


def registration(**fields: Any) -> dict[str, Any]:
    """Return a complete body of ``auth/register/``."""
    return {
        "email": "bia@example.com",
        "first_name": "Bia",
        "last_name": "Lima",
        "password": PASSWORD,
        "phone": "+5511961234567",
        "gender": "female",
        "date_of_birth": "1990-02-28",
    } | fields


def token_in(email: EmailMessage) -> str:
    """Return the one-time token in the link of an e-mail."""
    match = re.search(r"#token=([\w:-]+)", str(email.body))
    assert match, email.body
    return match[1]
