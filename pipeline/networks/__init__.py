"""The networks that stages run, and how they are loaded: weights in, a module in eval mode out."""
