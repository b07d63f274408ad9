from django.apps import AppConfig


class GalleryConfig(AppConfig):
    name = "gallery"
    verbose_name = "Gallery"

    def ready(self) -> None:
        from accounts.quota import register_usage
        from gallery import signals
        from gallery.services import storage_used

        signals.connect()
        register_usage(storage_used)
