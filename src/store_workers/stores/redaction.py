"""The one place that text of others goes through before anybody is shown it.

A server's reason phrase, the body of a refusal, a library's error: each may repeat a secret that
was sent to it, or hold characters that a terminal obeys. What comes out of here is one short line
of printable characters without any secret of the run.
"""

from __future__ import annotations

LONGEST_SHOWN = 300
"""Characters of a text of others that are shown."""

HIDDEN = "[hidden]"
"""What stands in a secret's place."""

SHORTEST_ANYWHERE = 4
"""A secret shorter than this is cut out only where it stands alone: `7` is in every number."""


class Redactor:
    """Knows the secrets of a run, as they are and as they are sent. Safe from many threads."""

    def __init__(self, *secrets: str) -> None:
        self._forms: frozenset[str] = frozenset()
        self.learn(*secrets)

    def learn(self, *secrets: str | None) -> None:
        """Keep further secrets: tokens, passwords, values of headers and of a URL's query."""
        # The whole set is replaced, so that a thread that reads it needs no lock.
        self._forms |= {secret for secret in secrets if secret and not secret.isspace()}

    def clean(self, text: str, longest: int = LONGEST_SHOWN, *, cut: bool = False) -> str:
        """The text, fit to be shown, at most `longest` characters of it.

        `cut` says that the text is only the beginning of one: its end may be half a secret.
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
        """The text without an end that is the beginning of a secret."""
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
    """A secret as it is, and as URLs, JSON, markup and HTTP's basic scheme would write it."""
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
