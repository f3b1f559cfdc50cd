"""Luigi wiring, settings, command line and report; no algorithms."""
