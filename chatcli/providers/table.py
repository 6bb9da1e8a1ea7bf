"""The one table of providers: their names, addresses, keys and default models, and what a name means.

Default models, as of November 2026, are the cheapest generally available ones that serve chat
completions: for openai by its page "Deprecations" (successor of gpt-4o-mini and gpt-4.1-mini), for
groq by "Supported Models" and "Model Deprecation" (successors of the llama-3 models). Addresses and
variables of other services are the customary ones; ``[providers.NAME]`` of config.toml changes any.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from chatcli.errors import ConfigError, InvalidRequest
from chatcli.frozen import Frozen, replace

if TYPE_CHECKING:
    from chatcli.config import Settings

Engine = Literal["langchain-openai", "langchain-groq", "offline"]
OFFLINE = "offline"


class ProviderRow(Frozen):
    """One line of the table: a provider and how to talk to it."""

    name: str
    base_url: str = ""
    key_variable: str | None = None
    """The variable of its key; None where it takes none."""
    base_url_variable: str | None = None
    default_model: str | None = None
    engine: Engine = "langchain-openai"
    models: tuple[str, ...] = ()
    """Models worth completing, beside the default one."""
    sends_finish_reason: bool = True
    """False where a whole answer may end without a finish reason."""
    asks_for_usage: bool = True
    """False where ``stream_options`` are not sent; such servers count unasked, and some refuse them."""
    sdk_path: str = ""
    """What the provider's own SDK puts between its base URL and the paths of the API."""
    always_sends: tuple[tuple[str, object], ...] = ()
    """What its LangChain package adds to every request."""

    @property
    def speaks_chat_completions(self) -> bool:
        """Whether requests can go out without the LangChain engine."""
        return self.engine != OFFLINE


_ROWS = (
    ProviderRow(
        "openai",
        "https://api.openai.com/v1",
        "OPENAI_API_KEY",
        "OPENAI_BASE_URL",
        "gpt-6-luna",
        models=("gpt-6-sol",),
    ),
    ProviderRow(
        "groq",
        "https://api.groq.com/openai/v1",
        "GROQ_API_KEY",
        "GROQ_BASE_URL",
        "openai/gpt-oss-20b",
        engine="langchain-groq",
        models=("openai/gpt-oss-120b",),
        asks_for_usage=False,
        sdk_path="/openai/v1",
        always_sends=(("n", 1), ("service_tier", "on_demand")),
    ),
    ProviderRow(OFFLINE, default_model=OFFLINE, engine="offline"),
    # Servers on this machine.
    ProviderRow("ollama", "http://127.0.0.1:11434/v1", sends_finish_reason=False),
    ProviderRow("lmstudio", "http://127.0.0.1:1234/v1"),
    ProviderRow("llamacpp", "http://127.0.0.1:8080/v1"),
    ProviderRow("vllm", "http://127.0.0.1:8000/v1"),
    # Services.
    ProviderRow("openrouter", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    ProviderRow("mistral", "https://api.mistral.ai/v1", "MISTRAL_API_KEY", asks_for_usage=False),
    ProviderRow("deepseek", "https://api.deepseek.com", "DEEPSEEK_API_KEY"),
    ProviderRow("together", "https://api.together.ai/v1", "TOGETHER_API_KEY"),
    ProviderRow("fireworks", "https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY"),
    ProviderRow("xai", "https://api.x.ai/v1", "XAI_API_KEY"),
    ProviderRow("gemini", "https://generativelanguage.googleapis.com/v1beta/openai", "GEMINI_API_KEY"),
    ProviderRow("perplexity", "https://api.perplexity.ai", "PERPLEXITY_API_KEY", asks_for_usage=False),
    ProviderRow("cerebras", "https://api.cerebras.ai/v1", "CEREBRAS_API_KEY"),
)

TABLE: Mapping[str, ProviderRow] = MappingProxyType({row.name: row for row in _ROWS})
"""The built-in providers by name."""

_BY_KEY = ("openai", "groq")
"""Providers whose key alone is reason enough to use them, in this order."""


class ModelSpec(Frozen):
    """A model of a provider, as the user names it."""

    provider: str
    model: str

    def __str__(self) -> str:
        return self.provider if self.provider == OFFLINE else f"{self.provider}:{self.model}"


def provider_row(settings: "Settings", name: str) -> ProviderRow:
    """Return the provider of that name; what its ``[providers.NAME]`` says counts before the table.

    The base URL is the table's: `Settings.base_url` has the one that was set.

    Raises:
        InvalidRequest: there is none.
    """
    row = TABLE.get(name)
    own = settings.providers.get(name)
    if own is None and row is None:
        raise InvalidRequest(f"there is no provider {name!r}", hint=_suggest(settings, name))
    if own is None or name == OFFLINE:
        assert row is not None  # noqa: S101 - for the type checker
        return row
    row = row or ProviderRow(name)
    finishes = own.sends_finish_reason
    return replace(
        row,
        default_model=own.default_model or row.default_model,
        sends_finish_reason=row.sends_finish_reason if finishes is None else finishes,
    )


def resolve_model(settings: "Settings", spec: str | None) -> ModelSpec:
    """Return the model that `spec` means: ``PROVIDER:MODEL``, a provider (its default model) or an alias.

    None stands for the model of the settings, or else for the default model of the first provider
    that has a key.

    Raises:
        InvalidRequest: an unknown provider, or one without a default model.
        ConfigError: the settings name no model and hold no key.
    """
    spec = spec or settings.model
    if spec is None:
        found = next((name for name in _BY_KEY if _has_key(settings, name)), None)
        if found is None:
            raise _no_model()
        spec = found
    if spec in settings.aliases:
        spec = settings.aliases[spec]
    name, _, model = spec.partition(":")
    row = provider_row(settings, name)
    if row.engine == "offline":
        return ModelSpec(OFFLINE, OFFLINE)
    model = model or row.default_model or ""
    if not model:
        raise InvalidRequest(
            f"{name} has no default model",
            hint=f"name one: {name}:MODEL; `chatcli info --check --model {name}:any` lists what it offers",
        )
    return ModelSpec(name, model)


def known_names(settings: "Settings") -> tuple[str, ...]:
    """Return what can stand for a model without asking anybody: aliases, ``NAME:`` and known models."""
    names = dict.fromkeys(sorted(settings.aliases))
    for name in dict.fromkeys((*TABLE, *sorted(settings.providers))):
        if name == OFFLINE:
            names[name] = None
            continue
        row = provider_row(settings, name)
        names[f"{name}:"] = None
        models = (row.default_model, *row.models)
        names.update((f"{name}:{model}", None) for model in models if model is not None)
    return tuple(names)


def _has_key(settings: "Settings", name: str) -> bool:
    return settings.has_api_key(name, variable=TABLE[name].key_variable)


def _suggest(settings: "Settings", name: str) -> str:
    names = [*settings.aliases, *settings.providers, *TABLE]
    if name not in names:
        by_model = [
            f"{row.name}:{model}" for row in _ROWS for model in (row.default_model, *row.models) if model
        ]
        near = next((spec for spec in by_model if spec.endswith((f":{name}", f"/{name}"))), None)
        near = near or next(iter(get_close_matches(name, names, n=1)), None)
        if near:
            return f"did you mean {near}?"
    return "a model is PROVIDER:MODEL; the providers are " + ", ".join(dict.fromkeys(sorted(names)))


def _no_model() -> ConfigError:
    return ConfigError(
        "no model is set, and there is no key to choose one by",
        hint="set OPENAI_API_KEY or GROQ_API_KEY; or name a model with --model, CHATCLI_MODEL or `model` in "
        "config.toml: --model ollama:NAME for a server on this machine, or --model offline to try "
        "chatcli without any",
    )
