"""From loops to device programs: the work dealt out to threads."""
