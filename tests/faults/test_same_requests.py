"""The fast engine sends what the LangChain engines send: method, path, headers and body."""

from pathlib import Path
from typing import Any

import pytest

from chatcli.config import load_settings
from chatcli.models import Message, ModelOptions, Part, Role, utc_now
from chatcli.providers import ModelSpec, find_target, open_provider
from chatcli.providers.table import TABLE, provider_row
from tests.fake_provider import FakeProvider

PICTURE: Part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
MESSAGES = [
    Message("0", Role.SYSTEM, "Be brief.", utc_now()),
    Message("1", Role.HUMAN, 'é "\n\x1b[31m 🚀', utc_now()),
    Message("2", Role.AI, "yes", utc_now()),
    Message("3", Role.TOOL, "data", utc_now()),
    Message("4", Role.HUMAN, ({"type": "text", "text": "look"}, PICTURE), utc_now()),
    Message("5", Role.AI, "", utc_now()),
    Message("6", Role.AI, ({"type": "text", "text": "a"}, {"type": "text", "text": "b"}), utc_now()),
    Message("7", Role.HUMAN, (), utc_now()),
]
NAMES = [row.name for row in TABLE.values() if row.speaks_chat_completions]


async def sent_by(
    engine: str, name: str, model: str, *, options: ModelOptions, fake: FakeProvider, home: Path
) -> list[dict[str, Any]]:
    """Return the requests for an answer and for the models, without their times."""
    config = home / "config.toml"
    config.write_text(
        f'[providers.{name}]\nengine = "{engine}"\nbase_url = "{fake.url}"\napi_key_env = "KEY"\n'
        '[providers.%s.headers]\nX-Team = "blue"\nuser-Agent = "mine"\n' % name
    )
    settings = load_settings({"CHATCLI_CONFIG": str(config)}, environ={"HOME": str(home), "KEY": "k"})
    provider = open_provider(settings, ModelSpec(name, model))
    assert (provider.engine == "wire") is (engine == "wire")
    fake.reset()
    assert [deltas async for deltas in provider.stream(MESSAGES, options)]
    await provider.models()
    await provider.aclose()
    found = [
        {part: request[part] for part in ("method", "path", "headers", "body")}
        for request in fake.all_requests()
    ]
    assert len(found) == 2
    return found


@pytest.mark.parametrize(
    "options", [ModelOptions(), ModelOptions(0.25, 9), ModelOptions(0.0, None)], ids=["plain", "both", "zero"]
)
@pytest.mark.parametrize("name", NAMES)
async def test_the_same_requests(
    name: str, options: ModelOptions, fake_provider: FakeProvider, tmp_path: Path
) -> None:
    """For every provider of the table, whatever the options, roles, pictures and headers of one's own."""
    for model in ("some-model", "o4-mini"):
        wire, langchain = [
            await sent_by(engine, name, model, options=options, fake=fake_provider, home=tmp_path)
            for engine in ("wire", "langchain")
        ]
        assert wire == langchain


async def test_no_header_of_ones_own_says_how_a_message_is_sent(
    fake_provider: FakeProvider, tmp_path: Path
) -> None:
    """Length and coding are the client's business: a wrong one would cut the request."""
    config = tmp_path / "config.toml"
    config.write_text(
        f'[providers.mine]\nbase_url = "{fake_provider.url}"\n'
        '[providers.mine.headers]\nContent-Length = "1"\nTransfer-Encoding = "chunked"\nConnection = "x"\n'
    )
    settings = load_settings({"CHATCLI_CONFIG": str(config)}, environ={"HOME": str(tmp_path)})
    provider = open_provider(settings, ModelSpec("mine", "m"))
    assert [deltas async for deltas in provider.stream(MESSAGES, ModelOptions())]
    await provider.aclose()
    (request,) = fake_provider.requests()
    assert request["headers"]["connection"] == "keep-alive"
    assert "transfer-encoding" not in request["headers"]


@pytest.mark.parametrize("name", NAMES)
def test_the_name_of_the_limit(name: str, tmp_path: Path) -> None:
    """OpenAI at its own address knows `max_tokens` by its new name; nobody else has to."""
    environ = {"HOME": str(tmp_path), **{row.key_variable: "k" for row in TABLE.values() if row.key_variable}}
    settings = load_settings(environ=environ)
    target = find_target(settings, ModelSpec(name, "m"), provider_row(settings, name))
    assert target.max_tokens_name == ("max_completion_tokens" if name == "openai" else "max_tokens")
