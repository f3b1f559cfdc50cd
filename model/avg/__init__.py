"""Audio-visual grounding: a transformer pre-trained to tell which seconds of a video belong."""
