"""What each built-in kind is: one declaration a file, listed in `table`."""
