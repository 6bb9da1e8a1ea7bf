"""Run the fake provider by hand: ``python -m tests.fake_provider --port 8399``."""

import argparse
import asyncio
import contextlib

from tests.fake_provider.server import serve

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.fake_provider", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one, printed on stdout")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(parser.parse_args().port))
