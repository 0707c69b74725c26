"""One file a method. A file without a leading underscore holds exactly one `Method`."""
