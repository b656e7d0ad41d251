"""Photos in, protected photos out: what is to be done, one photo through its stages, many photos through threads."""
