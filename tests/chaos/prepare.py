"""What `manage.py serve` prepares, without compressing the static files, which takes most of a minute."""

from __future__ import annotations

import os

import django


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "pixellift.settings")
    django.setup()
    from django.conf import settings

    from pixellift import preflight

    # The same names and the same manifest as the storage that the server reads.
    plain = {"BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"}
    settings.STORAGES = {**settings.STORAGES, "staticfiles": plain}
    preflight.prepare()


if __name__ == "__main__":
    main()
