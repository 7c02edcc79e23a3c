"""The embedded tiny model: what it is and how it is warmed up."""
