"""Copying: by the terminal itself (OSC 52), and by the platform's own program where there is one."""

import base64
import shutil
import subprocess

MOST_BYTES = 74_994
"""What terminals take at once by OSC 52, before base64."""

_PROGRAMS = (
    ("pbcopy",),
    ("wl-copy",),
    ("xclip", "-selection", "clipboard"),
    ("xsel", "--clipboard", "--input"),
    ("clip.exe",),
)
_SECONDS = 5.0


def terminal_sequence(text: str) -> str | None:
    """Return what makes a terminal copy `text`; None if it is more than terminals take."""
    data = text.encode()
    if len(data) > MOST_BYTES:
        return None
    return f"\x1b]52;c;{base64.b64encode(data).decode('ascii')}\x07"


def copy_by_program(text: str) -> str | None:
    """Copy by the first program that is there and works, and return its name; None without one."""
    for program, *arguments in _PROGRAMS:
        path = shutil.which(program)
        if path is None:
            continue
        try:
            done = subprocess.run(
                [path, *arguments],
                input=text.encode(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            continue
        if done.returncode == 0:
            return program
    return None
