"""`python -m hundredth`, which launchers such as torchrun need."""

from hundredth.cli import main

main()
