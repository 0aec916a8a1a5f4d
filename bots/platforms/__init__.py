"""One file a platform: events become `Message`s, replies become posts and edits. Nothing else."""
