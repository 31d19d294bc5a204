from django.apps import AppConfig


class IntegrationsConfig(AppConfig):
    name = "nexpura.integrations"
    label = "integrations"
