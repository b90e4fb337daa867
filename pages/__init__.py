"""What shoppers see: the pages, and nothing that trades."""
