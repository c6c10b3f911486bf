"""The company's own address, which redaction keeps."""

KEPT = "help@company.example"
