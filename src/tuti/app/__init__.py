"""L5: command line, API, Studio."""
