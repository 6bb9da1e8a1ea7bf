"""What the routes share: settings, services by owner, turns, metrics; `open_api` tries them out."""

import asyncio
import logging
from typing import TYPE_CHECKING

from chatcli.errors import ChatcliError, ConfigError
from chatcli.models import LOCAL_OWNER
from chatcli.server.body import Room
from chatcli.server.limiter import ClientLimiter
from chatcli.server.metrics import Metrics, time_store
from chatcli.server.options import ServeOptions
from chatcli.server.traces import Traces
from chatcli.server.turns import Turns
from chatcli.server.watch import Watch
from chatcli.service import ChatService
from chatcli.service.auditing import Actor, machine_name
from chatcli.stores import open_store
from chatcli.stores.encrypted import protect

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chatcli.config import ApiToken, Settings

logger = logging.getLogger(__name__)

MAX_INPUT_LENGTH = 10_000
"""Characters of a message over HTTP, where no setting says otherwise."""
READY_SECONDS = 2.0


class Api:
    """One server process: one store, one set of providers, one service for each owner."""

    def __init__(self, settings: "Settings", options: ServeOptions) -> None:
        self.settings = settings
        self.options = options
        self.tokens: Sequence[ApiToken] = settings.read_api_tokens()
        self.max_input_length = settings.max_input_length or MAX_INPUT_LENGTH
        self.metrics = Metrics(options.metrics_dir)
        self.limiter = ClientLimiter(settings.client_rate, settings.redis_url)
        self.room = Room()
        self.turns = Turns(self.metrics)
        self.traces = Traces(settings)
        self.turns.trace = self.traces.around_turn
        store = open_store(settings.store, threaded=True, settings=settings)
        store = time_store(protect(store, settings.encryption_key), self.metrics)
        store = self.traces.around_store(store)
        self._root = ChatService(store, settings, actor=Actor("server", "serve", machine_name()))
        self._root.wrap_provider = self.traces.around_provider
        self.watch = Watch(self._root)
        self._services = {LOCAL_OWNER: self._root}

    def service(self, owner: str) -> ChatService:
        """Return the service of an owner; there are as many as there are names of tokens."""
        found = self._services.get(owner)
        if found is None:
            found = self._services[owner] = self._root.for_owner(owner)
        return found

    async def check(self) -> None:
        """Open the store and the provider.

        Raises what is wrong with the store or the settings. A provider that does not answer is only
        warned of: it may come back.
        """
        for warning in await self._root.check_store():
            logger.warning("store: %s", warning)
        try:
            async with asyncio.timeout(self.settings.timeouts.connect):
                await self._root.models()
        except TimeoutError:
            logger.warning("the provider did not answer within %g s", self.settings.timeouts.connect)
        except ConfigError:
            raise
        except ChatcliError as error:
            logger.warning("provider: %s", error.message)

    async def is_ready(self) -> bool:
        """Whether the store answers and turns are taken."""
        if self.turns.draining:
            return False
        try:
            async with asyncio.timeout(READY_SECONDS):
                await self._root.threads(limit=1)
        except (ChatcliError, TimeoutError):
            return False
        return True

    async def aclose(self) -> None:
        """End what runs, store it, and close everything."""
        await self.turns.stop()
        await self.watch.aclose()
        await self.limiter.aclose()
        await self._root.aclose()
        self.traces.close()


def check_options(settings: "Settings", options: ServeOptions) -> None:
    """Refuse what would not be safe, or could not work, before anything is opened.

    Raises:
        ConfigError: others could connect, and no token is set; several workers on a store that
            each would have for itself.
    """
    tokens = settings.read_api_tokens()
    if options.is_public and not tokens and not options.insecure_no_auth:
        raise ConfigError(
            f"others can connect to {options.host}, and no token is set",
            hint="set CHATCLI_API_TOKEN or CHATCLI_API_TOKENS_FILE; --insecure-no-auth serves everybody",
        )
    if options.workers > 1 and settings.store.startswith("memory:"):
        raise ConfigError(
            "several workers can't share a store in memory", hint="use another --store, or one worker"
        )


async def open_api(settings: "Settings", options: ServeOptions) -> Api:
    """Return what serves, after it was tried out. Raises what is wrong."""
    check_options(settings, options)
    api = Api(settings, options)
    try:
        await api.check()
    except BaseException:
        await api.aclose()
        raise
    return api
