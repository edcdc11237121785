"""From a source's own files to rows of text, one small file a form; `table` types and checks them."""
