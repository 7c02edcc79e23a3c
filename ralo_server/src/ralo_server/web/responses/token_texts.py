"""Token ids of the run's model as text, one piece per token.

The tokenizer is the file that lies in the run directory, read by the `tokenizers` library: no
torch, no transformers. Without one that can be read a piece is the id of its token.
"""

import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

_CONTEXT = 8
"""Tokens before a stretch that may share a character with it, or take its leading space."""


class TokenTexts:
    """The tokenizer in `file`, opened when it is needed first."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._opened = False
        self._tokenizer: Any = None

    def pieces(self, ids: Sequence[int], before: Sequence[int] = ()) -> list[str]:
        """Return the text of each of `ids`, which follow `before`; together they are the whole.

        Where several tokens make a character the last of them has it, and the others ``""``.
        """
        tokenizer = self._open()
        if tokenizer is None:
            return [f"[{token}]" for token in ids]
        from tokenizers.decoders import DecodeStream

        stream = DecodeStream(skip_special_tokens=False)
        for token in before[-_CONTEXT:]:
            stream.step(tokenizer, token)
        return [stream.step(tokenizer, token) or "" for token in ids]

    def _open(self) -> Any:
        with self._lock:
            if not self._opened:
                self._opened = True
                self._tokenizer = _tokenizer(self._file)
            return self._tokenizer


def _tokenizer(file: Path) -> Any:
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # noqa: BLE001 (the library raises Exception itself)
        log.warning("%s cannot be read (%s): rollouts are shown as token ids", file, error)
        return None
