"""Problems from data sets: records, their fields, JSON lines, the Hub."""
