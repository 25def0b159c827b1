from typing import Any, override

from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.hashers import get_hashers
from django.http import HttpRequest
from django.views.decorators.debug import sensitive_variables

from apps.user.models import User


class EvenTimeBackend(ModelBackend):
    """Make a failed login take the same time for every address. OWASP ASVS 5.0: 6.3.8.

    Django runs the hasher of the account's password, and the preferred one for an unknown account.
    While some passwords still have an older hasher, each failed login runs every hasher in use.
    """

    @override
    @sensitive_variables("password")
    def authenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        **kwargs: Any,
    ) -> User | None:
        user = super().authenticate(request, username, password, **kwargs)
        email = username or kwargs.get(User.USERNAME_FIELD)
        if user is None and email is not None and password is not None:
            _run_other_hashers(email, password)
        return user


@sensitive_variables("password", "encoded")
def _run_other_hashers(email: str, password: str) -> None:
    encoded = User.objects.filter(email=email).values_list("password", flat=True).first() or ""
    preferred, *older = get_hashers()
    tried = encoded.partition("$")[0]
    # Uses the partial index user_older_hasher if the database can.
    outdated = User.objects.exclude(password__startswith=f"{preferred.algorithm}$")
    for hasher in older:
        if not outdated.filter(password__startswith=f"{hasher.algorithm}$").exists():
            continue
        if tried == hasher.algorithm:
            hasher.harden_runtime(password, encoded)
            preferred.encode(password, preferred.salt())
        else:
            hasher.encode(password, hasher.salt())
