"""One recipe a network, and what they share."""
