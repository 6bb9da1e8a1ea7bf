"""Every figure that has a target: measured beside what it is compared with, and shown beside the target.

    uv run --group bench python -m tests.benchmarks [--only startup,first_token,log,scale,server]

Each part is a module, which shows more when it is run by itself. `scale` writes 100,000 threads first, and
takes 20 minutes; the others take some minutes each. Figures are ratios of runs that took turns, so that
they hold on a machine that does something else, too; it should not do much.
"""

import argparse
import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.benchmarks.server import Row

PARTS = ("startup", "first_token", "log", "scale", "server")


def main() -> int:
    """Run the parts and print the table; the exit code is 1 if a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(PARTS))
    rows: list[Row] = []
    for part in parser.parse_args().only.split(","):
        rows += import_module(f"tests.benchmarks.{part}").measure()
    print("", *rows, sep="\n")
    return 0 if all(row.is_met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
