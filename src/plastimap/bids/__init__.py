"""What a study contains: BIDS names, an index with inherited metadata, the manifest, and everything wrong with it."""
