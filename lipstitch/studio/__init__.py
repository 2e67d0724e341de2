"""The studio: a page on which a job is set up, watched and looked at, in the same application as the service."""
