"""What an answer comes down to: the box, number or letter that a text ends in. Text in, text out.

Rewards grade by it in the sampler, benchmarks count votes by it in the orchestrator.
"""

from ralo_tasks.final_answer.boxed import last_boxed
from ralo_tasks.final_answer.extraction import EXTRACTIONS, extract
from ralo_tasks.final_answer.item import how_to_answer, item_answer, item_reference, says_how
from ralo_tasks.final_answer.letter import LETTERS, final_letter
from ralo_tasks.final_answer.number import last_number

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
    "says_how",
]
