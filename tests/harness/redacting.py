"""The address that redaction keeps, since it is the company's own."""

KEPT = "help@company.example"
