"""Every setting of the product, read from the environment.

A bad value stops the program with one line that names the variable and the mend (`ImproperlyConfigured`).
Without `NEXPURA_DATABASE_URL` nothing can be served: the commands of `nexpura` put the URLs of the embedded
database and the keys of the data directory into the environment before this module is read.
"""

from __future__ import annotations

import base64
import os
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg.conninfo
from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent
FROZEN = 60
"""Seconds between two statements of a transaction after which PostgreSQL takes whoever is at it for frozen."""


def _database(variable: str) -> dict[str, Any]:
    """Return Django's connection settings for the PostgreSQL URL in `variable`."""
    url = os.environ.get(variable, "")
    if url and not url.startswith(("postgresql://", "postgres://")):
        raise ImproperlyConfigured(f"{variable} must be a PostgreSQL URL: postgresql://user:password@host/name")
    try:
        parts = psycopg.conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        raise ImproperlyConfigured(f"{variable} is not a valid PostgreSQL URL; check it for stray characters") from None
    known = {"host", "port", "user", "password", "dbname"}
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.get("dbname", "nexpura"),
        "USER": parts.get("user", ""),
        "PASSWORD": parts.get("password", ""),
        "HOST": parts.get("host", ""),
        "PORT": str(parts.get("port", "")),
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {key: value for key, value in parts.items() if key not in known},
    }


def _run_time_database() -> dict[str, Any]:
    """Return the settings under which web, worker and commands reach the database; the owner's have no limit.

    Whoever is frozen in the middle of a transaction holds its rows: PostgreSQL then ends it. An option in the URL wins.
    """
    database = _database("NEXPURA_DATABASE_URL")
    limit = f"-c idle_in_transaction_session_timeout={FROZEN * 1000}"
    database["OPTIONS"]["options"] = f"{limit} {database['OPTIONS'].get('options', '')}".strip()
    return database


def _keys(variable: str) -> list[str]:
    """Return the sealing keys, newest first; each is 32 bytes in base64url."""
    keys = [key.strip() for key in os.environ.get(variable, "").split(",") if key.strip()]
    for key in keys:
        try:
            size = len(base64.urlsafe_b64decode(key))
        except ValueError:
            size = 0
        if size != 32:
            raise ImproperlyConfigured(
                f"{variable} must hold base64url keys of 32 bytes each, comma-separated, newest first"
            )
    return keys


def _public_url(variable: str) -> str:
    """Return the address people and Mailchimp reach this installation at; it is served from the root of its host."""
    url = os.environ.get(variable, "").strip().rstrip("/")
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if url and not (good and url == f"{parts.scheme}://{parts.netloc}" and "@" not in parts.netloc):
        raise ImproperlyConfigured(
            f"{variable} must be scheme, host and at most a port, such as https://nexpura.example"
        )
    return url


def _mailchimp_url(variable: str) -> str:
    url = os.environ.get(variable, "https://{dc}.api.mailchimp.com/3.0")
    parts = urlsplit(url.replace("{dc}", "us1"))
    loopback = parts.hostname in {"127.0.0.1", "localhost", "::1"}
    if not (parts.scheme == "https" or (parts.scheme == "http" and loopback)):
        raise ImproperlyConfigured(f"{variable} must be https (plain http is accepted for loopback only)")
    return url


def _choice(variable: str, default: str, choices: set[str]) -> str:
    value = os.environ.get(variable, default)
    if value not in choices:
        raise ImproperlyConfigured(f"{variable} must be one of {', '.join(sorted(choices))}")
    return value


def _seconds(variable: str, default: float) -> float:
    value = os.environ.get(variable, str(default))
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0
    if seconds <= 0:
        raise ImproperlyConfigured(f"{variable} must be a number of seconds above 0")
    return seconds


def _email(variable: str) -> dict[str, Any]:
    """Return Django's mail settings for `smtp://user:password@host:port` (smtps for TLS); absent: printed."""
    url = os.environ.get(variable, "")
    if not url:
        return {"EMAIL_BACKEND": "django.core.mail.backends.console.EmailBackend"}
    parts = urlsplit(url)
    if parts.scheme not in {"smtp", "smtps", "smtp+tls"} or not parts.hostname:
        raise ImproperlyConfigured(f"{variable} must look like smtp://user:password@host:port")
    return {
        "EMAIL_HOST": parts.hostname,
        "EMAIL_PORT": parts.port or (465 if parts.scheme == "smtps" else 25),
        "EMAIL_HOST_USER": unquote(parts.username or ""),
        "EMAIL_HOST_PASSWORD": unquote(parts.password or ""),
        "EMAIL_USE_SSL": parts.scheme == "smtps",
        "EMAIL_USE_TLS": parts.scheme == "smtp+tls",
    }


# --- ours -----------------------------------------------------------------------------------------

DATABASE_GIVEN = bool(os.environ.get("NEXPURA_DATABASE_URL"))
NEXPURA_PUBLIC_URL = _public_url("NEXPURA_PUBLIC_URL")
NEXPURA_MAILCHIMP_URL = _mailchimp_url("NEXPURA_MAILCHIMP_URL")
NEXPURA_ENCRYPTION_KEYS = _keys("NEXPURA_ENCRYPTION_KEYS")
NEXPURA_HEARTBEAT = _seconds("NEXPURA_HEARTBEAT", 5)
"""Seconds between two signs of life of a run and of a worker."""
NEXPURA_STALL = _seconds("NEXPURA_STALL", 30)
"""Seconds without a sign of life after which a run's worker is taken for dead."""
NEXPURA_MAILCHIMP_TIMEOUT = _seconds("NEXPURA_MAILCHIMP_TIMEOUT", 90)
"""Seconds we wait for one reply of Mailchimp (which cuts a call at 120)."""
NEXPURA_RETRY_WAIT = _seconds("NEXPURA_RETRY_WAIT", 0.5)
"""Seconds of the first wait before a call is tried again; later waits grow from it."""

if DATABASE_GIVEN:
    for _variable in ("NEXPURA_SECRET_KEY", "NEXPURA_ENCRYPTION_KEYS"):
        if not os.environ.get(_variable):
            raise ImproperlyConfigured(f"{_variable} is not set; see docs/running.md for how to make one")

# --- Django ---------------------------------------------------------------------------------------

SECRET_KEY = os.environ.get("NEXPURA_SECRET_KEY") or secrets.token_urlsafe(50)
DEBUG = False
ALLOWED_HOSTS = [urlsplit(NEXPURA_PUBLIC_URL).hostname or "", "localhost", "127.0.0.1", "[::1]"]
CSRF_TRUSTED_ORIGINS = [NEXPURA_PUBLIC_URL] if NEXPURA_PUBLIC_URL else []
DATABASES = {"default": _run_time_database()}
OWNER_DATABASE = _database("NEXPURA_MIGRATE_DATABASE_URL")
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_USER_MODEL = "tenants.TenantUser"
ROOT_URLCONF = "nexpura.web.urls"
WSGI_APPLICATION = "nexpura.wsgi.application"
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False

INSTALLED_APPS = [
    "nexpura.tenants",
    "nexpura.customers",
    "nexpura.integrations",
    "nexpura.sync",
    "nexpura.web",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "procrastinate.contrib.django",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "django_htmx",
    "template_partials",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "nexpura.web.access.at_the_door",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]

AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "nexpura_cache"},
}

# Sign-in: by e-mail, no self-service sign-up (users are made by an owner or by `nexpura createuser`).
ACCOUNT_ADAPTER = "nexpura.web.sign_in.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_EMAIL_UNKNOWN_ACCOUNTS = False
ACCOUNT_EMAIL_SUBJECT_PREFIX = ""
ACCOUNT_SESSION_REMEMBER = True
MFA_ADAPTER = "nexpura.web.sign_in.MFAAdapter"
MFA_TOTP_ISSUER = "Nexpura"
MFA_ALLOW_UNVERIFIED_EMAIL = True
CSRF_FAILURE_VIEW = "nexpura.web.views.errors.csrf"
LOGIN_URL = "/sign-in"
LOGIN_REDIRECT_URL = "/customers"
ACCOUNT_LOGOUT_REDIRECT_URL = "/sign-in"

# Static files come from the packages themselves; nothing is collected, nothing is vendored.
STATIC_URL = "/static/"
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = False

_https = NEXPURA_PUBLIC_URL.startswith("https://")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _https
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_HSTS_SECONDS = 31_536_000 if _https else 0
if os.environ.get("NEXPURA_TRUSTED_PROXIES"):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
X_FRAME_OPTIONS = "DENY"
DATA_UPLOAD_MAX_MEMORY_SIZE = 2_000_000

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "font-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "connect-src": ["'self'"],
        "form-action": ["'self'"],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
        "manifest-src": ["'self'"],
    }
}

for _name, _value in _email("NEXPURA_EMAIL_URL").items():
    globals()[_name] = _value

PROCRASTINATE_ON_APP_READY = "nexpura.sync.tasks.on_app_ready"
PROCRASTINATE_WORKER_DEFAULTS = {
    "update_heartbeat_interval": NEXPURA_HEARTBEAT,
    "stalled_worker_timeout": NEXPURA_STALL,
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "console": {"format": "{asctime} {levelname:<7} {name}: {message}", "style": "{"},
        "json": {"()": "nexpura.logs.JsonFormatter"},
    },
    "handlers": {
        "standard_error": {
            "class": "logging.StreamHandler",
            "formatter": _choice("NEXPURA_LOG_FORMAT", "console", {"console", "json"}),
        }
    },
    "root": {"handlers": ["standard_error"], "level": "INFO"},
    "loggers": {
        "procrastinate": {"level": "WARNING"},
        "django.request": {"level": "ERROR"},
        "aiohttp": {"level": "WARNING"},
    },
}
