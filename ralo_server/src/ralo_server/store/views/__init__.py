"""What people and `ralo doctor` are shown of a run. These modules read; they write nothing."""
