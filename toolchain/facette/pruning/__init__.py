"""What structural passes need: which channels hang together, what each is worth, what it costs, and the cut itself."""
