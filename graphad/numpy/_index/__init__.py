"""Elements read, chosen and written at positions and by masks, and the positions themselves."""
