"""lipstitch as a service: generations that are asked for over HTTP, kept as folders, worked on by processes."""
