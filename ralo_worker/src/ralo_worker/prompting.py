"""A problem becomes token ids: chat template, plain template, or a function of the user's own.

The sampler renders each problem once; engines and algorithms see token ids only. Text is given to
the tokenizer as it is, in whatever script.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
from transformers import AutoTokenizer

from ralo_core.config import PromptSettings
from ralo_core.data import Message, Problem
from ralo_core.errors import RaloError
from ralo_core.user_functions import import_function


def load_tokenizer(directory: Path) -> Any:
    """Return the tokenizer of a model directory, or raise `RaloError` saying what is wrong."""
    try:
        return AutoTokenizer.from_pretrained(directory)
    except (OSError, ValueError) as error:
        msg = f"cannot load the tokenizer of {directory}: {error}"
        raise RaloError(msg) from error


class Prompting:
    """Renders problems for `tokenizer` as ``[prompt]`` says."""

    def __init__(self, settings: PromptSettings, tokenizer: Any) -> None:
        self._settings = settings
        self._tokenizer = tokenizer
        kinds: dict[str, Callable[[Problem], str]] = {"chat": self._chat, "plain": self._plain}
        if settings.template in kinds:
            self._text = kinds[settings.template]
        else:
            function = import_function(settings.template, "prompt.template")
            self._text = lambda problem: _checked_text(function(problem), settings.template)
        if settings.template == "chat" and not getattr(tokenizer, "chat_template", None):
            msg = (
                "prompt.template = 'chat', but the model's tokenizer has no chat template; "
                "set prompt.template = 'plain'"
            )
            raise RaloError(msg)

    def with_system(self, system: str) -> "Prompting":
        """Return prompting with another system message; that of ``[prompt]`` for ``""``."""
        if not system:
            return self
        return Prompting(attrs.evolve(self._settings, system=system), self._tokenizer)

    def render(self, problem: Problem) -> tuple[int, ...]:
        """Return the token ids of the prompt, never empty.

        A chat template writes its own special tokens; a plain text gets those that the
        tokenizer puts before a text (BOS), as in pre-training.
        """
        chat = self._settings.template == "chat"
        text = self._text(problem)
        ids = self._tokenizer.encode(text, add_special_tokens=not chat)
        if not ids:
            msg = f"problem {problem.id!r} renders to an empty prompt"
            raise RaloError(msg)
        return tuple(ids)

    def text(self, problem: Problem) -> str:
        """Return the prompt as text."""
        return self._text(problem)

    def _chat(self, problem: Problem) -> str:
        text: str = self._tokenizer.apply_chat_template(
            self._messages(problem), tokenize=False, add_generation_prompt=True
        )
        return text

    def _plain(self, problem: Problem) -> str:
        prompt = problem.prompt
        if not isinstance(prompt, str):
            prompt = "\n".join(message["content"] for message in prompt)
        # Not str.format: a problem's own braces must stay what they are.
        text = self._settings.plain.replace("{system}", self._settings.system)
        return text.replace("{prompt}", prompt)

    def _messages(self, problem: Problem) -> Sequence[Message]:
        prompt = problem.prompt
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        if self._settings.system and messages[0]["role"] != "system":
            messages = [{"role": "system", "content": self._settings.system}, *messages]
        return [dict(message) for message in messages]


def _checked_text(value: object, path: str) -> str:
    if not isinstance(value, str):
        msg = f"prompt.template {path} must return text, got {type(value).__name__}"
        raise RaloError(msg)
    return value
