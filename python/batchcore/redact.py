"""Passwords hidden from all output."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

LEAST: Final = 3
"""A password of fewer characters would be found in every other word."""

_IN_URL: Final = re.compile(r"(\w+://[^\s:/@]*):\S*@")
_PARAMETER: Final = re.compile(r"(?i)(password|passwd|pwd)=(\"[^\"]*\"|'[^']*'|[^\s&,;)\"'\]]+)")

_HOSTS_END: Final = re.compile(r"[/?]")


class Redactor:
    """Removes passwords from texts: those that look like one, and those given to `hide`."""

    def __init__(self) -> None:
        self._hidden: set[str] = set()

    def forget(self) -> None:
        """Forget the passwords given to `hide`."""
        self._hidden.clear()

    def hide(self, *texts: str | None) -> None:
        """Add passwords, or URLs with passwords, to hide everywhere."""
        for text in texts:
            if not text:
                continue
            for part in _passwords(text) if "://" in text else [text]:
                self._hidden |= {one for one in (part, unquote(part)) if len(one) >= LEAST}

    def __call__(self, text: str) -> str:
        """Return a text without passwords."""
        for word in sorted(self._hidden, key=len, reverse=True):
            text = text.replace(word, "***").replace(repr(word)[1:-1], "***")
        return _PARAMETER.sub(r"\1=***", _IN_URL.sub(r"\1:***@", text))


def _passwords(url: str) -> list[str]:
    """Return possible passwords in a URL, even in a malformed one."""
    rest = url.partition("://")[2]
    found = [match[2] for match in _PARAMETER.finditer(rest)]
    before, at, place = rest.rpartition("@")
    if at and ":" in before:
        found.append(before.partition(":")[2])
    # text in place of a port, as in someone@host:password/database
    ports = (
        host.rpartition("]")[2].partition(":")[2] for host in _HOSTS_END.split(place)[0].split(",")
    )
    return [*found, *(port for port in ports if port and not port.isdigit())]
