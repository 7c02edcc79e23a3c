"""Problem providers that need the server's dependencies."""
