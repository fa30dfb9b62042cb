"""What training runs leave behind: their record, and what can be read, compared and drawn of it."""
