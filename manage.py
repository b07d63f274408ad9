#!/usr/bin/env python
"""Django's command line for PixelLift."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "pixellift.settings")
    from django.core.management import execute_from_command_line

    from pixellift.environment import BadSetting

    try:
        execute_from_command_line(sys.argv)
    except BadSetting as error:
        sys.exit(f"PixelLift cannot start: {error}")
    except KeyboardInterrupt:
        sys.exit("Stopped.")


if __name__ == "__main__":
    main()
