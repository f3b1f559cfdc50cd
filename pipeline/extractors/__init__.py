"""Extractors: what one item's inputs go into and blocks of rows come out of, a module a stage."""
