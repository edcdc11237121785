"""What people give: folders, tables, and the words in them."""
