"""Looking at data sets before anything is trained on them."""
