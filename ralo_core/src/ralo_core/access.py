"""The tokens of a run, as processes that see its directory find them.

``ralo serve`` writes the file, ``ralo run`` reads its own and its workers' tokens from it. What a
role may do is written in the server's table of routes.
"""

import json
from collections.abc import Mapping
from pathlib import Path

SAMPLER, TRAINER, ADMIN, VIEWER = "sampler", "trainer", "admin", "viewer"
ROLES = (SAMPLER, TRAINER, ADMIN, VIEWER)

TOKEN_ENV = "RALO_TOKEN"  # noqa: S105 (the name of a variable)
CA_ENV = "RALO_CA"
TOKENS_FILE = "tokens.json"
URL_FILE = "server.url"
FINISHED_FILE = "finished"
"""There once ``ralo serve --until-finished`` has ended because its run was over."""


def read_tokens(run_dir: Path) -> Mapping[str, str]:
    """Return the token of each role; empty for a run that asks for none."""
    try:
        tokens: Mapping[str, str] = json.loads((run_dir / TOKENS_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return tokens
