from django.apps import AppConfig


class PixelLiftConfig(AppConfig):
    name = "pixellift"
    verbose_name = "PixelLift"

    def ready(self) -> None:
        from pixellift import checks  # noqa: F401  (registers them)
