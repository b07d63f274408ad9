"""Every address of the site. Each app names its own; this file only puts them together."""

from django.contrib import admin
from django.urls import include, path

from pixellift import views

urlpatterns = [
    path("", views.landing, name="landing"),
    path("help/", views.help_page, name="help"),
    path("healthz", views.healthz, name="healthz"),
    path("readyz", views.readyz, name="readyz"),
    path("metrics", views.metrics, name="metrics"),
    path("accounts/", include("accounts.urls")),
    path("", include("gallery.urls")),
    path("", include("transforms.urls")),
    path("api/", include("pixellift.api")),
    path("admin/", admin.site.urls),
]
handler400 = "pixellift.views.bad_request"
handler403 = "pixellift.views.permission_denied"
handler404 = "pixellift.views.not_found"
handler500 = "pixellift.views.server_error"
