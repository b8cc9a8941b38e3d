"""`cxrserve evaluate`: a bundle on a test set, as figures, tables and one page that shows them."""
