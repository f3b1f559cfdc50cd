"""Separation beyond TriBERT: figures, oracle masks and baselines in one harness."""
