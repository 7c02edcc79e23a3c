"""The requests that an engine refuses before it starts on any of them.

Every engine calls `check_requests` first, so that all refuse the same with the same words.
"""

from collections.abc import Sequence

from ralo_core.data import GenerationRequest
from ralo_core.errors import RaloError


def check_requests(
    requests: Sequence[GenerationRequest], *, max_length: int, vocabulary: int
) -> None:
    """Raise `RaloError` for the first request that no model of this size can serve."""
    for request in requests:
        complaint = _complaint(request, max_length, vocabulary)
        if complaint:
            msg = f"generation request refused: {complaint}"
            raise RaloError(msg)


def _complaint(request: GenerationRequest, max_length: int, vocabulary: int) -> str:
    prompt, most = request.prompt, request.max_tokens
    if not prompt:
        return "the prompt is empty"
    if most < 1:
        return f"max_tokens must be at least 1, got {most}"
    if len(prompt) + most > max_length:
        return (
            f"{len(prompt)} prompt tokens and max_tokens {most} exceed the model's context "
            f"of {max_length} tokens; ask for fewer tokens or drop the problem"
        )
    if min(prompt) < 0 or max(prompt) >= vocabulary:
        return f"a token id lies outside the vocabulary, 0 to {vocabulary - 1}"
    if request.temperature < 0 or not request.top_p > 0 or request.top_k < 0:
        return "temperature and top_k must be at least 0 and top_p above 0"
    return ""
