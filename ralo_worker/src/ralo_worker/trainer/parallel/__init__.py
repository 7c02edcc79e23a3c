"""Stage 3: several ranks compute one gradient, each a part of it, and add it up."""
