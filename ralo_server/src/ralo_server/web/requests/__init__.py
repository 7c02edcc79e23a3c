"""What clients send: bodies read within bounds, messages structured, leases compared."""
