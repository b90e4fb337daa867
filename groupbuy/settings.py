"""Settings. Everything that differs by machine is an environment variable (see .env.example)."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from celery.schedules import crontab

from groupbuy import environment as env
from groupbuy import logs
from groupbuy.console import UNFOLD  # noqa: F401  a setting

BASE_DIR = Path(__file__).resolve().parent.parent
env.read_file(BASE_DIR / ".env")

# --- This machine ---------------------------------------------------------------------------

VAR_DIR = env.directory("VAR_DIR", BASE_DIR / "var", root=BASE_DIR)
LOOPBACK = ["127.0.0.1", "localhost", "[::1]"]
ALLOWED_HOSTS = env.words("ALLOWED_HOSTS", env.HOST, LOOPBACK)
CSRF_TRUSTED_ORIGINS = env.words("CSRF_TRUSTED_ORIGINS", env.TRUSTED_ORIGIN)
CORS_ALLOWED_ORIGINS = env.words("CORS_ALLOWED_ORIGINS", env.ORIGIN)
CORS_EXPOSE_HEADERS = ["Retry-After"]
CORS_URLS_REGEX = r"^/api/v1/gbm/index/"  # the only endpoint that browsers call
TRUSTED_PROXIES = env.number("TRUSTED_PROXIES", 0, at_least=0, at_most=99)
PROXY_NETWORKS = env.networks("PROXY_NETWORKS", "127.0.0.0/8,::1/128")
BEHIND_HTTPS_PROXY = env.flag("BEHIND_HTTPS_PROXY", default=False)
if BEHIND_HTTPS_PROXY:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True

# With no variable set this is the embedded stack: for this machine only, with DEBUG, the demo and a
# generated key. A configuration that looks like production needs SECRET_KEY.
EMBEDDED = (
    env.flag("DEBUG", default=True)
    and not env.text("DATABASE_URL")
    and set(ALLOWED_HOSTS) <= set(LOOPBACK)
    and not (TRUSTED_PROXIES or BEHIND_HTTPS_PROXY)
)
DEBUG = env.flag("DEBUG", default=EMBEDDED)
DEMO = env.flag("DEMO", default=EMBEDDED)  # demo credentials and the page that shows them
if not (env.text("DATABASE_URL") and env.text("REDIS_URL")):  # both are in VAR_DIR by default
    env.require_directory("VAR_DIR", VAR_DIR)
SECRET_KEY = env.secret_key("SECRET_KEY", VAR_DIR / "secret_key" if EMBEDDED else None)

# Callbacks go to public addresses; list the private networks in which malls run.
CALLBACK_NETWORKS = env.networks("CALLBACK_NETWORKS", "127.0.0.0/8" if EMBEDDED else "")

# Changes in the console that wait until a second operator confirms them.
SECOND_PERSON = env.words("SECOND_PERSON", env.CHANGES)

WEB_THREADS = env.number("WEB_THREADS", 4, at_least=1, at_most=99)  # of each web process

# METRICS_LISTEN serves metrics and health; METRICS_DIR holds the metrics of this host's processes.
METRICS_LISTEN = env.address("METRICS_LISTEN")
METRICS_DIR = VAR_DIR / "metrics"
VERSION = env.text("BUILD_VERSION", "dev")

# --- Django ---------------------------------------------------------------------------------

INSTALLED_APPS = [
    "unfold",
    "django.contrib.admin",
    "django.contrib.auth",
    "axes",
    "django_otp",
    "django_otp.plugins.otp_totp",
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
    "pages",
    "assistant",
]
MIDDLEWARE = [
    "groupbuy.access.follow",
    "corsheaders.middleware.CorsMiddleware",
    "groupbuy.faults.envelope_faults",
    *(["groupbuy.embedded.loopback_only"] if EMBEDDED else []),
    "django.middleware.security.SecurityMiddleware",
    "groupbuy.middleware.Sessions",
    "groupbuy.middleware.Language",
    "django.middleware.common.CommonMiddleware",
    "groupbuy.middleware.Csrf",
    "groupbuy.middleware.SignedIn",
    "groupbuy.middleware.Messages",
    *(["pages.problems.unknown_paths"] if DEBUG else []),
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "groupbuy.console.headers",
    "axes.middleware.AxesMiddleware",
]
ROOT_URLCONF = "groupbuy.urls"
WSGI_APPLICATION = "groupbuy.wsgi.application"
APPEND_SLASH = True  # for the admin; API paths match with and without
CSRF_FAILURE_VIEW = "pages.problems.csrf_failure"
LOGIN_URL, LOGIN_REDIRECT_URL = "admin:login", "admin:index"
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_FAILURE_LIMIT, AXES_COOLOFF_TIME = 10, timedelta(minutes=15)
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_RESET_ON_SUCCESS = AXES_DISABLE_ACCESS_LOG = True
AXES_ENABLE_ADMIN = AXES_VERBOSE = False  # groupbuy/accounts.py has a page of its own
AXES_CLIENT_IP_CALLABLE = "groupbuy.signin.address"
AXES_LOCKOUT_CALLABLE = "groupbuy.signin.locked"
OTP_TOTP_ISSUER = "Group buying"
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
        options = {
            "transaction_mode": "IMMEDIATE",
            "timeout": 10,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        }
        test = {"NAME": str(VAR_DIR / "test.sqlite3")}  # a file, so that threads can race on it
    kept = {"CONN_MAX_AGE": 600, "CONN_HEALTH_CHECKS": True}
    return {**url, **kept, "OPTIONS": options | url.get("OPTIONS", {}), "TEST": test}


DATABASES = {"default": _database(env.database("DATABASE_URL", VAR_DIR / "db.sqlite3"))}
GALERA = env.flag("GALERA", default=False)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Redis ----------------------------------------------------------------------------------

REDIS_URL = env.redis_url("REDIS_URL", VAR_DIR)
CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "gbm",
        "OPTIONS": {
            "SOCKET_CONNECT_TIMEOUT": 0.2,
            "SOCKET_TIMEOUT": 0.5,
            "IGNORE_EXCEPTIONS": True,  # the cache holds only copies
        },
    }
}
SESSION_ENGINE = "django.contrib.sessions.backends.cached_db"
SESSION_COOKIE_AGE = 12 * 60 * 60  # seconds

# --- Celery ---------------------------------------------------------------------------------

CELERY_BROKER_URL = env.broker_url("CELERY_BROKER_URL", REDIS_URL)
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None  # a worker never gives up; see groupbuy/sweeps.py
CELERY_BROKER_CONNECTION_TIMEOUT = 1
CELERY_BROKER_HEARTBEAT = 30  # seconds; a RabbitMQ that falls silent is noticed after two
if CELERY_BROKER_URL.startswith("redis"):
    CELERY_BROKER_TRANSPORT_OPTIONS = {"socket_connect_timeout": 1, "socket_timeout": 5}
QUORUM_QUEUES = env.flag("QUORUM_QUEUES", default=False)
if QUORUM_QUEUES:
    CELERY_TASK_DEFAULT_QUEUE_TYPE = "quorum"
    CELERY_BROKER_TRANSPORT_OPTIONS = {"confirm_publish": True}
CELERY_TASK_IGNORE_RESULT = True
CELERY_RESULT_EXPIRES = None  # no results, so beat needs no clean-up task
CELERY_TASK_ACKS_LATE = True  # every task may run twice; none may be lost
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
CELERY_BEAT_SCHEDULE: dict[str, dict[str, Any]] = {
    name: {
        "task": f"{app}.tasks.{name.replace(' ', '_')}",
        "schedule": timedelta(seconds=seconds),
        "options": {"expire_seconds": seconds},
    }
    for app, name, seconds in (
        ("trade", "deliver due notifications", 5),
        ("trade", "close overdue holds", 10),
        ("trade", "end overdue teams", 10),
        ("trade", "fail teams of closed", 10),
        ("trade", "expire activities", 60),
        ("tag", "refresh bitmaps", 10),
        ("tag", "forget old files", 600),
        ("activity", "forget old goods files", 600),
        ("trade", "work on crowds", 5),
        ("trade", "delete old rows", 600),
        ("trade", "keep sums", 60),
        ("pages", "forget used links", 600),
        ("groupbuy", "work on exports", 5),
        ("groupbuy", "forget old exports", 600),
    )
}
CELERY_BEAT_SCHEDULE["check invariants"] = {
    "task": "trade.tasks.check_invariants",
    "schedule": crontab(hour="4", minute="10"),  # it reads whole tables
    "options": {"expire_seconds": 3600},
}

# --- RabbitMQ for callbacks; without it a lock with notifyType MQ is refused ------------------

AMQP_URL = env.amqp_url("AMQP_URL")

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
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Group buying",
    "DESCRIPTION": "拼团: trial, seat lock, settlement and refund for mall back ends. Requests are "
    "described in the form to prefer. Do not validate by it: a number is also accepted for a "
    "string, digits for a number, and what else docs/contract.md says.",
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
FORMAT_MODULE_PATH = "groupbuy.formats"
TIME_ZONE = CELERY_TIMEZONE = "Asia/Shanghai"  # also of the schedules that operators write
USE_TZ = True
STATIC_URL = "static/"
STATIC_ROOT = VAR_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
MEDIA_URL = "media/"
MEDIA_ROOT = VAR_DIR / "media"  # uploaded pictures of goods
DATA_UPLOAD_MAX_NUMBER_FIELDS = 25_000  # the form of an activity has 4 for each offer

# --- Log ------------------------------------------------------------------------------------

LOG_DIR = VAR_DIR / "log"
LOG_FILES = env.flag("LOG_FILES", default=EMBEDDED)  # kept in LOG_DIR, for manage.py logs
LOG_ROUTINE = env.number("LOG_ROUTINE", 100, at_least=1, at_most=1_000_000)  # see access.py
ELASTICSEARCH_URL = env.http_url("ELASTICSEARCH_URL")  # where manage.py logs searches instead
PROMETHEUS_URL = env.http_url("PROMETHEUS_URL")  # for manage.py mcp
OPERATOR_KEY = env.text("OPERATOR_KEY")  # of the operator who uses manage.py mcp on stdio
LOGGING = logs.configuration(
    level=env.log_level("LOG_LEVEL", "INFO"),
    files=LOG_DIR if LOG_FILES else None,
    as_json=env.flag("LOG_JSON", default=False),
    version=VERSION,
)
