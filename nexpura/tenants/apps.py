from django.apps import AppConfig


class TenantsConfig(AppConfig):
    name = "nexpura.tenants"
    label = "tenants"
