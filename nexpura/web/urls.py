"""The site map."""

from __future__ import annotations

from allauth.account import views as account
from django.urls import URLPattern, URLResolver, include, path, re_path
from django.views.generic import RedirectView

from nexpura.web.views import (
    audience,
    counter,
    customers,
    erasures,
    health,
    integrations,
    merging,
    runs,
    settings,
    users,
    webhooks,
)

handler403 = "nexpura.web.views.errors.forbidden"

urlpatterns: list[URLPattern | URLResolver] = [
    path("", RedirectView.as_view(pattern_name="customers"), name="home"),
    path("customers", customers.index, name="customers"),
    path("customers/new", customers.new, name="customer-new"),
    path("customers/shared", merging.shared, name="customers-shared"),
    path("customers/<int:pk>", customers.detail, name="customer"),
    path("customers/<int:pk>/edit", customers.edit, name="customer-edit"),
    path("customers/<int:pk>/consent", customers.consent, name="customer-consent"),
    path("customers/<int:pk>/new-address", customers.new_address, name="customer-new-address"),
    path("customers/<int:pk>/shared", merging.shared_with, name="customer-shared"),
    path("customers/<int:pk>/merge/<int:other>", merging.merge, name="customer-merge"),
    path("customers/<int:pk>/erase", erasures.erase, name="customer-erase"),
    path("erasures/<int:number>", erasures.receipt, name="erasure"),
    path("erasures/<int:number>/again", erasures.again, name="erasure-again"),
    path("erasures/<int:number>/by-hand", erasures.by_hand, name="erasure-by-hand"),
    path("intake", counter.intake, name="intake"),
    path("pos", counter.pos, name="pos"),
    path("integrations", integrations.index, name="integrations"),
    path("integrations/mailchimp/connect", integrations.connect, name="mailchimp-connect"),
    path("integrations/mailchimp/sync", integrations.sync, name="mailchimp-sync"),
    path("integrations/mailchimp/read-whole", integrations.read_whole, name="mailchimp-read-whole"),
    path("integrations/mailchimp/auto-sync", integrations.auto_sync, name="mailchimp-auto-sync"),
    path("integrations/mailchimp/audience", audience.choose, name="mailchimp-audience"),
    path("integrations/mailchimp/preview", audience.look_ahead, name="mailchimp-preview"),
    path("integrations/mailchimp/key", integrations.key, name="mailchimp-key"),
    path("integrations/mailchimp/disconnect", integrations.disconnect, name="mailchimp-disconnect"),
    path("integrations/mailchimp/runs", runs.index, name="runs"),
    path("integrations/mailchimp/runs/<int:pk>", runs.detail, name="run"),
    path("integrations/mailchimp/runs/<int:pk>/cancel", runs.cancel, name="run-cancel"),
    path("webhooks/mailchimp/<str:secret>", webhooks.mailchimp, name="mailchimp-webhook"),
    path("settings", settings.index, name="settings"),
    path("settings/wording", settings.wording, name="wording"),
    path("settings/audit", settings.audit_trail, name="audit"),
    path("settings/erasures", erasures.index, name="erasures"),
    path("settings/users", users.index, name="users"),
    path("settings/users/<int:pk>/active", users.active, name="user-active"),
    path("settings/two-factor/", include("allauth.mfa.urls")),
    path("settings/password", account.password_change, name="account_change_password"),
    path("settings/password/first", account.password_set, name="account_set_password"),
    path("sign-in", account.login, name="account_login"),
    path("sign-in/again", account.reauthenticate, name="account_reauthenticate"),
    path("sign-in/inactive", account.account_inactive, name="account_inactive"),
    path("sign-out", account.logout, name="account_logout"),
    path("password/forgotten", account.password_reset, name="account_reset_password"),
    path("password/sent", account.password_reset_done, name="account_reset_password_done"),
    re_path(
        r"^password/new/(?P<uidb36>[0-9A-Za-z]+)-(?P<key>.+)$",
        account.password_reset_from_key,
        name="account_reset_password_from_key",
    ),
    path("password/changed", account.password_reset_from_key_done, name="account_reset_password_from_key_done"),
    path("healthz", health.alive, name="healthz"),
    path("readyz", health.ready, name="readyz"),
]
