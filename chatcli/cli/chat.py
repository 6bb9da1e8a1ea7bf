"""The command `chat`: one prompt from the command line, a pipe or files, and one answer; or a session."""

from chatcli.cli import chat_options, options


def chat(
    *,
    words: chat_options.Words = None,
    thread: chat_options.ThreadId = None,
    continue_: chat_options.Continue = False,
    model: chat_options.Model = None,
    system: chat_options.System = None,
    language: chat_options.Language = None,
    temperature: chat_options.Temperature = None,
    max_tokens: chat_options.MaxTokens = None,
    title: chat_options.Title = None,
    file: chat_options.Files = None,
    retry: chat_options.Retry = False,
    undo: chat_options.Undo = None,
    no_stream: chat_options.NoStream = False,
    raw: chat_options.Raw = False,
    no_reasoning: chat_options.NoReasoning = False,
    no_save: chat_options.NoSave = False,
    no_stdin: chat_options.NoStdin = False,
    idempotency_key: chat_options.IdempotencyKey = None,
    wait: chat_options.Wait = 30.0,
    store: options.Store = None,
    server: options.Server = None,
    env_file: options.EnvFile = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Ask a model; the conversation is kept.

    Words and piped data make one message: the words first, then the data in a fenced block.
    At a terminal, with no prompt, a session begins: /help there shows what it can do.
    """
    line = locals()
    from chatcli.cli.asking import Line, run

    run(Line(**line))
