"""Files to pixels to faces and back: read, detect, align, paste back, write."""
