"""Files: written as a whole or not at all, hashed while they are written, read tensor by tensor."""
