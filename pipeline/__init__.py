"""Items in, rows out: lists, media, extractors and the networks that stages run."""
