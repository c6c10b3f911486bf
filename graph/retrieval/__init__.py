"""The help centre's articles, and their vector index."""
