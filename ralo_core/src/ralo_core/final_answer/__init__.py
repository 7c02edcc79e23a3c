"""What an answer comes down to: the box, number or letter that a text ends in. Text in, text out.

Neighbours: rewards judge by it in the sampler, benchmarks count votes by it in the orchestrator.
"""

from ralo_core.final_answer.boxed import last_boxed
from ralo_core.final_answer.extraction import EXTRACTIONS, extract, normalised
from ralo_core.final_answer.item import how_to_answer, item_answer, item_reference, says_how
from ralo_core.final_answer.letter import LETTERS, final_letter, letter_of
from ralo_core.final_answer.number import last_number

__all__ = [
    "EXTRACTIONS",
    "LETTERS",
    "extract",
    "final_letter",
    "how_to_answer",
    "item_answer",
    "item_reference",
    "last_boxed",
    "last_number",
    "letter_of",
    "normalised",
    "says_how",
]
