"""TriBERT: separation of sounds by what is seen. Importing this package loads no torch."""
