"""What the tools call: a room a command."""
