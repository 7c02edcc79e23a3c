"""What is started beside the orchestrator: files and commands for other programs."""
