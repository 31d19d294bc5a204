from django.apps import AppConfig


class SyncConfig(AppConfig):
    name = "nexpura.sync"
    label = "sync"
