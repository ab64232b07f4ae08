"""Several runs side by side: read, grouped by what differs, as a table and as a figure."""
