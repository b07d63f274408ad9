"""What `manage.py serve` prepares, without compressing the static files, which takes most of a minute."""

from __future__ import annotations

import os

import django


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "pixellift.settings")
    django.setup()
    from django.conf import settings
    from django.core.management import call_command

    from pixellift.preflight import UNUSED_STATIC_FILES

    call_command("migrate", interactive=False, verbosity=0)
    # The same names and the same manifest as the storage that the server reads.
    plain = {"BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"}
    settings.STORAGES = {**settings.STORAGES, "staticfiles": plain}
    call_command("collectstatic", interactive=False, verbosity=0, ignore_patterns=UNUSED_STATIC_FILES)


if __name__ == "__main__":
    main()
