"""What people would run instead, each written as plainly as its library's tutorial."""
