"""What the services behind operators have in common: how they fail, how patiently they are asked, what is told of them."""
