"""The same run over any address and many machines: what is to be done, one worker, and who hands out the work."""
