"""The page of a study: one HTML file with its tables, figures and where each number comes from."""
