"""System checks: a setting that cannot work is named before anything starts."""
