"""Weight versions on the worker's side: fetched, verified, kept on this machine."""
