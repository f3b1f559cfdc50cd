"""What a dataset will cost: bytes, hours of download, hours of computing. Nothing is started."""
