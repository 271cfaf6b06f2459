"""What runs a network, and the card that tells how images go in and what comes out."""
