"""The table of settings: what each is called everywhere, what it may be, and what it is by default."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from chatcli.config import values
from chatcli.frozen import Frozen

_TIMEOUTS = "timeouts."


class Variable(Frozen):
    """One setting: a variable of the environment, a key of config.toml and a field of `Settings`."""

    name: str
    field: str
    parse: Callable[[str], object]
    allowed: str
    default: object = None
    secret: bool = False
    has_file: bool = False
    """Whether NAME_FILE may name a file that holds the value."""
    second_name: str | None = None
    """Another variable that is looked at where this one is not set."""
    option: str | None = None
    """The command-line option, where its name does not follow from the variable's."""
    unset: str = "not set"
    """What is shown where there is no value."""

    @property
    def key(self) -> str:
        """The key of config.toml: the name in lower case without CHATCLI_; timeouts have a table."""
        if self.field.startswith(_TIMEOUTS):
            return self.field
        return self.name.removeprefix("CHATCLI_").lower()

    @property
    def flag(self) -> str:
        """The command-line option."""
        return self.option or "--" + self.name.removeprefix("CHATCLI_").lower().replace("_", "-")


_TEXT = "text of one line"
_TOKEN = "one line of visible ASCII characters without spaces"  # noqa: S105 - a description
_COUNT = "a whole number above 0"
_SECONDS = "a number of seconds above 0"
_SWITCH = "1, true, yes, on, 0, false, no or off"

_TABLE = (
    Variable("CHATCLI_MODEL", "model", values.parse_text, "PROVIDER:MODEL or an alias"),
    Variable(
        "CHATCLI_STORE",
        "store",
        values.parse_store,
        "sqlite:///PATH, memory://, postgresql://… or s3://BUCKET/PREFIX",
    ),
    Variable(
        "CHATCLI_SERVER",
        "server",
        values.parse_server,
        "http://… or https://… without a user name, or unix:///PATH",
    ),
    Variable("S3_BUCKET_NAME", "s3_bucket", values.parse_bucket, "the name of a bucket"),
    Variable("AWS_ACCESS_KEY_ID", "aws_access_key_id", values.parse_token, _TOKEN, secret=True),
    Variable("AWS_SECRET_ACCESS_KEY", "aws_secret_access_key", values.parse_token, _TOKEN, secret=True),
    Variable("AWS_SESSION_TOKEN", "aws_session_token", values.parse_token, _TOKEN, secret=True),
    Variable(
        "AWS_REGION",
        "aws_region",
        values.parse_token,
        "the name of a region",
        second_name="AWS_DEFAULT_REGION",
    ),
    Variable(
        "AWS_ENDPOINT_URL_S3",
        "aws_endpoint_url",
        values.parse_base_url,
        "http://… or https://… without a user name",
        second_name="AWS_ENDPOINT_URL",
    ),
    Variable("MAX_CONVERSATION_LENGTH", "max_conversation_length", values.parse_count, _COUNT, 20),
    Variable("RATE_LIMIT_CALLS", "rate_limit_calls", values.parse_count, _COUNT, 50),
    Variable("RATE_LIMIT_PERIOD", "rate_limit_period", values.parse_seconds, _SECONDS, 60.0),
    Variable(
        "CHATCLI_CLIENT_RATE",
        "client_rate",
        values.check_rate,
        "NUMBER/second, /minute, /hour or /day",
        "60/minute",
    ),
    Variable("CHATCLI_API_TOKEN", "api_token", values.parse_token, _TOKEN, secret=True),
    Variable("CHATCLI_API_TOKENS_FILE", "api_tokens_file", values.parse_path, "the path of a file"),
    Variable("CHATCLI_REDIS_URL", "redis_url", values.parse_redis_url, "redis://…, rediss://… or unix://…"),
    Variable(
        "CHATCLI_ENCRYPTION_KEY",
        "encryption_key",
        values.parse_keys,
        "keys, separated by commas or line ends",
        secret=True,
        has_file=True,
    ),
    Variable(
        "CHATCLI_RETENTION",
        "retention",
        values.check_age,
        "an age such as 90d, 12h, 2w or 1y, or a date YYYY-MM-DD",
        option="--older-than",
    ),
    Variable(
        "MAX_INPUT_LENGTH",
        "max_input_length",
        values.parse_count,
        _COUNT,
        unset="10000 (serve), 1000000 (commands)",
    ),
    Variable(
        "LOG_LEVEL",
        "log_level",
        values.parse_log_level,
        ", ".join(values.LOG_LEVELS[:-1]) + " or " + values.LOG_LEVELS[-1],
        unset="INFO (serve), WARNING (commands)",
    ),
    Variable(
        "CHATCLI_LOG_FORMAT",
        "log_format",
        values.parse_log_format,
        "json or console",
        unset="json (serve), console (commands)",
    ),
    Variable("PROJECT_NAME", "project_name", values.parse_text, _TEXT, "chatcli"),
    Variable("DESCRIPTION", "description", values.parse_text, _TEXT, "AI Agent with Thread Persistence"),
    Variable("LANGSMITH_TRACING", "langsmith_tracing", values.parse_switch, _SWITCH, default=False),
    Variable("LANGSMITH_API_KEY", "langsmith_api_key", values.parse_token, _TOKEN, secret=True),
    Variable("CHATCLI_TIMEOUT_CONNECT", "timeouts.connect", values.parse_seconds, _SECONDS, 5.0),
    Variable("CHATCLI_TIMEOUT_FIRST_TOKEN", "timeouts.first_token", values.parse_seconds, _SECONDS, 60.0),
    Variable("CHATCLI_TIMEOUT_IDLE", "timeouts.idle", values.parse_seconds, _SECONDS, 60.0),
    Variable("CHATCLI_TIMEOUT_TOTAL", "timeouts.total", values.parse_seconds, _SECONDS, 600.0),
)

VARIABLES: Mapping[str, Variable] = MappingProxyType({variable.name: variable for variable in _TABLE})
"""All settings of `Settings` by the variable's name, in the order in which they are shown."""
