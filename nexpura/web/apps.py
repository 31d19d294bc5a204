from django.apps import AppConfig


class WebConfig(AppConfig):
    name = "nexpura.web"
    label = "web"
