"""Records of the run on their way to trackers, one thread each."""
