"""From a source's own files to rows of text; `data.table` types and checks them."""
