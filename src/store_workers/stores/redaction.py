"""Makes text of servers and libraries safe to show. All such text passes through here.

A reason phrase, the body of a refusal or a library's error can repeat a secret that was sent, or
contain control characters for a terminal. The result is one short line of printable characters,
without any secret of the run.
"""

from __future__ import annotations

LONGEST_SHOWN = 300
"""Maximum number of characters of such a text that are shown."""

HIDDEN = "[hidden]"
"""The replacement of a secret."""

SHORTEST_ANYWHERE = 4
"""A shorter secret is removed only as a separate word: `7` is part of many numbers."""


class Redactor:
    """The secrets of a run, in all forms in which they are sent. Safe from many threads."""

    def __init__(self, *secrets: str) -> None:
        self._forms: frozenset[str] = frozenset()
        self.learn(*secrets)

    def learn(self, *secrets: str | None) -> None:
        """Add secrets: tokens, passwords, values of headers and of a URL's query."""
        # The whole set is replaced, so that reading threads need no lock.
        self._forms |= {secret for secret in secrets if secret and not secret.isspace()}

    def clean(self, text: str, longest: int = LONGEST_SHOWN, *, cut: bool = False) -> str:
        """Return the text in a form that can be shown, at most `longest` characters of it.

        `cut`: the text is the beginning of a longer one, so its end can be a part of a secret.
        """
        if cut:
            text = self._without_half_a_secret(text)
        line = " ".join(self._hide(text).split())
        line = "".join(letter if letter.isprintable() else "?" for letter in line)
        return line if len(line) <= longest else line[: longest - 1].rstrip() + "…"

    def _hide(self, text: str) -> str:
        import re

        variants = sorted(self._variants(), key=len, reverse=True)
        if not variants or not text:
            return text
        pattern = "|".join(map(_pattern_of, variants))
        return re.sub(pattern, HIDDEN, text, flags=re.IGNORECASE)

    def _without_half_a_secret(self, text: str) -> str:
        """Return the text without an end that is the beginning of a secret."""
        folded = text.lower()
        least = len(text)
        for variant in self._variants():
            beginning = variant.lower()
            longest = min(len(beginning), len(folded))
            for length in range(longest, 0, -1):
                if folded.endswith(beginning[:length]):
                    least = min(least, len(text) - length)
                    break
        return text[:least]

    def _variants(self) -> set[str]:
        return {variant for secret in self._forms for variant in _variants_of(secret)}


def _pattern_of(variant: str) -> str:
    import re

    pattern = re.escape(variant)
    return pattern if len(variant) >= SHORTEST_ANYWHERE else rf"(?<!\w){pattern}(?!\w)"


def _variants_of(secret: str) -> set[str]:
    """Return a secret in all its forms: plain, and encoded in URLs, JSON, markup and headers."""
    import json
    from base64 import b64encode, urlsafe_b64encode
    from html import escape
    from urllib.parse import quote, quote_plus, unquote, unquote_plus

    plain = {secret, unquote(secret), unquote_plus(secret)}
    found = set(plain)
    for each in plain:
        data = each.encode("utf-8", "surrogateescape")
        found |= {quote(data), quote(data, safe=""), quote_plus(data)}
        found |= {json.dumps(each)[1:-1], json.dumps(each, ensure_ascii=False)[1:-1]}
        found |= {escape(each), escape(each, quote=False)}
        found |= {data.decode("latin-1")}
        for encoded in (b64encode(data), urlsafe_b64encode(data)):
            if len(data) >= SHORTEST_ANYWHERE:
                found |= {encoded.decode().rstrip("=")}
    return {variant for variant in found if variant and not variant.isspace()}
