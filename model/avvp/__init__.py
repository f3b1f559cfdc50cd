"""Audio-visual video parsing: which events sound and which are seen, second by second."""
