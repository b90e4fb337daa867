"""Settings. Everything that differs by machine is a variable MALL_…; README.md lists them."""

from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from mall import environment as env
from mall.keys import make_demo_keys

BASE_DIR = Path(__file__).resolve().parent.parent

# --- This machine ---------------------------------------------------------------------------

# The loopback demo with a pretend phone, a pretend Alipay, and a secret key of its own.
DEMO = env.flag("MALL_DEMO")
DEBUG = env.flag("MALL_DEBUG")  # for runserver; it shows tracebacks to everybody
VAR_DIR = Path(env.text("MALL_VAR_DIR", str(BASE_DIR / "var"))).resolve()
VAR_DIR.mkdir(parents=True, exist_ok=True)
SECRET_KEY = env.secret_key("MALL_SECRET_KEY", VAR_DIR / "secret_key", may_make=DEMO)
MALL_URL = env.url("MALL_URL", "http://127.0.0.1:8100")  # as shoppers, Alipay and platform see it
ALLOWED_HOSTS = env.words("MALL_ALLOWED_HOSTS", "127.0.0.1,localhost")
FORCE_SCRIPT_NAME = urlsplit(MALL_URL).path or None  # the mall below a path of its host: /mall
CSRF_TRUSTED_ORIGINS = [MALL_URL.removesuffix(FORCE_SCRIPT_NAME or "")]
# Origins of old static pages that call /api/v1/ from another host.
CORS_ALLOWED_ORIGINS = env.words("MALL_CORS_ORIGINS")
CORS_URLS_REGEX = r"^/api/v1/(login|alipay)/"
# Old static pages send the user id in the body and have no session. Anybody who can reach the mall
# can then order as any user, so this is for demos and for networks where that is acceptable.
BELIEVE_USER_ID = env.flag("MALL_BELIEVE_USER_ID")

GOODS_FILE = Path(env.text("MALL_GOODS", str(BASE_DIR / "mall" / "goods.json")))  # for a new mall

# --- The platform ---------------------------------------------------------------------------

_credentials = env.json_file("MALL_CREDENTIALS")  # the file that the platform's demo writes
PLATFORM_URL = env.url("MALL_PLATFORM_URL", "http://127.0.0.1:8000")
SOURCE = env.text("MALL_SOURCE", "s01")
CHANNEL = env.text("MALL_CHANNEL", "c01")
API_KEY = env.text("MALL_API_KEY") or _credentials.get("api_key", "")
WEBHOOK_SECRET = env.text("MALL_WEBHOOK_SECRET") or _credentials.get("webhook_secret", "")
PAGE_SECRET = env.text("MALL_PAGE_SECRET") or _credentials.get("page_secret", "")
# RabbitMQ. If it is empty, the platform calls back by HTTP.
AMQP_URL = env.text("MALL_AMQP_URL")
QUEUES = {
    "topic.team_success": env.text(
        "MALL_QUEUE_TEAM_SUCCESS", "s_pay_mall_queue_2_topic_team_success"
    ),
    "topic.team_refund": env.text("MALL_QUEUE_TEAM_REFUND", "s_pay_mall_queue_2_topic_team_refund"),
}
DEAD_LETTERS = env.text("MALL_QUEUE_DEAD_LETTERS", f"mall_{SOURCE}_{CHANNEL}_dead_letters")

# --- Alipay ---------------------------------------------------------------------------------

_pretend = {"gateway": "", "app": "", "seller": "", "private": "", "public": ""}
if DEMO:  # pretend_alipay, and key pairs for it and for us
    _keys = VAR_DIR / "alipay"
    make_demo_keys(_keys)
    _pretend = {
        "gateway": "http://127.0.0.1:8200/gateway.do",
        "app": "9021000100000001",
        "seller": "2088100000000001",
        "private": str(_keys / "app_private.pem"),
        "public": str(_keys / "alipay_public.pem"),
    }
ALIPAY_GATEWAY = env.url(
    "MALL_ALIPAY_GATEWAY", _pretend["gateway"] or "https://openapi.alipay.com/gateway.do"
)
ALIPAY_APP_ID = env.text("MALL_ALIPAY_APP_ID", _pretend["app"])
ALIPAY_SELLER_ID = env.text("MALL_ALIPAY_SELLER_ID", _pretend["seller"])
# We sign with the application's private key; Alipay's public key verifies its signatures.
ALIPAY_PRIVATE_KEY = env.key("MALL_ALIPAY_PRIVATE_KEY", _pretend["private"])
ALIPAY_PUBLIC_KEY = env.key("MALL_ALIPAY_PUBLIC_KEY", _pretend["public"])
PAY_WITHIN = timedelta(minutes=30)  # of an order bought alone; in a team the hold's end counts

# --- WeChat; without it, people can log in by the demo's pretend phone only -------------------

WECHAT_TOKEN = env.text("MALL_WECHAT_TOKEN") or ("demo" if DEMO else "")
WECHAT_APP_ID = env.text("MALL_WECHAT_APP_ID")
WECHAT_SECRET = env.text("MALL_WECHAT_SECRET")
WECHAT_API = env.url("MALL_WECHAT_API", "https://api.weixin.qq.com")

# --- Django ---------------------------------------------------------------------------------

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "corsheaders",
    "mall",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
MIDDLEWARE = [
    *(["mall.middleware.loopback_only"] if DEMO else []),
    "corsheaders.middleware.CorsMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "mall.middleware.headers",
]
ROOT_URLCONF = "mall.urls"
WSGI_APPLICATION = "mall.wsgi.application"
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
                "mall.middleware.frame",
            ],
        },
    },
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": env.text("MALL_DATABASE", str(VAR_DIR / "mall.sqlite3")),
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 10,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
        },
        "TEST": {"NAME": str(VAR_DIR / "test.sqlite3")},  # a file, so that threads can race on it
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Browsers -------------------------------------------------------------------------------

# Cookies ignore the port: platform and mall, or two malls, share 127.0.0.1 in the demo.
COOKIES = f"mall_{SOURCE}_{CHANNEL}"
SESSION_COOKIE_NAME = f"{COOKIES}_session"
CSRF_COOKIE_NAME = f"{COOKIES}_csrf"
DEVICE_COOKIE_NAME = f"{COOKIES}_device"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = MALL_URL.startswith("https:")
SESSION_COOKIE_SAMESITE = "Lax"  # the return from Alipay is a GET, so the session survives it
CSRF_FAILURE_VIEW = "mall.views.problems.csrf_failure"
if env.flag("MALL_BEHIND_HTTPS_PROXY"):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# --- People ---------------------------------------------------------------------------------

LANGUAGE_CODE = "zh-hans"
LANGUAGES = [("zh-hans", "简体中文"), ("en", "English")]
LOCALE_PATHS = [BASE_DIR / "locale"]
TIME_ZONE = "Asia/Shanghai"
USE_TZ = True
STATIC_URL = "static/"
STATIC_ROOT = VAR_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "loggers": {
        "django": {"handlers": [], "propagate": True},
        "django.request": {"level": "ERROR"},
        "pika": {"level": "CRITICAL"},
    },
    "root": {"handlers": ["console"], "level": env.text("MALL_LOG_LEVEL", "WARNING")},
}
