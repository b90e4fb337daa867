"""Settings. Everything that differs by machine is an environment variable (see .env.example)."""

from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import environ
from django.templatetags.static import static
from django.urls import reverse_lazy
from django.utils.translation import gettext_lazy as _

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()
environ.Env.read_env(BASE_DIR / ".env")

# --- This machine ---------------------------------------------------------------------------

VAR_DIR = Path(env.str("VAR_DIR", default=str(BASE_DIR / "var"))).resolve()
DEBUG = env.bool("DEBUG", default=False)
DEMO = env.bool("DEMO", default=False)  # demo credentials and the page that shows them
SECRET_KEY = (
    env.str("SECRET_KEY", default="for-development-only") if DEBUG else env.str("SECRET_KEY")
)
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
CORS_ALLOWED_ORIGINS = env.list("CORS_ALLOWED_ORIGINS", default=[])
CORS_URLS_REGEX = r"^/api/v1/gbm/index/"  # the only endpoint that browsers call
if env.bool("BEHIND_HTTPS_PROXY", default=False):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True

# Callbacks go to public addresses; a mall inside one's own network needs that network here.
CALLBACK_NETWORKS = [ip_network(each) for each in env.list("CALLBACK_NETWORKS", default=[])]

# --- Django ---------------------------------------------------------------------------------

INSTALLED_APPS = [
    "unfold",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "corsheaders",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_celery_beat",
    "groupbuy",
    "tag",
    "activity",
    "trade",
]
MIDDLEWARE = [
    "corsheaders.middleware.CorsMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "groupbuy.urls"
WSGI_APPLICATION = "groupbuy.wsgi.application"
APPEND_SLASH = True  # for the admin; API paths match with and without
LOGIN_URL, LOGIN_REDIRECT_URL = "admin:login", "admin:index"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

# --- Database -------------------------------------------------------------------------------


def _database(url: dict[str, Any]) -> dict[str, Any]:
    """The options each engine needs for the rules this project relies on."""
    if url["ENGINE"].endswith("mysql"):
        url = {**url, "ENGINE": "groupbuy.mysql"}
        options = {
            "charset": "utf8mb4",
            "isolation_level": "read committed",
            "connect_timeout": 2,
            "read_timeout": 10,
            "write_timeout": 10,
            "init_command": "SET sql_mode='STRICT_ALL_TABLES', innodb_lock_wait_timeout=5",
        }
        # Ids are compared byte by byte: "a" and "A" are two orders.
        test = {"CHARSET": "utf8mb4", "COLLATION": "utf8mb4_bin"}
    else:
        Path(url["NAME"]).parent.mkdir(parents=True, exist_ok=True)
        options = {
            "transaction_mode": "IMMEDIATE",
            "timeout": 10,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        }
        test = {"NAME": str(VAR_DIR / "test.sqlite3")}  # a file, so that threads can race on it
    kept = {"CONN_MAX_AGE": 600, "CONN_HEALTH_CHECKS": True}
    return {**url, **kept, "OPTIONS": options | url.get("OPTIONS", {}), "TEST": test}


DATABASES = {
    "default": _database(env.db_url("DATABASE_URL", default=f"sqlite:///{VAR_DIR / 'db.sqlite3'}"))
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Redis ----------------------------------------------------------------------------------

REDIS_URL = env.str("REDIS_URL", default="redis://127.0.0.1:16379/0")
CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "gbm",
        "OPTIONS": {
            "SOCKET_CONNECT_TIMEOUT": 0.2,
            "SOCKET_TIMEOUT": 0.5,
            "IGNORE_EXCEPTIONS": True,  # the cache is speed, never truth
        },
    }
}
SESSION_ENGINE = "django.contrib.sessions.backends.cached_db"

# --- Celery ---------------------------------------------------------------------------------

CELERY_BROKER_URL = env.str("CELERY_BROKER_URL", default=REDIS_URL)
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_TIMEOUT = 1
if CELERY_BROKER_URL.startswith("redis"):
    CELERY_BROKER_TRANSPORT_OPTIONS = {"socket_connect_timeout": 1, "socket_timeout": 5}
CELERY_TASK_IGNORE_RESULT = True
CELERY_RESULT_EXPIRES = None  # no results, so beat needs no clean-up task
CELERY_TASK_ACKS_LATE = True  # every task may run twice; none may be lost
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
CELERY_BEAT_SCHEDULE: dict[str, dict[str, Any]] = {
    name: {
        "task": f"{app}.tasks.{name.replace(' ', '_')}",
        "schedule": timedelta(seconds=seconds),
        "options": {"expires": seconds},
    }
    for app, name, seconds in (
        ("trade", "deliver due notifications", 5),
        ("trade", "close overdue holds", 10),
        ("trade", "end overdue teams", 10),
        ("trade", "expire activities", 60),
        ("tag", "refresh bitmaps", 10),
        ("trade", "work on crowds", 5),
    )
}

# --- RabbitMQ for callbacks; without it malls are refused notifyType MQ -----------------------

AMQP_URL = env.str("AMQP_URL", default="")

# --- API ------------------------------------------------------------------------------------

REST_FRAMEWORK = {
    "DEFAULT_RENDERER_CLASSES": ["groupbuy.api.OrjsonRenderer"],
    "DEFAULT_PARSER_CLASSES": ["groupbuy.api.OrjsonParser"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "groupbuy.api.AlwaysJson",
    "DEFAULT_AUTHENTICATION_CLASSES": ["groupbuy.auth.ApiKeyAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["groupbuy.auth.IsOwnChannel"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_METADATA_CLASS": None,
    "EXCEPTION_HANDLER": "groupbuy.api.exception_handler",
    "UNAUTHENTICATED_USER": None,
    "NUM_PROXIES": env.int("TRUSTED_PROXIES", default=0),
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Group buying",
    "DESCRIPTION": "拼团: trial, seat lock, settlement and refund for mall back ends. Requests are "
    "described in the form to prefer; a number is also accepted for a string, and digits for a "
    "number.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "ENUM_NAME_OVERRIDES": {"RefundCodeEnum": ["success", "repeat", "fail"]},
    "CAMELIZE_NAMES": True,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "groupbuy.schema.without_trailing_slash",
    ],
    "PREPROCESSING_HOOKS": ["drf_spectacular.hooks.preprocess_exclude_path_format"],
}

# --- People ---------------------------------------------------------------------------------

LANGUAGE_CODE = "zh-hans"
LANGUAGES = [("zh-hans", "简体中文"), ("en", "English")]
LOCALE_PATHS = [BASE_DIR / "locale", BASE_DIR / "locale" / "unfold"]
TIME_ZONE = CELERY_TIMEZONE = "Asia/Shanghai"  # also of the schedules that operators write
USE_TZ = True
STATIC_URL = "static/"
STATIC_ROOT = VAR_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
UNFOLD = {
    "SITE_TITLE": _("Group buying console"),
    "SITE_HEADER": _("Group buying console"),
    "SITE_URL": reverse_lazy("start"),
    "SITE_ICON": lambda request: static("logo.svg"),
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("logo.svg")}
    ],
    "SHOW_LANGUAGES": True,
    "DASHBOARD_CALLBACK": "trade.admin.dashboard",
    "STYLES": [lambda request: static("console.css")],
    "SIDEBAR": {"show_search": True, "show_all_applications": False},
    "COLORS": {  # the red of the logo
        "primary": {
            "50": "254 242 242",
            "100": "254 226 226",
            "200": "254 202 202",
            "300": "252 165 165",
            "400": "248 113 113",
            "500": "232 72 63",
            "600": "214 54 46",
            "700": "185 28 28",
            "800": "153 27 27",
            "900": "127 29 29",
            "950": "69 10 10",
        },
    },
}

# --- Log ------------------------------------------------------------------------------------

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "loggers": {
        "django": {"handlers": [], "propagate": True},  # not twice while DEBUG is on
        "django.request": {"level": "ERROR"},  # not a line for each client that asks too often
        "pika": {"level": "CRITICAL"},  # the outbox logs each failed attempt, in one line
    },
    "root": {"handlers": ["console"], "level": env.str("LOG_LEVEL", default="INFO")},
}
