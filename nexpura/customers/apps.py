from django.apps import AppConfig


class CustomersConfig(AppConfig):
    name = "nexpura.customers"
    label = "customers"
