"""What the tests share: a real broker, and waiting without sleeping."""
