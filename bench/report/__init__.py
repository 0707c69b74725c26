"""Records -> what people look at. Needs numpy and no torch."""
