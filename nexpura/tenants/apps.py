from django.apps import AppConfig


class TenantsConfig(AppConfig):
    name = "nexpura.tenants"
    label = "tenants"

    def ready(self) -> None:
        from nexpura.tenants import lookups  # noqa: F401  # registers itself
