"""What tries to make Vagus break its promises, and what then looks whether it did."""
