"""What no loop nest says well, and where its code is found."""
