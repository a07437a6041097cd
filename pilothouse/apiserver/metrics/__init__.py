"""What the server counts, under upstream's names. Counting must cost next to nothing; pages are put together when they are asked for."""
