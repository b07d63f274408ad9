"""Addresses under /accounts/."""

from django.urls import path

from accounts import views

app_name = "accounts"
urlpatterns = [
    path("register/", views.register, name="register"),
    path("login/", views.sign_in, name="login"),
    path("logout/", views.sign_out, name="logout"),
    path("password/", views.password_change, name="password_change"),
    path("reset/", views.password_reset, name="password_reset"),
    path("reset/sent/", views.password_reset_done, name="password_reset_done"),
    path("reset/done/", views.password_reset_complete, name="password_reset_complete"),
    path("reset/<uidb64>/<token>/", views.password_reset_confirm, name="password_reset_confirm"),
    path("profile/", views.profile, name="profile"),
    path("email/", views.email_change, name="email_change"),
    path("tokens/", views.token_create, name="token_create"),
    path("tokens/<uuid:pk>/delete/", views.token_delete, name="token_delete"),
    path("delete/", views.delete_account, name="delete_account"),
]
