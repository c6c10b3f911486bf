"""The articles of the help centre, and their index."""
