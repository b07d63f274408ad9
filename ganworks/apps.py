"""Lets Django list the engine among its apps. The only file here that knows Django."""

from django.apps import AppConfig


class GanworksConfig(AppConfig):
    name = "ganworks"
    verbose_name = "Engine"
