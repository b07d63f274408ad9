"""The REST API: one version, whose parts each app registers, its schema, and a page to browse it."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from csp.constants import SELF, UNSAFE_INLINE
from csp.decorators import csp_update
from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.routers import SimpleRouter

router = SimpleRouter()
for app in ("accounts", "gallery", "transforms"):
    if find_spec(f"{app}.api"):
        import_module(f"{app}.api").register(router)

# Swagger UI writes style attributes; every other page does without.
docs = csp_update({"style-src": [SELF, UNSAFE_INLINE]})(
    SpectacularSwaggerSplitView.as_view(url_name="schema")
)

urlpatterns = [
    path("v1/", include(router.urls)),
    path("schema/", SpectacularAPIView.as_view(), name="schema"),
    path("docs/", docs, name="api-docs"),
]
