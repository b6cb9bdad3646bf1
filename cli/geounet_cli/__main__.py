"""`python -m geounet_cli` is `geounet`, for where the script is not on the path."""

from geounet_cli.main import main

main()
