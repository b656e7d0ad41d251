"""Videos: the faces of a clip followed from frame to frame and changed steadily (``halfmask[video]``)."""
