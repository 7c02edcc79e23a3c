"""The state of a run in SQLite, one module per noun; `store.store` puts them together."""

from ralo_server.store.store import Store

__all__ = ["Store"]
