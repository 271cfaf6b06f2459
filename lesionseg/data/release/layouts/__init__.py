"""How data sets lie on disk before they are converted: a file a layout, each of which gives a `Listing`."""

LAYOUTS = ISIC, PAIRS, MARKED = ("isic", "pairs", "marked")
# Not chosen by --layout, but by --to-hf and --from-hf.
DATA_SET, HUGGING_FACE = "data_set", "hugging_face"
