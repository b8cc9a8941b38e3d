"""The steps of `cxrserve train`, one file each; what is done is not done again."""
