"""Settings: what counts over what, what is refused and how, and that no secret ever shows."""

import copy
import json
import pickle
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import platformdirs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatcli.config import (
    ApiKey,
    Secret,
    Settings,
    Timeouts,
    load_settings,
    mask_url,
    parse_rate,
    read_terminal,
)
from chatcli.config.credentials import run_command
from chatcli.config.sources import Found
from chatcli.config.variables import VARIABLES
from chatcli.errors import ConfigError


class Home:
    """A user's directories, with what is written into them."""

    def __init__(self, root: Path) -> None:
        self.config = root / "config" / "chatcli"
        self.data = root / "data" / "chatcli"
        self.config.mkdir(parents=True, exist_ok=True)
        self.environ = {"XDG_CONFIG_HOME": str(root / "config"), "XDG_DATA_HOME": str(root / "data")}

    def write(self, name: str, text: str) -> Path:
        """Write a file of the config directory."""
        path = self.config / name
        path.write_text(text, encoding="utf-8")
        return path

    def load(self, flags: Mapping[str, str | None] | None = None, /, **environ: str) -> Settings:
        """Load the settings of this user, with nothing else in the environment."""
        return load_settings(flags or {}, environ={**self.environ, **environ})

    def refuse(self, flags: Mapping[str, str | None] | None = None, /, **environ: str) -> str:
        """Return the message and hint of the error that loading ends with."""
        with pytest.raises(ConfigError) as caught:
            self.load(flags, **environ)
        return f"{caught.value.message}\n{caught.value.hint}"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_defaults(home: Home) -> None:
    """With nothing set, every setting has the default that is promised, and says so."""
    settings = home.load()
    assert settings.model is None
    assert settings.store == f"sqlite:///{home.data}/chatcli.db"
    assert settings.max_conversation_length == 20
    assert (settings.rate_limit_calls, settings.rate_limit_period) == (50, 60.0)
    assert settings.client_rate == "60/minute"
    assert settings.max_input_length is None
    assert settings.log_level is None
    assert settings.project_name == "chatcli"
    assert settings.description == "AI Agent with Thread Persistence"
    assert settings.langsmith_tracing is False
    assert settings.timeouts == Timeouts(connect=5, first_token=60, idle=60, total=600)
    assert settings.config_file == home.config / "config.toml"
    assert set(settings.origins) == set(VARIABLES)
    assert set(settings.origins.values()) == {"default"}


def test_nothing_is_created(home: Home) -> None:
    """Reading settings leaves no trace on disk."""
    home.load()
    assert list(home.config.iterdir()) == []
    assert not home.data.exists()


def test_settings_are_frozen(home: Home) -> None:
    """Settings can't be changed once they are read, not even through their mappings."""
    settings = home.load()
    with pytest.raises(AttributeError):
        settings.model = "x"  # type: ignore[misc]
    with pytest.raises(TypeError):
        settings.origins["CHATCLI_MODEL"] = "x"  # type: ignore[index]


def test_precedence(home: Home) -> None:
    """A flag counts over the environment, that over .env, that over config.toml, that over the default."""
    environ = {"CHATCLI_MODEL": "environment:m"}
    config = home.write("config.toml", 'model = "file:m"\n')
    settings = home.load()
    assert (settings.model, settings.origin("CHATCLI_MODEL")) == ("file:m", str(config))
    env_file = home.write(".env", "CHATCLI_MODEL=dotenv:m\n")
    settings = home.load()
    assert (settings.model, settings.origin("CHATCLI_MODEL")) == ("dotenv:m", str(env_file))
    settings = home.load(**environ)
    assert (settings.model, settings.origin("CHATCLI_MODEL")) == ("environment:m", "environment")
    settings = home.load({"CHATCLI_MODEL": "flag:m"}, **environ)
    assert (settings.model, settings.origin("CHATCLI_MODEL")) == ("flag:m", "flag --model")
    assert home.load({"CHATCLI_MODEL": None}, **environ).model == "environment:m"


@pytest.mark.parametrize("empty", ["", "  "])
def test_empty_variables_are_not_set(home: Home, empty: str) -> None:
    """An empty variable is as good as none, and hides nothing behind it."""
    home.write(".env", "LOG_LEVEL=debug\n")
    settings = home.load(LOG_LEVEL=empty, MAX_CONVERSATION_LENGTH=empty, CHATCLI_CONFIG=empty)
    assert settings.log_level == "DEBUG"
    assert settings.max_conversation_length == 20


EXAMPLES = {
    "CHATCLI_MODEL": ("openai:gpt-5", "openai:gpt-5"),
    "CHATCLI_STORE": ("memory://", "memory://"),
    "CHATCLI_SERVER": ("https://chat.example:8443/base/", "https://chat.example:8443/base"),
    "S3_BUCKET_NAME": ("my-bucket", "my-bucket"),
    "AWS_ACCESS_KEY_ID": ("AKIA", Secret("AKIA")),
    "AWS_SECRET_ACCESS_KEY": ("s/+", Secret("s/+")),
    "AWS_SESSION_TOKEN": ("t", Secret("t")),
    "AWS_REGION": ("eu-central-1", "eu-central-1"),
    "AWS_ENDPOINT_URL_S3": ("http://127.0.0.1:9000/", "http://127.0.0.1:9000"),
    "MAX_CONVERSATION_LENGTH": ("7", 7),
    "RATE_LIMIT_CALLS": ("3", 3),
    "RATE_LIMIT_PERIOD": ("1.5", 1.5),
    "CHATCLI_CLIENT_RATE": ("5/second", "5/second"),
    "CHATCLI_API_TOKEN": ("tok:en", Secret("tok:en")),
    "CHATCLI_API_TOKENS_FILE": ("/etc/tokens", Path("/etc/tokens")),
    "CHATCLI_REDIS_URL": ("redis://:pw@localhost:6379/0", "redis://:pw@localhost:6379/0"),
    "CHATCLI_ENCRYPTION_KEY": ("a pass phrase", Secret("a pass phrase")),
    "CHATCLI_RETENTION": ("90d", "90d"),
    "MAX_INPUT_LENGTH": ("5000", 5000),
    "LOG_LEVEL": ("info", "INFO"),
    "CHATCLI_LOG_FORMAT": ("console", "console"),
    "PROJECT_NAME": ("Naïve", "Naïve"),
    "DESCRIPTION": ("two words", "two words"),
    "LANGSMITH_TRACING": ("Yes", True),
    "LANGSMITH_API_KEY": ("ls", Secret("ls")),
    "CHATCLI_TIMEOUT_CONNECT": ("1", 1.0),
    "CHATCLI_TIMEOUT_FIRST_TOKEN": ("2", 2.0),
    "CHATCLI_TIMEOUT_IDLE": ("3", 3.0),
    "CHATCLI_TIMEOUT_TOTAL": ("4", 4.0),
}


@pytest.mark.parametrize("name", list(VARIABLES))
def test_every_setting_from_every_source(home: Home, name: str) -> None:
    """Each setting can be given as a flag, a variable, in .env and in config.toml, with the same outcome."""
    text, expected = EXAMPLES[name]
    variable = VARIABLES[name]
    table, _, key = variable.key.rpartition(".")
    prefix = f"[{table}]\n" if table else ""
    config = home.write("other.toml", f"{prefix}{key} = {json.dumps(text)}\n")
    env_file = home.write("other.env", f"{name}='{text}'\n")
    loaded = {
        f"flag {variable.flag}": home.load({name: text}),
        "environment": home.load(**{name: text}),
        str(env_file): home.load({"CHATCLI_ENV_FILE": str(env_file)}),
        str(config): home.load({"CHATCLI_CONFIG": str(config)}),
    }
    for origin, read in loaded.items():
        value: object = read
        for part in variable.field.split("."):
            value = getattr(value, part)
        assert value == expected
        assert read.origin(name) == origin


WRONG = {
    "MAX_CONVERSATION_LENGTH": ["0", "-1", "1.5", "many", "1_0", "٣", "9" * 5000],
    "RATE_LIMIT_CALLS": ["0"],
    "RATE_LIMIT_PERIOD": ["0", "-2", "nan", "inf", "1e999", "1_0", "x"],
    "CHATCLI_TIMEOUT_TOTAL": ["0", "inf"],
    "CHATCLI_CLIENT_RATE": ["60", "0/minute", "60/fortnight", "/minute", "-1/day"],
    "CHATCLI_RETENTION": ["90", "90m", "0d", "-1d", "2026-02-30", "20260101", "999999d", "d"],
    "CHATCLI_STORE": [
        "mysql://x/y",
        "chat.db",
        "sqlite://chat.db",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///folder/",
        "sqlite:///~nobody-is-called-this/x.db",
        "memory://x",
        "s3://",
        "s3:///x",
    ],
    "CHATCLI_SERVER": [
        "chat.example",
        "ftp://x",
        "http://user:pw@x",
        "http://x?q",
        "http://x/\ty",
        "unix://x.sock",
        "unix://",
    ],
    "S3_BUCKET_NAME": ["a/b", ".", "../x"],
    "LOG_LEVEL": ["loud", "10"],
    "CHATCLI_LOG_FORMAT": ["xml"],
    "LANGSMITH_TRACING": ["maybe", "2"],
    "CHATCLI_REDIS_URL": ["http://x", "redis://"],
    "AWS_ENDPOINT_URL_S3": ["localhost:9000", "http://u:p@host", "http://host/?q"],
    "CHATCLI_API_TOKEN": ["two words", "ünïcode", "line\nbreak"],
    "CHATCLI_MODEL": ["a\x1b[31m", "a\nb", "\udcff"],
    "DESCRIPTION": ["\x07bell"],
}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in WRONG.items() for text in texts])
def test_wrong_values(home: Home, name: str, text: str) -> None:
    """A value that is not allowed is refused with its variable, its source and what would be allowed."""
    message = home.refuse(**{name: text})
    assert message.startswith(f"{name} in the environment must be {VARIABLES[name].allowed}")
    assert home.refuse({name: text}).startswith(f"{VARIABLES[name].flag} must be ")


def test_a_wrong_value_of_a_file_names_the_file(home: Home) -> None:
    """The message says in which file the wrong value stands, under the name that it has there."""
    config = home.write("config.toml", "[timeouts]\nidle = -1\n")
    assert home.refuse().startswith(f"timeouts.idle in {config} must be a number of seconds above 0")
    env_file = home.write(".env", "CHATCLI_TIMEOUT_IDLE=soon\n")
    assert home.refuse().startswith(f"CHATCLI_TIMEOUT_IDLE in {env_file} must be")


@pytest.mark.parametrize("age", ["90d", "12h", "2w", "1y", "2026-01-31"])
def test_retention(home: Home, age: str) -> None:
    """All forms of an age are taken."""
    assert home.load(CHATCLI_RETENTION=age).retention == age


def test_retention_as_a_date_of_toml(home: Home) -> None:
    """A bare date in config.toml is the date that it looks like."""
    home.write("config.toml", "retention = 2026-01-31\n")
    assert home.load().retention == "2026-01-31"


# Stores ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("sqlite:////var/lib/chat.db", "sqlite:////var/lib/chat.db"),
        ("SQLITE:////var/a b%?#.db", "sqlite:////var/a b%?#.db"),
        ("postgres://u:p@h/db?sslmode=require", "postgresql://u:p@h/db?sslmode=require"),
        ("s3://b/p?endpoint_url=http://127.0.0.1:9000", "s3://b/p?endpoint_url=http://127.0.0.1:9000"),
    ],
)
def test_store_urls(home: Home, given: str, expected: str) -> None:
    """A store's URL has a scheme that is known, in one spelling."""
    assert home.load(CHATCLI_STORE=given).store == expected


def test_paths_are_resolved(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path of a flag or variable is taken from the current directory, one of a file from the file's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    assert home.load(CHATCLI_STORE="sqlite:///x.db").store == f"sqlite:///{tmp_path}/x.db"
    assert home.load(CHATCLI_STORE="sqlite:///~/x.db").store == f"sqlite:///{tmp_path}/me/x.db"
    home.write("config.toml", 'store = "sqlite:///x.db"\napi_tokens_file = "tokens"\n')
    settings = home.load()
    assert settings.store == f"sqlite:///{home.config}/x.db"
    assert settings.api_tokens_file == home.config / "tokens"


def test_a_bucket_is_the_default_store(home: Home) -> None:
    """S3_BUCKET_NAME makes its bucket the store, unless a store is named."""
    settings = home.load(S3_BUCKET_NAME="talks")
    assert settings.store == "s3://talks/"
    assert settings.origin("CHATCLI_STORE") == "environment (S3_BUCKET_NAME)"
    home.write("config.toml", 'store = "memory://"\n')
    assert home.load(S3_BUCKET_NAME="talks").store == "memory://"


def test_second_names(home: Home) -> None:
    """AWS's more general variables count where the special ones are not set."""
    general = {"AWS_DEFAULT_REGION": "r1", "AWS_ENDPOINT_URL": "http://a"}
    settings = home.load(**general)
    assert (settings.aws_region, settings.aws_endpoint_url) == ("r1", "http://a")
    assert settings.origin("AWS_REGION") == "environment (AWS_DEFAULT_REGION)"
    assert home.load(**general, AWS_REGION="r2").aws_region == "r2"


# Files -----------------------------------------------------------------------------------------


def test_env_file_of_the_current_directory_is_not_read(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stranger's folder can't redirect keys: its .env and config.toml are not looked at."""
    folder = tmp_path / "stranger" / "below"
    folder.mkdir(parents=True)
    for place in (folder, folder.parent):
        (place / ".env").write_text("OPENAI_BASE_URL=http://evil.example\nCHATCLI_MODEL=evil:m\n")
        (place / "config.toml").write_text('model = "evil:m"\n')
    monkeypatch.chdir(folder)
    settings = home.load()
    assert settings.model is None
    assert settings.base_url("openai", variable="OPENAI_BASE_URL") is None
    assert settings.env_file is None


def test_named_env_file(home: Home, tmp_path: Path) -> None:
    """--env-file counts over CHATCLI_ENV_FILE, that over .env of the config directory; only one is read."""
    home.write(".env", "CHATCLI_MODEL=a:a\nLOG_LEVEL=debug\n")
    second, third = tmp_path / "second.env", tmp_path / "third.env"
    second.write_text("export CHATCLI_MODEL='b:${LOG_LEVEL}' # comment\n")
    third.write_text('\n# comment\nCHATCLI_MODEL="c:c"\nBARE\n')
    settings = home.load(CHATCLI_ENV_FILE=str(second))
    assert (settings.model, settings.log_level) == ("b:${LOG_LEVEL}", None)
    settings = home.load({"CHATCLI_ENV_FILE": str(third)}, CHATCLI_ENV_FILE=str(second))
    assert settings.model == "c:c"
    assert settings.env_file == third


@pytest.mark.parametrize("name", ["CHATCLI_ENV_FILE", "CHATCLI_CONFIG"])
def test_named_files_must_be_there(home: Home, tmp_path: Path, name: str) -> None:
    """A file that is named and missing is an error, not an empty file; so is a folder."""
    assert home.refuse(**{name: str(tmp_path / "no")}).startswith(f"{name} in the environment must be")
    assert home.refuse({name: str(tmp_path)}).startswith("--")
    assert home.refuse({name: ""}).startswith("--")


def test_config_named_in_env_file(home: Home) -> None:
    """.env may name the config.toml, from its own directory."""
    home.write(".env", "CHATCLI_CONFIG=other.toml\n")
    home.write("config.toml", 'model = "a:a"\n')
    other = home.write("other.toml", 'model = "b:b"\n')
    settings = home.load()
    assert (settings.model, settings.config_file) == ("b:b", other)


@pytest.mark.parametrize("name", [".env", "config.toml"])
def test_files_that_are_no_text(home: Home, name: str) -> None:
    """A file of settings that is not UTF-8, or too large, is refused by name; a BOM is harmless."""
    path = home.config / name
    path.write_bytes(b"# \xff")
    assert home.refuse().startswith(f"the settings in {path} can't be read: byte 2 is not UTF-8")
    path.write_bytes(b"#" * (2 << 20))
    assert "too large" in home.refuse()
    path.write_bytes(b"\xef\xbb\xbf# fine\n")
    home.load()
    path.unlink()
    path.mkdir()
    assert "is a directory" in home.refuse()


def test_broken_files(home: Home) -> None:
    """A line that can't be understood is named by its number, and not quoted."""
    env_file = home.write(".env", "A=1\nB='canary\n")
    assert home.refuse().startswith(f"{env_file} can't be read: line 2 is not NAME=VALUE")
    env_file.unlink()
    config = home.write("config.toml", "a = 1\nb = 'canary' 'canary'\n")
    message = home.refuse()
    assert message.startswith(f"{config} is not TOML: error at line 2, column ")
    assert "canary" not in message


@pytest.mark.parametrize(
    ("text", "key", "hint"),
    [
        ("modle = 'a:b'", "modle", "did you mean model?"),
        ("[timeout]\nidle = 1", "timeout", "did you mean timeouts?"),
        ("[timeouts]\nidel = 1", "timeouts.idel", "did you mean timeouts.idle?"),
        ("[providers.x]\napi_key = 'canary'", "providers.x.api_key", "did you mean providers.x.api_key_"),
        ("zzzzzz = 1", "zzzzzz", "known are aliases, "),
    ],
)
def test_unknown_keys(home: Home, text: str, key: str, hint: str) -> None:
    """An unknown key of config.toml is an error that suggests the nearest known one."""
    config = home.write("config.toml", text)
    assert home.refuse().startswith(f"{config} has an unknown setting: {key}\n{hint}")


@pytest.mark.parametrize(
    "text",
    [
        "model = ['a']",
        "model = ''",
        "model = 12:00:00",
        "timeouts = 5",
        "aliases = 5",
        "[aliases]\nfast = 5",
        "providers = 5",
        "[providers]\nx = 5",
        "[providers.X]",
        "[providers.'a b']",
        "[providers.x]\nbase_url = 'ftp://host'",
        "[providers.x]\nbase_url = 'https://user:canary@host'",
        "[providers.x]\nbase_url = 'https://host:port'",
        "[providers.x]\nbase_url = 5",
        "[providers.x]\napi_key_env = 'gsk_canary'",
        "[providers.x]\napi_key_env = 'A'\napi_key_file = 'b'",
        "[providers.x]\nsends_finish_reason = 'no'",
        "[providers.x]\nheaders = 'a'",
        "[providers.x]\nheaders = {a = 5}",
        "[providers.x]\nheaders = {'a b' = 'c'}",
        '[providers.x]\nheaders = {a = "canary\\r\\nb: c"}',
    ],
)
def test_wrong_config(home: Home, text: str) -> None:
    """What has the wrong shape in config.toml is refused with the file and the key, without the value."""
    config = home.write("config.toml", text)
    message = home.refuse()
    assert str(config) in message
    assert " must be " in message
    assert "canary" not in message


def test_providers_and_aliases(home: Home) -> None:
    """A section says all there is to say of a provider, a built-in one too."""
    config = home.write(
        "config.toml",
        """
        [providers.mine]
        base_url = "https://llm.example/v1/"
        api_key_env = "MINE_KEY"
        headers = {X-Team = "blue"}
        default_model = "large"
        sends_finish_reason = false
        [providers.ollama]
        base_url = "http://[::1]:11434/v1"
        [aliases]
        fast = "mine:small"
        """,
    )
    settings = home.load()
    mine = settings.providers["mine"]
    assert (mine.name, mine.base_url, mine.default_model) == ("mine", "https://llm.example/v1", "large")
    assert dict(mine.headers) == {"X-Team": "blue"}
    assert mine.sends_finish_reason is False
    assert mine.origin == str(config)
    assert settings.providers["ollama"].sends_finish_reason is None
    assert settings.base_url("ollama", variable=None) == ("http://[::1]:11434/v1", str(config))
    assert dict(settings.aliases) == {"fast": "mine:small"}


# Directories -----------------------------------------------------------------------------------


def test_directories_are_those_of_the_platform(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without XDG's variables the directories are the ones that platformdirs names."""
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "CHATCLI_CONFIG", "CHATCLI_ENV_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = load_settings()
    assert settings.config_dir == platformdirs.user_config_path("chatcli", appauthor=False)
    assert settings.data_dir == platformdirs.user_data_path("chatcli", appauthor=False)


def test_relative_xdg_directories_are_ignored(tmp_path: Path) -> None:
    """A relative XDG directory is not valid, says its standard."""
    environ = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": "here", "XDG_DATA_HOME": "."}
    settings = load_settings(environ=environ)
    assert settings.config_dir == tmp_path / ".config" / "chatcli"
    assert settings.data_dir == tmp_path / ".local" / "share" / "chatcli"


# Keys ------------------------------------------------------------------------------------------


def openai_key(settings: Settings) -> tuple[str, str, str] | None:
    """Return key, origin and scope of the key for openai."""
    key = settings.api_key("openai", variable="OPENAI_API_KEY")
    assert settings.has_api_key("openai", variable="OPENAI_API_KEY") is (key is not None)
    return None if key is None else (key.secret.reveal(), key.origin, key.scope)


def test_key_of_a_variable(home: Home) -> None:
    """A key comes from the environment, else from .env, in either from NAME_FILE if NAME is not set."""
    assert openai_key(home.load()) is None
    env_file = home.write(".env", "OPENAI_API_KEY=sk-dotenv\n")
    assert openai_key(home.load()) == ("sk-dotenv", str(env_file), "variable")
    path = home.write("key", "sk-file\n")
    settings = home.load(OPENAI_API_KEY_FILE=str(path))
    assert openai_key(settings) == ("sk-file", "environment (OPENAI_API_KEY_FILE)", "variable")
    settings = home.load(OPENAI_API_KEY="sk-environment ", OPENAI_API_KEY_FILE=str(path))
    assert openai_key(settings) == ("sk-environment", "environment", "variable")


def test_key_of_a_section(home: Home) -> None:
    """A section's key counts over the variable's: by another variable, a file beside it, or a command."""
    environ = {"OPENAI_API_KEY": "sk-variable", "WORK_KEY": "sk-work"}
    section = "[providers.openai]\n"
    config = home.write("config.toml", section + 'api_key_env = "WORK_KEY"\n')
    assert openai_key(home.load(**environ)) == ("sk-work", "environment (WORK_KEY)", "section")
    home.write("work.key", "sk-file\n")
    home.write("config.toml", section + 'api_key_file = "work.key"\n')
    assert openai_key(home.load(**environ)) == (
        "sk-file",
        f"{config} (providers.openai.api_key_file)",
        "section",
    )
    home.write("config.toml", section + "api_key_command = \"printf '%s\\\\n' 'sk-$HOME'\"\n")
    assert openai_key(home.load(**environ)) == (
        "sk-$HOME",
        f"{config} (providers.openai.api_key_command)",
        "section",
    )


def test_a_key_goes_only_to_its_url(home: Home) -> None:
    """A key is never given out for a base URL that it was not given with."""
    variables = {"OPENAI_API_KEY": "sk-variable", "WORK_KEY": "sk-work"}
    to_proxy = {**variables, "OPENAI_BASE_URL": "http://proxy.example/v1/"}

    def chosen(config: str, environ: dict[str, str]) -> tuple[str | None, str | None]:
        home.write("config.toml", config)
        settings = home.load(**environ)
        url, key = settings.base_url("openai", variable="OPENAI_BASE_URL"), openai_key(settings)
        return None if url is None else url.url, None if key is None else key[0]

    url, key = 'base_url = "http://section.example"\n', 'api_key_env = "WORK_KEY"\n'
    section = "[providers.openai]\n"
    assert chosen("", variables) == (None, "sk-variable")
    assert chosen("", to_proxy) == ("http://proxy.example/v1", "sk-variable")
    assert chosen(section + key, variables) == (None, "sk-work")
    assert chosen(section + key, to_proxy) == ("http://proxy.example/v1", "sk-variable")
    assert chosen(section + url, variables) == ("http://section.example", None)
    assert chosen(section + url, to_proxy) == ("http://section.example", None)
    assert chosen(section + url + key, to_proxy) == ("http://section.example", "sk-work")
    del to_proxy["OPENAI_API_KEY"]
    assert chosen(section + key, to_proxy) == ("http://proxy.example/v1", None)


def test_commands_run_only_when_the_key_is_needed(home: Home, tmp_path: Path) -> None:
    """Neither loading, nor showing, nor asking whether there is a key runs the command."""
    trace = tmp_path / "trace"
    home.write("config.toml", f"[providers.openai]\napi_key_command = \"sh -c 'echo k | tee {trace}'\"\n")
    settings = home.load()
    repr(settings)
    settings.rows()
    assert settings.has_api_key("openai", variable="OPENAI_API_KEY")
    assert not trace.exists()
    assert openai_key(settings) is not None
    assert trace.exists()


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("api_key_command = \"sh -c 'echo canary; echo canary >&2; exit 3'\"", "ended with exit code 3"),
        ('api_key_command = "true"', "printed nothing"),
        ("api_key_command = 'printf \"canary\\nb\"'", "is not a key"),
        ("api_key_command = 'printf \"canary\\377\"'", "printed something that is not text"),
        ('api_key_command = "/does/not/exist canary"', "can't be started"),
        ('api_key_command = "echo \'canary"', "its quotes don't match"),
        ('api_key_file = "canary"', "no such file or directory"),
        ('api_key_file = "."', "is a directory"),
        ('api_key_env = "NOT_SET"', "names the variable NOT_SET, which is not set"),
    ],
)
def test_keys_that_can_not_be_had(home: Home, setting: str, reason: str) -> None:
    """A key that is promised and not there is an error of its place, without what stood there."""
    config = home.write("config.toml", f"[providers.openai]\n{setting}\n")
    settings = home.load(OPENAI_API_KEY="sk-other")
    with pytest.raises(ConfigError) as caught:
        settings.api_key("openai", variable="OPENAI_API_KEY")
    assert reason in caught.value.message
    assert f"providers.openai.{setting.split(maxsplit=1)[0]} in {config}" in caught.value.message
    assert "canary" not in "".join(traceback.format_exception_only(caught.value))
    assert "NOT_SET" not in reason or not settings.has_api_key("openai", variable="OPENAI_API_KEY")


def test_commands_have_a_deadline() -> None:
    """A command that hangs is given up."""
    with pytest.raises(ConfigError, match=r"the command of key in f did not end within 0\.05 seconds"):
        run_command(Found("sleep 60", "key", "f"), seconds=0.05)


def test_encryption_key_file(home: Home) -> None:
    """CHATCLI_ENCRYPTION_KEY_FILE, or its key in config.toml, names a file that holds the key."""
    path = home.write("key", "pass phrase\n")
    settings = home.load(CHATCLI_ENCRYPTION_KEY_FILE=str(path))
    assert settings.encryption_key == Secret("pass phrase")
    assert settings.origin("CHATCLI_ENCRYPTION_KEY") == "environment (CHATCLI_ENCRYPTION_KEY_FILE)"
    home.write("config.toml", 'encryption_key_file = "key"\n')
    assert home.load().encryption_key == Secret("pass phrase")
    path.write_text("\n")
    assert "is empty" in home.refuse()


def test_api_tokens(home: Home) -> None:
    """The single token opens the shell's threads, one of the file those of its name."""
    path = home.write("tokens", "# people\n\nann:t1\nann:t2\nbob:a:b\nplain\n")
    settings = home.load(CHATCLI_API_TOKEN="one", CHATCLI_API_TOKENS_FILE=str(path))
    tokens = [(token.owner, token.secret.reveal()) for token in settings.read_api_tokens()]
    assert tokens == [("local", "one"), ("ann", "t1"), ("ann", "t2"), ("bob", "a:b"), ("local", "plain")]
    for text, line in [("ann:\n", 1), ("a:x\nA:y\n", 2), ("a:x\nb:x\n", 2), ("a b\n", 1), ("../x:y", 1)]:
        path.write_text(text)
        with pytest.raises(ConfigError, match=f"line {line} of "):
            settings.read_api_tokens()
    path.write_text("ann:t1\nlocal:t2\n")
    with pytest.raises(ConfigError, match="has the name local, which is the shell's"):
        settings.read_api_tokens()
    path.write_text("# nobody\n")
    with pytest.raises(ConfigError, match="holds no token"):
        settings.read_api_tokens()


# Secrets ---------------------------------------------------------------------------------------

CANARY = "Canary-7f3a"
SECRET_VARIABLES = sorted(
    [name for name, variable in VARIABLES.items() if variable.secret]
    + ["OPENAI_API_KEY", "GROQ_API_KEY", "OPENAI_API_KEY_FILE", "CHATCLI_ENCRYPTION_KEY_FILE", "UNRELATED"]
)
URL_VARIABLES = {
    "CHATCLI_REDIS_URL": ["redis://:{}@h", "redis://u:{}@h/0", "rediss://{}@h", "redis://h?password={}"],
    "CHATCLI_STORE": [
        "postgresql://u:{}@h/db",
        "postgres://u:a@{}/b@h/db?sslmode=require",
        "postgresql:///db?user=u&password={}",
        "s3://b/p?endpoint_url=http://u:{}@h",
        "s3://b/p?endpoint_url=http%3A%2F%2Fu%3A{}%40h",
    ],
    "OPENAI_BASE_URL": ["https://u:{}@h/v1", "https://h/v1?key={}"],
}
CONFIG_SECRETS = {
    "api_token": "api_token = '{}'",
    "langsmith_api_key": "langsmith_api_key = '{}'",
    "headers": "[providers.openai]\nheaders = {{Authorization = 'Bearer {}'}}",
    "command": "[providers.openai]\napi_key_command = 'false {}'",
    "file": "[providers.openai]\napi_key_file = '{}'",
    "broken": "api_token = '{}\n",
    "list": "api_token = ['{}']",
}
spoiled = st.sampled_from(["{}", "{} {}", "{}\n{}", "\x00{}", "x\udc80{}", "{}é", "'{}", '"{}', "1/{}"])


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_no_secret_shows(home: Home, data: st.DataObject) -> None:
    """Whatever is wrong with it, a secret is in no `repr`, no row and no error of settings."""
    for name in (".env", "config.toml"):
        (home.config / name).unlink(missing_ok=True)
    names = st.lists(st.sampled_from([*SECRET_VARIABLES, *URL_VARIABLES]), max_size=4, unique=True)
    forms = {
        name: data.draw(st.sampled_from(URL_VARIABLES[name]) if name in URL_VARIABLES else spoiled)
        for name in data.draw(names)
    }
    variables = {name: form.replace("{}", CANARY) for name, form in forms.items()}
    if data.draw(st.booleans()):
        quote = data.draw(st.sampled_from(["'", '"', ""]))
        text = "".join(f"{name}={quote}{value}{quote}\n" for name, value in variables.items())
        (home.config / ".env").write_bytes(text.encode("utf-8", "surrogatepass"))
        variables = {}
    if data.draw(st.booleans()):
        home.write("config.toml", data.draw(st.sampled_from(list(CONFIG_SECRETS.values()))).format(CANARY))
    check_nothing_shows(home, variables)


@pytest.mark.parametrize("name", list(VARIABLES))
@pytest.mark.parametrize("text", [CANARY, f"{CANARY}\n", f"\udc80{CANARY}", f"1{CANARY}", f"x://{CANARY}"])
def test_no_error_quotes_a_value(home: Home, name: str, text: str) -> None:
    """A key that was put into the wrong variable does not show in the error, nor in its context."""
    assert CANARY not in said(lambda: home.load(**{name: text}))


def check_nothing_shows(home: Home, variables: Mapping[str, str]) -> None:
    said_by_loading = said(lambda: home.load(**variables))
    assert CANARY not in said_by_loading
    if said_by_loading:
        return
    settings = home.load(**variables)
    texts = [repr(settings), str(settings), repr(settings.environment), repr(settings.providers)]
    texts += [str(row) for row in settings.rows()]
    for name in ("openai", "groq"):
        key, url = f"{name.upper()}_API_KEY", f"{name.upper()}_BASE_URL"
        texts.append(said(partial(settings.base_url, name, variable=url)))
        texts.append(said(partial(settings.api_key, name, variable=key)))
    assert CANARY not in "\n".join(texts)


def said(call: Callable[[], object]) -> str:
    """Return all that the error of a call says; nothing where there is none."""
    try:
        call()
    except ConfigError as error:
        return shown(error)
    return ""


def shown(error: BaseException) -> str:
    """Return all that an error and those behind it say, suppressed ones too."""
    texts: list[str] = []
    behind: BaseException | None = error
    while behind is not None:
        texts += [repr(behind), str(behind), repr(behind.__dict__)]
        behind = behind.__cause__ or behind.__context__
    return "\n".join(texts)


def test_secrets_do_not_show() -> None:
    """A secret shows as *** and gives itself away only when asked."""
    secret = Secret(CANARY)
    assert f"{secret} {secret!r} {[secret]} {secret:>5}" == "*** Secret('***') [Secret('***')]   ***"
    assert secret.reveal() == CANARY
    assert CANARY not in repr(ApiKey(secret, "environment", "variable"))
    assert secret == Secret(CANARY)
    assert secret != Secret("other")
    assert secret != CANARY
    assert len({secret, Secret(CANARY)}) == 1
    assert copy.deepcopy(secret) is copy.copy(secret) is secret
    for write in (pickle.dumps, json.dumps, vars):
        with pytest.raises(TypeError) as caught:
            write(secret)
        assert CANARY not in str(caught.value)


def test_settings_are_not_pickled(home: Home) -> None:
    """Settings carry the environment, so they leave the process in no form."""
    with pytest.raises(TypeError):
        pickle.dumps(home.load().environment)


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://:pw@localhost", "redis://:***@localhost"),
        ("redis://u:p@ss/w?rd@localhost", "redis://u:***@localhost"),
        ("redis://token@localhost", "redis://***@localhost"),
        (
            "postgresql://h/db?user=u&password=p&sslmode=require",
            "postgresql://h/db?user=***&password=***&sslmode=require",
        ),
        ("s3://b/p?endpoint_url=http://h:9000", "s3://b/p?endpoint_url=http://h:9000"),
        ("sqlite:////home/a@b/c?d=e", "sqlite:////home/a@b/c?d=e"),
        ("no url", "no url"),
    ],
)
def test_masked_urls(url: str, masked: str) -> None:
    """A URL is shown without what may be a password, and otherwise as it is."""
    assert mask_url(url) == masked


def test_rows(home: Home) -> None:
    """Each setting is shown once, with its value, or whether it is set, and its origin."""
    config = home.write("config.toml", '[providers.mine]\nbase_url = "http://h"\napi_key_env = "K"\n')
    rows = home.load(
        OPENAI_API_KEY="sk", CHATCLI_REDIS_URL="redis://:pw@h", LANGSMITH_TRACING="1", CHATCLI_API_TOKEN="t"
    ).rows()
    shown = {name: (value, origin) for name, value, origin in rows}
    assert len(shown) == len(rows)
    assert set(VARIABLES) < set(shown)
    assert shown["OPENAI_API_KEY"] == ("set", "environment")
    assert shown["GROQ_API_KEY"] == ("not set", "default")
    assert shown["CHATCLI_REDIS_URL"] == ("redis://:***@h", "environment")
    assert shown["CHATCLI_API_TOKEN"] == ("set", "environment")
    assert shown["CHATCLI_ENCRYPTION_KEY"] == ("not set", "default")
    assert shown["LANGSMITH_TRACING"] == ("on", "environment")
    assert shown["CHATCLI_TIMEOUT_IDLE"] == ("60", "default")
    assert shown["MAX_INPUT_LENGTH"] == ("10000 (serve), 1000000 (commands)", "default")
    assert shown["providers.mine.base_url"] == ("http://h", str(config))
    assert shown["providers.mine.api_key"] == ("set", str(config))


# The rest --------------------------------------------------------------------------------------


def test_rates() -> None:
    """A rate is a number of requests and the seconds that they are counted over."""
    assert parse_rate("60/minute") == (60, 60.0)
    assert parse_rate("1/day") == (1, 86400.0)


def test_terminal() -> None:
    """The terminal's variables are read once, with what is no width or empty left out."""
    none = read_terminal({})
    assert (none.no_color, none.term, none.columns, none.pager, none.editor, none.less) == (
        False,
        "",
        None,
        None,
        None,
        None,
    )
    some = read_terminal(
        {"TERM": "dumb", "COLUMNS": "72", "PAGER": "less -R", "EDITOR": "ed", "VISUAL": "vi", "LESS": ""}
    )
    assert (some.no_color, some.dumb, some.columns) == (True, True, 72)
    assert (some.pager, some.editor, some.less) == ("less -R", "vi", "")
    assert read_terminal({"NO_COLOR": "1"}).no_color
    assert not read_terminal({"NO_COLOR": ""}).no_color
    assert {read_terminal({"COLUMNS": text}).columns for text in ("0", "-1", "x", "²", "9" * 5000)} == {None}


def test_import_is_light(tmp_path: Path) -> None:
    """Reading settings without a file of settings loads nothing that a start could do without."""
    heavy = (
        "asyncio",
        "dotenv",
        "pydantic",
        "platformdirs",
        "rich",
        "subprocess",
        "tomllib",
        "typer",
        "difflib",
    )
    code = (
        "import sys; from chatcli.config import load_settings; load_settings();"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={"HOME": str(tmp_path)}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
