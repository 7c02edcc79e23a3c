"""Answers that come when something happens: long polls and server-sent events."""
