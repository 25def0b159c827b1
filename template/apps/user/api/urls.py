from django.conf import settings
from django.urls import include, path
from rest_framework.routers import SimpleRouter

from apps.user.api import auth
from apps.user.api.viewsets import SessionViewSet, UserViewSet

router = SimpleRouter(
    trailing_slash=bool(settings.DEFAULT_ROUTER_TRAILING_SLASH), use_regex_path=False
)
router.register("users", UserViewSet, basename="user")
router.register("auth/sessions", SessionViewSet, basename="session")

auth_urlpatterns = [
    path("login/", auth.LoginView.as_view(), name="login"),
    path("refresh/", auth.RefreshView.as_view(), name="refresh"),
    path("logout/", auth.LogoutView.as_view(), name="logout"),
    path("logout_all/", auth.LogoutAllView.as_view(), name="logout-all"),
    path("register/", auth.RegisterView.as_view(), name="register"),
    path("confirm_email/", auth.ConfirmEmailView.as_view(), name="confirm-email"),
    path("confirm_new_email/", auth.ConfirmNewEmailView.as_view(), name="confirm-new-email"),
    path("cancel_new_email/", auth.CancelNewEmailView.as_view(), name="cancel-new-email"),
    path("resend_confirmation/", auth.ResendConfirmationView.as_view(), name="resend-confirmation"),
    path("forgot_password/", auth.ForgotPasswordView.as_view(), name="forgot-password"),
    path("reset_password/", auth.ResetPasswordView.as_view(), name="reset-password"),
    path("change_password/", auth.ChangePasswordView.as_view(), name="change-password"),
]

urlpatterns = [
    path("auth/", include(auth_urlpatterns)),
    *router.urls,
]
