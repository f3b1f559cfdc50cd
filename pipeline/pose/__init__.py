"""Poses: backends find persons in pictures; all that follows is common to them."""
