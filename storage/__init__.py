"""The feature store: immutable HDF5 shards, outcomes, plans, views, models. Knows no video, torch or Luigi."""
