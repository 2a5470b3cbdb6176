from unia.cli import main

main()
