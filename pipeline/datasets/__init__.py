"""Lists in, `Dataset` records out: which clips exist, their labels, who may train on them."""
