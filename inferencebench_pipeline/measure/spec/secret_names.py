"""Names that secrets go by: of environment variables, and of command-line arguments.

A name is read as words, never as a substring: ``VLLM_MAX_TOKENS_PER_EXPERT_FP4_MOE`` counts tokens
of text, ``HF_TOKEN`` opens a door. What is in doubt is a secret: a secret that is taken for a
number ends in a public record, a number that is taken for a secret is only refused.
"""

from __future__ import annotations

import re
from typing import Final

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
"""``apiKey`` and ``HFToken`` are two words each, as ``API_KEY`` and ``api-key`` are."""


def word_set(text: str) -> frozenset[str]:
    """Return the words of a table that is written as one text."""
    return frozenset(text.split())


_ALWAYS: Final = word_set(
    "SECRET SECRETS PASSWORD PASSWORDS PASSWD PASSPHRASE PASSCODE CREDENTIAL CREDENTIALS CREDS "
    "APIKEY APIKEYS AUTHKEY ACCESSKEY SECRETKEY PRIVATEKEY SIGNINGKEY AUTH AUTHORIZATION BEARER "
    "COOKIE COOKIES JWT NETRC"
)
_KEYS: Final = frozenset({"KEY", "KEYS"})
_NO_SECRET_KEYS: Final = frozenset({"PUBLIC", "GRAPH", "CACHE", "SORT", "PARTITION"})
"""Words before ``KEY`` that make it the key of a table, or one that everybody may know."""

_TOKENS: Final = frozenset({"TOKEN", "TOKENS"})
_COUNTED: Final = word_set(
    "MAX MIN NUM PER TOTAL COUNT LIMIT AVG MEAN BUDGET THRESHOLD SIZE LEN LENGTH ENABLE DISABLE"
)
"""Words anywhere in a name that make its tokens pieces of text, or the whole a switch."""
_COUNTED_IF_MANY: Final = word_set(
    "BATCH BATCHED NEW CONTEXT INPUT OUTPUT PROMPT COMPLETION PREFILL DECODE CHUNK CHUNKED DRAFT "
    "SPECULATIVE SPECIAL VISION IMAGE AUDIO VIDEO RETURN"
)
"""Words that do so for ``TOKENS`` only: ``INPUT_TOKEN`` is how a build server hands over a
secret."""
_TEXT_BEFORE: Final = word_set("EOS BOS PAD UNK SEP CLS MASK STOP SPECIAL IMAGE THINK")
_TEXT_AFTER: Final = word_set("IDS ID MAP HEALING")

_GLUED: Final = re.compile(r".+(?:TOKEN|PASSWORD|PASSWD|SECRET|APIKEY|CREDENTIALS?)")
"""``PGPASSWORD``, ``APITOKEN``."""


def is_secret(name: str) -> bool:
    """Return whether what goes by this name is a secret, such as ``HF_TOKEN`` or ``--api-key``."""
    words = [word.upper() for word in _WORD.findall(name) if not word.isdigit()]
    return any(_is_secret_word(words, place) for place in range(len(words)))


def words_of(name: str) -> frozenset[str]:
    """Return the words that a name is made of, in upper case."""
    return frozenset(word.upper() for word in _WORD.findall(name))


def _is_secret_word(words: list[str], place: int) -> bool:
    word = words[place]
    before = words[place - 1] if place else ""
    after = words[place + 1] if place + 1 < len(words) else ""
    if word in _KEYS:
        return before not in _NO_SECRET_KEYS
    if word in _TOKENS:
        counted = _COUNTED | (_COUNTED_IF_MANY if word == "TOKENS" else frozenset())
        return not (counted & set(words) or before in _TEXT_BEFORE or after in _TEXT_AFTER)
    if word == "PWD":
        return len(words) > 1  # alone it is the shell's working directory
    if word == "PAT":
        return place > 0 and not after  # a personal access token
    return word in _ALWAYS or _GLUED.fullmatch(word) is not None
