"""Settings: read once, frozen, the only reader of the environment and of files of settings.

A setting is looked for on the command line, in the environment, in ``.env``, in config.toml; what is
found first counts. Empty variables are not set. ``.env`` is read from the config directory, or where
``--env-file`` or CHATCLI_ENV_FILE says, never from the current directory. CHATCLI_CONFIG names
another config.toml. Relative paths in a file are taken from its directory.

A key of config.toml is the variable's name in lower case without ``CHATCLI_``; timeouts have a table::

    model = "openai:gpt-6-luna"           # CHATCLI_MODEL
    store = "sqlite:///~/chats.db"        # CHATCLI_STORE
    max_conversation_length = 20          # MAX_CONVERSATION_LENGTH
    encryption_key_file = "key"           # CHATCLI_ENCRYPTION_KEY_FILE

    [timeouts]
    first_token = 30                      # CHATCLI_TIMEOUT_FIRST_TOKEN

    [providers.mine]                      # a new provider, or one that is built in, such as openai
    base_url = "https://llm.example/v1"
    api_key_command = "pass show llm"     # or api_key_env = "MINE_KEY", or api_key_file = "mine.key"
    headers = {X-Team = "blue"}
    default_model = "large"
    sends_finish_reason = false
    engine = "langchain"                  # what carries its requests; by default "wire", where it can

    [aliases]
    fast = "groq:openai/gpt-oss-20b"

A key goes only to the URL that it was given for: that of a section to the section's ``base_url``, that
of OPENAI_API_KEY to OPENAI_BASE_URL, and either to the provider's own URL where nothing is set. No
message holds a value: it names the setting, its place, and what is allowed.
"""

from chatcli.config.credentials import ApiKey, BaseUrl, ProviderSettings, Scope
from chatcli.config.loading import load_settings
from chatcli.config.network import Network
from chatcli.config.secret import Secret, mask_url
from chatcli.config.settings import Price, Row, Settings, Timeouts
from chatcli.config.terminal import TerminalSettings, read_terminal
from chatcli.config.tokens import ApiToken
from chatcli.config.values import parse_rate

__all__ = [
    "ApiKey",
    "ApiToken",
    "BaseUrl",
    "Network",
    "Price",
    "ProviderSettings",
    "Row",
    "Scope",
    "Secret",
    "Settings",
    "TerminalSettings",
    "Timeouts",
    "load_settings",
    "mask_url",
    "parse_rate",
    "read_terminal",
]
