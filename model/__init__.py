"""Datasets, networks, training and evaluation. Importing this package loads no torch."""
