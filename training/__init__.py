"""What trains: from images on disk to a bundle that serves. May import cxrserve, never its api."""
