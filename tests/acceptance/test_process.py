"""What happens around the process: signals, closed and full streams, odd input, many at once."""

import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.fake_provider import FakeProvider
from tests.program import Chatcli

TOKENS = b"w0 w1 w2 "


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_keeps_what_arrived(
    number: signal.Signals, code: int, online: Chatcli, fake_provider: FakeProvider, history: Any
) -> None:
    """SIGINT, SIGTERM and SIGHUP end the answer, keep its text as interrupted, and stop the request."""
    with online.start("chat", "-m", "openai:slow-9", "-t", "cut", "count") as run:
        fake_provider.wait_for(lambda requests: len(requests) == 1)
        fake_provider.release(3)
        assert run.read_until(b"w2")
        run.send(number)
        assert run.finish() == code
        assert b"interrupted" in run.errors
        assert run.seen.strip() == TOKENS.strip()
    (turn,) = history("cut")["turns"]
    assert turn["state"] == "interrupted"
    assert turn["messages"][1]["content"].encode() == run.seen
    fake_provider.wait_for(lambda requests: requests[0]["client_gone"])
    # What was kept is part of the context.
    online("chat", "-m", "openai:any", "-t", "cut", "go on")
    assert len(fake_provider.requests()[-1]["body"]["messages"]) == 4


def test_a_second_ctrl_c_ends_at_once(online: Chatcli, fake_provider: FakeProvider, history: Any) -> None:
    """Two SIGINT end the process with 130; the turn is shown as interrupted."""
    with online.start("chat", "-m", "openai:slow-9", "-t", "cut", "count") as run:
        fake_provider.wait_for(lambda requests: len(requests) == 1)
        run.send(signal.SIGINT)
        run.send(signal.SIGINT)
        assert run.finish() == 130
    assert history("cut")["turns"][0]["state"] == "interrupted"


def test_a_reader_that_leaves_is_no_error(online: Chatcli, fake_provider: FakeProvider, history: Any) -> None:
    """`| head -1`: nothing is said, exit code 0, and the whole turn is saved."""
    with online.start("chat", "-m", "openai:slow-9", "-t", "head", "count") as run:
        fake_provider.wait_for(lambda requests: len(requests) == 1)
        fake_provider.release(1)
        assert run.read_until(b"w0")
        assert run.process.stdout is not None
        run.process.stdout.close()
        run.process.stdout = None
        fake_provider.release(100)
        assert run.finish() == 0
        assert run.errors == b""
    (turn,) = history("head")["turns"]
    assert turn["state"] == "complete"
    assert "w8" in turn["messages"][1]["content"]


def test_closed_standard_output_is_seen_before_the_model_is_asked(
    online: Chatcli, fake_provider: FakeProvider
) -> None:
    """`>&-`: exit code 74, no request, nothing stored."""
    command = " ".join(("exec", *online.command, "chat", "-m", "openai:any", "hello", ">&-"))
    done = subprocess.run(
        ["sh", "-c", command],
        env=online.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 74, done.stderr
    assert fake_provider.requests() == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_device_loses_no_answer(online: Chatcli, history: Any) -> None:
    """Output into a full device: exit code 74, and the turn is saved as complete."""
    words = ("chat", "-m", "openai:any", "-t", "full", "hello")
    with Path("/dev/full").open("wb") as full, online.start(*words, stdout=full) as run:
        assert run.finish() == 74
    assert history("full")["turns"][0]["state"] == "complete"


@pytest.mark.parametrize(
    ("data", "code", "said"),
    [
        (b"", 2, b"nothing to send"),
        (b" \n", 2, b"nothing to send"),
        (b"abc\x00def", 65, b"byte 3"),
        (b"caf\xe9", 65, b"position 3"),
        (b"x" * 5_000_000, 65, b"1000000"),
    ],
    ids=["empty", "blank", "binary", "latin-1", "too-long"],
)
def test_input_that_can_not_be_sent(data: bytes, code: int, said: bytes, chatcli: Chatcli) -> None:
    """Bad input has its exit code, its place is named, and nothing is stored."""
    done = chatcli("chat", "-m", "offline", input=data)
    assert done.returncode == code
    assert said in done.stderr
    assert chatcli("history", "--json").stdout == b""


def test_closed_standard_input_with_a_prompt_is_fine(chatcli: Chatcli) -> None:
    """A job without standard input has no data, and a prompt is enough."""
    command = " ".join(("exec", *chatcli.command, "chat", "-m", "offline", "hello", "<&-"))
    done = subprocess.run(["sh", "-c", command], env=chatcli.environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_slow_input_arrives_whole(chatcli: Chatcli, history: Any) -> None:
    """A silent pipe is waited for, and said so after two seconds; all of it is in the message."""
    with chatcli.start("chat", "-m", "offline", "-t", "slow", "sum up", stdin=subprocess.PIPE) as run:
        assert run.process.stderr is not None
        assert run.process.stdin is not None
        assert run.process.stderr.readline() == b"waiting for standard input; --no-stdin ignores it\n"
        for piece in (b"one\n", b"two\n"):
            run.process.stdin.write(piece)
            run.process.stdin.flush()
        assert run.finish() == 0
    human = history("slow")["turns"][0]["messages"][0]
    assert human["content"] == "sum up\n\n```\none\ntwo\n```"


def test_no_stdin_ignores_an_open_pipe(chatcli: Chatcli) -> None:
    """`--no-stdin` does not wait for a pipe that nobody closes."""
    with chatcli.start("chat", "-m", "offline", "--no-stdin", "hi", stdin=subprocess.PIPE) as run:
        assert run.process.wait(60) == 0


def test_cron_has_no_environment(chatcli: Chatcli) -> None:
    """With nothing but HOME and PATH it works, without colour, and an error is one line and its hint."""
    bare = {"PATH": os.environ["PATH"], "HOME": str(chatcli.home)}
    command = [*chatcli.command, "chat", "-m", "offline", "hello"]
    done = subprocess.run(command, env=bare, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert b"\x1b" not in done.stdout + done.stderr


def test_many_at_once_on_threads_of_their_own(chatcli: Chatcli, history: Any) -> None:
    """24 one-shots at once on 24 threads: every turn is kept, none crashes."""
    with ThreadPoolExecutor(24) as pool:
        runs = list(
            pool.map(lambda n: chatcli("chat", "-m", "offline", "-t", f"thread-{n}", f"q{n}"), range(24))
        )
    assert [run.returncode for run in runs] == [0] * 24, [run.stderr for run in runs]
    for number, run in enumerate(runs):
        (turn,) = history(f"thread-{number}")["turns"]
        assert turn["state"] == "complete"
        assert [message["content"] for message in turn["messages"]] == [f"q{number}", run.stdout.decode()]


def test_many_at_once_on_one_thread(chatcli: Chatcli, history: Any) -> None:
    """8 one-shots at once on one thread: they take turns, and each turn is whole."""
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda n: chatcli("chat", "-m", "offline", "-t", "one", f"q{n}"), range(8)))
    assert [run.returncode for run in runs] == [0] * 8, [run.stderr for run in runs]
    turns = history("one")["turns"]
    assert [turn["index"] for turn in turns] == list(range(1, 9))
    kept = {turn["messages"][0]["content"]: turn["messages"][1]["content"] for turn in turns}
    assert kept == {f"q{number}": run.stdout.decode() for number, run in enumerate(runs)}


def test_a_busy_thread_is_waited_for_and_then_refused(
    online: Chatcli, fake_provider: FakeProvider, history: Any
) -> None:
    """A thread that another process is using gives 75 after `--wait`, and its turn goes on unharmed."""
    with online.start("chat", "-m", "openai:slow-2", "-t", "busy", "first") as run:
        fake_provider.wait_for(lambda requests: len(requests) == 1)
        refused = online("chat", "-m", "openai:any", "-t", "busy", "--wait", "0.1", "second")
        assert refused.returncode == 75
        assert history("busy")["turns"][0]["state"] == "running"
        fake_provider.release(100)
        assert run.finish() == 0
    assert [turn["state"] for turn in history("busy")["turns"]] == ["complete"]


def test_a_killed_process_holds_nobody_up(online: Chatcli, fake_provider: FakeProvider, history: Any) -> None:
    """After SIGKILL the turn is shown as interrupted, and the next one need not wait for the lease."""
    with online.start("chat", "-m", "openai:slow-2", "-t", "killed", "first") as run:
        fake_provider.wait_for(lambda requests: len(requests) == 1)
        run.send(signal.SIGKILL)
        run.finish()
    assert history("killed")["turns"][0]["state"] == "interrupted"
    done = online("chat", "-m", "openai:any", "-t", "killed", "--wait", "0", "second")
    assert done.returncode == 0, done.stderr
    assert [turn["state"] for turn in history("killed")["turns"]] == ["interrupted", "complete"]
