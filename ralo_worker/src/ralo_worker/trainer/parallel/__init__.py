"""Several ranks compute one gradient: who does what, and how it is added up."""
