"""How data sets lie on disk before they are converted: a file a layout, each of which gives a `Listing`."""

LAYOUTS = ISIC, PAIRS, MARKED = ("isic", "pairs", "marked")
