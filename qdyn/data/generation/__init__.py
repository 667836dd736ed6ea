"""From a recipe to files: in shards, resumable, on one machine or on many workers."""
