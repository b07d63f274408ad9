"""Composition: settings, addresses, and the tools of whoever runs the site."""

__version__ = "0.1.0"
