"""Age, gender and race read off the faces of photos by one of our attribute networks: behind ``halfmask predict``."""
