"""Speed on this machine, as a ratio to the stock way in the same run."""
