"""Photos in, protected photos out: what is to be done, one photo through the engine, many photos through threads."""
