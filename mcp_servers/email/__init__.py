"""The e-mail server: sends messages to the support team over SMTP."""
