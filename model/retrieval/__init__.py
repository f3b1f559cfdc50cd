"""Retrieval between what is seen, moved and heard, with a trained TriBERT's embeddings."""
