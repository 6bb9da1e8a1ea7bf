"""Prices of models in config.toml, and what a thread costs by them."""

from pathlib import Path

import pytest

from chatcli.cli.session.tally import Tally, cost, describe_usage
from chatcli.config import Price, Settings, load_settings
from chatcli.errors import ConfigError
from chatcli.models import Turn, TurnState, Usage, utc_now


def load(tmp_path: Path, text: str) -> Settings:
    """Return the settings of a config.toml."""
    path = tmp_path / "config.toml"
    path.write_text(text)
    return load_settings({"CHATCLI_CONFIG": str(path)}, environ={"HOME": str(tmp_path)})


def test_prices_are_read(tmp_path: Path) -> None:
    """A price is what a million tokens cost, in and out, of a model as turns name it."""
    settings = load(tmp_path, '[prices]\n"openai:small" = {input = 0.25, output = 2}\n')
    assert dict(settings.prices) == {"openai:small": Price(0.25, 2.0)}
    assert dict(load(tmp_path, "").prices) == {}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('"m" = 5', "prices.m"),
        ('"m" = {input = 1}', "prices.m.output"),
        ('"m" = {input = -1, output = 1}', "prices.m.input"),
        ('"m" = {input = inf, output = 1}', "prices.m.input"),
        ('"m" = {input = nan, output = 1}', "prices.m.input"),
        ('"m" = {input = true, output = 1}', "prices.m.input"),
        ('"m" = {input = "1", output = 1}', "prices.m.input"),
        ('"m" = {inptu = 1, output = 1}', "prices.m.inptu"),
    ],
)
def test_wrong_prices_are_named(tmp_path: Path, text: str, place: str) -> None:
    """A price that is none is an error that names its place."""
    with pytest.raises(ConfigError, match=place):
        load(tmp_path, f"[prices]\n{text}\n")


def test_what_a_thread_costs() -> None:
    """Each turn is counted with the price of its own model; models without a price are named."""
    now = utc_now()
    tally = Tally()
    tally.add(
        Turn(f"t{n}", n, TurnState.COMPLETE, now, model, (), now, usage=Usage(1_000_000, 500_000))
        for n, model in enumerate(("a", "b", "a"), 1)
    )
    assert cost(Usage(1_000_000, 500_000), Price(1, 4)) == 3
    turn, thread = describe_usage(tally, {"a": Price(1, 4)})
    assert turn == "turn    1,500,000 tokens: 1,000,000 in, 500,000 out · $3.0000"
    assert thread == (
        "thread  4,500,000 tokens: 3,000,000 in, 1,500,000 out · $6.0000 · no price in config.toml for b"
    )
