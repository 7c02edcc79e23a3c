"""The web side: falcon resources over the store, served by gunicorn. No torch in here."""
