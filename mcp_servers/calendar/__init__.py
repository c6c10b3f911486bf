"""The calendar server: books calls with the support team in a calendar that is reached over CalDAV."""
