"""Which topics a principal may use: pure decisions, the same for every broker."""
