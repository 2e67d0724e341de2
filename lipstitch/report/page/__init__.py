"""The report as a page: one HTML file that opens from disk, shows what a job did, and writes span files."""
