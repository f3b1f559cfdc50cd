"""Training of ST-GCN by instrument classification; its features are what TriBERT reads as pose."""
