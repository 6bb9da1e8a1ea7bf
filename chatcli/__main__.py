"""The program. Start-up is a feature: nothing is imported before it is known to be needed."""

import gc
import sys

from chatcli import __version__


def main() -> int:
    """Run the program on the words of the command line and return its exit code."""
    # What is imported stays until the end, so collecting garbage meanwhile is lost time.
    gc.disable()
    if sys.argv[1:] == ["--version"] and sys.stdout is not None:
        try:
            print(f"chatcli {__version__}", flush=True)  # noqa: T201
        except OSError:
            pass  # the commands' own --version says what is wrong with it
        else:
            return 0
    try:
        from chatcli.cli import main as run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        code = 130
    # The interpreter's last collection has nothing to find either.
    gc.freeze()
    return code


if __name__ == "__main__":
    sys.exit(main())
