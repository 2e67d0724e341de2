"""Who speaks: every face of a scan judged against the source's own sound."""
