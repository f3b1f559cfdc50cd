"""The common training machinery: from a recipe's parts to a published model."""
