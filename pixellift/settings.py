"""Settings: one file for every mode. The environment chooses; nothing else differs between a laptop and a cluster.

Embedded (the default): SQLite, in-process broker and channel layer, files under DATA_DIR.
Full: DATABASE_URL, REDIS_URL and MEDIA_S3_BUCKET name the services that take their places.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Any

import django_stubs_ext
import environ

from pixellift import environment as env

# Lets classes such as ModelForm[User] and ModelAdmin[User] be written at run time too.
django_stubs_ext.monkeypatch()

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = Path(env.text("DATA_DIR", str(BASE_DIR / "data"))).expanduser().resolve()
TESTING = Path(sys.argv[0]).name in {"pytest", "py.test"} or "pytest" in sys.modules

# --- Identity and safety -------------------------------------------------------------------------------------------

DEBUG = env.flag("DEBUG")
SECRET_KEY = env.secret_key(DATA_DIR)
HTTPS = env.flag("HTTPS")
HOST = env.text("HOST", "127.0.0.1")
PORT = env.whole("PORT", 8000, maximum=65_535)
BEHIND_PROXY = env.flag("BEHIND_PROXY")
ALLOWED_HOSTS = env.hosts("ALLOWED_HOSTS", HOST)
CSRF_TRUSTED_ORIGINS = env.words("CSRF_TRUSTED_ORIGINS")
CSRF_FAILURE_VIEW = "pixellift.views.csrf_failure"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SECURE_SSL_REDIRECT = HTTPS
SECURE_REDIRECT_EXEMPT = [r"^(metrics|healthz|readyz)$"]  # asked by machines, mostly past the proxy
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = HTTPS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if BEHIND_PROXY else None
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "blob:", "data:", *env.signed_media_origin()],
        "connect-src": ["'self'"],
        "font-src": ["'self'"],
        "manifest-src": ["'self'"],
        "form-action": ["'self'"],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
    },
}
# Without HTTPS in front these four are the operator's choice, not a mistake.
SILENCED_SYSTEM_CHECKS = [] if HTTPS else ["security.W004", "security.W008", "security.W012", "security.W016"]

# --- Composition ---------------------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "daphne",
    "django_dramatiq",
    "pixellift.apps.PixelLiftConfig",
    "transforms.apps.TransformsConfig",
    "gallery.apps.GalleryConfig",
    "accounts.apps.AccountsConfig",
    "ganworks.apps.GanworksConfig",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django_htmx",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_filters",
    "axes",
    "channels",
    "django_structlog",
]

MIDDLEWARE = [
    "pixellift.middleware.measured",
    "pixellift.middleware.numbered",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "pixellift.middleware.LoginRequired",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "django_structlog.middlewares.RequestMiddleware",
    "axes.middleware.AxesMiddleware",
]

ROOT_URLCONF = "pixellift.urls"
ASGI_APPLICATION = "pixellift.asgi.application"

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

# --- Data ----------------------------------------------------------------------------------------------------------

DATABASE_IDLE_SECONDS = 30
"""A process that stops in the middle of a transaction (frozen, or its machine gone) keeps its locks for so long."""


def _database() -> dict[str, Any]:
    url = env.text("DATABASE_URL")
    if not url:
        return _sqlite(DATA_DIR / "pixellift.sqlite3")
    if not url.startswith(("postgres://", "postgresql://", "sqlite:///")):
        raise env.BadSetting(
            "DATABASE_URL must begin with postgresql:// (or sqlite:///): for example postgresql://user:password@host/pixellift."
        )
    try:
        config: dict[str, Any] = dict(environ.Env.db_url_config(url))
    except ValueError as error:
        raise env.BadSetting(f"DATABASE_URL cannot be read ({error}): check how it is written.") from error
    if not config["NAME"]:
        raise env.BadSetting(
            "DATABASE_URL names no database: it ends with one, as in postgresql://host/pixellift."
        )
    if url.startswith("sqlite"):
        return _sqlite(config["NAME"])
    # Under ASGI a pool, not persistent connections, bounds what the threads hold. Each connection is looked at before it
    # is handed out, and nobody waits for long: a database that was away is found again by the next request.
    config["CONN_MAX_AGE"] = 0
    config["CONN_HEALTH_CHECKS"] = True
    given = config.get("OPTIONS", {})
    idle = f"-c idle_in_transaction_session_timeout={DATABASE_IDLE_SECONDS}s"
    config["OPTIONS"] = {
        "connect_timeout": 4,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,  # milliseconds
        **given,
        "options": f"{idle} {given.get('options', '')}".strip(),  # what stands later counts
        "pool": {
            "min_size": 0,
            "max_size": env.whole("DATABASE_POOL_SIZE", 10, minimum=1),
            "timeout": 3.0,
            "reconnect_timeout": 4.0,
        },
    }
    return config


def _sqlite(name: str | Path) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(name),
        "OPTIONS": {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
    }


DATABASES = {"default": _database()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_URL = env.redis("REDIS_URL")

# A worker takes what it can work on at once: what it kept in hand beside that would wait while others idle.
os.environ.setdefault("dramatiq_queue_prefetch", "1")
# The tests send no message by themselves: they run an actor, or start a worker, when that is what they are about.
DRAMATIQ_BROKER = {
    "BROKER": "transforms.broker.SharedBroker" if REDIS_URL else "transforms.broker.EmbeddedBroker",
    "OPTIONS": {"url": REDIS_URL, "maintenance_chance": 1_000_000} if REDIS_URL else {},
    "MIDDLEWARE": [
        "dramatiq.middleware.AgeLimit",
        "dramatiq.middleware.TimeLimit",
        "dramatiq.middleware.ShutdownNotifications",
        "dramatiq.middleware.Callbacks",
        "dramatiq.middleware.Retries",
        "django_dramatiq.middleware.DbConnectionsMiddleware",
        "transforms.broker.WorkerLife",
    ],
}
CHANNEL_LAYERS = {
    "default": (
        {"BACKEND": "transforms.redis_layer.RedisChannelLayer", "CONFIG": {"hosts": [REDIS_URL]}}
        if REDIS_URL
        else {"BACKEND": "transforms.layers.EmbeddedChannelLayer"}
    )
}
CACHES = {
    "default": (
        {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL}
        if REDIS_URL
        else {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
    )
}

# --- Files ---------------------------------------------------------------------------------------------------------

MEDIA_ROOT = Path(env.text("MEDIA_ROOT", str(DATA_DIR / "media"))).resolve()
MEDIA_URL = "/media/"  # never routed: every file goes through a view that asks who is looking
STATIC_URL = "/static/"
STATIC_ROOT = Path(env.text("STATIC_ROOT", str(DATA_DIR / "static"))).resolve()
STATICFILES_DIRS = [BASE_DIR / "static"]
MEDIA_S3_BUCKET = env.text("MEDIA_S3_BUCKET")
MEDIA_S3_ENDPOINT = env.text("MEDIA_S3_ENDPOINT")
MEDIA_S3_REGION = env.text("MEDIA_S3_REGION")
# How a browser gets a file, once the view has looked who asks: from the view itself, from the bucket by a signed address
# that holds for minutes, or from nginx, which the view tells where the file is.
MEDIA_DELIVERY = env.choice("MEDIA_DELIVERY", "proxied", ("proxied", "signed", "accel"))
if MEDIA_DELIVERY == "signed" and not MEDIA_S3_BUCKET:
    raise env.BadSetting("MEDIA_DELIVERY is 'signed', which needs a bucket: set MEDIA_S3_BUCKET.")
MEDIA_SIGNED_SECONDS = 300


def bucket_options(bucket: str, endpoint: str, region: str) -> dict[str, Any]:
    """Of django-storages. An object store that hangs holds nobody for longer than a dozen seconds."""
    from boto3.s3.transfer import TransferConfig
    from botocore.config import Config

    own = bool(
        MEDIA_S3_ENDPOINT
    )  # MinIO, Ceph and others: the bucket in the path, and no checksums that they may not know
    checksums = "when_required" if own else "when_supported"
    return {
        "bucket_name": bucket,
        "endpoint_url": endpoint or None,
        "region_name": region or None,
        "default_acl": None,
        "querystring_auth": True,
        "querystring_expire": MEDIA_SIGNED_SECONDS,
        "file_overwrite": True,
        "transfer_config": TransferConfig(use_threads=False),
        "max_memory_size": 8 * env.MEBIBYTE,
        "client_config": Config(
            connect_timeout=4,
            read_timeout=6,
            retries={"mode": "standard", "total_max_attempts": 2},
            signature_version="s3v4",
            s3={"addressing_style": "path" if own else "auto"},
            request_checksum_calculation=checksums,
            response_checksum_validation=checksums,
        ),
    }


STORAGES: dict[str, dict[str, Any]] = {
    "default": (
        {
            "BACKEND": "gallery.bucket.BucketStorage",
            "OPTIONS": bucket_options(MEDIA_S3_BUCKET, MEDIA_S3_ENDPOINT, MEDIA_S3_REGION),
        }
        if MEDIA_S3_BUCKET
        else {"BACKEND": "gallery.storage.OverwritingStorage", "OPTIONS": {"location": str(MEDIA_ROOT)}}
    ),
    "staticfiles": {
        "BACKEND": (
            "django.contrib.staticfiles.storage.StaticFilesStorage"
            if DEBUG or TESTING
            else "whitenoise.storage.CompressedManifestStaticFilesStorage"
        )
    },
}
# No browser asks for source maps unless a developer does.
WHITENOISE_SKIP_COMPRESS_EXTENSIONS = (
    "jpg",
    "jpeg",
    "png",
    "gif",
    "webp",
    "woff",
    "woff2",
    "gz",
    "br",
    "map",
)
UPLOAD_MAX_BYTES = env.whole("UPLOAD_MAX_MEBIBYTES", 20, minimum=1) * env.MEBIBYTE
UPLOAD_MAX_PIXELS = env.whole("UPLOAD_MAX_MEGAPIXELS", 50, minimum=1) * 1_000_000
FILE_UPLOAD_HANDLERS = [
    "gallery.uploadhandler.SizeLimitHandler",
    "django.core.files.uploadhandler.MemoryFileUploadHandler",
    "django.core.files.uploadhandler.TemporaryFileUploadHandler",
]
# A checkpoint comes in slices, each a request of its own; unfinished uploads together may be twice as large as one.
CHECKPOINT_MAX_BYTES = env.whole("CHECKPOINT_MAX_MEBIBYTES", 2048, minimum=1) * env.MEBIBYTE
CHECKPOINT_STALE_SECONDS = 24 * 3600
# One request may carry several pictures; what is longer is refused before Django sees it.
REQUEST_MAX_BYTES = max(3 * UPLOAD_MAX_BYTES, 64 * env.MEBIBYTE)
DATA_UPLOAD_MAX_MEMORY_SIZE = 2 * env.MEBIBYTE
QUOTA_BYTES = env.whole("QUOTA_MEBIBYTES", 2048, minimum=1) * env.MEBIBYTE
QUOTA_OUTSTANDING_JOBS = env.whole("QUOTA_OUTSTANDING_JOBS", 20, minimum=1)
UNDO_DELETE_SECONDS = env.whole("UNDO_DELETE_SECONDS", 3600, minimum=10)

# --- People --------------------------------------------------------------------------------------------------------

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "accounts.backends.NameOrEmailBackend"]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}", "OPTIONS": options}
    for name, options in (
        ("UserAttributeSimilarityValidator", {"user_attributes": ("user_name", "email")}),
        ("MinimumLengthValidator", {"min_length": 10}),
        ("CommonPasswordValidator", {}),
        ("NumericPasswordValidator", {}),
    )
]
LOGIN_URL = "accounts:login"
LOGIN_REDIRECT_URL = "gallery:index"
LOGOUT_REDIRECT_URL = "landing"
AXES_FAILURE_LIMIT = env.whole("SIGN_IN_ATTEMPTS", 10, minimum=1)
AXES_COOLOFF_TIME = 0.25  # hours
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_LOCKOUT_CALLABLE = "accounts.views.sign_in_locked"
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_USERNAME_FORM_FIELD = "username"
AXES_USERNAME_CALLABLE = "accounts.throttling.sign_in_name"
AXES_CLIENT_IP_CALLABLE = "accounts.limits.client_address"
AXES_RESET_ON_SUCCESS = True
AXES_DISABLE_ACCESS_LOG = True  # who signed in when is nobody's business
AXES_VERBOSE = False
# For each address, so that one machine cannot try many names, or fill the place with accounts and mails.
SIGN_IN_FAILURES_PER_ADDRESS = env.whole("SIGN_IN_FAILURES_PER_ADDRESS", 100, minimum=1)  # in 15 minutes
SIGN_UPS_PER_HOUR = env.whole("SIGN_UPS_PER_HOUR", 60, minimum=1)
PASSWORD_RESETS_PER_HOUR = env.whole("PASSWORD_RESETS_PER_HOUR", 20, minimum=1)
PASSWORD_RESET_TIMEOUT = 2 * 3600

_MAIL = env.mail("EMAIL_URL")
EMAIL_BACKEND = _MAIL.backend
EMAIL_HOST, EMAIL_PORT = _MAIL.host, _MAIL.port
EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = _MAIL.user, _MAIL.password
EMAIL_USE_TLS, EMAIL_USE_SSL = _MAIL.start_tls, _MAIL.tls
EMAIL_TIMEOUT = 20  # seconds
DEFAULT_FROM_EMAIL = env.text("DEFAULT_FROM_EMAIL", "PixelLift <pixellift@localhost>")

# --- API -----------------------------------------------------------------------------------------------------------

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "accounts.authentication.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PAGINATION_CLASS": "rest_framework.pagination.LimitOffsetPagination",
    "PAGE_SIZE": 50,
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_THROTTLE_CLASSES": ["rest_framework.throttling.UserRateThrottle"],
    "DEFAULT_THROTTLE_RATES": {"user": env.text("API_RATE", "1200/min")},
}
SPECTACULAR_SETTINGS = {
    "TITLE": "PixelLift",
    "DESCRIPTION": "Everything that the pages do, over HTTP.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "SCHEMA_PATH_PREFIX": r"/api/v1",
    "ENUM_NAME_OVERRIDES": {"StatusEnum": "gallery.models.Status"},
}

# --- Engine --------------------------------------------------------------------------------------------------------

# Starter models come with the package; operators' own lie here, one folder each.
MODELS_DIR = Path(env.text("MODELS_DIR", str(DATA_DIR / "models"))).resolve()
ENGINE_CLASS = env.text("ENGINE_CLASS", "transforms.engine.LocalEngine")  # tests put one that sleeps there
ENGINE_DEVICE = env.device("ENGINE_DEVICE")
# So many pixels of random pictures and previews are drawn in one pass. (Measured: 8 of 128 pixels take 0.53 to 0.66 of
# their time apart.)
ENGINE_BATCH_PIXELS = env.whole("ENGINE_BATCH_PIXELS", 131_072)
ENGINE_MEMORY_BYTES = env.whole("ENGINE_MEMORY_MEBIBYTES", 2048, minimum=64) * env.MEBIBYTE
EMBEDDED_WORKER_THREADS = env.whole(
    "EMBEDDED_WORKER_THREADS", 0 if TESTING else 1
)  # 0: no worker in this process
# Threads of a worker process: one computes, the others store what was computed.
WORKER_THREADS = env.whole("WORKER_THREADS", 2, minimum=1)
JOB_LEASE_SECONDS = env.whole("JOB_LEASE_SECONDS", 10, minimum=2)
JOB_ATTEMPTS = 3
# Which generators this worker serves (empty: all), and how long others wait for a worker that has theirs.
WORKER_GENERATORS = env.words("WORKER_GENERATORS")
ROUTING_PATIENCE_SECONDS = env.whole("ROUTING_PATIENCE_SECONDS", 30)
BATCH_PATIENCE_SECONDS = env.whole("BATCH_PATIENCE_SECONDS", 600)
# In the one process of embedded mode jobs leave a core to the pages and previews, and yield to them (0: as torch decides).
ENGINE_JOB_THREADS = env.whole("ENGINE_JOB_THREADS", 0 if REDIS_URL else max(1, (os.cpu_count() or 2) - 1))
ENGINE_JOB_NICE = env.whole("ENGINE_JOB_NICE", 0 if REDIS_URL else 10)

# Where live previews are drawn: in threads of the web process, or by preview workers (manage.py previewworker).
PREVIEW_LANE = env.choice("PREVIEW_LANE", "workers" if REDIS_URL else "here", ("here", "workers"))
if PREVIEW_LANE == "workers" and not REDIS_URL:
    raise env.BadSetting("PREVIEW_LANE is 'workers', which needs a REDIS_URL to speak to them.")

# --- Language, time, logs ------------------------------------------------------------------------------------------

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True

DJANGO_STRUCTLOG_STATUS_4XX_LOG_LEVEL = logging.INFO
# Else every request, /healthz too, asks the database who is signed in, and once more when the database is away.
DJANGO_STRUCTLOG_USER_ID_FIELD = ""
DJANGO_STRUCTLOG_TRUST_UPSTREAM_REQUEST_ID = True  # by then it is ours, see pixellift.middleware.numbered

# --- Metrics -------------------------------------------------------------------------------------------------------

METRICS_TOKEN = env.token("METRICS_TOKEN")
# Of worker processes; a server shows its own at /metrics.
METRICS_HOST = env.text("METRICS_HOST", "127.0.0.1")
METRICS_PORT = env.whole("METRICS_PORT", 0, maximum=65_000)

from pixellift.logs import LOGGING  # noqa: E402, F401  (structlog is configured by importing it)
