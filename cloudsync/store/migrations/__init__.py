"""The schema of the cloud's store, in numbered files that both databases understand; words in braces differ."""
