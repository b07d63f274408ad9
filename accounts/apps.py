from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = "People"

    def ready(self) -> None:
        from accounts import schema  # noqa: F401  (tells the OpenAPI schema about tokens)
