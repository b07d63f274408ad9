"""The sockets. asgi.py puts them behind the origin check and the session."""

from __future__ import annotations

from django.urls import path

from transforms.consumers import JobsConsumer, TransformConsumer

websocket_urlpatterns = [
    path("ws/jobs/", JobsConsumer.as_asgi()),
    path("ws/transform/<uuid:pk>/", TransformConsumer.as_asgi()),
]
